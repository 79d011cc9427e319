//! What `windlass run` shows: on a terminal with colour and a line that says what is running, in a
//! pipe plain lines and nothing that moves.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, StdoutLock, Write as _};
use std::time::{Duration, Instant};

use windlass_model::plan::Limits;
use windlass_model::{BuildState, JobPlan, Outcome, Revision};

use crate::report::EXIT_OK;
use crate::terminal::duration;

/// A step that printed nothing for this long gets a status line.
const QUIET: Duration = Duration::from_millis(900);

/// How often the status line is drawn again.
const REDRAW: Duration = Duration::from_millis(250);

/// A background step's line is shown in pieces of at least this many bytes.
const LONGEST_LINE: usize = 64 * 1024;

pub(super) struct Display {
    names: Vec<String>,
    limited: bool,
    colour: bool,
    moving: bool,
    began: Instant,
    step: Option<(u32, Instant)>,
    /// Of each background step, the part of a line that has not ended yet.
    beside: BTreeMap<u32, Vec<u8>>,
    /// The last byte of output was not a newline.
    in_line: bool,
    last_output: Instant,
    last_drawn: Instant,
    status_shown: bool,
}

impl Display {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            names: Vec::new(),
            limited: false,
            colour: crate::cli::wants_colour(),
            moving: std::io::stdout().is_terminal(),
            began: now,
            step: None,
            beside: BTreeMap::new(),
            in_line: false,
            last_output: now,
            last_drawn: now,
            status_shown: false,
        }
    }

    pub(super) fn begin(&mut self, revision: &Revision, changed: usize) {
        let changes = match changed {
            0 => String::new(),
            1 => " with 1 uncommitted change".to_owned(),
            n => format!(" with {n} uncommitted changes"),
        };
        let line = format!("building {}{changes}", revision.short());
        self.line(&self.painted("2", &line));
    }

    /// A job's attempt begins. Where there is only one job, its name says nothing.
    pub(super) fn job_began(&mut self, job: &JobPlan, attempt: u32, alone: bool) {
        self.names = job.steps.iter().map(|step| step.name.clone()).collect();
        let steps = (0..).zip(&job.steps);
        self.beside = steps
            .filter(|(_, step)| step.background.is_some())
            .map(|(number, _)| (number, Vec::new()))
            .collect();
        self.limited = job.limits != Limits::default();
        let again = if attempt > 1 {
            format!(", attempt {attempt}")
        } else {
            String::new()
        };
        if !alone || attempt > 1 {
            self.line(&self.painted("1;36", &format!("━━ {}{again}", job.name)));
        }
    }

    /// What became of a job without an attempt, or why it waits.
    pub(super) fn job_note(&mut self, job: &JobPlan, words: &str) {
        self.line(&self.painted("2", &format!("━━ {}  {words}", job.name)));
    }

    pub(super) fn step_began(&mut self, step: u32) {
        let beside = if self.beside.contains_key(&step) {
            " (in the background)"
        } else {
            ""
        };
        let (name, steps) = (self.name(step), self.names.len());
        let line = format!("▶ [{}/{steps}] {name}{beside}", step + 1);
        self.line(&self.painted("1", &line));
        let now = Instant::now();
        self.step = Some((step, now));
        self.last_output = now;
    }

    /// What a step printed. Lines of one in the background have its name before them, and are shown
    /// when they are whole, so that they don't fall into those of others.
    pub(super) fn output(&mut self, step: u32, bytes: &[u8]) {
        if let Some(open) = self.beside.get_mut(&step) {
            open.extend_from_slice(bytes);
            let whole = match open.iter().rposition(|b| *b == b'\n') {
                Some(last) => last + 1,
                // No line of a person is so long.
                None if open.len() > LONGEST_LINE => open.len(),
                None => 0,
            };
            let lines: Vec<u8> = open.drain(..whole).collect();
            self.lines_beside(step, &lines);
            return;
        }
        self.clear_status();
        self.write(bytes);
        self.in_line = bytes.last() != Some(&b'\n');
        self.last_output = Instant::now();
    }

    fn lines_beside(&mut self, step: u32, lines: &[u8]) {
        let name = self.painted("36", &format!("{} │", self.name(step)));
        for line in lines.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let reset: &[u8] = if self.colour { b"\x1b[0m" } else { b"" };
            self.raw_line(&[name.as_bytes(), b" ", line, reset].concat());
        }
    }

    pub(super) fn step_ended(
        &mut self,
        step: u32,
        outcome: &Outcome,
        duration_us: u64,
        leftovers: u32,
    ) {
        if let Some(open) = self.beside.get_mut(&step) {
            let open = std::mem::take(open);
            self.lines_beside(step, &open);
        }
        if self.step.is_some_and(|(shown, _)| shown == step) {
            self.step = None;
        }
        let name = self.name(step);
        if let Outcome::Skipped | Outcome::NotNeeded { .. } = outcome {
            self.line(&self.painted("2", &format!("- {name}  {outcome}")));
            return;
        }
        let took = duration(duration_us);
        let line = if outcome.is_success() {
            self.painted("32", &format!("✓ {name}  {took}"))
        } else {
            self.painted("31", &format!("✗ {name}  {outcome}  {took}"))
        };
        self.line(&line);
        match leftovers {
            0 => {}
            1 => self.note("the step left a process running; it was stopped"),
            n => self.note(&format!(
                "the step left {n} processes running; they were stopped"
            )),
        }
    }

    /// What enforces the job's limits, if it has any.
    pub(super) fn limits(&mut self, words: &str) {
        if self.limited {
            self.line(&self.painted("2", &format!("limits: {words}")));
        }
    }

    pub(super) fn note(&mut self, text: &str) {
        self.line(&self.painted("33", &format!("! {text}")));
    }

    /// A line about what came into the workspace or was kept.
    pub(super) fn said(&mut self, text: &str) {
        self.line(&self.painted("2", &format!("  {text}")));
    }

    /// The build is over.
    pub(super) fn end(&mut self, state: BuildState, summary: &str) {
        let took = duration(self.began.elapsed().as_micros() as u64);
        let because = if summary.is_empty() {
            String::new()
        } else {
            format!(": {summary}")
        };
        let line = match state {
            BuildState::Passed => self.painted("1;32", &format!("✓ passed in {took}")),
            BuildState::Skipped => self.painted("2", &format!("– nothing to do{because}")),
            BuildState::Failed => self.painted("1;31", &format!("✗ failed in {took}{because}")),
            other => self.painted("1;31", &format!("✗ {other} in {took}{because}")),
        };
        self.line(&line);
    }

    /// Nothing new came: on a terminal, say that the step still runs.
    pub(super) fn tick(&mut self) {
        let Some((step, since)) = self.step else {
            return;
        };
        let due = self.last_output.elapsed() >= QUIET && self.last_drawn.elapsed() >= REDRAW;
        if !self.moving || self.in_line || !due {
            return;
        }
        self.clear_status();
        let ran = duration(since.elapsed().as_micros() as u64);
        let line = format!(
            "⋯ [{}/{}] {} {ran}",
            step + 1,
            self.names.len(),
            self.name(step)
        );
        let line = self.painted("2", &line);
        self.write(line.as_bytes());
        self.status_shown = true;
        self.last_drawn = Instant::now();
    }

    fn name(&self, step: u32) -> String {
        self.names.get(step as usize).cloned().unwrap_or_default()
    }

    fn painted(&self, sgr: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{sgr}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A line as it is.
    pub(super) fn line(&mut self, text: &str) {
        self.raw_line(text.as_bytes());
    }

    fn raw_line(&mut self, bytes: &[u8]) {
        self.clear_status();
        if self.in_line {
            // A step may leave colours and half a line behind.
            self.write(if self.colour { b"\x1b[0m\n" } else { b"\n" });
            self.in_line = false;
        }
        self.write(bytes);
        self.write(b"\n");
    }

    fn clear_status(&mut self) {
        if self.status_shown {
            self.write(b"\r\x1b[K");
            self.status_shown = false;
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut out: StdoutLock<'_> = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            // The reader went away. The job is stopped by the next run's sweep.
            std::process::exit(i32::from(EXIT_OK));
        }
    }
}
