//! Memory and process limits, and the full disk. All of this needs root.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use windlass_shim::journal::StepResult;

use crate::attempt::{Attempt, Journal, sh, until};

const NEEDS: &str = "limits need root and the memory and pids cgroup controllers: run the tests as \
                     root on a machine or in a container with --privileged --cgroupns=host";

fn limited(memory: Option<u64>, pids: Option<u64>, script: &str) -> Journal {
    let mut attempt = Attempt::new(vec![sh(script), sh("true")]);
    attempt.order.limits.memory_bytes = memory;
    attempt.order.limits.pids = pids;
    let journal = attempt.run();
    let limits = &journal.started.limits;
    assert!(
        limits.starts_with("cgroup v") && !limits.contains("not"),
        "{NEEDS}: {limits}"
    );
    let left = folders_named(Path::new("/sys/fs/cgroup"), &attempt.order.attempt);
    assert_eq!(left, Vec::<PathBuf>::new(), "cgroups are removed");
    journal
}

fn folders_named(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path());
        }
        found.extend(folders_named(&entry.path(), name));
    }
    found
}

#[test]
fn a_part_of_a_processor_is_all_that_a_step_gets() {
    // Two processes that do nothing but count, for two seconds by the clock.
    let script = "for n in 1 2; do perl -e 'use Time::HiRes \"time\"; $end = time + 2; $i++ while time < $end; \
                  printf \"%.2f\\n\", (times)[0] + (times)[1]' & done; wait";
    let mut attempt = Attempt::new(vec![sh(script)]);
    attempt.order.limits.cpu_millis = Some(200);
    let journal = attempt.run();
    let limits = &journal.started.limits;
    assert!(
        limits.contains("cpu") && !limits.contains("not"),
        "{NEEDS}: {limits}"
    );
    let used: f64 = journal
        .text()
        .lines()
        .map(|line| line.parse::<f64>().unwrap())
        .sum();
    assert!(used < 1.0, "used {used} seconds of 0.4");
}

#[test]
fn too_much_memory_is_named_as_the_cause() {
    let limit = 32 << 20;
    // Directly, and below a shell that turns the signal into an exit code.
    for script in [
        "exec perl -e '$x = \"x\" x (200 << 20)'",
        "perl -e '$x = \"x\" x (200 << 20)'; code=$?; echo failed; exit $code",
    ] {
        let journal = limited(Some(limit), Some(100), script);
        let limit_bytes = Some(limit);
        assert_eq!(
            journal.results()[0],
            StepResult::OutOfMemory { limit_bytes }
        );
        assert_eq!(journal.results()[1], StepResult::Skipped);
        let notes = journal.notes_text();
        assert!(
            notes.contains("the memory limit of 33554432 bytes was reached"),
            "{notes}"
        );
    }
}

#[test]
fn enough_memory_is_no_matter() {
    let journal = limited(Some(256 << 20), None, "perl -e '$x = \"x\" x (50 << 20)'");
    assert_eq!(journal.results(), vec![StepResult::Exited { code: 0 }; 2]);
    assert!(journal.notes.is_empty());
}

#[test]
fn too_many_processes_are_refused_and_named() {
    let script = "i=0; while [ $i -lt 50 ]; do sleep 100 & i=$((i+1)); done";
    let journal = limited(None, Some(20), script);
    assert_ne!(journal.results()[0], StepResult::Exited { code: 0 });
    assert!(
        journal.text().to_lowercase().contains("fork"),
        "{}",
        journal.text()
    );
    let notes = journal.notes_text();
    assert!(
        notes.contains("the limit of 20 processes and threads was reached"),
        "{notes}"
    );
}

#[test]
fn the_next_step_may_fork_again_after_a_tree_was_killed() {
    let script = "trap '' TERM; sh -c 'while :; do sleep 100; done' & exit 0";
    let mut attempt = Attempt::new(vec![sh(script), sh("(echo a) | cat")]);
    attempt.order.limits.pids = Some(30);
    attempt.order.grace_ms = 50;
    let journal = attempt.run();
    assert!(journal.started.limits.contains("pids"), "{NEEDS}");
    assert_eq!(journal.text(), "a\n");
    assert!(
        journal.notes_text().contains("SIGKILL"),
        "{:?}",
        journal.notes
    );
}

