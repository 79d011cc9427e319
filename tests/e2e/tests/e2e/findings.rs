//! What went wrong, first: on a real server with real processes. A run that passes teaches what is
//! normal; the one that fails is told apart from it, on its page, to the forge and on the command
//! line.

use crate::lab::Lab;

const GOOD: &str = r"
steps:
  - name: test
    run: |
      echo 'error: no cache yet (printed by every run)'
      echo 'ran 12 tests in 0.31s'
";

const BAD: &str = r#"
steps:
  - name: prepare
    run: echo ready
  - name: test
    run: |
      echo 'error: no cache yet (printed by every run)'
      echo 'src/sum.c:17:9: error: <b>total</b> undeclared'
      echo 'ran 12 tests in 1.02s'
      echo 'make: *** [Makefile:3: test] Error 1'
      exit 3
"#;

#[tokio::test]
async fn a_failing_build_says_what_went_wrong() {
    let lab = Lab::new();
    lab.hooked("r", GOOD);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{}", server.said());
    // The lines of the passing run are kept when its log is sealed, which is after its end.
    let learnt = lab.data().join("logs/a1/0.lines");
    lab.wait("the lines of the passing run", || learnt.exists());
    lab.commit("r", BAD, "Break it");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 2).await;
    let quote = "src/sum.c:17:9: <b>total</b> undeclared";
    assert_eq!(
        build["summary"],
        format!("step \"test\": exit code 3: {quote}")
    );

    let page = lab.text(&server, "/repos/r/builds/2").await;
    assert!(page.contains("What went wrong, first"), "{page}");
    assert!(
        page.contains("&#60;b&#62;total&#60;/b&#62; undeclared"),
        "{page}"
    );
    assert!(page.contains("from=1#L2"), "{page}");
    assert!(!page.contains("<b>total"), "{page}");

    let errors = lab.ok(&["logs", "r/2", "--errors"]);
    assert!(
        errors.starts_with(
            "first: line 2: error: src/sum.c:17:9: <b>total</b> undeclared (gcc, new)"
        ),
        "{errors}"
    );
    assert!(
        errors.contains("  >      2 | src/sum.c:17:9: error: "),
        "{errors}"
    );
    assert!(errors.contains("a passing run printed it, too"), "{errors}");
    assert_eq!(lab.ok(&["logs", "r/2", "test", "--errors"]), errors);
    assert_eq!(lab.ok(&["logs", "r/2", "2", "--errors"]), errors);

    let new = lab.ok(&["logs", "r/2", "--new"]);
    let expected = "     2 | src/sum.c:17:9: error: <b>total</b> undeclared\n     …\n     \
                    4 | make: *** [Makefile:3: test] Error 1\n";
    assert_eq!(new, expected);

    let found = lab.run(&["logs", "r", "--search", "no cache yet"]);
    assert!(found.status.success(), "{found:?}");
    let lines = String::from_utf8(found.stdout).unwrap();
    assert_eq!(
        lines,
        "r/2 attempt 1 step 2:1: error: no cache yet (printed by every run)\n\
         r/1 attempt 1 step 1:1: error: no cache yet (printed by every run)\n"
    );
    let said = String::from_utf8(found.stderr).unwrap();
    assert!(
        said.starts_with("2 lines in 2 builds; a scan through 3 logs"),
        "{said}"
    );
    let none = lab.run(&["logs", "r", "--search", "nowhere to be found"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
    let wrong = lab.run(&["logs", "r/2", "no-such-step"]);
    let words = String::from_utf8(wrong.stderr).unwrap();
    assert!(words.contains("prepare, test"), "{words}");
}

#[tokio::test]
async fn a_script_that_traces_folds_by_command() {
    let lab = Lab::new();
    lab.hooked(
        "r",
        "steps:\n  - run: |\n      echo begins\n      set -x\n      echo a\n      sleep 0.2\n      echo b\n  \
         - run: echo begins\n    name: plain\n  - echo ok; echo '+ nor this'\n",
    );
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{}", server.said());
    let groups = lab
        .json(&server, "/api/v1/repos/r/builds/1/steps/1/log/groups")
        .await;
    let groups = groups["groups"].as_array().unwrap();
    let titles: Vec<_> = groups
        .iter()
        .map(|g| g["title"].as_str().unwrap())
        .collect();
    assert_eq!(
        titles,
        ["+ echo a", "+ sleep 0.2", "+ echo b"],
        "{groups:?}"
    );
    assert!(
        groups[1]["duration_us"].as_u64().unwrap() >= 190_000,
        "{groups:?}"
    );
    assert!(groups.iter().all(|group| group["kind"] == "command"));
    // Only the script knows whether it traces, unless the log begins with a command.
    let groups = lab
        .json(&server, "/api/v1/repos/r/builds/1/steps/3/log/groups")
        .await;
    assert_eq!(groups["groups"], serde_json::json!([]));
}

#[tokio::test]
async fn nothing_to_compare_with_and_nothing_to_see() {
    let lab = Lab::new();
    lab.hooked(
        "r",
        "steps:\n  - name: quiet\n    run: |\n      echo all is well\n      exit 7\n",
    );
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["summary"], "step \"quiet\": exit code 7");
    let page = lab.text(&server, "/repos/r/builds/1").await;
    assert!(
        page.contains("No line of its log looks like an error"),
        "{page}"
    );
    assert!(page.contains("all is well"), "{page}");
    let errors = lab.run(&["logs", "r/1", "--errors"]);
    assert!(errors.stdout.is_empty(), "{errors:?}");
    let said = String::from_utf8(errors.stderr).unwrap();
    assert!(said.ends_with("| all is well\n"), "{said}");
    assert!(
        said.contains("no line of this log looks like an error"),
        "{said}"
    );
    let new = lab.run(&["logs", "r/1", "--new"]);
    let said = String::from_utf8(new.stderr).unwrap();
    assert!(said.contains("nothing to compare it with"), "{said}");
}
