//! One step from its start to the last byte of its output.
//!
//! Everything is one loop around one `poll`. It is driven by events only: output, a dead child
//! (SIGCHLD), a command, a time that is over. A [`Phase`] says what the loop is waiting for.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use windlass_shim::journal::{Record, StepEnded, StepResult};
use windlass_shim::order::{Order, Secrets, StepOrder};

use crate::cgroup::Cgroup;
use crate::control::{Control, Stop};
use crate::mask::Automaton;
use crate::output::Output;
use crate::program;
use crate::spawn::{self, End, Wiring};
use crate::tree::{self, Reaper, count};
use crate::writer::Writer;

/// How long what a step left behind may take to end by itself: `tee` in `exec > >(tee log)` has
/// its last lines to write. It costs nothing where nothing is left.
const LINGER: Duration = Duration::from_millis(100);
/// The longest that leftovers have between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// How often KILL is repeated.
const KILL_PAUSE: Duration = Duration::from_millis(5);
/// After this, what is left can't be killed (it waits for a dead disk, or belongs to root).
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How long output is awaited that a process outside the step's tree could still write.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Stands for a grace period that no clock can hold.
const NEVER: Duration = Duration::from_secs(365 * 86_400);
/// How often a full disk is tried again.
pub(crate) const FULL_DISK_PAUSE: Duration = Duration::from_millis(50);

/// What all steps of a job share.
pub(crate) struct Job<'a> {
    /// What to do.
    pub(crate) order: &'a Order,
    /// Variables that are not in the order.
    pub(crate) secrets: &'a Secrets,
    /// What to mask, if anything.
    pub(crate) automaton: Option<&'a Automaton>,
    /// What enforces limits, if anything.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// What comes from outside.
    pub(crate) control: &'a mut Control,
    /// Where everything is written.
    pub(crate) journal: &'a mut Writer,
}

impl Job<'_> {
    /// Writes one line about a step for people.
    pub(crate) fn note(&mut self, step: u32, text: &str) {
        let text = self.masked(text);
        self.journal.record(&Record::Note { step, text });
    }

    /// The shim's own words may quote the order's.
    pub(crate) fn masked(&self, text: &str) -> String {
        self.automaton
            .map_or_else(|| text.to_owned(), |a| a.mask_text(text))
    }

    /// Waits until the whole journal is in its file.
    ///
    /// # Errors
    /// The file can't be written, now or later; or the system can't poll.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while !self.journal.flush()? {
            self.control
                .wait(&[], Some(Instant::now() + FULL_DISK_PAUSE))?;
        }
        Ok(())
    }
}

/// Why a tree is being ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    StepTimeout,
    Job(Stop),
    /// The step has ended by itself and left processes behind.
    Leftovers,
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// The end of the leader, or a reason to end it.
    Running,
    /// The leader ended; that its children end by themselves.
    Lingering { until: Instant },
    /// TERM was sent; that the tree ends.
    Ending { cause: Cause, kill_at: Instant },
    /// That nothing survives KILL.
    Killing { cause: Cause, give_up_at: Instant },
    /// The tree is gone; that the output ends.
    Draining { until: Instant },
}

struct Running<'a> {
    step: u32,
    reaper: Reaper,
    begin: Instant,
    deadline: Option<Instant>,
    output: Output<'a>,
    phase: Phase,
    /// Why the shim ended the step, if it did before the leader ended by itself.
    cause: Option<Cause>,
    leftovers: BTreeSet<Pid>,
    killed: BTreeSet<Pid>,
}

/// Runs one step and returns how it ended. Its `StepStarted` is written here, its end is not.
///
/// # Errors
/// The journal can't be written, or the system can't poll. Nothing of the step is left then.
pub(crate) fn run(job: &mut Job<'_>, number: u32, step: &StepOrder) -> io::Result<StepEnded> {
    let oom_before = job.cgroup.map_or(0, Cgroup::oom_kills);
    let refusals_before = job.cgroup.map_or(0, Cgroup::fork_refusals);
    let mut running = match start(job, number, step) {
        Ok(running) => running,
        Err(reason) => {
            return Ok(StepEnded {
                result: StepResult::NotStarted {
                    reason: job.masked(&reason),
                },
                output_bytes: 0,
                duration_us: 0,
                leftovers: 0,
            });
        }
    };
    if let Err(e) = running.follow(job) {
        // Without a journal there is no job: nothing may go on unseen.
        let give_up_at = Instant::now() + KILL_LIMIT;
        while !running.reaper.reap() && Instant::now() < give_up_at {
            running.reaper.kill_round(job.cgroup);
            std::thread::sleep(KILL_PAUSE);
        }
        return Err(e);
    }
    if let Some(cgroup) = job.cgroup {
        cgroup.allow_forks();
        let refusals = cgroup.fork_refusals() - refusals_before;
        if let Some(limit) = job.order.limits.pids.filter(|_| refusals > 0) {
            let text = format!(
                "the limit of {limit} processes and threads was reached: the system refused a new \
                 one {refusals} times"
            );
            job.note(number, &text);
        }
    }
    let oom = job.cgroup.map_or(0, Cgroup::oom_kills) > oom_before;
    if oom {
        let limit = job.order.limits.memory_bytes.unwrap_or(0);
        let text = format!("the memory limit of {limit} bytes was reached: the kernel killed");
        job.note(number, &format!("{text} processes of this step"));
    }
    let mut end = running.ended(job.order, oom);
    if let StepResult::Exited { code } = end.result
        && !step.expect.is_empty()
        && step.expect != [0]
    {
        end.result = if step.expect.contains(&code) {
            StepResult::AsExpected { code }
        } else {
            StepResult::Unexpected { code }
        };
    }
    Ok(end)
}

