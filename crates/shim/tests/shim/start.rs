//! The first steps: taking the attempt, reading the order, finding the program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use windlass_shim::journal::StepResult;
use windlass_shim::order::EXIT_ALREADY_TAKEN;

use crate::attempt::{Attempt, sh, start_shim};

fn reason(result: &StepResult) -> &str {
    match result {
        StepResult::NotStarted { reason } => reason,
        other => panic!("it started: {other:?}"),
    }
}

#[test]
fn a_second_shim_leaves_quietly_and_changes_nothing() {
    let attempt = Attempt::new(vec![sh(
        "echo ready; while [ ! -e go ]; do sleep 0.02; done",
    )]);
    let first = attempt.start();
    attempt.until_output("ready");
    let journal = || fs::read(attempt.dir.join("journal")).unwrap();
    let before = journal();
    assert_eq!(
        start_shim(&attempt.dir).wait().code(),
        Some(EXIT_ALREADY_TAKEN)
    );
    assert_eq!(journal(), before);

    fs::write(attempt.order.workspace.join("go"), "").unwrap();
    assert_eq!(first.wait().code(), Some(0));
    let before = journal();
    assert_eq!(
        start_shim(&attempt.dir).wait().code(),
        Some(EXIT_ALREADY_TAKEN)
    );
    assert_eq!(journal(), before, "an attempt never runs twice");
    assert_eq!(
        attempt.journal().results(),
        [StepResult::Exited { code: 0 }]
    );
}

#[test]
fn programs_that_can_not_start_say_why() {
    let attempt = Attempt::new(vec![]);
    let script = |name: &str, text: &str, mode| {
        let path = attempt.order.workspace.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    script("no-interpreter", "#!/no/such/sh -e\n", 0o755);
    script("windows", "#!/bin/sh\r\necho\r\n", 0o755);
    script("forbidden", "#!/bin/sh\n", 0o644);
    script("text", "just text", 0o755);
    for (program, words) in [
        (
            "/bin/no-such-program",
            "/bin/no-such-program: No such file or directory",
        ),
        (
            "no-such-program",
            "no-such-program: no such program in PATH (/usr/local/sbin:",
        ),
        (
            "./no-interpreter",
            "./no-interpreter: its interpreter /no/such/sh: No such file",
        ),
        (
            "./windows",
            "its interpreter /bin/sh (with a carriage return: the file has Windows",
        ),
        ("./forbidden", "./forbidden: Permission denied"),
        ("./text", "./text: Exec format error"),
        ("/", "/: Permission denied"),
        ("", "the order names no program"),
        ("a\0b", "PATH"),
    ] {
        let mut step = sh("");
        step.argv = vec![program.to_owned()];
        let mut next = Attempt::new(vec![step, sh("true")]);
        next.order.workspace.clone_from(&attempt.order.workspace);
        let journal = next.run();
        let reason = reason(&journal.ends[0].result);
        assert!(reason.contains(words), "{program}: {reason}");
        assert_eq!(journal.ends[1].result, StepResult::Skipped);
        assert!(journal.began.is_empty());
    }
}

#[test]
fn a_missing_workspace_is_named() {
    let mut attempt = Attempt::new(vec![sh("true")]);
    attempt.order.workspace = "/no/such/workspace".into();
    let journal = attempt.run();
    let words = "the workspace /no/such/workspace: No such file or directory";
    assert_eq!(reason(&journal.ends[0].result), words);
}

#[test]
fn an_unusable_order_still_makes_a_whole_journal() {
    for (order, words, ends) in [
        (Some("no json"), "order.json can't be understood", 1),
        (None, "order.json can't be read: No such file", 1),
        (
            Some(r#"{"version":2,"attempt":"a9","steps":[{},{},{}]}"#),
            "order.json has version 2, and this shim understands 1",
            3,
        ),
        (
            Some(r#"{"version":1,"attempt":"a9","steps":[{},{}]}"#),
            "order.json can't be understood: missing field",
            2,
        ),
    ] {
        let attempt = Attempt::new(vec![]);
        if let Some(order) = order {
            fs::write(attempt.dir.join("order.json"), order).unwrap();
        }
        assert_eq!(start_shim(&attempt.dir).wait().code(), Some(0));
        let journal = attempt.journal();
        let reason = reason(&journal.ends[0].result);
        assert!(reason.contains(words), "{reason}");
        assert_eq!(journal.ends.len(), ends);
        assert!(
            journal.ends[1..]
                .iter()
                .all(|e| e.result == StepResult::Skipped)
        );
        if ends > 1 {
            assert_eq!(journal.started.attempt, "a9");
        }
    }
}

#[test]
fn broken_secrets_are_removed_and_never_quoted() {
    let attempt = Attempt::new(vec![sh("true")]);
    attempt.place();
    fs::write(
        attempt.dir.join("secrets.json"),
        r#"{"env":{"A":"hunter2!"},"mask":"hunter3!"}"#,
    )
    .unwrap();
    assert_eq!(start_shim(&attempt.dir).wait().code(), Some(0));
    assert!(!attempt.dir.join("secrets.json").exists());
    let journal = attempt.journal();
    let reason = reason(&journal.ends[0].result);
    assert!(
        reason.contains("secrets.json can't be understood"),
        "{reason}"
    );
    assert!(!reason.contains("hunter"), "{reason}");
}

#[test]
fn an_order_without_steps_is_a_whole_journal_too() {
    let journal = Attempt::new(vec![]).run();
    assert!(journal.ends.is_empty());
    assert_eq!(journal.started.limits, "none ordered");
}
