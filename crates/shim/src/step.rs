//! One step from its start to the last byte of its output.
//!
//! A [`Phase`] says what it is waiting for; the loop that drives it is in [`crate::crew`].

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use windlass_shim::journal::{Record, StepEnded, StepResult};
use windlass_shim::order::{Check, Order, Secrets, StepOrder};

use crate::cgroup::Cgroup;
use crate::control::{Control, Stop};
use crate::mask::Automaton;
use crate::output::Output;
use crate::program;
use crate::spawn::{self, End, Wiring};
use crate::tree::{self, KILL_PAUSE, Reaper, count};
use crate::writer::Writer;

/// How long what a step left behind may take to end by itself: `tee` in `exec > >(tee log)` has
/// its last lines to write. It costs nothing where nothing is left.
const LINGER: Duration = Duration::from_millis(100);
/// The longest that leftovers have between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);
/// After this, what is left can't be killed (it waits for a dead disk, or belongs to root).
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(30);
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
    /// What enforces limits, if anything. All steps that run at a time share it.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Only one step runs: whatever is in the cgroup belongs to it.
    pub(crate) alone: bool,
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

    /// The cgroup, if it is that of one step alone.
    fn own_cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.filter(|_| self.alone)
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
pub(crate) enum Cause {
    /// The step's own limit.
    StepTimeout,
    /// The job is stopped while this step is in front.
    Job(Stop),
    /// The steps that it served are over.
    JobOver,
    /// It was not ready in its time.
    NotReady,
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

/// A step that runs.
pub(crate) struct Running<'a> {
    number: u32,
    order: &'a StepOrder,
    /// The next step waits for this one.
    in_front: bool,
    reaper: Reaper,
    begin: Instant,
    deadline: Option<Instant>,
    output: Output<'a>,
    phase: Phase,
    /// Why the shim ended the step, if it did before the leader ended by itself.
    cause: Option<Cause>,
    /// Why it was not ready.
    reason: String,
    leftovers: BTreeSet<Pid>,
    killed: BTreeSet<Pid>,
    oom_before: u64,
    refusals_before: u64,
}

impl<'a> Running<'a> {
    /// Starts the step. Its `StepStarted` is written here, its end is not.
    ///
    /// # Errors
    /// The end of a step that could not be started.
    pub(crate) fn start(
        job: &mut Job<'a>,
        number: u32,
        step: &'a StepOrder,
    ) -> Result<Self, StepEnded> {
        Self::try_start(job, number, step).map_err(|reason| StepEnded {
            result: StepResult::NotStarted {
                reason: job.masked(&reason),
            },
            output_bytes: 0,
            left_out_bytes: 0,
            duration_us: 0,
            leftovers: 0,
        })
    }

    fn try_start(job: &mut Job<'a>, number: u32, step: &'a StepOrder) -> Result<Self, String> {
        let oom_before = job.cgroup.map_or(0, Cgroup::oom_kills);
        let refusals_before = job.cgroup.map_or(0, Cgroup::fork_refusals);
        let program = program::prepare(job.order, job.secrets, step)?;
        let (mut output, ends) = Output::open(step.output, job.order.output, job.automaton)
            .map_err(|e| format!("the step's output could not be connected: {e}"))?;
        let ready = step.background.as_ref().map(|b| b.ready.as_ref());
        if let Some(Check::Output(text)) = ready.flatten().map(|ready| &ready.check) {
            output.look_for(text);
        }
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
        job.journal.record(&Record::StepStarted {
            step: number,
            background: step.background.is_some(),
        });
        if let Some(errno) = spawned.unlimited {
            let words = errno.desc();
            job.note(
                number,
                &format!("runs without limits: joining the cgroup failed: {words}"),
            );
        }
        let limit = step.timeout_ms.map(Duration::from_millis);
        Ok(Self {
            number,
            order: step,
            in_front: ready != Some(None),
            reaper: Reaper::new(spawned),
            begin,
            deadline: limit.and_then(|limit| begin.checked_add(limit)),
            output,
            phase: Phase::Running,
            cause: None,
            reason: String::new(),
            leftovers: BTreeSet::new(),
            killed: BTreeSet::new(),
            oom_before,
            refusals_before,
        })
    }

