//! Taking the lock, writing under it, giving it back.

use std::time::Duration;

use tokio::time::Instant;

use super::adopt::Beside;
use super::{Event, Options, Pauses, Tell};
use crate::database::{Conn as _, Session, history};
use crate::error::{Error, answer, is_gone, is_lock_wait};
use crate::gate::{Asked, Gate, Keeper, Waiter};
use crate::lock::{Attempt, BEAT, Heart, Lease, Owner};
use crate::plan::History;

/// A session that has the lock.
pub(super) struct Locked<S: Session> {
    pub(super) session: S,
    pub(super) lease: Lease,
    pub(super) heart: Heart,
    pub(super) me: Owner,
    gate: Option<Keeper>,
    /// Another migrator whose lock is ours, too.
    pub(super) beside: Option<Beside>,
    /// What the last file has set for the session was ended with it.
    pub(super) clean: bool,
    /// An empty database is being filled: nobody uses it yet.
    pub(super) filling: bool,
}

impl<S: Session> Locked<S> {
    /// Polls for the lock. `still_needed` looks at the history each time somebody else has it: if
    /// they did what we came for, the answer is `None`.
    pub(super) async fn acquire(
        mut session: S,
        options: &Options,
        tell: Tell<'_>,
        doing: &str,
        still_needed: &(dyn Fn(&History) -> bool + Sync),
    ) -> Result<Option<Self>, Error> {
        let me = Owner::me(doing);
        let end = Instant::now() + options.lock_wait;
        let mut pauses = Pauses::new(Duration::from_millis(50), Duration::from_millis(500));
        let mut told = None;
        let gate = match &options.gate {
            None => None,
            Some(gate) => {
                let through =
                    through(gate, &mut session, &me, end, &mut *tell, still_needed).await?;
                let Some(keeper) = through else {
                    return Ok(None);
                };
                Some(keeper)
            }
        };
        loop {
            let holder = match session.try_lock(&me, options.lease).await? {
                Attempt::Got(lease) => {
                    let other = session.another().await?;
                    let tables = session.tables().clone();
                    let heart = Heart::start(other, tables, lease, S::DIALECT, S::NOW, doing);
                    return Ok(Some(Self {
                        session,
                        lease,
                        heart,
                        me,
                        gate,
                        beside: None,
                        clean: false,
                        filling: false,
                    }));
                }
                Attempt::Held(holder) => holder,
            };
            let name = holder.as_ref().map(|h| (h.name.clone(), h.token));
            if told.as_ref() != Some(&name) {
                tell(Event::Waiting {
                    holder: holder.clone(),
                });
                told = Some(name);
            }
            if Instant::now() >= end {
                return Err(Error::Locked {
                    holder: holder.map(Box::new),
                });
            }
            tokio::time::sleep(pauses.next()).await;
            if !still_needed(&history(&mut session).await?) {
                if let Some(gate) = gate {
                    gate.release().await;
                }
                return Ok(None);
            }
        }
    }

    /// Gives the lock back after the work, however that ended.
    pub(super) async fn finish<T>(mut self, worked: Result<T, Error>) -> Result<T, Error> {
        if let Some(sql) = self.unlock_beside() {
            // It goes with the session at the latest.
            self.session.conn().texts(&sql).await.unwrap_or_default();
        }
        let released = self.session.release(&self.lease).await;
        if let Some(gate) = self.gate.take() {
            gate.release().await;
        }
        let worked = worked?;
        released?;
        Ok(worked)
    }

