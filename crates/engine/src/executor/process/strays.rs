//! What a shim could not clean up because it was killed itself: its processes, found by the mark
//! that each carries in its environment, and its cgroups, found by their name.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use windlass_shim::order::ATTEMPT_VARIABLE;

/// Kills every process that carries this mark, until a look finds none. Processes of other
/// users can't be read and can't be ours.
pub(super) fn kill(mark: &str) {
    let variable = format!("{ATTEMPT_VARIABLE}={mark}");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let strays = marked(variable.as_bytes());
        if strays.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in strays {
            tracing::warn!(%pid, mark, "killing a process whose shim is gone");
            send(pid, Signal::SIGKILL).unwrap_or_default();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn marked(variable: &[u8]) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let environ = std::fs::read(entry.path().join("environ")).ok()?;
            environ
                .split(|b| *b == 0)
                .any(|v| v == variable)
                .then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// Removes cgroups named `windlass-<mark>` wherever the shim may have made them. Only empty ones
/// can be removed; others belong to somebody.
pub(super) fn remove_cgroups(mark: &str) {
    let name = format!("windlass-{mark}");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = Path::new("/sys/fs/cgroup");
        let mounts = [
            mount.join(controllers),
            mount.to_path_buf(),
            mount.join("unified"),
        ];
        for mount in mounts {
            let below: PathBuf = mount.join(path.trim_start_matches('/')).join(&name);
            for dir in [below, mount.join(&name)] {
                if dir.is_dir() {
                    std::fs::remove_dir(&dir).unwrap_or_default();
                }
            }
        }
    }
}
