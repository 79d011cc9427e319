//! Which job of a build may begin, which is left out, when the build is over: pure, from data to
//! data, without a clock.
//!
//! [`decide`] looks at a [`Board`] and says what is to happen; whoever keeps the board (the store,
//! or [`apply`] in memory) does it. It is idempotent: on a board on which its moves were made it has
//! nothing more to say until something happens from outside (an attempt ends, a person agrees).

mod needs;
mod retry;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use windlass_model::BuildState;
use windlass_model::board::{Board, BoardJob, JobState, Move};
use windlass_model::plan::OnResult;

use self::needs::{Group, Needed};

/// What is to happen now.
pub fn decide(board: &Board) -> Vec<Move> {
    let mut decision = Decision::new(board);
    decision.judge_ends();
    decision.cancel();
    decision.fail_fast();
    decision.settle();
    decision.finish();
    decision.moves
}

/// A board while it is decided about: states as they will be.
struct Decision<'a> {
    board: &'a Board,
    states: Vec<JobState>,
    groups: HashMap<&'a str, Group>,
    /// What was said about jobs that end here.
    reasons: HashMap<usize, String>,
    /// The jobs of which was said that they wait: once is enough.
    told: HashSet<usize>,
    moves: Vec<Move>,
}

impl<'a> Decision<'a> {
    fn new(board: &'a Board) -> Self {
        let mut groups: HashMap<&str, Group> = HashMap::new();
        for (index, job) in board.jobs.iter().enumerate() {
            groups.entry(&job.plan.base).or_default().cells.push(index);
        }
        Self {
            board,
            states: board.jobs.iter().map(|job| job.state).collect(),
            groups,
            reasons: HashMap::new(),
            told: HashSet::new(),
            moves: Vec::new(),
        }
    }

