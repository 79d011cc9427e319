//! The processes of a step: everything that descends from its keeper (see [`crate::spawn`]).
//!
//! A keeper is a child subreaper, so whatever a step daemonises comes back as a child of its
//! keeper. Two consequences carry this file: a walk over the parents in `/proc` finds every
//! descendant, and the keeper's end (it waits until it has no child) proves that none is left.
//! The shim is a subreaper too: should somebody kill a keeper, its orphans come to the shim, and
//! [`sweep`] ends them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::spawn::{self, End, News, Spawned};

/// Rounds of looking for new processes while stopping a tree that still grows.
const STOP_ROUNDS: usize = 20;
/// How often KILL is repeated.
pub(crate) const KILL_PAUSE: Duration = Duration::from_millis(5);
/// How long a keeper may take, in milliseconds, to say that its step has ended.
const KEEPER_PATIENCE: u16 = 1000;
/// How long direct children are killed without a look at all of `/proc`: a thousand rounds or more.
const CHASE: Duration = Duration::from_millis(50);

/// Every living descendant of `root`, and whatever else is in `cgroup`. Zombies are not living.
fn living(root: Pid, cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut alive = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let Some(pid) = pid else { continue };
        let Some((state, parent)) = state_and_parent(pid) else {
            continue;
        };
        children.entry(parent).or_default().push(pid);
        if !matches!(state, b'Z' | b'X') {
            alive.insert(pid);
        }
    }

    let mut found = BTreeSet::new();
    let mut todo = vec![root.as_raw()];
    while let Some(pid) = todo.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                todo.push(*child);
            }
        }
    }
    found.extend(cgroup.into_iter().flat_map(Cgroup::processes));
    found.remove(&root.as_raw());
    found
        .into_iter()
        .filter(|pid| alive.contains(pid))
        .map(Pid::from_raw)
        .collect()
}

/// From `/proc/<pid>/stat`: `1234 (any name) S 1 ...`. A name may hold brackets and spaces.
fn state_and_parent(pid: i32) -> Option<(u8, i32)> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let name_end = memchr::memrchr(b')', &stat)?;
    let rest = std::str::from_utf8(stat.get(name_end + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.next()?.parse().ok()?))
}

/// Asks all of `processes` to end. A stopped process is continued, or it could not obey.
/// Returns how many got the signal.
pub(crate) fn terminate(processes: &BTreeSet<Pid>) -> usize {
    let mut reached = 0;
    for pid in processes {
        if kill(*pid, Signal::SIGTERM).is_ok() {
            reached += 1;
        }
    }
    for pid in processes {
        // Gone in the meantime is as good.
        kill(*pid, Signal::SIGCONT).unwrap_or_default();
    }
    reached
}

/// A step's tree and its keeper. Remembers how the step's leader ended.
pub(crate) struct Reaper {
    keeper: Pid,
    /// What the keeper tells, until it is gone.
    news: Option<OwnedFd>,
    end: Option<(End, Instant)>,
}

impl Reaper {
    /// For what was just started.
    pub(crate) fn new(spawned: Spawned) -> Self {
        Self {
            keeper: spawned.keeper,
            news: Some(spawned.news),
            end: None,
        }
    }

