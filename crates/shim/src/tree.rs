//! The processes of a step: everything that descends from the shim.
//!
//! The shim is a child subreaper, so whatever a step daemonises comes back as a child of the shim.
//! Two consequences carry this file: a walk over the parents in `/proc` finds every descendant,
//! and "no child is left" (ECHILD) proves that no descendant is left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroup::Cgroup;
use crate::spawn::{self, Reaped};

/// Rounds of looking for new processes while stopping a tree that still grows.
const STOP_ROUNDS: usize = 20;
/// Rounds of killing direct children without a look at all of `/proc`.
const CHASE_ROUNDS: usize = 200;

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

/// One round of killing everything: stops the tree first, so that it can't grow while it is being
/// killed. Call it until nothing is left. Returns the processes that it met.
pub(crate) fn kill_round(cgroup: Option<&Cgroup>) -> BTreeSet<Pid> {
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
        if !grew {
            break;
        }
    }
    for pid in &met {
        kill(*pid, Signal::SIGKILL).unwrap_or_default();
    }
    chase(&mut met);
    met
}

/// Kills direct children as fast as the kernel lists them: a process that forks and exits in a
/// circle is gone before a look through `/proc` ends, but each of its lives begins as our child.
fn chase(met: &mut BTreeSet<Pid>) {
    let list = format!("/proc/self/task/{}/children", nix::unistd::getpid());
    for _ in 0..CHASE_ROUNDS {
        // A kernel without this file has the rounds above.
        let Ok(children) = fs::read_to_string(&list) else {
            return;
        };
        let mut any = false;
        for pid in children.split_ascii_whitespace() {
            let Ok(pid) = pid.parse() else { continue };
            any = true;
            let pid = Pid::from_raw(pid);
            if kill(pid, Signal::SIGKILL) != Err(Errno::ESRCH) {
                met.insert(pid);
            }
        }
        if !any {
            return;
        }
        // Zombies stay in the list until they are collected, and the step's leader must be
        // collected by who wants to know its status: stop here once only the dead are left.
        if !children
            .split_ascii_whitespace()
            .filter_map(|pid| state_and_parent(pid.parse().ok()?))
            .any(|(state, _)| state != b'Z')
        {
            return;
        }
    }
}

/// What [`reap`] found.
pub(crate) struct Harvest {
    /// How the step's leader ended, if it was among the dead.
    pub(crate) leader: Option<spawn::End>,
    /// Whether no descendant is left, alive or dead.
    pub(crate) empty: bool,
}

/// Collects all dead children.
pub(crate) fn reap(leader: Pid) -> Harvest {
    let mut harvest = Harvest {
        leader: None,
        empty: false,
    };
    loop {
        match spawn::reap_one() {
            Reaped::Dead(pid, end) if pid == leader => harvest.leader = Some(end),
            Reaped::Dead(..) => {}
            Reaped::AllAlive => return harvest,
            Reaped::NoChild => {
                harvest.empty = true;
                return harvest;
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
