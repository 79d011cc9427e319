//! Limits for all processes of a step together, by a cgroup (version 1 or 2) of their own.
//!
//! A group is only made when the order has limits: finding and stopping processes never depends
//! on it (see [`crate::tree`]). Where the system does not allow a group, the job goes on without,
//! and the journal's first record says why.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use windlass_shim::order::Limits;

/// How often, and how long apart, removing a group is tried: the kernel needs a moment after the
/// last process is gone.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

const MEMORY: &str = "memory";
const PIDS: &str = "pids";
const CPU: &str = "cpu";

/// Time slices are dealt out anew after so many microseconds: the kernel's usual value.
const CPU_PERIOD_US: u64 = 100_000;

/// The groups of one attempt: one in version 2, one per controller in version 1.
pub(crate) struct Cgroup {
    groups: Vec<Group>,
    joins: Vec<OwnedFd>,
    pids_max: Option<u64>,
}

/// One folder in the cgroup file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    path: PathBuf,
    version: u8,
    controllers: Vec<&'static str>,
}

/// A limit and whether it is enforced.
struct Wish {
    controller: &'static str,
    value: u64,
}

impl Cgroup {
    /// Makes the groups that `limits` need. The text says what enforces the limits, or why
    /// nothing does, for people.
    pub(crate) fn create(attempt: &str, limits: &Limits) -> (Option<Self>, String) {
        if *limits == Limits::default() {
            return (None, "none ordered".to_owned());
        }
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mounts = Mounts::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Self::create_in(&mounts, attempt, limits)
    }

    fn create_in(mounts: &Mounts, attempt: &str, limits: &Limits) -> (Option<Self>, String) {
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if attempt.is_empty() || !attempt.bytes().all(is_name) {
            let why = "not enforced: the attempt's id is not a name for a cgroup";
            return (None, why.to_owned());
        }
        let name = format!("windlass-{attempt}");
        let wanted = [
            (MEMORY, limits.memory_bytes),
            (PIDS, limits.pids),
            (CPU, limits.cpu_millis),
        ];
        let wishes: Vec<Wish> = wanted
            .into_iter()
            .filter_map(|(controller, value)| value.map(|value| Wish { controller, value }))
            .collect();

        let mut groups: Vec<Group> = Vec::new();
        let mut refusals = Vec::new();
        let (second, first): (Vec<_>, Vec<_>) = wishes
            .iter()
            .partition(|wish| mounts.second_has(wish.controller));
        if !second.is_empty() {
            match make_second(&mounts.second, &name, &second) {
                Ok(group) => groups.push(group),
                Err(why) => refusals.extend(second.iter().map(|w| refusal(w, &why))),
            }
        }
        for wish in first {
            match make_first(mounts.first(wish.controller), &name, wish) {
                Ok(group) => groups.push(group),
                Err(why) => refusals.push(refusal(wish, &why)),
            }
        }

        let mut joins = Vec::new();
        groups.retain(|group| {
            let open = OpenOptions::new()
                .write(true)
                .open(group.path.join("cgroup.procs"));
            match open {
                Ok(file) => {
                    joins.push(OwnedFd::from(file));
                    true
                }
                Err(e) => {
                    refusals.push(format!("{} can't be joined: {e}", group.path.display()));
                    fs::remove_dir(&group.path).unwrap_or_default();
                    false
                }
            }
        });

        let mut text: Vec<String> = groups
            .iter()
            .map(|g| format!("cgroup v{}: {}", g.version, g.controllers.join(", ")))
            .collect();
        if let [Group { version: 1, .. }, Group { version: 1, .. }] = groups[..] {
            text = vec![format!("cgroup v1: {MEMORY}, {PIDS}")];
        }
        text.extend(refusals);
        let cgroup = Self {
            groups,
            joins,
            pids_max: limits.pids,
        };
        let some = !cgroup.groups.is_empty();
        (some.then_some(cgroup), text.join("; "))
    }

    /// Files into which a process writes `0` to join.
    pub(crate) fn joins(&self) -> &[OwnedFd] {
        &self.joins
    }

    /// The ids of the processes inside.
    pub(crate) fn processes(&self) -> BTreeSet<i32> {
        let lists = self
            .groups
            .iter()
            .map(|g| fs::read_to_string(g.path.join("cgroup.procs")).unwrap_or_default());
        lists
            .flat_map(|list| {
                list.lines()
                    .filter_map(|line| line.parse().ok())
                    // 0 is a process of another pid namespace: it has no number here.
                    .filter(|pid| *pid > 0)
                    .collect::<Vec<i32>>()
            })
            .collect()
    }

