//! Commands, as a person types them.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, windlass};

fn checkout(lab: &Lab, spec: &str) {
    lab.repository("r", spec);
}

fn run_in(lab: &Lab, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = lab.command(windlass());
    let output = command
        .args(args)
        .current_dir(lab.path("r"))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn run_builds_the_checkout_with_its_uncommitted_changes() {
    let lab = Lab::new();
    checkout(
        &lab,
        "steps:\n  - name: say\n    run: cat words\n  - exit 3\n  - echo never\n",
    );
    let work = lab.path("r");
    std::fs::write(work.join("words"), "not committed\n").unwrap();
    let (code, out, _) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("1 uncommitted change\n"), "{out}");
    assert!(
        out.contains("\nnot committed\n") && out.contains("✗ exit 3  exit code 3"),
        "{out}"
    );
    assert!(
        out.contains("- echo never  skipped") && !out.contains('\x1b'),
        "{out}"
    );

    std::fs::write(work.join("windlass.yml"), "steps: ['true']\n").unwrap();
    assert_eq!(run_in(&lab, &["run"]).0, Some(0));
    // The committed revision is another thing.
    let (code, out, _) = run_in(&lab, &["run", "--rev", "HEAD"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        std::fs::read_dir(lab.path("home/.cache/windlass/run/work"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn run_says_what_went_wrong_first_as_the_server_does() {
    let lab = Lab::new();
    checkout(
        &lab,
        "steps:\n  - name: test\n    run: |\n      echo 'src/sum.c:17:9: error: total undeclared'\n      \
         echo 'src/sum.c:20:1: error: expected }'\n      echo 'make: *** [Makefile:3: test] Error 1'\n      exit 3\n",
    );
    let (code, out, _) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(1), "{out}");
    let quote = "src/sum.c:17:9: total undeclared";
    let end = format!("step \"test\": exit code 3: {quote}\n");
    assert!(out.ends_with(&end), "{out}");
    let ended = out.find("✗ test  exit code 3").unwrap();
    let first = "first: line 1: error: src/sum.c:17:9: total undeclared (gcc)\n  >      1 | src/sum.c:17:9: error: total undeclared\n";
    assert!(out[ended..].contains(first), "{out}");
    assert!(
        out[ended..].contains("  1 further error in this step's output\n"),
        "{out}"
    );
    // Nothing is claimed where nothing was said.
    std::fs::write(lab.path("r/windlass.yml"), "steps: ['false']\n").unwrap();
    let (code, out, _) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(!out.contains("first:") && !out.contains("further"), "{out}");
}

#[test]
fn run_says_what_is_wrong_before_anything_runs() {
    let lab = Lab::new();
    checkout(&lab, "stesp:\n  - true\n");
    let (code, out, err) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(
        out.contains("windlass.yml:1:1") && out.contains("steps"),
        "{out}"
    );
    std::fs::remove_file(lab.path("r/windlass.yml")).unwrap();
    let (code, _, err) = run_in(&lab, &["run"]);
    assert!(code == Some(3) && err.contains("windlass init"), "{err}");
    let outside = lab
        .command(windlass())
        .arg("run")
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(outside.status.code(), Some(4));
}

#[test]
fn run_masks_secrets_and_asks_for_missing_ones() {
    let lab = Lab::new();
    checkout(
        &lab,
        "secrets: [TOKEN]\nsteps:\n  - echo \"<$TOKEN>\"; echo $TOKEN | base64\n",
    );
    let (code, _, err) = run_in(&lab, &["run"]);
    assert!(
        code == Some(4) && err.contains("TOKEN") && err.contains("--secrets-file"),
        "{err}"
    );
    std::fs::write(lab.path("secrets"), "# mine\nTOKEN=correct horse\n").unwrap();
    let (code, out, _) = run_in(&lab, &["run", "--secrets-file", "../secrets"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("<***>") && !out.contains("correct") && !out.contains("Y29ycmVjd"),
        "{out}"
    );
}

#[test]
fn ctrl_c_stops_the_job_and_leaves_nothing_behind() {
    let lab = Lab::new();
    checkout(&lab, "steps:\n  - sleep 300 & sleep 301\n");
    let child = lab
        .command(windlass())
        .arg("run")
        .current_dir(lab.path("r"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    lab.wait("the step runs", || lab.job_processes().len() >= 2);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    lab.wait("nothing is left", || lab.job_processes().is_empty());
}

#[test]
fn init_writes_a_spec_that_is_good_for_each_kind_of_project() {
    for (file, text) in [
        (
            "Cargo.toml",
            "[package]\nname = \"x\"\nversion = \"1.0.0\"\n",
        ),
        ("package.json", "{\"scripts\": {\"test\": \"node --test\"}}"),
        ("pyproject.toml", "[project]\nname = \"x\"\n"),
        ("go.mod", "module x\n"),
        ("Makefile", "test:\n\ttrue\n"),
    ] {
        let lab = Lab::new();
        std::fs::write(lab.path(file), text).unwrap();
        lab.ok(&["init"]);
        assert!(
            lab.ok(&["check"]).contains("windlass.yml is good"),
            "{file}"
        );
        let again = lab.run(&["init"]);
        assert_eq!(
            again.status.code(),
            Some(4),
            "an existing spec was overwritten"
        );
    }
}

#[test]
fn import_writes_a_spec_that_is_good_and_runs() {
    let lab = Lab::new();
    checkout(&lab, "steps: ['true']\n");
    let work = lab.path("r");
    std::fs::create_dir_all(work.join(".github/workflows")).unwrap();
    std::fs::write(
        work.join(".github/workflows/ci.yml"),
        "on: [push, workflow_dispatch]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    strategy:\n      \
         matrix:\n        word: [\"it's; $(touch evil)\"]\n    steps:\n      - uses: actions/checkout@v4\n      - \
         run: echo 'said ${{ matrix.word }}'\n      - uses: some/action@v1\n",
    )
    .unwrap();
    let file = ".github/workflows/ci.yml";
    let (code, _, err) = run_in(&lab, &["import", file]);
    assert_eq!(code, Some(4), "an existing spec was overwritten");
    assert!(err.contains("--force"), "{err}");
    let (code, out, err) = run_in(&lab, &["import", file, "--output", "-"]);
    assert!(code == Some(0) && out.contains("\n  test:\n"), "{out}{err}");
    assert!(err.contains("1 not converted:\n"), "{err}");
    let (code, out, err) = run_in(&lab, &["import", file, "--force"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("some/action"), "{out}");
    assert_eq!(run_in(&lab, &["check"]).0, Some(0));
    let (code, out, err) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("said it's; $(touch evil)"), "{out}");
    assert!(!work.join("evil").exists());

    std::fs::write(work.join("x.yml"), "a: [\n").unwrap();
    assert_eq!(run_in(&lab, &["import", "x.yml", "-o", "y.yml"]).0, Some(3));
    std::fs::write(work.join("x.yml"), "a: b\n").unwrap();
    let (code, _, err) = run_in(&lab, &["import", "x.yml", "-o", "y.yml"]);
    assert!(code == Some(3) && err.contains("--from"), "{err}");
}

#[tokio::test]
async fn logs_follow_a_build_and_its_exit_code_tells_how_it_ended() {
    let lab = Lab::new();
    let gate = lab.path("gate");
    let spec = format!(
        "steps:\n  - name: wait\n    run: |\n      echo first\n      \
         while [ ! -e {} ]; do sleep 0.02; done\n      echo last\n  - exit 7\n",
        gate.display()
    );
    lab.hooked("r", &spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.until(&server, "/api/v1/builds", |v| v["builds"][0]["number"] == 1)
        .await;
    let out = lab.path("followed");
    let mut follower = lab
        .command(windlass())
        .args(["logs", "-f", "r/1"])
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let read = || std::fs::read_to_string(&out).unwrap();
    lab.wait("the first line is there while the step runs", || {
        read() == "first\n"
    });
    assert!(lab.ok(&["builds"]).contains("running"));
    std::fs::write(&gate, "").unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(1));
    assert_eq!(read(), "first\nlast\n");
    assert_eq!(lab.ok(&["logs", "1", "--step", "1"]), "first\nlast\n");
    let listed = lab.ok(&["builds", "r", "--state", "failed"]);
    assert!(
        listed.contains("r/1") && listed.contains("exit code 7"),
        "{listed}"
    );
}

#[tokio::test]
async fn cancel_ends_what_ignores_sigterm_and_retry_keeps_the_old_attempt() {
    let lab = Lab::new();
    let marker = lab.path("second");
    let spec = format!(
        "steps:\n  - |\n    if [ -e {0} ]; then echo second time; exit 0; fi\n    touch {0}\n    \
         trap '' TERM\n    echo deaf\n    while true; do sleep 0.1; done\n",
        marker.display()
    );
    lab.hooked("r", &spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.wait("the step runs", || marker.exists());
    lab.ok(&["cancel", "r/1"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "cancelled", "{build:#}");
    assert_eq!(lab.job_processes(), [] as [i32; 0]);
    let again = lab.run(&["cancel", "r/1"]);
    assert_eq!(again.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&again.stderr).contains("ended already"));

    lab.ok(&["retry", "r/1"]);
    let done = |b: &serde_json::Value| b["attempt"] == 2 && b["state"] == "passed";
    lab.until(&server, "/api/v1/repos/r/builds/1", done).await;
    let log = |attempt: u32| format!("/repos/r/builds/1/steps/1/log?attempt={attempt}");
    assert_eq!(lab.text(&server, &log(1)).await, "deaf\n");
    assert_eq!(lab.text(&server, &log(2)).await, "second time\n");
}

#[tokio::test]
async fn a_broken_spec_is_an_error_that_shows_the_place() {
    let lab = Lab::new();
    lab.hooked("r", "steps:\n  - run: echo\n    tiemout: 5m\n");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "error");
    assert!(
        build["summary"]
            .as_str()
            .unwrap()
            .starts_with("windlass.yml:3:"),
        "{build:#}"
    );
    let page = lab.text(&server, "/repos/r/builds/1").await;
    assert!(
        page.contains("tiemout: 5m") && page.contains("timeout"),
        "the page hides the place"
    );
}

#[test]
fn without_a_server_a_command_says_how_to_start_one() {
    let lab = Lab::new();
    let output = lab.run(&["builds", "--server", "http://127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("windlass serve"));
}

#[test]
fn a_failed_cell_keeps_the_others_from_beginning_if_it_shall() {
    let lab = Lab::new();
    let spec = "matrix: {n: [1, 2, 3]}\nfail-fast: true\nsteps: ['echo \"ran $MATRIX_N\"; test \"$MATRIX_N\" != 1']\n";
    checkout(&lab, spec);
    let (code, out, _) = run_in(&lab, &["run"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("ran 1") && !out.contains("ran 2"), "{out}");
    assert!(out.contains("fail-fast: build (1) failed"), "{out}");
}

#[test]
fn fmt_lays_a_spec_out_and_keeps_its_comments() {
    let lab = Lab::new();
    checkout(&lab, "steps:\n- run:   make   # why\n  name: m\n");
    let (code, out, _) = run_in(&lab, &["fmt", "--check"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("windlass.yml:2: the layout differs"), "{out}");
    assert_eq!(run_in(&lab, &["fmt"]).0, Some(0));
    let text = std::fs::read_to_string(lab.path("r/windlass.yml")).unwrap();
    assert_eq!(text, "steps:\n  - run: make # why\n    name: m\n");
    assert_eq!(run_in(&lab, &["fmt", "--check"]).0, Some(0));
    std::fs::write(lab.path("r/windlass.yml"), "steps: [a\n").unwrap();
    let (code, _, err) = run_in(&lab, &["fmt"]);
    assert_eq!(code, Some(3), "{err}");
}