    /// What to poll: it can be read when there is something to [`Reaper::reap`].
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.news.as_ref().map(OwnedFd::as_fd)
    }

    /// How and when the leader was found to have ended.
    pub(crate) fn end(&self) -> Option<(End, Instant)> {
        self.end
    }

    /// Takes the keeper's news. Returns whether no process of the tree is left, alive or dead.
    pub(crate) fn reap(&mut self) -> bool {
        loop {
            let Some(news) = &self.news else { return true };
            match spawn::read_news(news.as_fd()) {
                News::LeaderEnded(end) => self.end = Some((end, Instant::now())),
                News::None => return false,
                News::Over => {
                    spawn::wait_for(self.keeper);
                    self.news = None;
                    // A keeper that was killed takes the leader with it.
                    let killed = End::Signaled(Signal::SIGKILL as i32);
                    self.end.get_or_insert((killed, Instant::now()));
                }
            }
        }
    }

    /// Whether everything ended by itself, though the keeper had no time to say so yet. Whoever is
    /// about to end the tree asks, or a step would seem to have been stopped that was not.
    pub(crate) fn has_just_ended(&mut self, cgroup: Option<&Cgroup>) -> bool {
        if self.living(cgroup).is_empty()
            && let Some(news) = &self.news
        {
            let mut fds = [PollFd::new(news.as_fd(), PollFlags::POLLIN)];
            // A keeper that doesn't run is no reason to wait for it: the result is then a guess.
            poll(&mut fds, KEEPER_PATIENCE).unwrap_or_default();
            self.reap();
        }
        self.end.is_some()
    }

    /// The living processes of the tree, and whatever else is in `cgroup`.
    pub(crate) fn living(&self, cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
        match self.news {
            Some(_) => living(self.keeper, cgroup),
            // Its number may be another process's by now.
            None => BTreeSet::new(),
        }
    }

    /// One round of killing everything: stops the tree first, so that it can't grow while it is
    /// being killed. Call it until [`Reaper::reap`] says that nothing is left. Returns the
    /// processes that it met.
    ///
    /// The keeper collects the dead all the time: the corpses of a fork bomb would make every look
    /// through `/proc` slower than the one before, until the machine has no process id left.
    pub(crate) fn kill_round(&mut self, cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
        kill_round(self.keeper, cgroup, || self.reap())
    }

    /// Kills everything and waits until it is gone, at most for `limit`.
    pub(crate) fn kill(&mut self, cgroup: Option<&Cgroup>, limit: Duration) {
        let give_up_at = Instant::now() + limit;
        while !self.reap() && Instant::now() < give_up_at {
            self.kill_round(cgroup);
            std::thread::sleep(KILL_PAUSE);
        }
    }
}

/// Kills whatever descends from the shim, when no step runs: nothing at all, unless somebody
/// killed a keeper.
pub(crate) fn sweep(limit: Duration) {
    let give_up_at = Instant::now() + limit;
    while !spawn::is_childless() && Instant::now() < give_up_at {
        kill_round(nix::unistd::getpid(), None, spawn::is_childless);
        std::thread::sleep(KILL_PAUSE);
    }
}

/// `reap` says whether nothing is left.
fn kill_round(root: Pid, cgroup: Option<&Cgroup>, mut reap: impl FnMut() -> bool) -> BTreeSet<Pid> {
    if let Some(cgroup) = cgroup {
        cgroup.forbid_forks();
        cgroup.kill();
    }
    let mut met = BTreeSet::new();
    for _ in 0..STOP_ROUNDS {
        let mut grew = false;
        for pid in living(root, cgroup) {
            if met.insert(pid) {
                grew = true;
                kill(pid, Signal::SIGSTOP).unwrap_or_default();
            }
        }
        reap();
        if !grew {
            break;
        }
    }
    for pid in living(root, cgroup) {
        kill(pid, Signal::SIGKILL).unwrap_or_default();
    }
    chase(root, &mut met, reap);
    met
}

/// Kills direct children as fast as the kernel lists them: a process that forks and exits in a
/// circle is gone before a look through `/proc` ends, but each of its lives begins (or soon
/// becomes) a child of the keeper.
fn chase(root: Pid, met: &mut BTreeSet<Pid>, mut reap: impl FnMut() -> bool) {
    let list = format!("/proc/{root}/task/{root}/children");
    let end = Instant::now() + CHASE;
    while Instant::now() < end {
        if reap() {
            return;
        }
        // A kernel without this file has the rounds before.
        let Ok(children) = fs::read_to_string(&list) else {
            return;
        };
        for pid in children.split_ascii_whitespace() {
            let Ok(pid) = pid.parse() else { continue };
            let pid = Pid::from_raw(pid);
            if kill(pid, Signal::SIGKILL).is_ok() {
                met.insert(pid);
            }
        }
    }
}

/// "1 process", "3 processes".
pub(crate) fn count(n: usize) -> String {
    match n {
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    }
}
