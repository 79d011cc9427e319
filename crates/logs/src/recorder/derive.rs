//! What each journal record means for the files and for the caller. Deterministic: the same
//! journal gives the same files and events, in whatever pieces it comes.

use std::path::{Path, PathBuf};

use windlass_model::{Outcome, StopCause};
use windlass_shim::journal::{self, Damage, Entry, Position, Record, StepResult};

use super::checkpoint::{State, StepState};
use super::step_writer::StepWriter;
use super::{LogEvent, RecorderLimits};
use crate::error::{LogError, Result};
use crate::folder::{StepFile, step_path};
use crate::note::{NoteKind, StepEnd};

/// A journal that speaks of more steps is damaged or forged: every step is files on our disk.
const MAX_STEPS: u32 = 10_000;

/// So many steps at a time write without opening their files again and again.
const MAX_OPEN: usize = 16;

/// The files of one attempt, while they are being derived from its journal.
#[derive(Debug)]
pub(super) struct Derivation {
    dir: PathBuf,
    limits: RecorderLimits,
    state: State,
    /// The steps whose files are open, the last used at the end. Never more than [`MAX_OPEN`],
    /// whatever a forged journal does.
    writers: Vec<StepWriter>,
    events: Vec<LogEvent>,
}

impl Derivation {
    pub(super) fn new(dir: &Path, limits: RecorderLimits, state: State) -> Self {
        Self {
            dir: dir.to_owned(),
            limits,
            state,
            writers: Vec::new(),
            events: Vec::new(),
        }
    }