fn start<'a>(job: &mut Job<'a>, number: u32, step: &StepOrder) -> Result<Running<'a>, String> {
    let program = program::prepare(job.order, job.secrets, step)?;
    let (output, ends) = Output::open(step.output, job.automaton)
        .map_err(|e| format!("the step's output could not be connected: {e}"))?;
    let wiring = Wiring {
        stdin: ends.stdin.as_fd(),
        stdout: ends.stdout.as_fd(),
        stderr: ends.stderr.as_fd(),
        terminal: ends.terminal,
        cgroups: job.cgroup.map_or(&[], Cgroup::joins),
    };
    let spawned = spawn::spawn(&program, &wiring)
        .map_err(|failure| program::failure_words(failure, &program, &job.order.workspace))?;
    let begin = Instant::now();
    job.journal.record(&Record::StepStarted { step: number });
    if let Some(errno) = spawned.unlimited {
        let words = errno.desc();
        job.note(
            number,
            &format!("runs without limits: joining the cgroup failed: {words}"),
        );
    }
    let limit = step.timeout_ms.map(Duration::from_millis);
    Ok(Running {
        step: number,
        reaper: Reaper::new(spawned.pid),
        begin,
        deadline: limit.and_then(|limit| begin.checked_add(limit)),
        output,
        phase: Phase::Running,
        cause: None,
        leftovers: BTreeSet::new(),
        killed: BTreeSet::new(),
    })
}