    /// Fails if another holder has been seen.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.heart.is_lost() {
            return Err(taken());
        }
        Ok(())
    }

    /// Says it if the gate was lost: nothing to stop for.
    pub(super) fn tell_of_gate(&self, tell: Tell<'_>) {
        if let Some(why) = self.gate.as_ref().and_then(Keeper::news) {
            tell(Event::GateLost { why });
        }
    }

    /// SQL that touches the lease if it is ours and this session has the lock. No row: neither.
    fn guard(&self) -> String {
        format!(
            "update {} set heartbeat_ms = {} where id = 1 and token = {} and owner is not null and {}",
            self.session.tables().lock,
            S::NOW,
            self.lease.token,
            self.session.fence()
        )
    }

    /// Inside a transaction: the fence. From here to the commit nobody can take the lease.
    pub(super) async fn fence(&mut self) -> Result<(), Error> {
        let sql = format!("{}{}", S::OURSELVES, self.guard());
        match self.session.conn().execute(&sql).await {
            Ok(0) => Err(taken()),
            Ok(_) => Ok(()),
            Err(error) => Err(lost_or("check the lock", error)),
        }
    }

    /// The fence and a write of one row, in one message: this is the most frequent of all.
    pub(super) async fn fenced(&mut self, doing: &str, sql: &str) -> Result<(), Error> {
        let both = format!("{}{}; {sql}", S::OURSELVES, self.guard());
        match self.session.conn().execute(&both).await {
            // One row each.
            Ok(2..) => {
                self.heart.has_beaten();
                Ok(())
            }
            Ok(_) => Err(taken()),
            Err(error) => Err(lost_or(doing, error)),
        }
    }

    /// After a transaction that may have shut the heartbeat's own connection out: a sign of life at
    /// once, before others take us for dead. If it can't be given, the heart goes on trying.
    pub(super) async fn beat_if_silent(&mut self) {
        if self.heart.silence() <= BEAT * 2 {
            return;
        }
        let sql = self.guard();
        if let Ok(1..) = self.session.conn().execute(&sql).await {
            self.heart.has_beaten();
        }
    }

    /// SQL of a row with the lease's token, see [`Self::closing`].
    pub(super) fn row(&self, row: impl FnOnce(&str) -> String) -> Option<String> {
        let lease = (self.session.tables().lock.as_str(), self.lease.token);
        let beat = self.heart.silence() > BEAT * 2;
        self.session.closing(&self.guard(), lease, beat, row)
    }

    /// SQL that ends a transaction: a row with the lease's token, which `row` writes around the SQL
    /// it is given, and the commit. Where the lock is not ours that token is NULL, the row is
    /// refused ([`crate::error::is_refused_token`]), and neither `more` nor the commit is reached. Afterwards
    /// the session is clean.
    pub(super) fn closing(
        &self,
        row: impl FnOnce(&str) -> String,
        more: &[String],
    ) -> Option<String> {
        let closing = self.row(row)?;
        let fresh = self.session.fresh_sql();
        let more: String = more.iter().map(|sql| format!("; {sql}")).collect();
        Some(format!("{}{closing}{more}; commit{fresh}", S::OURSELVES))
    }

    /// Our own rows, in a transaction of their own, behind the fence.
    pub(super) async fn write(&mut self, statements: &[String], retries: u32) -> Result<(), Error> {
        let mut pauses = Pauses::new(Duration::from_millis(20), Duration::from_millis(500));
        for _ in 0..retries {
            match self.try_write(statements).await {
                Err(Error::Database { cause, .. }) if is_lock_wait(&cause) => {
                    tokio::time::sleep(pauses.next()).await;
                }
                other => return other,
            }
        }
        self.try_write(statements).await
    }

    async fn try_write(&mut self, statements: &[String]) -> Result<(), Error> {
        let written = self.write_in(statements).await;
        let end = if written.is_ok() {
            "commit"
        } else {
            "rollback"
        };
        let ended = self.session.conn().execute(end).await;
        if written.is_ok() && ended.is_err() {
            // SQLite keeps the transaction open when readers are in the way of a commit.
            self.session.conn().execute("rollback").await.unwrap_or(0);
        }
        written?;
        ended.map_err(|e| lost_or("commit", e))?;
        Ok(())
    }

    async fn write_in(&mut self, statements: &[String]) -> Result<(), Error> {
        let begun = self.session.conn().execute(S::BEGIN).await;
        begun.map_err(|e| lost_or("begin", e))?;
        self.fence().await?;
        for sql in statements {
            let done = self.session.conn().execute(sql).await;
            done.map_err(|e| lost_or("write to our tables", e))?;
        }
        Ok(())
    }
}

/// Waits for the gate. `None`: others have done what we came for.
async fn through<S: Session>(
    gate: &Gate,
    session: &mut S,
    me: &Owner,
    end: Instant,
    tell: Tell<'_>,
    still_needed: &(dyn Fn(&History) -> bool + Sync),
) -> Result<Option<Keeper>, Error> {
    let gate = gate.beside(session.tables().lane);
    let mut waiting = Waiting {
        session,
        tell,
        still_needed,
        pauses: Pauses::new(Duration::from_millis(50), Duration::from_millis(500)),
        told: None,
    };
    let Some(keeper) = gate.enter(me, end, &mut waiting).await? else {
        return Ok(None);
    };
    if waiting.told.is_some() && !waiting.is_needed().await? {
        keeper.release().await;
        return Ok(None);
    }
    Ok(Some(keeper))
}

/// Waits for the gate, and looks whether others have done the work meanwhile.
struct Waiting<'a, S> {
    session: &'a mut S,
    tell: Tell<'a>,
    still_needed: &'a (dyn Fn(&History) -> bool + Sync),
    pauses: Pauses,
    told: Option<String>,
}

impl<S: Session> Waiting<'_, S> {
    async fn is_needed(&mut self) -> Result<bool, Error> {
        Ok((self.still_needed)(&history(self.session).await?))
    }
}

impl<S: Session> Waiter for Waiting<'_, S> {
    async fn wait(&mut self, asked: Asked<'_>) -> Result<Option<Duration>, Error> {
        let why = match asked {
            Asked::Held(holder) => holder.to_string(),
            Asked::Away(why) => why.to_owned(),
        };
        if self.told.as_ref() != Some(&why) {
            // Another holder: the one before may have done our work.
            if self.told.is_some() && !self.is_needed().await? {
                return Ok(None);
            }
            (self.tell)(Event::Gate { why: why.clone() });
            self.told = Some(why);
        }
        Ok(Some(self.pauses.next()))
    }
}

pub(super) fn taken() -> Error {
    Error::Lost {
        why: "somebody else has it, or took it away".to_owned(),
    }
}

/// A session that was ended from outside has lost the lock.
pub(super) fn lost_or(doing: &str, error: sqlx::Error) -> Error {
    if is_gone(&error) {
        return Error::Lost {
            why: format!("the connection was ended ({})", answer(&error)),
        };
    }
    Error::database(doing)(error)
}
