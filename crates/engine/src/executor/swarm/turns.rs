//! Which of the jobs that wait is placed next: the one that our queue handed out first. Swarm has its own
//! queue, but in no order (`../shared/research/swarm-lab.md`), so it is given one job at a time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use windlass_model::AttemptId;

/// Where a job stands: first by the number of its attempt, then by its name.
type Place = (i64, String);

#[derive(Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: BTreeSet<Place>,
    taken: bool,
}

/// The turn of a job; the next one comes when it is dropped.
pub(super) struct Turn(Arc<Turns>);

/// Takes a job that gives up out of the line.
struct Waiting<'a> {
    turns: &'a Turns,
    place: Place,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of this attempt.
    pub(super) async fn turn(self: &Arc<Self>, attempt: &AttemptId) -> Turn {
        let place = (attempt.row().unwrap_or(i64::MAX), attempt.to_string());
        self.state().waiting.insert(place.clone());
        let waiting = Waiting { turns: self, place };
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Listening begins before the look, so that nothing is missed between the two.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if !state.taken && state.waiting.first() == Some(&waiting.place) {
                    state.taken = true;
                    break;
                }
            }
            changed.await;
        }
        drop(waiting);
        Turn(Arc::clone(self))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turns.state().waiting.remove(&self.place);
        self.turns.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.state().taken = false;
        self.0.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_come_in_the_order_of_their_attempts() {
        let turns: Arc<Turns> = Arc::default();
        let id = |n: u32| format!("a{n}").parse::<AttemptId>().unwrap();
        let first = turns.turn(&id(1)).await;
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        let mut tasks = tokio::task::JoinSet::new();
        for n in [9, 3, 7, 5] {
            let (turns, order, id) = (Arc::clone(&turns), Arc::clone(&order), id(n));
            tasks.spawn(async move {
                let _turn = turns.turn(&id).await;
                order.lock().unwrap().push(n);
            });
        }
        // One that gives up leaves no hole.
        let second = id(2);
        let soon = std::time::Duration::from_millis(20);
        let gone = tokio::time::timeout(soon, turns.turn(&second)).await;
        assert!(gone.is_err());
        assert_eq!(*order.lock().unwrap(), [0; 0]);
        drop(first);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), [3, 5, 7, 9]);
    }
}
