//! `windlass script` and `windlass run` do the same: exit codes, and what the steps wrote.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::examples;
use crate::lab::{Lab, windlass};

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
fn steps_in_the_background() {
    let lab = Lab::new();
    let jobs = r#"
jobs:
  good:
    steps:
      - run: |
          sleep 1; touch ready; echo "now listening"; sleep 60
        background: { ready: { output: listening } }
      - test -e ready && echo used >>"$SAID"
  by-command:
    steps:
      - run: sleep 1; touch ready; sleep 60
        background: { ready: { run: test -e ready } }
      - test -e ready && echo used too >>"$SAID"
  ends-well:
    steps:
      - { run: "true", background: true }
      - sleep 1
      - echo went on >>"$SAID"
  fails:
    steps:
      - { run: exit 5, background: true }
      - sleep 1
      - echo never >>"$SAID"
      - { run: echo seen >>"$SAID", when: failure }
  never-ready:
    steps:
      - { run: sleep 60, background: { ready: { output: x, timeout: 1s } } }
      - echo never >>"$SAID"
  absent:
    steps:
      - { run: x, shell: [no-such-shell-here], background: true }
      - sleep 1
  after-absent:
    needs: absent
    when: { result: always, if: needs.absent.result == "error" }
    steps: ['echo after-absent >>"$SAID"']
"#;
    let work = spec(&lab, "r", jobs);
    let done = compare(&lab, &work, &[]);
    assert_eq!(done.code, Some(1));
    let wanted = ["after-absent", "seen", "used", "used too", "went on"];
    assert_eq!(done.lines, wanted);
    for (job, code) in [
        ("good", 0),
        ("ends-well", 0),
        ("fails", 1),
        ("never-ready", 1),
    ] {
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

/// The files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder).unwrap();
                found.push(below.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// The examples, the tools without which they can't be run, and the event that is supposed.
const EXAMPLES: &[(&str, &[&str], &[&str])] = &[
    ("c-cmake", &["cmake", "cc"], &[]),
    ("docs-site", &["python3"], &["--branch", "topic"]),
    // The folder has only the spec.
    ("go", &["a module"], &[]),
    ("make", &["make"], &[]),
    // PostgreSQL runs beside its jobs.
    ("migrations", &["containers"], &[]),
    ("monorepo", &["make"], &["--changed", "api/x.c"]),
    // It pushes to a registry.
    ("multi-arch-image", &["a registry"], &[]),
    ("nightly", &["make"], &["--schedule", "nightly"]),
    ("node", &["npm"], &[]),
    ("python", &["python3"], &["--job", "build (-OO)"]),
    ("release", &["tar"], &["--tag", "v1.2.3", "--job", "test"]),
    ("rust", &["cargo", "cargo-clippy", "cargo-fmt"], &[]),
    ("toml", &["make"], &[]),
];

#[test]
fn every_example_is_known() {
    let known: Vec<&str> = EXAMPLES.iter().map(|(name, ..)| *name).collect();
    let folders = std::fs::read_dir(examples::examples()).unwrap();
    let mut names: Vec<String> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(known, names, "say in EXAMPLES what a new one needs");
}

/// Does an example by hand and with `windlass run`; the exit codes and the artifacts are the same.
fn compare_example(name: &str, args: &[&str]) {
    let lab = Lab::new();
    let work = examples::checkout(&lab, name);
    let dir = work.to_str().unwrap();
    let script = lab.ok(&[&["script", "--dir", dir], args].concat());
    let file = lab.path("script.sh");
    std::fs::write(&file, script).unwrap();
    std::fs::write(lab.path("secrets"), "NPM_TOKEN=x\n").unwrap();
    let mut by_hand = lab.command("sh");
    by_hand.arg(&file).env("NPM_TOKEN", "x");
    by_hand.env("WINDLASS_ARTIFACTS", lab.path("by-hand"));
    let mut run = lab.command(windlass());
    run.args(["run", "--dir", dir]).args(args);
    run.arg("--secrets-file").arg(lab.path("secrets"));
    run.arg("--artifacts").arg(lab.path("run"));
    let [by_hand, run] = [by_hand, run].map(|mut command| {
        // Rust's tools are found through the home folder, which is another one here.
        if let Some(tools) = toolchains() {
            command.env("RUSTUP_HOME", tools);
        }
        command.output().unwrap()
    });
    let codes = (by_hand.status.code(), run.status.code());
    assert_eq!(codes.0, codes.1, "{name}: {by_hand:?}\n{run:?}");
    assert_eq!(codes.1, Some(0), "{name}: {run:?}");
    let kept = [lab.path("by-hand"), lab.path("run")].map(|folder| files(&folder));
    assert_eq!(kept[0], kept[1], "{name}: {by_hand:?}");
}

macro_rules! examples {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                let (name, tools, args) = EXAMPLES.iter().find(|(name, ..)| *name == $name).unwrap();
                // Machines differ in the tools that they have.
                if tools.iter().all(|tool| is_here(tool)) {
                    compare_example(name, args);
                }
            }
        )*
    };
}

examples! {
    example_c_cmake: "c-cmake",
    example_docs_site: "docs-site",
    example_make: "make",
    example_monorepo: "monorepo",
    example_nightly: "nightly",
    example_node: "node",
    example_python: "python",
    example_release: "release",
    example_rust: "rust",
    example_toml: "toml",
}

/// Whatever a spec says, what comes out is a script, and words.
#[test]
fn every_spec_of_the_tests_makes_a_sound_script() {
    let lab = Lab::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut specs: Vec<PathBuf> = Vec::new();
    for folder in [root.join("crates/spec/tests/ui"), root.join("examples")] {
        let found = files(&folder);
        let yaml = found.iter().filter(|file| file.ends_with(".yml"));
        specs.extend(yaml.map(|file| folder.join(file)));
    }
    lab.repository("r", "steps: [make]");
    let work = lab.path("r");
    let dir = work.to_str().unwrap();
    let mut sound = 0;
    for spec in specs {
        std::fs::copy(&spec, work.join("windlass.yml")).unwrap();
        let output = lab.run(&["script", "--dir", dir]);
        if !output.status.success() {
            continue;
        }
        let file = lab.path("script.sh");
        std::fs::write(&file, &output.stdout).unwrap();
        for shell in ["sh", "bash"] {
            let checked = lab.command(shell).arg("-n").arg(&file).output().unwrap();
            assert!(
                checked.status.success(),
                "{shell}: {}: {checked:?}",
                spec.display()
            );
        }
        lab.ok(&["explain", "--dir", dir]);
        sound += 1;
    }
    assert!(sound > 20, "only {sound} specs");
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