    /// Lets no new process begin, so that a tree can be killed that grows faster than it is found.
    pub(crate) fn forbid_forks(&self) {
        self.set_pids_max("0");
    }

    /// Undoes [`Cgroup::forbid_forks`], for the next step.
    pub(crate) fn allow_forks(&self) {
        if let Some(max) = self.pids_max {
            self.set_pids_max(&max.to_string());
        }
    }

    fn set_pids_max(&self, value: &str) {
        if let Some(group) = self.with(PIDS) {
            // A convenience: the kill loop works without.
            fs::write(group.path.join("pids.max"), value).unwrap_or_default();
        }
    }

    /// Kills all inside at once, where the kernel can (version 2).
    pub(crate) fn kill(&self) {
        for group in self.groups.iter().filter(|g| g.version == 2) {
            let file = OpenOptions::new()
                .write(true)
                .open(group.path.join("cgroup.kill"));
            if let Ok(mut file) = file {
                io::Write::write_all(&mut file, b"1").unwrap_or_default();
            }
        }
    }

    /// How many processes the kernel has killed inside, so far, for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(group) = self.with(MEMORY) else {
            return 0;
        };
        let file = match group.version {
            1 => "memory.oom_control",
            _ => "memory.events",
        };
        field(&group.path.join(file), "oom_kill").unwrap_or_else(|| {
            // Before Linux 4.13; counts pressure too, so the caller asks how the step ended.
            let failures = fs::read_to_string(group.path.join("memory.failcnt"));
            failures.map_or(0, |text| text.trim().parse().unwrap_or(0))
        })
    }

    /// How many times, so far, a process was refused for the limit of processes.
    pub(crate) fn fork_refusals(&self) -> u64 {
        let group = self.with(PIDS);
        group
            .and_then(|g| field(&g.path.join("pids.events"), "max"))
            .unwrap_or(0)
    }

    fn with(&self, controller: &str) -> Option<&Group> {
        self.groups
            .iter()
            .find(|g| g.controllers.contains(&controller))
    }

    /// Removes the groups. Says on stderr what could not be removed.
    pub(crate) fn remove(self) {
        for group in &self.groups {
            let mut result = fs::remove_dir(&group.path);
            for _ in 1..REMOVE_TRIES {
                if result.is_ok() {
                    break;
                }
                std::thread::sleep(REMOVE_PAUSE);
                result = fs::remove_dir(&group.path);
            }
            if let Err(e) = result {
                eprintln!(
                    "windlass-shim: {} was not removed: {e}",
                    group.path.display()
                );
            }
        }
    }
}

/// How much of [`CPU_PERIOD_US`] there is for all processors together. The kernel takes no less than
/// a millisecond.
fn quota_us(wish: &Wish) -> u64 {
    (wish.value.saturating_mul(CPU_PERIOD_US) / 1000).max(1000)
}

fn refusal(wish: &Wish, why: &str) -> String {
    format!("{} not limited: {why}", wish.controller)
}

/// `name value` in a file of such lines.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// Writes to a file of the cgroup file system; errors name the file.
fn set(folder: &Path, file: &str, value: &str) -> Result<(), String> {
    let path = folder.join(file);
    // Never `fs::write`: it would make a file where there is no cgroup file system.
    let mut open = OpenOptions::new()
        .write(true)
        .open(&path)
        .map_err(|e| format!("{}: {e}", path.display()))?;
    io::Write::write_all(&mut open, value.as_bytes())
        .map_err(|e| format!("{} := {value}: {e}", path.display()))
}

