//! All steps that run at a time: one in front, and those in the background.
//!
//! Everything is one loop around one `poll`. It is driven by events only: output, the news of a
//! keeper, a command, a time that is over.

use std::io;
use std::time::Instant;

use windlass_shim::journal::{Record, StepEnded};
use windlass_shim::order::StepOrder;

use crate::ready::{Verdict, Watch};
use crate::step::{Cause, FULL_DISK_PAUSE, Job, KILL_LIMIT, Running};
use crate::tree;

/// The steps that run, and what became of the others.
#[derive(Default)]
pub(crate) struct Crew<'a> {
    running: Vec<Running<'a>>,
    failed: bool,
}

impl<'a> Crew<'a> {
    /// Whether a step has failed so far.
    pub(crate) fn failed(&self) -> bool {
        self.failed
    }

    /// Runs a step to its end; or one in the background until the next may begin.
    ///
    /// # Errors
    /// The journal can't be written, or the system can't poll.
    pub(crate) fn run(
        &mut self,
        job: &mut Job<'a>,
        number: u32,
        step: &'a StepOrder,
    ) -> io::Result<()> {
        match Running::start(job, number, step) {
            Err(end) => return self.end(job, number, end),
            Ok(running) => self.running.push(running),
        }
        match &step.background {
            None => {
                while self.find(number).is_some() {
                    self.turn(job, None)?;
                }
                Ok(())
            }
            Some(background) => match &background.ready {
                Some(ready) => {
                    let mut watch = Watch::new(ready, step);
                    let result = self.await_ready(job, number, &mut watch);
                    watch.end();
                    result
                }
                None => Ok(()),
            },
        }
    }

    /// Notices what happened while nothing was awaited. A background step whose program has ended
    /// is seen through: whether it failed decides about the next step.
    ///
    /// # Errors
    /// As [`Crew::run`].
    pub(crate) fn look(&mut self, job: &mut Job<'a>) -> io::Result<()> {
        self.turn(job, Some(Instant::now()))?;
        while self.running.iter().any(|step| !step.is_alive()) {
            self.turn(job, None)?;
        }
        Ok(())
    }

    /// The other steps are over: ends those in the background.
    ///
    /// # Errors
    /// As [`Crew::run`].
    pub(crate) fn dismiss(&mut self, job: &mut Job<'a>) -> io::Result<()> {
        self.look(job)?;
        for step in &mut self.running {
            job.alone = false;
            step.stop(job, Cause::JobOver);
        }
        while !self.running.is_empty() {
            self.turn(job, None)?;
        }
        Ok(())
    }

    /// Writes a step's last record.
    ///
    /// # Errors
    /// As [`Crew::run`].
    pub(crate) fn end(&mut self, job: &mut Job<'_>, number: u32, end: StepEnded) -> io::Result<()> {
        self.failed |= !end.result.is_success();
        let ran = end.duration_us > 0;
        job.journal.record(&Record::StepEnded { step: number, end });
        job.flush()?;
        if ran {
            job.journal.sync();
        }
        Ok(())
    }

    /// Kills everything at once: without a journal there is no job, and nothing may go on unseen.
    pub(crate) fn abort(&mut self, job: &Job<'_>) {
        for step in &mut self.running {
            step.kill_now(job.cgroup);
        }
        self.running.clear();
    }

    fn find(&mut self, number: u32) -> Option<&mut Running<'a>> {
        self.running.iter_mut().find(|step| step.number() == number)
    }

    fn await_ready(
        &mut self,
        job: &mut Job<'a>,
        number: u32,
        watch: &mut Watch<'_>,
    ) -> io::Result<()> {
        loop {
            let Some(step) = self.find(number) else {
                return Ok(());
            };
            let wake = if step.is_alive() {
                match watch.look(job, step) {
                    Verdict::Ready(words) => {
                        step.is_ready();
                        job.note(number, &words);
                        return Ok(());
                    }
                    Verdict::Never(reason) => {
                        watch.end();
                        step.stop_unready(job, &reason);
                        None
                    }
                    Verdict::NotYet(wake) => Some(wake),
                }
            } else {
                watch.end();
                None
            };
            self.turn(job, wake)?;
        }
    }

    /// One turn of the loop: sleeps until something happens, or until `until`.
    fn turn(&mut self, job: &mut Job<'_>, until: Option<Instant>) -> io::Result<()> {
        let flushed = job.journal.flush()?;
        let now = Instant::now();
        let mut at = 0;
        let mut some_ended = false;
        while let Some(step) = self.running.get_mut(at) {
            if !step.is_over(job, flushed) {
                at += 1;
                continue;
            }
            let step = self.running.remove(at);
            let (number, end) = (step.number(), step.finish(job));
            self.end(job, number, end)?;
            some_ended = true;
        }
        if some_ended {
            if self.running.is_empty() {
                tree::sweep(KILL_LIMIT);
            }
            return Ok(());
        }

        let wakes = self.running.iter().filter_map(|step| step.wake(now));
        let wake = wakes.chain(until).min();
        if flushed {
            let fds: Vec<_> = self.running.iter().flat_map(Running::fds).collect();
            let ready = job.control.wait(&fds, wake)?;
            let mut ready = &ready[..];
            for step in &mut self.running {
                let (own, rest) = ready.split_at(step.fds().len());
                step.read(own, job.journal);
                ready = rest;
            }
        } else {
            // Back-pressure: nothing is read, so the programs wait in their writes.
            let retry = now + FULL_DISK_PAUSE;
            let wake = wake.map_or(retry, |wake| wake.min(retry));
            job.control.wait(&[], Some(wake))?;
        }
        job.alone = self.running.len() == 1;
        for step in &mut self.running {
            step.advance(job);
        }
        Ok(())
    }
}