    /// What a checkpoint holds. Right only after [`Derivation::flush`].
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.ended
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state.lost
    }

    /// Writes what is buffered, and hands out the events that it covers.
    pub(super) fn flush(&mut self) -> Result<Vec<LogEvent>> {
        for writer in &mut self.writers {
            writer.flush(self.state.steps.entry(writer.step).or_default())?;
        }
        Ok(std::mem::take(&mut self.events))
    }

    /// Takes one record, or a damage.
    pub(super) fn take(
        &mut self,
        entry: std::result::Result<Entry<'_>, Damage>,
        position: Position,
    ) -> Result<()> {
        match entry {
            Ok(entry) => self.record(entry)?,
            Err(damage) => self.damage(self.state.latest, &damage.to_string())?,
        }
        self.state.position = position;
        Ok(())
    }

    /// The shim is dead: nothing more will come.
    pub(super) fn lose(&mut self, reason: &str) -> Result<()> {
        if self.state.ended {
            return Ok(());
        }
        (self.state.ended, self.state.lost) = (true, true);
        if !self.end_all_unseen(reason)? {
            let text = format!("the job was lost: {reason}");
            self.note(self.state.latest, NoteKind::Damage { text })?;
        }
        Ok(())
    }

    fn record(&mut self, entry: Entry<'_>) -> Result<()> {
        let time_us = entry.time_us;
        self.state.time_us = time_us;
        if let Some(step) = step_of(&entry.record)
            && step >= MAX_STEPS
        {
            let text = format!("the journal speaks of a step {step}");
            return self.damage(self.state.latest, &text);
        }
        match entry.record {
            Record::JobStarted(start) => self.events.push(LogEvent::JobStarted {
                time_us,
                limits: start.limits,
                pid: start.pid,
            }),
            Record::StepStarted { step, background } => self.started(step, background)?,
            Record::Output {
                step,
                stream,
                bytes,
            } => {
                if !self.is_running(step) && !self.has_ended(step) {
                    self.started(step, false)?;
                    self.damage(step, "the beginning of this step is missing in the journal")?;
                }
                let limits = self.limits;
                let (writer, state) = self.step(step)?;
                writer.output(state, &limits, time_us, stream.into(), &bytes)?;
            }
            Record::Note { step, text } => {
                self.note(step, NoteKind::Shim { text })?;
            }
            Record::StepEnded { step, end } => self.ended(step, end)?,
            Record::JobEnded(_) => {
                self.end_all_unseen("its end is missing in the journal")?;
                self.state.ended = true;
                self.events.push(LogEvent::JobEnded { time_us });
            }
        }
        Ok(())
    }

    fn started(&mut self, step: u32, background: bool) -> Result<()> {
        let other = self.state.running.filter(|other| *other != step);
        if let Some(other) = other.filter(|_| !background) {
            self.end_unseen(other, "its end is missing in the journal")?;
        }
        if self.has_ended(step) || self.state.background.contains(&step) {
            return self.damage(step, "the journal starts this step again");
        }
        if background {
            self.state.background.insert(step);
        } else {
            self.state.running = Some(step);
        }
        self.state.latest = step;
        self.state.steps.entry(step).or_default();
        self.events.push(LogEvent::StepStarted {
            step,
            time_us: self.state.time_us,
        });
        Ok(())
    }

    fn ended(&mut self, step: u32, end: journal::StepEnded) -> Result<()> {
        if self.has_ended(step) {
            return self.damage(step, "the journal ends this step again");
        }
        let arrived = self.step(step)?.1.arrived;
        if arrived != end.output_bytes {
            let text = format!(
                "the step wrote {} bytes of output, {arrived} arrived",
                end.output_bytes
            );
            self.damage(step, &text)?;
        }
        self.step(step)?.1.dropped += end.left_out_bytes;
        let outcome = outcome(end.result);
        self.close(step, outcome.clone(), end.output_bytes, end.duration_us)?;
        self.events.push(LogEvent::StepEnded {
            step,
            time_us: self.state.time_us,
            outcome,
            duration_us: end.duration_us,
            output_bytes: end.output_bytes,
            leftovers: end.leftovers,
        });
        Ok(())
    }

    /// Ends all steps that run and whose own end nobody saw. Says whether there was one.
    fn end_all_unseen(&mut self, reason: &str) -> Result<bool> {
        let mut running = self.state.background.clone();
        running.extend(self.state.running);
        for step in &running {
            self.end_unseen(*step, reason)?;
        }
        Ok(!running.is_empty())
    }

    /// Ends a step whose own end nobody saw.
    fn end_unseen(&mut self, step: u32, reason: &str) -> Result<()> {
        let outcome = Outcome::Lost {
            reason: reason.to_owned(),
        };
        let output_bytes = self.step(step)?.1.arrived;
        self.close(step, outcome.clone(), output_bytes, 0)?;
        self.events.push(LogEvent::StepEnded {
            step,
            time_us: self.state.time_us,
            outcome,
            duration_us: 0,
            output_bytes,
            leftovers: 0,
        });
        Ok(())
    }

    fn close(
        &mut self,
        step: u32,
        outcome: Outcome,
        output_bytes: u64,
        duration_us: u64,
    ) -> Result<()> {
        if self.state.running == Some(step) {
            self.state.running = None;
        }
        self.state.background.remove(&step);
        let time_us = self.state.time_us;
        let (writer, state) = self.step(step)?;
        if state.dropped > 0 {
            let bytes = state.dropped;
            writer.write_note(state, time_us, NoteKind::Dropped { bytes })?;
        }
        state.ended = true;
        let end = StepEnd {
            outcome,
            output_bytes,
            log_bytes: writer.len(state),
            dropped_bytes: state.dropped,
            duration_us,
        };
        writer.write_note(state, time_us, NoteKind::Ended(end))
    }

    fn damage(&mut self, step: u32, text: &str) -> Result<()> {
        let kind = NoteKind::Damage {
            text: text.to_owned(),
        };
        // A carrier that sends nothing but rubbish must not fill the caller's store either.
        if self.note(step, kind)? {
            self.events.push(LogEvent::Damage {
                step,
                time_us: self.state.time_us,
                text: text.to_owned(),
            });
        }
        Ok(())
    }

    fn note(&mut self, step: u32, kind: NoteKind) -> Result<bool> {
        let time_us = self.state.time_us;
        let (writer, state) = self.step(step)?;
        writer.note(state, time_us, kind)
    }

    fn is_running(&self, step: u32) -> bool {
        self.state.running == Some(step) || self.state.background.contains(&step)
    }

    fn has_ended(&self, step: u32) -> bool {
        self.state.steps.get(&step).is_some_and(|s| s.ended)
    }

    fn step(&mut self, step: u32) -> Result<(&mut StepWriter, &mut StepState)> {
        match self.writers.iter().position(|w| w.step == step) {
            Some(at) => self.writers[at..].rotate_left(1),
            None => self.open(step)?,
        }
        let writer = self.writers.last_mut();
        let writer = writer.ok_or_else(|| LogError::Closed {
            dir: self.dir.clone(),
            reason: format!("step {step} has no files"),
        })?;
        Ok((writer, self.state.steps.entry(step).or_default()))
    }

    fn open(&mut self, step: u32) -> Result<()> {
        if step_path(&self.dir, step, StepFile::Meta).exists() {
            return Err(LogError::Sealed {
                dir: self.dir.clone(),
                step,
            });
        }
        if self.writers.len() >= MAX_OPEN {
            let mut oldest = self.writers.remove(0);
            oldest.flush(self.state.steps.entry(oldest.step).or_default())?;
        }
        self.writers.push(StepWriter::new(&self.dir, step));
        Ok(())
    }
}

fn step_of(record: &Record<'_>) -> Option<u32> {
    match record {
        Record::StepStarted { step, .. }
        | Record::Output { step, .. }
        | Record::Note { step, .. }
        | Record::StepEnded { step, .. } => Some(*step),
        Record::JobStarted(_) | Record::JobEnded(_) => None,
    }
}

fn outcome(result: StepResult) -> Outcome {
    let stopped = |cause| Outcome::Stopped { cause };
    match result {
        StepResult::Exited { code } => Outcome::Exited { code },
        StepResult::AsExpected { code } => Outcome::AsExpected { code },
        StepResult::Unexpected { code } => Outcome::Unexpected { code },
        StepResult::NotNeeded { reason } => Outcome::NotNeeded { reason },
        StepResult::Signaled { signal } => Outcome::Signaled { signal },
        StepResult::OutOfMemory { limit_bytes } => Outcome::OutOfMemory { limit_bytes },
        StepResult::StepTimeout => stopped(StopCause::StepTimeout),
        StepResult::JobTimeout => stopped(StopCause::JobTimeout),
        StepResult::Cancelled => stopped(StopCause::Cancelled),
        StepResult::JobOver => stopped(StopCause::JobOver),
        StepResult::NotReady { reason } => Outcome::NotReady { reason },
        StepResult::NotStarted { reason } => Outcome::NotStarted { reason },
        StepResult::Skipped => Outcome::Skipped,
    }
}