    fn jobs(&self) -> impl Iterator<Item = (usize, &'a BoardJob)> + use<'a> {
        self.board.jobs.iter().enumerate()
    }

    fn end(&mut self, job: usize, state: JobState, reason: impl Into<String>) {
        let reason = reason.into();
        self.states[job] = state;
        self.reasons.insert(job, reason.clone());
        self.moves.push(Move::End { job, state, reason });
    }

    /// Attempts that ended: another try, or the job's end.
    fn judge_ends(&mut self) {
        for (index, job) in self.jobs() {
            let Some(end) = &job.ended else { continue };
            match retry::pause(job, end).filter(|_| !self.board.cancelled) {
                Some(after) => {
                    self.states[index] = JobState::Queued;
                    self.moves.push(Move::Start { job: index, after });
                }
                None => self.end(index, end.state, end.summary.clone()),
            }
        }
    }

    fn cancel(&mut self) {
        if !self.board.cancelled {
            return;
        }
        for (job, _) in self.jobs() {
            if self.states[job].is_active() {
                let reason = "cancelled".to_owned();
                self.moves.push(Move::Stop { job, reason });
            } else if !self.states[job].is_final() {
                self.end(job, JobState::Cancelled, "cancelled");
            }
        }
    }

    /// One failed cell ends the others.
    fn fail_fast(&mut self) {
        for (failed, job) in self.jobs() {
            let bad = matches!(self.states[failed], JobState::Failed | JobState::Error);
            if !bad || !job.plan.fail_fast || job.plan.allow_failure {
                continue;
            }
            let reason = format!("fail-fast: {} failed", job.plan.name);
            let cells = self.groups[job.plan.base.as_str()].cells.clone();
            for cell in cells {
                if self.states[cell].is_active() {
                    self.moves.push(Move::Stop {
                        job: cell,
                        reason: reason.clone(),
                    });
                } else if !self.states[cell].is_final() {
                    self.end(cell, JobState::Cancelled, reason.clone());
                }
            }
        }
    }

    /// Everything that follows, until nothing more does: a job that is left out may leave out
    /// those that need it.
    fn settle(&mut self) {
        let mut active: HashMap<&str, usize> = HashMap::new();
        let mut held: HashSet<&str> = HashSet::new();
        for (index, job) in self.jobs() {
            if self.states[index].is_active() {
                *active.entry(&job.plan.base).or_default() += 1;
                held.extend(job.plan.concurrency.as_ref().map(|c| c.group.as_str()));
            }
        }
        let mut waiting: Vec<usize> = self
            .jobs()
            .filter(|(index, _)| {
                matches!(self.states[*index], JobState::Waiting | JobState::Approval)
            })
            .map(|(index, _)| index)
            .collect();
        loop {
            let before = waiting.len();
            // How needed jobs ended is worked out once a round, not once for each that needs them.
            let mut known = HashMap::new();
            waiting.retain(|&job| self.look_at(job, &mut known, &mut active, &mut held));
            if waiting.len() == before {
                return;
            }
        }
    }

    /// Decides about a job that waits; whether it still does.
    fn look_at(
        &mut self,
        index: usize,
        known: &mut HashMap<&'a str, Needed>,
        active: &mut HashMap<&'a str, usize>,
        held: &mut HashSet<&'a str>,
    ) -> bool {
        let job = &self.board.jobs[index];
        let plan = &job.plan;
        if let Some(reason) = &plan.skipped {
            self.end(index, JobState::Skipped, reason.clone());
            return false;
        }
        match self.needs_of(job, known) {
            needs::Verdict::Wait => return true,
            needs::Verdict::Skip(reason) => {
                self.end(index, JobState::Skipped, reason);
                return false;
            }
            needs::Verdict::Ready => {}
        }
        match (&plan.approve, job.approved) {
            (Some(_), Some(false)) => {
                self.end(index, JobState::Cancelled, "was not approved");
                return false;
            }
            (Some(_), None) => {
                if self.states[index] != JobState::Approval {
                    self.states[index] = JobState::Approval;
                    self.moves.push(Move::AskApproval { job: index });
                }
                return true;
            }
            _ => {}
        }
        if let Some(reason) = self.obstacle(index, active, held) {
            if let Some(reason) = reason.filter(|_| self.told.insert(index)) {
                self.moves.push(Move::Wait { job: index, reason });
            }
            return true;
        }
        *active.entry(&plan.base).or_default() += 1;
        held.extend(plan.concurrency.as_ref().map(|c| c.group.as_str()));
        self.states[index] = JobState::Queued;
        self.moves.push(Move::Start {
            job: index,
            after: Duration::ZERO,
        });
        false
    }

    /// What keeps a job that is ready from beginning; the reason is `None` where it is plain.
    fn obstacle(
        &mut self,
        index: usize,
        active: &HashMap<&'a str, usize>,
        held: &HashSet<&'a str>,
    ) -> Option<Option<String>> {
        let plan = &self.board.jobs[index].plan;
        if let Some(holder) = &self.board.held_back {
            return Some(Some(format!("waits for {holder}")));
        }
        let most = plan.max_parallel.map(|most| most as usize);
        if most.is_some_and(|most| active.get(plan.base.as_str()).is_some_and(|n| *n >= most)) {
            return Some(None);
        }
        let group = plan.concurrency.as_ref()?;
        if held.contains(group.group.as_str()) {
            let reason = format!("waits for another job in the group {}", group.group);
            return Some(Some(reason));
        }
        let holder = self.board.held_groups.get(&group.group)?;
        if group.cancel_in_progress && !self.told.contains(&index) {
            self.moves.push(Move::ClearGroup {
                job: index,
                group: group.group.clone(),
            });
        }
        Some(Some(format!(
            "waits for {holder}, which has the group {}",
            group.group
        )))
    }

    /// The build is over when all jobs are.
    fn finish(&mut self) {
        if !self.states.iter().all(|state| state.is_final()) {
            return;
        }
        let decisive = |wanted: &[JobState]| {
            self.jobs()
                .find(|(i, job)| wanted.contains(&self.states[*i]) && !job.plan.allow_failure)
                .map(|(index, _)| index)
        };
        let found = decisive(&[JobState::Failed, JobState::Error])
            .or_else(|| decisive(&[JobState::Cancelled]));
        let (state, summary) = match found.map(|job| self.states[job]) {
            Some(JobState::Failed) => (BuildState::Failed, self.words(found)),
            Some(JobState::Error) => (BuildState::Error, self.words(found)),
            Some(_) => (BuildState::Cancelled, self.words(found)),
            None if self.board.cancelled => (BuildState::Cancelled, String::new()),
            None if self.states.iter().all(|s| *s == JobState::Skipped) => {
                let reason = self.reasons.get(&0).cloned();
                (
                    BuildState::Skipped,
                    reason.unwrap_or_else(|| "nothing to do".to_owned()),
                )
            }
            None => (BuildState::Passed, String::new()),
        };
        self.moves.push(Move::Finish {
            state,
            summary,
            job: found,
        });
    }

    /// One line about the job that decided.
    fn words(&self, job: Option<usize>) -> String {
        let Some(job) = job else {
            return String::new();
        };
        let reason = self.reasons.get(&job).map_or("", String::as_str);
        if self.board.jobs.len() == 1 {
            return reason.to_owned();
        }
        let name = &self.board.jobs[job].plan.name;
        match reason {
            "" => format!("job \"{name}\" {}", self.states[job]),
            reason => format!("job \"{name}\": {reason}"),
        }
    }
}

/// Makes the moves on a board in memory, as the store does on its rows. What concerns other builds
/// and running attempts (`Stop`, `ClearGroup`) is left to the caller.
pub fn apply(board: &mut Board, moves: &[Move]) {
    for made in moves {
        match made {
            Move::Start { job, .. } => {
                let job = &mut board.jobs[*job];
                job.state = JobState::Queued;
                job.tries += 1;
                job.ended = None;
            }
            Move::AskApproval { job } => board.jobs[*job].state = JobState::Approval,
            Move::End { job, state, .. } => {
                let job = &mut board.jobs[*job];
                job.state = *state;
                if let Some(end) = job.ended.take() {
                    job.outputs = end.outputs;
                }
            }
            Move::Wait { .. }
            | Move::Stop { .. }
            | Move::ClearGroup { .. }
            | Move::Finish { .. } => {}
        }
    }
}

/// Whether a job's needs ask for the good end of those needed.
fn wants_success(job: &BoardJob) -> bool {
    job.plan.on_result == OnResult::Success
}

#[cfg(test)]
mod tests;
