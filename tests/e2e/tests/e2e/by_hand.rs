//! `windlass script` and `windlass run` do the same: exit codes, and what the steps wrote.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::lab::Lab;

/// What one of both left behind.
#[derive(Debug, PartialEq, Eq)]
struct Done {
    code: Option<i32>,
    /// Lines that the steps appended, sorted: the order of jobs that don't need each other is free.
    lines: Vec<String>,
}

fn done(said: &Path, output: &Output) -> Done {
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    if said.exists() {
        std::fs::remove_file(said).unwrap();
    }
    Done {
        code: output.status.code(),
        lines,
    }
}

/// Does both in a checkout, and returns what both did.
fn compare(lab: &Lab, work: &Path, args: &[&str]) -> Done {
    let said = lab.path("said");
    let dir = work.to_str().unwrap();
    let secrets = lab.path("secrets");
    std::fs::write(&secrets, "TOKEN=it's $(a) secret\n").unwrap();
    let script = lab.ok(&[&["script", "--dir", dir], args].concat());
    let file = lab.path("script.sh");
    std::fs::write(&file, &script).unwrap();
    let mut all = Vec::new();
    // The others don't differ from each other in anything that options change.
    let shells: &[&str] = if args.is_empty() {
        &["sh", "bash"]
    } else {
        &["sh"]
    };
    for shell in shells {
        let by_hand = lab
            .command(shell)
            .arg(&file)
            .env("TOKEN", "it's $(a) secret")
            .env("NPM_TOKEN", "none")
            .env("WINDLASS_YES", "1")
            .env("UNSEEN", "by steps")
            .output()
            .unwrap();
        all.push((shell, done(&said, &by_hand), by_hand));
    }
    let secrets = secrets.to_str().unwrap();
    let run = lab.run(
        &[
            &["run", "--yes", "--secrets-file", secrets, "--dir", dir],
            args,
        ]
        .concat(),
    );
    let wanted = done(&said, &run);
    for (shell, done, output) in &all {
        assert_eq!(*done, wanted, "{shell}: {output:?}\nwindlass run: {run:?}");
    }
    wanted
}

/// A checkout with one commit of this spec, whose steps append to `$SAID`.
fn spec(lab: &Lab, name: &str, jobs: &str) -> PathBuf {
    let said = lab.path("said");
    let text = format!("env: {{ SAID: {} }}\n{jobs}", said.display());
    lab.repository(name, &text);
    lab.path(name)
}

#[test]
fn many_jobs() {
    let lab = Lab::new();
    let jobs = r#"
params:
  target: { type: choice, options: [staging, "it's"], default: staging }
  count: { type: number, default: 3 }
jobs:
  build:
    secrets: [TOKEN]
    outputs: [version, changed]
    artifacts:
      - { name: out, paths: ["out/**", "!**/*.tmp"] }
    steps:
      - mkdir -p "out/a b"; echo 1 >"out/a b/c"; echo 2 >out/x.tmp; echo 3 >out/d
      - echo "build $TOKEN $PARAM_TARGET $PARAM_COUNT" >>"$SAID"
      - env | grep -E '^(WINDLASS_(BUILD|EVENT|REF|REVISION|REPO|BRANCH|JOB|TAG)|CI|UNSEEN)=' >>"$SAID"
      - printf 'version=0\nversion=%s\n\nchanged=no' "it's 1.2" >>"$WINDLASS_OUTPUT"
      - git log --format=%H >>"$SAID"; git status --porcelain --ignored >>"$SAID"
  test:
    needs: [{ job: build, artifacts: true }]
    matrix:
      python: [3.10, "3'11"]
      os: [a b]
    workdir: out
    env:
      VERSION: ${{ needs.build.outputs.version }}
      NAME: p-${{ matrix.python }}
    steps:
      - echo "test $VERSION $NAME $MATRIX_OS $WINDLASS_JOB" >>"$SAID"
      - find . -type f | sort >>"$SAID"
      - run: pwd | grep -o 'a b$' >>"$SAID"
        workdir: out/a b
      - name: 'a "name" $(touch x)'
        shell: python
        run: |
          import os, sys
          print("python", os.environ["NAME"], sys.argv, file=open(os.environ["SAID"], "a"))
      - shell: [bash, -c]
        run: 'set -o | grep -c "^errexit *on" >>"$SAID" || echo "${BASH_VERSION:+bash}" >>"$SAID"'
  changed:
    needs: [build]
    when: needs.build.outputs.changed == "yes" || glob(needs.build.outputs.version, "z*")
    steps: ['echo changed >>"$SAID"']
  starts:
    needs: [build, changed?, nothing?]
    when: starts_with(needs.build.outputs.version, "it's") && !(needs.build.result == "failed")
    steps: ['echo starts >>"$SAID"']
  docs:
    when: branch == "docs"
    steps: ['echo docs >>"$SAID"']
  after-docs:
    needs: docs
    steps: ['echo after-docs >>"$SAID"']
  flaky:
    retry: { count: 1, backoff: 1s, on: [3] }
    steps: ['echo flaky >>"$SAID"; test "$(grep -c flaky "$SAID")" = 2 || exit 3']
  spared:
    allow-failure: true
    steps:
      - run: sleep 30
        timeout: 1s
      - run: echo "not reached" >>"$SAID"
      - { run: 'echo "failure" >>"$SAID"', when: failure }
      - { run: 'echo "always" >>"$SAID"; exit 2', when: always, expect: [1, 2] }
  deploy:
    needs: [test, flaky, starts, spared]
    when: needs.spared.result == "failed"
    approve: It's fine?
    clone: off
    steps: ['ls -A >>"$SAID"; echo "deploy" >>"$SAID"']
"#
    .replace(", nothing?", "");
    let work = spec(&lab, "r", &jobs);
    let done = compare(&lab, &work, &[]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.lines.contains(&"deploy".to_owned()), "{done:?}");
    let secret = "build it's $(a) secret staging 3".to_owned();
    assert!(done.lines.contains(&secret), "{done:?}");
    let args = ["--tag", "v'1", "--param", "target=it's", "--job", "flaky"];
    assert_eq!(compare(&lab, &work, &args).code, Some(0));
    let args = ["--branch", "docs", "--param", "count=7"];
    let done = compare(&lab, &work, &args);
    assert!(done.lines.contains(&"after-docs".to_owned()), "{done:?}");
}

