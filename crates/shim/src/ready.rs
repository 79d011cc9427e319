//! When a background step is ready: a check that is repeated until it holds.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use windlass_shim::order::{Check, Ready, StepOrder};

use crate::cgroup::Cgroup;
use crate::program;
use crate::spawn::{self, End, Wiring};
use crate::step::{Job, KILL_LIMIT, Running, seconds};
use crate::tree::{KILL_PAUSE, Reaper};

/// How often a check is tried.
const EVERY: Duration = Duration::from_millis(200);
/// How long a connection to this machine may take. Who takes longer is busy: not ready yet.
const CONNECT: Duration = Duration::from_millis(100);

/// What a look at a check says.
pub(crate) enum Verdict {
    /// It holds; words for people.
    Ready(String),
    /// Look again at this time, or when something has happened.
    NotYet(Instant),
    /// Its time is over; words for people.
    Never(String),
}

/// One step's check.
pub(crate) struct Watch<'a> {
    ready: &'a Ready,
    step: &'a StepOrder,
    begin: Instant,
    next: Instant,
    /// The check's program, while it runs.
    trial: Option<Reaper>,
    /// How the last trial ended, for people.
    last: String,
}

impl<'a> Watch<'a> {
    /// For `step`, which was just started.
    pub(crate) fn new(ready: &'a Ready, step: &'a StepOrder) -> Self {
        let now = Instant::now();
        Self {
            ready,
            step,
            begin: now,
            next: now,
            trial: None,
            last: String::new(),
        }
    }

    /// Tries the check if it is time to.
    pub(crate) fn look(&mut self, job: &mut Job<'_>, running: &Running<'_>) -> Verdict {
        let holds = match &self.ready.check {
            Check::Output(_) => running.was_found(),
            Check::Port(port) => self.is_due() && self.accepts(*port),
            Check::Run(argv) => self.exits_well(job, argv),
        };
        let now = Instant::now();
        let limit = Duration::from_millis(self.ready.timeout_ms);
        let give_up_at = self.begin.checked_add(limit);
        if holds {
            let took = seconds(now - self.begin);
            Verdict::Ready(format!("ready after {took}: {}", self.held()))
        } else if give_up_at.is_some_and(|at| at <= now) {
            Verdict::Never(format!("{} within {}", self.missing(), seconds(limit)))
        } else {
            let next = match (&self.ready.check, &self.trial) {
                // Its end wakes us.
                (Check::Output(_), _) => give_up_at.unwrap_or(now + EVERY),
                (Check::Run(_), Some(trial)) if trial.end().is_some() => now + KILL_PAUSE,
                (Check::Run(_), Some(_)) => now + EVERY,
                _ => self.next,
            };
            Verdict::NotYet(give_up_at.map_or(next, |at| at.min(next)))
        }
    }

    /// Ends what still runs for the check.
    pub(crate) fn end(&mut self) {
        if let Some(mut trial) = self.trial.take() {
            trial.kill(None, KILL_LIMIT);
        }
    }

    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.next <= now;
        if due {
            self.next = now + EVERY;
        }
        due
    }

    fn accepts(&mut self, port: u16) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpStream::connect_timeout(&address, CONNECT) {
            // Not a listener: a port of the range for clients that has connected to itself.
            Ok(stream) => stream.local_addr().ok() != Some(address),
            Err(e) => {
                self.last = e.to_string();
                false
            }
        }
    }

    /// Whether a trial has ended with 0. Begins one when none runs.
    fn exits_well(&mut self, job: &Job<'_>, argv: &[String]) -> bool {
        if let Some(trial) = &mut self.trial {
            let mut gone = trial.reap();
            let Some((end, _)) = trial.end() else {
                return false;
            };
            if !gone {
                // What it left behind.
                trial.kill_round(None);
                gone = trial.reap();
            }
            if gone {
                self.trial = None;
                self.last = match end {
                    End::Exited(0) => return true,
                    End::Exited(code) => format!("exit code {code}"),
                    End::Signaled(signal) => format!("signal {signal}"),
                };
            }
            return false;
        }
        if self.is_due() {
            match start(job, self.step, argv) {
                Ok(trial) => self.trial = Some(trial),
                Err(reason) => self.last = reason,
            }
        }
        false
    }

    /// The check, when it holds.
    fn held(&self) -> String {
        match &self.ready.check {
            Check::Port(port) => format!("port {port} accepts connections"),
            Check::Run(argv) => format!("`{}` succeeds", script(argv)),
            Check::Output(text) => format!("it printed `{text}`"),
        }
    }

    /// The check, when its time is over.
    fn missing(&self) -> String {
        let last = match (&self.trial, self.last.as_str()) {
            (Some(_), "") => " (it still runs)".to_owned(),
            (None, "") => String::new(),
            (_, last) => format!(" ({last})"),
        };
        match &self.ready.check {
            Check::Port(port) => format!("port {port} did not accept connections{last}"),
            Check::Run(argv) => format!("`{}` did not succeed{last}", script(argv)),
            Check::Output(text) => format!("it did not print `{text}`"),
        }
    }
}

/// What a person wrote: the shell's last argument.
fn script(argv: &[String]) -> &str {
    argv.last().map_or("", |script| script.trim())
}

/// Starts the check as the step was started, with its output thrown away.
fn start(job: &Job<'_>, step: &StepOrder, argv: &[String]) -> Result<Reaper, String> {
    let check = StepOrder {
        argv: argv.to_vec(),
        ..step.clone()
    };
    let program = program::prepare(job.order, job.secrets, &check)?;
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|e| format!("/dev/null: {e}"))?;
    let wiring = Wiring {
        stdin: null.as_fd(),
        stdout: null.as_fd(),
        stderr: null.as_fd(),
        terminal: false,
        cgroups: job.cgroup.map_or(&[], Cgroup::joins),
    };
    spawn::spawn(&program, &wiring)
        .map(Reaper::new)
        .map_err(|failure| program::failure_words(failure, &program, &job.order.workspace))
}