    /// Index into the order's steps.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether its program runs and nobody ends it.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Running)
    }

    /// Whether the text that is awaited in its output came.
    pub(crate) fn was_found(&self) -> bool {
        self.output.was_found()
    }

    /// The next step no longer waits for this one.
    pub(crate) fn is_ready(&mut self) {
        self.in_front = false;
    }

    /// Ends it because it was not ready in its time.
    pub(crate) fn stop_unready(&mut self, job: &mut Job<'_>, reason: &str) {
        self.reason = job.masked(reason);
        self.stop(job, Cause::NotReady);
    }

    /// Ends it, unless that happens already.
    pub(crate) fn stop(&mut self, job: &mut Job<'_>, cause: Cause) {
        if self.is_alive() && !self.reaper.has_just_ended(job.own_cgroup()) {
            self.cause = Some(cause);
            self.terminate(job, cause);
        }
    }

    /// What to poll.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        let mut fds = self.output.fds();
        fds.extend(self.reaper.fd());
        fds
    }

    /// Reads from what is `ready` (in the order of [`Running::fds`]).
    pub(crate) fn read(&mut self, ready: &[bool], journal: &mut Writer) {
        self.output.read(ready, self.number, journal);
    }

    /// When it wants to be looked at, whatever happens.
    pub(crate) fn wake(&self, now: Instant) -> Option<Instant> {
        match self.phase {
            Phase::Running => self.deadline,
            Phase::Lingering { until } | Phase::Draining { until } => Some(until),
            Phase::Ending { kill_at, .. } => Some(kill_at),
            Phase::Killing { .. } => Some(now + KILL_PAUSE),
        }
    }

    /// Whether nothing of the step is left and its output has ended.
    pub(crate) fn is_over(&mut self, job: &mut Job<'_>, flushed: bool) -> bool {
        let now = Instant::now();
        let Phase::Draining { until } = &mut self.phase else {
            return false;
        };
        if !flushed {
            // The disk is full: that nobody reads is our own doing.
            *until = now + DRAIN_LIMIT;
            return false;
        }
        if self.output.has_ended() {
            return true;
        }
        if now < *until {
            return false;
        }
        let text = "a process outside this step holds its output open: what it writes from here \
                    on is not recorded";
        job.note(self.number, text);
        self.output.close(self.number, job.journal);
        true
    }

    /// Kills all of it at once, and waits until it is gone.
    pub(crate) fn kill_now(&mut self, cgroup: Option<&Cgroup>) {
        self.reaper.kill(cgroup, KILL_LIMIT);
    }

    /// Its end, once it is over.
    pub(crate) fn finish(self, job: &mut Job<'_>) -> StepEnded {
        if let Some(cgroup) = job.cgroup {
            cgroup.allow_forks();
            let refusals = cgroup.fork_refusals() - self.refusals_before;
            if let Some(limit) = job.order.limits.pids.filter(|_| refusals > 0) {
                let text = format!(
                    "the limit of {limit} processes and threads was reached: the system refused a \
                     new one {refusals} times"
                );
                job.note(self.number, &text);
            }
        }
        let oom = job.cgroup.map_or(0, Cgroup::oom_kills) > self.oom_before;
        if oom {
            let limit = job.order.limits.memory_bytes.unwrap_or(0);
            let text = format!("the memory limit of {limit} bytes was reached: the kernel killed");
            job.note(self.number, &format!("{text} processes of this step"));
        }
        let mut end = self.ended(job.order, oom);
        if let StepResult::Exited { code } = end.result {
            let expect = &self.order.expect;
            if !expect.is_empty() && *expect != [0] {
                end.result = if expect.contains(&code) {
                    StepResult::AsExpected { code }
                } else {
                    StepResult::Unexpected { code }
                };
            }
        }
        if self.in_front && self.order.background.is_some() && self.cause.is_none() {
            job.note(self.number, "it ended before it was ready");
            if let StepResult::Exited { code: 0 } = end.result {
                end.result = StepResult::Unexpected { code: 0 };
            }
        }
        end
    }

    /// Takes the keeper's news, and goes on to the next phase if it is time to.
    pub(crate) fn advance(&mut self, job: &mut Job<'_>) {
        let empty = self.reaper.reap();
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
                    Some(stop) if self.in_front => Some(Cause::Job(stop)),
                    Some(_) => Some(Cause::JobOver),
                    None if self.deadline.is_some_and(|d| d <= now) => Some(Cause::StepTimeout),
                    None => None,
                };
                if let Some(cause) = cause {
                    self.stop(job, cause);
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
                    let left = count(self.reaper.living(job.own_cgroup()).len());
                    job.note(self.number, &format!("{left} could not be killed"));
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
        let processes = self.reaper.living(job.own_cgroup());
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
            Cause::JobOver => Some(format!(
                "the steps that it served are over; {reached} got SIGTERM"
            )),
            Cause::NotReady => Some(format!("not ready: {}; {reached} got SIGTERM", self.reason)),
            Cause::Leftovers => {
                self.leftovers = processes;
                grace = grace.min(LEFTOVER_GRACE);
                None
            }
        };
        if let Some(text) = text {
            job.note(self.number, &text);
        }
        let now = Instant::now();
        let kill_at = now.checked_add(grace).unwrap_or(now + NEVER);
        self.phase = Phase::Ending { cause, kill_at };
    }

    fn kill(&mut self, job: &Job<'_>) {
        self.killed.extend(self.reaper.kill_round(job.own_cgroup()));
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
                    job.note(self.number, &text);
                }
            }
            Phase::Killing { .. } => {
                let grace = seconds(Duration::from_millis(job.order.grace_ms));
                let text = format!("{killed} did not end within {grace} and got SIGKILL");
                job.note(self.number, &text);
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
            (Some(Cause::JobOver), _) => StepResult::JobOver,
            (Some(Cause::NotReady), _) => StepResult::NotReady {
                reason: self.reason.clone(),
            },
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
            left_out_bytes: self.output.left_out(),
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
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}