impl Running<'_> {
    /// The loop, until nothing of the step is left and its output has ended.
    fn follow(&mut self, job: &mut Job<'_>) -> io::Result<()> {
        loop {
            let flushed = job.journal.flush()?;
            let now = Instant::now();
            if let Phase::Draining { until } = &mut self.phase {
                if !flushed {
                    // The disk is full: that nobody reads is our own doing.
                    *until = now + DRAIN_LIMIT;
                } else if self.output.has_ended() {
                    return Ok(());
                } else if *until <= now {
                    let text = "a process outside this step holds its output open: what it \
                                writes from here on is not recorded";
                    job.note(self.step, text);
                    self.output.close(self.step, job.journal);
                    return Ok(());
                }
            }
            let wake = match self.phase {
                Phase::Running => self.deadline,
                Phase::Lingering { until } | Phase::Draining { until } => Some(until),
                Phase::Ending { kill_at, .. } => Some(kill_at),
                Phase::Killing { .. } => Some(now + KILL_PAUSE),
            };
            if flushed {
                let ready = job.control.wait(&self.output.fds(), wake)?;
                self.output.read(&ready, self.step, job.journal);
            } else {
                // Back-pressure: nothing is read, so the program waits in its write.
                let retry = now + FULL_DISK_PAUSE;
                let wake = wake.map_or(retry, |wake| wake.min(retry));
                job.control.wait(&[], Some(wake))?;
            }
            let mut empty = false;
            if job.control.take_child_died() || matches!(self.phase, Phase::Killing { .. }) {
                empty = self.reaper.reap();
            }
            self.advance(job, empty);
        }
    }

    fn advance(&mut self, job: &mut Job<'_>, empty: bool) {
        let now = Instant::now();
        if empty && !matches!(self.phase, Phase::Draining { .. }) {
            self.tree_is_gone(job);
            return;
        }
        match self.phase {
            Phase::Running if self.reaper.end().is_some() => {
                let until = now + LINGER;
                self.phase = Phase::Lingering { until };
            }
            Phase::Running => {
                let cause = match job.control.stop() {
                    Some(stop) => Some(Cause::Job(stop)),
                    None if self.deadline.is_some_and(|d| d <= now) => Some(Cause::StepTimeout),
                    None => None,
                };
                if let Some(cause) = cause {
                    self.cause = Some(cause);
                    self.terminate(job, cause);
                }
            }
            Phase::Lingering { until } if until <= now || job.control.stop().is_some() => {
                self.terminate(job, Cause::Leftovers);
            }
            Phase::Ending { cause, kill_at } if kill_at <= now => {
                let give_up_at = now + KILL_LIMIT;
                self.phase = Phase::Killing { cause, give_up_at };
                self.kill(job);
            }
            Phase::Killing { give_up_at, .. } => {
                if give_up_at <= now {
                    let left = count(tree::living(job.cgroup).len());
                    job.note(self.step, &format!("{left} could not be killed"));
                    self.tree_is_gone(job);
                } else {
                    self.kill(job);
                }
            }
            Phase::Lingering { .. } | Phase::Ending { .. } | Phase::Draining { .. } => {}
        }
    }

    /// TERM to everything, and a note that says why.
    fn terminate(&mut self, job: &mut Job<'_>, cause: Cause) {
        let processes = tree::living(job.cgroup);
        let reached = count(tree::terminate(&processes));
        let mut grace = Duration::from_millis(job.order.grace_ms);
        let text = match cause {
            Cause::StepTimeout => {
                let limit = seconds(self.deadline.unwrap_or(self.begin) - self.begin);
                Some(format!("timed out after {limit}; {reached} got SIGTERM"))
            }
            Cause::Job(Stop::JobTimeout) => {
                let limit = seconds(Duration::from_millis(job.order.timeout_ms.unwrap_or(0)));
                Some(format!(
                    "the job timed out after {limit}; {reached} got SIGTERM"
                ))
            }
            Cause::Job(Stop::Cancelled) => Some(format!("cancelled; {reached} got SIGTERM")),
            Cause::Leftovers => {
                self.leftovers = processes;
                grace = grace.min(LEFTOVER_GRACE);
                None
            }
        };
        if let Some(text) = text {
            job.note(self.step, &text);
        }
        let now = Instant::now();
        let kill_at = now.checked_add(grace).unwrap_or(now + NEVER);
        self.phase = Phase::Ending { cause, kill_at };
    }

    fn kill(&mut self, job: &Job<'_>) {
        self.killed.extend(self.reaper.kill_round(job.cgroup));
    }

    /// Says what was done to the tree, and goes on to the rest of the output.
    fn tree_is_gone(&mut self, job: &mut Job<'_>) {
        let killed = count(self.killed.len());
        match self.phase {
            Phase::Ending {
                cause: Cause::Leftovers,
                ..
            }
            | Phase::Killing {
                cause: Cause::Leftovers,
                ..
            } => {
                self.leftovers.extend(&self.killed);
                let n = self.leftovers.len();
                if n > 0 {
                    let were = if n == 1 { "was" } else { "were" };
                    let mut text = format!("{} {were} left running and {were} stopped", count(n));
                    if !self.killed.is_empty() {
                        text.push_str(&format!("; {killed} needed SIGKILL"));
                    }
                    job.note(self.step, &text);
                }
            }
            Phase::Killing { .. } => {
                let grace = seconds(Duration::from_millis(job.order.grace_ms));
                let text = format!("{killed} did not end within {grace} and got SIGKILL");
                job.note(self.step, &text);
            }
            _ => {}
        }
        self.output.release_terminal();
        let until = Instant::now() + DRAIN_LIMIT;
        self.phase = Phase::Draining { until };
    }

    fn ended(&self, order: &Order, oom: bool) -> StepEnded {
        let (end, at) = match self.reaper.end() {
            Some((end, at)) => (Some(end), at),
            None => (None, Instant::now()),
        };
        let result = match (self.cause, end) {
            (Some(Cause::StepTimeout), _) => StepResult::StepTimeout,
            (Some(Cause::Job(stop)), _) => stopped(stop),
            (_, Some(End::Exited(0))) => StepResult::Exited { code: 0 },
            _ if oom => StepResult::OutOfMemory {
                limit_bytes: order.limits.memory_bytes,
            },
            (_, Some(End::Exited(code))) => StepResult::Exited { code },
            (_, Some(End::Signaled(signal))) => StepResult::Signaled { signal },
            // A leader that could not even be killed, though nobody stopped the step: the state
            // machine has no way here.
            (_, None) => StepResult::Cancelled,
        };
        StepEnded {
            result,
            output_bytes: self.output.written(),
            duration_us: u64::try_from((at - self.begin).as_micros()).unwrap_or(u64::MAX),
            leftovers: u32::try_from(self.leftovers.len()).unwrap_or(u32::MAX),
        }
    }
}

/// The result of a step that was stopped with its job.
pub(crate) fn stopped(stop: Stop) -> StepResult {
    match stop {
        Stop::Cancelled => StepResult::Cancelled,
        Stop::JobTimeout => StepResult::JobTimeout,
    }
}

/// "5 s", "0.25 s".
fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}