/// Makes the group's folder; one that is there from before is as good.
fn make_folder(path: &Path) -> Result<(), String> {
    match fs::create_dir(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("can't make {}: {e}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Tries each parent; the first reason is the one that people get to read.
fn first_that_works(
    parents: &[PathBuf],
    nothing: &str,
    attempt: impl Fn(&Path) -> Result<Group, String>,
) -> Result<Group, String> {
    let mut reason = None;
    for parent in parents {
        match attempt(parent) {
            Ok(group) => return Ok(group),
            Err(why) => {
                reason.get_or_insert(why);
            }
        }
    }
    Err(reason.unwrap_or_else(|| nothing.to_owned()))
}

fn make_first(parents: &[PathBuf], name: &str, wish: &Wish) -> Result<Group, String> {
    let nothing = "this system has no such cgroup controller mounted";
    first_that_works(parents, nothing, |parent| {
        let path = parent.join(name);
        make_folder(&path)?;
        let value = wish.value.to_string();
        let limited = match wish.controller {
            MEMORY => set(&path, "memory.limit_in_bytes", &value).and_then(|()| {
                let swap = "memory.memsw.limit_in_bytes";
                match path.join(swap).exists() {
                    true => set(&path, swap, &value),
                    // Swap is not counted on this kernel.
                    false => Ok(()),
                }
            }),
            CPU => set(&path, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())
                .and_then(|()| set(&path, "cpu.cfs_quota_us", &quota_us(wish).to_string())),
            _ => set(&path, "pids.max", &value),
        };
        undo_on_error(&path, limited)?;
        Ok(Group {
            path,
            version: 1,
            controllers: vec![wish.controller],
        })
    })
}

fn make_second(parents: &[PathBuf], name: &str, wishes: &[&Wish]) -> Result<Group, String> {
    let nothing = "no cgroup2 file system is mounted";
    first_that_works(parents, nothing, |parent| {
        // A group can't hand on controllers while it has processes of its own (unless it is the
        // root); then the next parent up, which systemd keeps free of processes, often can.
        let given = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
        for wish in wishes {
            if !given.split_whitespace().any(|c| c == wish.controller) {
                let on = format!("+{}", wish.controller);
                set(parent, "cgroup.subtree_control", &on)?;
            }
        }
        let path = parent.join(name);
        make_folder(&path)?;
        let limited = wishes.iter().try_for_each(|wish| {
            let value = wish.value.to_string();
            match wish.controller {
                MEMORY => {}
                CPU => {
                    let value = format!("{} {CPU_PERIOD_US}", quota_us(wish));
                    return set(&path, "cpu.max", &value);
                }
                _ => return set(&path, "pids.max", &value),
            }
            set(&path, "memory.max", &value)?;
            // Kernels without swap accounting have no such file; half a tree after an OOM kill
            // is worse than none, but old kernels (before 4.19) can't help it.
            for (file, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
                if path.join(file).exists() {
                    set(&path, file, value)?;
                }
            }
            Ok(())
        });
        undo_on_error(&path, limited)?;
        Ok(Group {
            path,
            version: 2,
            controllers: wishes.iter().map(|w| w.controller).collect(),
        })
    })
}

fn undo_on_error(path: &Path, result: Result<(), String>) -> Result<(), String> {
    if result.is_err() {
        fs::remove_dir(path).unwrap_or_default();
    }
    result
}

/// Where groups may be made: the folders to try, best first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    first_memory: Vec<PathBuf>,
    first_pids: Vec<PathBuf>,
    first_cpu: Vec<PathBuf>,
    second: Vec<PathBuf>,
}

impl Mounts {
    /// From the texts of `/proc/self/mountinfo` and `/proc/self/cgroup`.
    fn parse(mountinfo: &str, own: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (&[_, _, _, root, point, ..], &[kind, _, options]) = (&left[..], &right[..]) else {
                continue;
            };
            let point = PathBuf::from(point.replace("\\040", " "));
            match kind {
                "cgroup2" => {
                    let here = inside(own_path(own, ""), root, &point);
                    mounts.second = here
                        .ancestors()
                        .take_while(|p| p.starts_with(&point))
                        .map(Path::to_owned)
                        .collect();
                }
                "cgroup" => {
                    for (controller, places) in [
                        (MEMORY, &mut mounts.first_memory),
                        (PIDS, &mut mounts.first_pids),
                        (CPU, &mut mounts.first_cpu),
                    ] {
                        if options.split(',').any(|o| o == controller) {
                            *places = vec![
                                inside(own_path(own, controller), root, &point),
                                point.clone(),
                            ];
                            places.dedup();
                        }
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    fn first(&self, controller: &str) -> &[PathBuf] {
        match controller {
            MEMORY => &self.first_memory,
            CPU => &self.first_cpu,
            _ => &self.first_pids,
        }
    }

    /// Whether version 2 has this controller here (and not version 1).
    fn second_has(&self, controller: &str) -> bool {
        let has = |parent: &PathBuf| {
            fs::read_to_string(parent.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|c| c == controller))
        };
        self.second.iter().any(has)
    }
}

/// The path for a controller (`""`: version 2) in the text of `/proc/self/cgroup`.
fn own_path<'a>(own: &'a str, controller: &str) -> &'a str {
    own.lines()
        .find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            controllers
                .split(',')
                .any(|c| c == controller)
                .then_some(path)
        })
        .unwrap_or("/")
}

/// The folder for `path` under a mount of `root` at `point`. What can't be reached from here (a
/// container often sees only a part of the hierarchy) becomes the mount itself.
fn inside(path: &str, root: &str, point: &Path) -> PathBuf {
    let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let folder = point.join(below);
    if below.components().any(|c| c.as_os_str() == "..") || !folder.is_dir() {
        return point.to_owned();
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount_line(root: &str, point: &Path, kind: &str, options: &str) -> String {
        let point = point.display();
        format!("36 35 0:30 {root} {point} rw,nosuid shared:9 - {kind} none {options}\n")
    }

    fn both() -> Limits {
        Limits {
            memory_bytes: Some(1 << 20),
            pids: Some(9),
            cpu_millis: None,
        }
    }

    #[test]
    fn an_unreachable_own_path_falls_back_to_the_mount() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let line = mount_line("/", dir.path(), "cgroup", "rw,memory");
        for (own, expected) in [
            (
                "4:memory:/a/b\n",
                vec![dir.path().join("a/b"), dir.path().to_owned()],
            ),
            ("4:memory:/gone/away\n", vec![dir.path().to_owned()]),
            ("4:memory:/../x\n", vec![dir.path().to_owned()]),
            ("", vec![dir.path().to_owned()]),
        ] {
            assert_eq!(Mounts::parse(&line, own).first_memory, expected, "{own}");
        }
        // A container that has a part of the hierarchy mounted as if it were the root.
        let line = mount_line("/docker/7", dir.path(), "cgroup", "rw,pids");
        let own = "8:pids:/docker/7/a/b\n";
        assert_eq!(
            Mounts::parse(&line, own).first_pids[0],
            dir.path().join("a/b")
        );
    }

    /// A folder that looks like cgroup2 to code that only reads and writes files.
    fn fake_second(parent: &Path, subtree: &str) {
        fs::create_dir_all(parent.join("windlass-a1")).unwrap();
        fs::write(parent.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        if !subtree.is_empty() {
            fs::write(parent.join("cgroup.subtree_control"), subtree).unwrap();
        }
        for file in [
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "pids.max",
            "cgroup.procs",
        ] {
            fs::write(parent.join("windlass-a1").join(file), "").unwrap();
        }
    }

    #[test]
    fn version_2_goes_up_to_a_parent_that_hands_on_controllers() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("system.slice/windlass.service");
        fake_second(&own, "");
        fake_second(own.parent().unwrap(), "cpu memory pids\n");
        let line = mount_line("/", dir.path(), "cgroup2", "rw");
        let mounts = Mounts::parse(&line, "0::/system.slice/windlass.service\n");
        let (cgroup, text) = Cgroup::create_in(&mounts, "a1", &both());
        assert_eq!(text, "cgroup v2: memory, pids");
        let group = &cgroup.unwrap().groups[0];
        assert_eq!(group.path, dir.path().join("system.slice/windlass-a1"));
        let value = |file| fs::read_to_string(group.path.join(file)).unwrap();
        assert_eq!(value("memory.max"), "1048576");
        assert_eq!(value("memory.swap.max"), "0");
        assert_eq!(value("memory.oom.group"), "1");
        assert_eq!(value("pids.max"), "9");
    }

    #[test]
    fn where_nothing_is_allowed_the_text_says_why() {
        let (cgroup, text) = Cgroup::create_in(&Mounts::default(), "a1", &both());
        assert!(cgroup.is_none());
        assert_eq!(
            text,
            "memory not limited: this system has no such cgroup controller mounted; \
             pids not limited: this system has no such cgroup controller mounted"
        );
        let (cgroup, text) = Cgroup::create_in(&Mounts::default(), "../a1", &both());
        assert!(cgroup.is_none());
        assert!(text.contains("not a name"), "{text}");
    }
}