#[test]
fn failures() {
    let lab = Lab::new();
    let jobs = r#"
jobs:
  bad:
    outputs: [x]
    artifacts:
      - { name: log, paths: log.txt, when: failure }
    steps:
      - echo "x=1" >>"$WINDLASS_OUTPUT"; echo log >log.txt
      - exit 4
      - echo "never" >>"$SAID"
  next:
    needs: bad
    steps: ['echo next >>"$SAID"']
  further:
    needs: next?
    steps: ['echo further >>"$SAID"']
  alarm:
    needs: [next]
    when: failure
    steps: ['echo alarm >>"$SAID"']
  calm:
    needs: [fine]
    when: failure
    steps: ['echo calm >>"$SAID"']
  always:
    needs: [{ job: bad, artifacts: true }]
    when: { result: always, if: needs.bad.result == "failed" }
    env: { X: "${{ needs.bad.outputs.x }}" }
    steps: ['echo "always $X $(cat log.txt)" >>"$SAID"']
  fine:
    steps: ['echo fine >>"$SAID"']
  empty:
    artifacts: [nothing/**]
    steps: ['echo empty >>"$SAID"']
  stray:
    outputs: [a]
    steps: ['echo "b=1" >>"$WINDLASS_OUTPUT"']
  after-stray:
    needs: stray
    steps: ['echo after-stray >>"$SAID"']
  missing:
    allow-failure: true
    steps:
      - { run: x, shell: [no-such-shell-here] }
  after-missing:
    needs: missing
    when: needs.missing.result == "error"
    steps: ['echo after-missing >>"$SAID"']
"#;
    let work = spec(&lab, "r", jobs);
    let done = compare(&lab, &work, &[]);
    assert_eq!(done.code, Some(1));
    let wanted = [
        "after-missing",
        "alarm",
        "always 1 log",
        "empty",
        "fine",
        "further",
    ];
    assert_eq!(done.lines, wanted);
    for (job, code) in [("fine", 0), ("bad", 1), ("empty", 1), ("missing", 0)] {
        assert_eq!(
            compare(&lab, &work, &["--job", job]).code,
            Some(code),
            "{job}"
        );
    }
}

#[test]
fn as_much_history_as_the_plan_says() {
    let lab = Lab::new();
    let jobs = r#"
jobs:
  full:
    clone: { depth: full }
    steps: ['git rev-list --count HEAD >>"$SAID"; git describe --always >>"$SAID"']
  two:
    clone: { depth: 2 }
    steps: ['git rev-list --count HEAD >>"$SAID"; git symbolic-ref -q HEAD >>"$SAID" || git remote >>"$SAID"']
"#;
    let work = spec(&lab, "r", jobs);
    for n in 0..3 {
        let message = n.to_string();
        lab.git(&work, &["commit", "-q", "--allow-empty", "-m", &message]);
    }
    let done = compare(&lab, &work, &[]);
    assert_eq!(done.code, Some(0));
    assert!(done.lines.contains(&"2".to_owned()) && done.lines.contains(&"4".to_owned()));
}

fn is_here(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn toolchains() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup"));
    let folder = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    folder.or_else(home).filter(|folder| folder.exists())
}

/// Every example whose tools are here, with a small project for it. That for Python is not among
/// them: it installs from the network.
#[test]
fn the_examples() {
    let lab = Lab::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let make = ("Makefile", "all:\n\t@echo all\ncheck:\n\t@echo check\n");
    let package =
        r#"{"name": "x", "version": "1.0.0", "scripts": {"build": "true", "test": "true"}}"#;
    let lock = r#"{"name": "x", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
        "packages": {"": {"name": "x", "version": "1.0.0"}}}"#;
    let cargo = "[package]\nname = \"x\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    let cargo_lock = "version = 4\n\n[[package]]\nname = \"x\"\nversion = \"0.1.0\"\n";
    let rust = [
        ("Cargo.toml", cargo),
        ("Cargo.lock", cargo_lock),
        ("src/lib.rs", "//! Nothing.\n"),
    ];
    let known: [(&str, &[&str], &[(&str, &str)]); 5] = [
        ("rust", &["cargo", "cargo-clippy", "cargo-fmt"], &rust),
        ("make", &["make"], &[make]),
        ("toml", &["make"], &[make]),
        (
            "node",
            &["npm"],
            &[("package.json", package), ("package-lock.json", lock)],
        ),
        (
            "go",
            &["go"],
            &[
                ("go.mod", "module x\n"),
                ("main.go", "package main\nfunc main() {}\n"),
            ],
        ),
    ];
    let mut compared = 0;
    for (name, tools, files) in known {
        if !tools.iter().all(|tool| is_here(tool)) {
            continue;
        }
        let work = lab.path(name);
        std::fs::create_dir(&work).unwrap();
        for entry in std::fs::read_dir(examples.join(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), work.join(entry.file_name())).unwrap();
        }
        for (file, text) in files {
            let file = work.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        lab.git(&work, &["init", "-q"]);
        lab.git(&work, &["add", "-A"]);
        lab.git(&work, &["commit", "-q", "-m", "First"]);
        let dir = work.to_str().unwrap();
        let script = lab.ok(&["script", "--dir", dir]);
        let file = lab.path("script.sh");
        std::fs::write(&file, script).unwrap();
        std::fs::write(lab.path("secrets"), "NPM_TOKEN=x\n").unwrap();
        let mut by_hand = lab.command("sh");
        by_hand.arg(&file).env("NPM_TOKEN", "x");
        let mut run = lab.command(crate::lab::windlass());
        run.args(["run", "--dir", dir, "--secrets-file"]);
        run.arg(lab.path("secrets"));
        let both = [by_hand, run].map(|mut command| {
            // Rust's tools are found through the home folder, which is another one here.
            if let Some(tools) = toolchains() {
                command.env("RUSTUP_HOME", tools);
            }
            command.output().unwrap()
        });
        let [by_hand, run] = both;
        assert_eq!(
            by_hand.status.code(),
            run.status.code(),
            "{name}: {by_hand:?}\n{run:?}"
        );
        assert_eq!(run.status.code(), Some(0), "{name}: {run:?}");
        compared += 1;
    }
    assert!(compared > 0, "no example's tools are here");
}

#[test]
fn the_plan_in_words() {
    let lab = Lab::new();
    let work = spec(
        &lab,
        "r",
        "steps:\n  - { name: Test, run: ./check, workdir: sub }\n",
    );
    let dir = work.to_str().unwrap();
    let words = lab.ok(&["explain", "--dir", dir, "--tag", "v1"]);
    assert!(
        words.starts_with("What windlass.yml of r plans for the tag v1, by hand"),
        "{words}"
    );
    for part in [
        "1. Check out",
        "In the folder sub run \"Test\":",
        "export WINDLASS_TAG=v1",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(lab.ok(&["explain", "E0130"]).starts_with("E0130: "));
    assert!(lab.ok(&["explain", "--codes"]).lines().count() > 20);
}
