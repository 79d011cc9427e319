//! The processes of a step: everything that descends from the shim.
//!
//! The shim is a child subreaper, so whatever a step daemonises comes back as a child of the shim.
//! Two consequences carry this file: a walk over the parents in `/proc` finds every descendant,
//! and "no child is left" (ECHILD) proves that no descendant is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::spawn::{self, End, Reaped};

/// Rounds of looking for new processes while stopping a tree that still grows.
const STOP_ROUNDS: usize = 20;
/// How long direct children are killed without a look at all of `/proc`: a thousand rounds or more.
const CHASE: Duration = Duration::from_millis(50);

/// Every living descendant of the shim, and whatever else is in the step's cgroup.
/// Zombies are not living.
pub(crate) fn living(cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
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

    let own = nix::unistd::getpid().as_raw();
    let mut found = BTreeSet::new();
    let mut todo = vec![own];
    while let Some(pid) = todo.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                todo.push(*child);
            }
        }
    }
    found.extend(cgroup.into_iter().flat_map(Cgroup::processes));
    found.remove(&own);
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

/// Collects dead children, and remembers how the step's leader ended.
pub(crate) struct Reaper {
    leader: Pid,
    end: Option<(End, Instant)>,
}

impl Reaper {
    /// For the step that this process leads.
    pub(crate) fn new(leader: Pid) -> Self {
        Self { leader, end: None }
    }

    /// How and when the leader was found to have ended.
    pub(crate) fn end(&self) -> Option<(End, Instant)> {
        self.end
    }

    /// Collects all dead children. Returns whether no descendant is left, alive or dead.
    pub(crate) fn reap(&mut self) -> bool {
        loop {
            match spawn::reap_one() {
                Reaped::Dead(pid, end) if pid == self.leader => {
                    self.end = Some((end, Instant::now()));
                }
                Reaped::Dead(..) => {}
                Reaped::AllAlive => return false,
                Reaped::NoChild => return true,
            }
        }
    }

    /// One round of killing everything: stops the tree first, so that it can't grow while it is
    /// being killed. Call it until [`Reaper::reap`] says that nothing is left. Returns the
    /// processes that it met.
    ///
    /// The dead are collected all the time: the corpses of a fork bomb would make every look
    /// through `/proc` slower than the one before, until the machine has no process id left.
    pub(crate) fn kill_round(&mut self, cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
        if let Some(cgroup) = cgroup {
            cgroup.forbid_forks();
            cgroup.kill();
        }
        let mut met = BTreeSet::new();
        for _ in 0..STOP_ROUNDS {
            let mut grew = false;
            for pid in living(cgroup) {
                if met.insert(pid) {
                    grew = true;
                    kill(pid, Signal::SIGSTOP).unwrap_or_default();
                }
            }
            self.reap();
            if !grew {
                break;
            }
        }
        for pid in living(cgroup) {
            kill(pid, Signal::SIGKILL).unwrap_or_default();
        }
        self.chase(&mut met);
        met
    }

    /// Kills direct children as fast as the kernel lists them: a process that forks and exits in
    /// a circle is gone before a look through `/proc` ends, but each of its lives begins (or soon
    /// becomes) a child of ours.
    fn chase(&mut self, met: &mut BTreeSet<Pid>) {
        let list = format!("/proc/self/task/{}/children", nix::unistd::getpid());
        let end = Instant::now() + CHASE;
        while Instant::now() < end {
            if self.reap() {
                return;
            }
            // A kernel without this file has the rounds above.
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
}

/// "1 process", "3 processes".
pub(crate) fn count(n: usize) -> String {
    match n {
        1 => "1 process".to_owned(),
        n => format!("{n} processes"),
    }
}