/// A file system of a few kilobytes, unmounted at the end.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount(at: &Path) -> Self {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(at)
            .status()
            .expect("mount is in the package mount: apt-get install mount");
        assert!(
            status.success(),
            "mounting a tmpfs needs root: run the tests as root"
        );
        Self(at.to_owned())
    }

    fn grow(&self) {
        let status = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(
            status.is_ok_and(|s| s.success()),
            "unmounting {}",
            self.0.display()
        );
    }
}

/// Waits until the journal has stopped growing, full as the disk is.
fn until_full(attempt: &Attempt) {
    let size = || fs::metadata(attempt.dir.join("journal")).map_or(0, |m| m.len());
    until("a full disk", || {
        let before = size();
        std::thread::sleep(Duration::from_millis(150));
        before > 100_000 && size() == before
    });
}

#[test]
fn a_full_disk_pauses_the_program_and_loses_nothing() {
    let attempt = Attempt::new(vec![sh("seq 300000"), sh("echo end")]);
    let disk = TinyDisk::mount(&attempt.dir);
    let mut shim = attempt.start();
    until_full(&attempt);
    assert!(shim.is_running());
    disk.grow();
    assert_eq!(shim.wait().code(), Some(0));
    let expected: String = (1..=300_000).map(|i| format!("{i}\n")).collect();
    assert!(attempt.journal().text() == expected + "end\n");
}

#[test]
fn a_cancel_between_two_steps_is_carried_by_the_next_one() {
    // The only pause between steps that a test can make: the first one's end can't be written.
    let script = "echo ready; while [ ! -e go ]; do sleep 0.02; done; seq 9000";
    let attempt = Attempt::new(vec![sh(script), sh("echo never"), sh("echo never")]);
    let disk = TinyDisk::mount(&attempt.dir);
    let shim = attempt.start();
    attempt.until_output("ready");
    let filler = fs::write(attempt.dir.join("filler"), vec![0; 1 << 20]);
    assert!(filler.is_err(), "the disk is full now");
    fs::write(attempt.order.workspace.join("go"), "").unwrap();
    until("the first step's end", || attempt.left().is_empty());
    attempt.cancel();
    // Until the shim has heard it: the FIFO is read every few milliseconds.
    until("an empty FIFO", || {
        let fifo = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(attempt.dir.join("control"));
        let fifo = fifo.unwrap();
        let mut fds = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 0
    });
    disk.grow();
    assert_eq!(shim.wait().code(), Some(0));
    let journal = attempt.journal();
    assert_eq!(
        journal.results(),
        [
            StepResult::Exited { code: 0 },
            StepResult::Cancelled,
            StepResult::Skipped
        ]
    );
    assert_eq!(journal.began, [0]);
    assert!(!journal.text().contains("never"));
}

#[test]
fn a_full_disk_stops_neither_cancel_nor_timeout() {
    for cancel in [true, false] {
        let mut step = sh("exec seq 100000000");
        step.timeout_ms = (!cancel).then_some(1000);
        let attempt = Attempt::new(vec![step]);
        let disk = TinyDisk::mount(&attempt.dir);
        let mut shim = attempt.start();
        until_full(&attempt);
        if cancel {
            assert_eq!(attempt.left().len(), 1);
            attempt.cancel();
        }
        until("the program's end on a full disk", || {
            attempt.left().is_empty()
        });
        assert!(shim.is_running(), "it still has something to write");
        disk.grow();
        assert_eq!(shim.wait().code(), Some(0));
        let expected = if cancel {
            StepResult::Cancelled
        } else {
            StepResult::StepTimeout
        };
        let journal = attempt.journal();
        assert_eq!(journal.results(), [expected]);
        // Not a byte is missing from what the program managed to write.
        let text = journal.text();
        let lines: Vec<&str> = text.lines().collect();
        let whole = &lines[..lines.len() - 1];
        assert!(
            whole
                .iter()
                .zip(1..)
                .all(|(line, i)| *line == i.to_string())
        );
    }
}
