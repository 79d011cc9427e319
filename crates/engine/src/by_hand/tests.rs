//! Scripts of plans that nobody would write, run by a real shell.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use proptest::prelude::*;
use windlass_model::expression::{Compare, Expr, Name, Value};
use windlass_model::plan::{
    ArtifactPlan, Background, Clause, ClonePlan, Need, OnResult, OutputRef, Ready, ReadyCheck,
    Retry, StepPlan,
};
use windlass_model::{Event, JobPlan, Plan, Trigger};

use super::{ByHand, prose, script};
use crate::order::About;

fn trigger(branch: &str) -> Trigger {
    Trigger::new(
        Event::Push {
            branch: branch.to_owned(),
            forced: false,
        },
        "a".repeat(40).parse().unwrap(),
        format!("refs/heads/{branch}"),
    )
}

fn made(plan: &Plan, branch: &str, make: fn(&ByHand<'_>) -> String) -> String {
    let trigger = trigger(branch);
    make(&ByHand {
        plan,
        about: About {
            repo: "demo",
            number: 0,
            trigger: &trigger,
            url: None,
        },
        source: "/srv/demo",
        file: "windlass.yml",
    })
}

/// A step whose script the POSIX shell runs.
fn step(name: &str, text: &str) -> StepPlan {
    StepPlan {
        name: name.to_owned(),
        argv: ["/bin/sh", "-e", "-c", text].map(str::to_owned).to_vec(),
        script: text.to_owned(),
        ..StepPlan::default()
    }
}

/// A job that needs no checkout.
fn job(name: &str, needs: &[&str], steps: Vec<StepPlan>) -> JobPlan {
    JobPlan {
        name: name.to_owned(),
        base: name.to_owned(),
        needs: needs.iter().map(|name| need(name)).collect(),
        clone: ClonePlan {
            off: true,
            ..ClonePlan::default()
        },
        steps,
        ..JobPlan::default()
    }
}

fn need(job: &str) -> Need {
    Need {
        job: job.to_owned(),
        optional: false,
        artifacts: false,
    }
}

fn plan(jobs: Vec<JobPlan>) -> Plan {
    Plan {
        jobs,
        ..Plan::default()
    }
}

fn sound(script: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    std::fs::write(&file, script).unwrap();
    for shell in ["dash", "bash", "sh"] {
        let mut command = Command::new(shell);
        // Where a shell is missing, there are others.
        if let Ok(out) = command.arg("-n").arg(&file).output() {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.success(), "{shell}: {said}\n{script}");
        }
    }
}

fn run_with(shell: &str, script: &str, env: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("script");
    std::fs::write(&file, script).unwrap();
    let mut command = Command::new(shell);
    command
        .arg(&file)
        .env_remove("TOKEN")
        .env("TMPDIR", folder.path());
    for (name, value) in env {
        command.env(name, value);
    }
    let out = command.output().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "something was left behind: {left:?}");
    out
}

/// The exit code of a plan's script, and how each job ended.
fn ends(plan: &Plan, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let script = made(plan, "main", script);
    sound(&script);
    let mut all = Vec::new();
    for shell in ["sh", "bash"] {
        let out = run_with(shell, &script, env);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let summary = said.rsplit("\n\n  ").next().unwrap_or_default();
        let rows = summary.lines().map(str::trim).filter(|row| !row.is_empty());
        all.push((out.status.code(), rows.collect::<Vec<_>>().join("; ")));
    }
    assert_eq!(all[0], all[1], "the shells differ");
    all.remove(0)
}

fn text(text: &str) -> Box<Expr> {
    Box::new(Expr::Value(Value::Text(text.to_owned())))
}

fn result_is(job: &str, wanted: &str) -> Clause {
    let name = Box::new(Expr::Name(Name::NeedResult(job.to_owned())));
    Clause {
        text: format!("needs.{job}.result == {wanted:?}"),
        line: 1,
        expr: Expr::Compare(Compare::Equal, name, text(wanted)),
    }
}

/// Something of everything.
fn full() -> Plan {
    let mut build = job("build", &[], vec![step("Build", "make\nmake check")]);
    build.clone = ClonePlan::default();
    build.env.insert("A".to_owned(), "it's $HOME".to_owned());
    build.secrets = vec!["TOKEN".to_owned()];
    build.outputs = vec!["version".to_owned()];
    build.artifacts = vec![ArtifactPlan {
        name: "wheels".to_owned(),
        paths: vec!["dist/**".to_owned(), "!**/*.tmp".to_owned()],
        retention: None,
        required: true,
        when: OnResult::Success,
    }];
    let mut test = job("test (3.10)", &[], vec![step("Test", "./check")]);
    test.base = "test".to_owned();
    test.matrix.insert("python".to_owned(), "3.10".to_owned());
    test.needs = vec![Need {
        artifacts: true,
        ..need("build")
    }];
    test.workdir = Some("sub/folder".to_owned());
    test.retry = Some(Retry {
        count: 2,
        backoff: Duration::from_secs(10),
        exit_codes: vec![75],
        infrastructure: true,
        timeout: false,
    });
    test.steps[0].timeout = Some(Duration::from_secs(60));
    test.steps[0].expect = vec![0, 2];
    test.steps.push(StepPlan {
        on_result: OnResult::Always,
        ..step("Clean up", "rm -rf cache")
    });
    test.steps.push(StepPlan {
        skipped: Some("`branch: main` does not hold".to_owned()),
        ..step("Publish", "./publish")
    });
    let mut docs = job("docs", &[], vec![step("Docs", "make docs")]);
    docs.skipped = Some("`branch == \"docs\"` does not hold".to_owned());
    let mut deploy = job(
        "deploy",
        &["build", "test"],
        vec![step("Deploy", "./deploy")],
    );
    deploy.env_from.insert(
        "VERSION".to_owned(),
        OutputRef {
            job: "build".to_owned(),
            output: "version".to_owned(),
        },
    );
    deploy.when = vec![result_is("test", "passed")];
    deploy.approve = Some("Deploy to production?".to_owned());
    let mut alarm = job("alarm", &["deploy"], vec![step("Alarm", "./alarm")]);
    alarm.on_result = OnResult::Failure;
    alarm.allow_failure = true;
    plan(vec![deploy, build, test, docs, alarm])
}

/// The part of a script that a plan decides.
fn jobs_of(script: &str) -> &str {
    let begin = script.find("\nsecret_1=").unwrap();
    &script[begin..]
}

#[test]
fn a_script_of_everything() {
    let script = made(&full(), "main", script);
    sound(&script);
    insta::assert_snapshot!("script", jobs_of(&script));
}

#[test]
fn instructions_for_everything() {
    let mut plan = full();
    let mut other = plan.jobs[2].clone();
    other.name = "test (3.11)".to_owned();
    other.matrix.insert("python".to_owned(), "3.11".to_owned());
    plan.jobs.insert(3, other);
    plan.jobs[2].steps.insert(
        0,
        StepPlan {
            background: Some(Background {
                ready: Some(Ready {
                    check: ReadyCheck::Port(8080),
                    timeout: Duration::from_secs(30),
                }),
            }),
            argv: ["bash", "-c", "./server"].map(str::to_owned).to_vec(),
            ..step("Server", "./server")
        },
    );
    plan.jobs[3].steps = plan.jobs[2].steps.clone();
    insta::assert_snapshot!("prose", made(&plan, "main", prose));
}

#[test]
fn instructions_are_only_text() {
    let mut only = job(
        "a\n2. Run `rm -rf /`\u{1b}[1A",
        &[],
        vec![step("s", "make\u{1b}[2J")],
    );
    only.skipped = Some("x\ny".to_owned());
    let all = plan(vec![
        job("b\r", &[], vec![step("\u{7}", "make\u{1b}[2J")]),
        only,
    ]);
    let text = made(&all, "m\nx", prose);
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    assert!(
        text.lines()
            .any(|row| row.starts_with("3. Leave out the job `a\\n2. Run")),
        "{text}"
    );
}

#[test]
fn what_is_missing_is_named_and_nothing_begins() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let mut only = job(
        "a",
        &[],
        vec![step("s", &format!("touch {}", mark.display()))],
    );
    only.secrets = vec!["TOKEN".to_owned(), "OTHER".to_owned()];
    let text = made(&plan(vec![only.clone()]), "main", script);
    let out = run_with("sh", &text, &[("OTHER", "x")]);
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(said.contains("missing: TOKEN\n"), "{said}");
    only.secrets.clear();
    only.image = Some("rust".to_owned());
    let text = made(&plan(vec![only.clone()]), "main", script);
    assert_eq!(run_with("sh", &text, &[]).status.code(), Some(2));
    assert!(!mark.exists());
    let anyway = [("WINDLASS_ANYWAY", "1")];
    assert_eq!(run_with("sh", &text, &anyway).status.code(), Some(0));
    assert!(mark.exists());
    only.image = None;
    only.approve = Some("Really?".to_owned());
    let asks = plan(vec![only]);
    let out = run_with("sh", &made(&asks, "main", script), &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("Really?"));
    let agreed = ends(&asks, &[("WINDLASS_YES", "1")]);
    assert_eq!(agreed, (Some(0), "passed  a".to_owned()));
}

#[test]
fn a_failure_has_consequences() {
    let bad = || vec![step("bad", "exit 3")];
    let good = || vec![step("good", "true")];
    let mut spared = job("spared", &[], bad());
    spared.allow_failure = true;
    let mut alarm = job("alarm", &["next"], good());
    alarm.on_result = OnResult::Failure;
    let mut quiet = job("quiet", &["good"], good());
    quiet.on_result = OnResult::Failure;
    let mut always = job("always", &["bad"], good());
    always.on_result = OnResult::Always;
    always.when = vec![result_is("bad", "failed")];
    let mut never = job("never", &["bad"], good());
    never.on_result = OnResult::Always;
    never.when = vec![result_is("bad", "passed")];
    let jobs = vec![
        job("good", &[], good()),
        job("bad", &[], bad()),
        job("next", &["bad"], good()),
        alarm,
        quiet,
        always,
        never,
        spared,
        job("after-spared", &["spared"], good()),
    ];
    let (code, rows) = ends(&plan(jobs.clone()), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        rows,
        "passed  good; failed  bad; skipped  next; passed  alarm; skipped  quiet; passed  always; \
         skipped  never; failed  spared; passed  after-spared"
    );
    let allowed = jobs[7..].to_vec();
    assert_eq!(ends(&plan(allowed), &[]).0, Some(0));
}

#[test]
fn one_failed_cell_cancels_the_others() {
    let mut cells = vec![
        job("t (1)", &[], vec![step("bad", "exit 1")]),
        job("t (2)", &[], vec![step("good", "true")]),
    ];
    for cell in &mut cells {
        cell.base = "t".to_owned();
        cell.fail_fast = true;
    }
    let rows = ends(&plan(cells), &[]).1;
    assert_eq!(rows, "failed  t (1); cancelled  t (2)");
}

#[test]
fn steps_follow_their_conditions_codes_and_limits() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("said");
    let note = |word: &str| format!("echo {word} >>{}", file.display());
    let steps = vec![
        StepPlan {
            expect: vec![3, 4],
            ..step("expected", &format!("{}; exit 4", note("expected")))
        },
        StepPlan {
            on_result: OnResult::Failure,
            ..step("too early", &note("too-early"))
        },
        StepPlan {
            timeout: Some(Duration::from_secs(1)),
            ..step("slow", &format!("{}; sleep 20", note("slow")))
        },
        step("skipped", &note("skipped")),
        StepPlan {
            on_result: OnResult::Failure,
            ..step("failure", &note("failure"))
        },
        StepPlan {
            on_result: OnResult::Always,
            ..step("always", &note("always"))
        },
    ];
    let text = made(&plan(vec![job("a", &[], steps)]), "main", script);
    let out = run_with("sh", &text, &[]);
    assert_eq!(out.status.code(), Some(1));
    let said = std::fs::read_to_string(&file).unwrap();
    assert_eq!(said, "expected\nslow\nfailure\nalways\n");
    let mut slow = job("b", &[], vec![step("slow", "sleep 20")]);
    slow.timeout = Duration::from_secs(1);
    let also = StepPlan {
        on_result: OnResult::Always,
        ..step("always", &note("job-over"))
    };
    slow.steps.push(also);
    let out = run_with("sh", &made(&plan(vec![slow]), "main", script), &[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(!std::fs::read_to_string(&file).unwrap().contains("job-over"));
}

#[test]
fn a_program_or_folder_that_is_not_there_is_an_error() {
    let mut program = job("program", &[], vec![step("s", "true")]);
    program.steps[0].argv = vec!["no-such-program-here".to_owned()];
    program.steps[0].expect = vec![127];
    let mut folder = job("folder", &[], vec![step("s", "true")]);
    folder.workdir = Some("nowhere".to_owned());
    let link = step("link", "ln -s / out");
    let mut out = job("out", &[], vec![link, step("s", "true")]);
    out.steps[1].workdir = Some("out/tmp".to_owned());
    let (code, rows) = ends(&plan(vec![program, folder, out]), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(rows, "error  program; error  folder; error  out");
}

#[test]
fn an_interrupt_ends_the_step_and_removes_the_folders() {
    use std::os::unix::process::ExitStatusExt as _;

    use nix::sys::signal::{Signal, kill};
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let wait = format!(
        "echo $$ >{0}.new; mv {0}.new {0}; sleep 60; true",
        pid.display()
    );
    let file = folder.path().join("script");
    let steps = vec![step("wait", &wait)];
    std::fs::write(
        &file,
        made(&plan(vec![job("a", &[], steps)]), "main", script),
    )
    .unwrap();
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut child = Command::new("sh")
        .arg(&file)
        .env("TMPDIR", &temporary)
        .spawn()
        .unwrap();
    while !pid.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = i32::try_from(child.id()).unwrap();
    kill(nix::unistd::Pid::from_raw(id), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(143), None));
    let step = std::fs::read_to_string(&pid).unwrap();
    assert!(
        !Path::new("/proc").join(step.trim()).exists(),
        "the step goes on"
    );
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn steps_mind_interrupts_as_always() {
    let steps = vec![step("s", "grep SigIgn /proc/self/status")];
    let text = made(&plan(vec![job("a", &[], steps)]), "main", script);
    for shell in ["sh", "bash"] {
        let said = String::from_utf8(run_with(shell, &text, &[]).stdout).unwrap();
        let mask = said
            .lines()
            .find_map(|row| row.strip_prefix("SigIgn:"))
            .unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        // SIGINT is the second, SIGQUIT the third.
        assert_eq!(mask & 0b110, 0, "{shell}: {said}");
    }
}

#[test]
fn retries_begin_anew_and_stop_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let script_of = |codes: &[i32]| {
        let text = format!("test ! -e x; touch x; echo >>{}; exit 7", count.display());
        let mut only = job("a", &[], vec![step("s", &text)]);
        only.retry = Some(Retry {
            count: 2,
            backoff: Duration::ZERO,
            exit_codes: codes.to_vec(),
            infrastructure: false,
            timeout: false,
        });
        made(&plan(vec![only]), "main", script)
    };
    let tries = || std::fs::read_to_string(&count).map_or(0, |text| text.len());
    assert_eq!(run_with("sh", &script_of(&[8]), &[]).status.code(), Some(1));
    assert_eq!(tries(), 1);
    run_with("sh", &script_of(&[7]), &[]);
    assert_eq!(tries(), 4);
    run_with("sh", &script_of(&[]), &[]);
    assert_eq!(tries(), 7);
}

#[test]
fn files_and_values_go_from_job_to_job() {
    let write = "mkdir -p dist/sub .git; echo 1 >dist/a.txt; echo 2 >dist/sub/b.txt; echo 3 >dist/no; \
                 echo 4 >.git/config; echo \"v=x'y \\$(id)\" >>\"$WINDLASS_OUTPUT\"";
    let mut first = job("first", &[], vec![step("write", write)]);
    first.outputs = vec!["v".to_owned()];
    first.artifacts = vec![ArtifactPlan {
        name: "files".to_owned(),
        paths: vec!["**".to_owned(), "!dist/no".to_owned()],
        retention: None,
        required: true,
        when: OnResult::Always,
    }];
    let read = "test \"$(find . -type f | sort | tr '\\n' ' ')\" = './dist/a.txt ./dist/sub/b.txt ' && \
                test \"$V\" = \"x'y \\$(id)\"";
    let mut second = job("second", &[], vec![step("read", read)]);
    second.needs = vec![Need {
        artifacts: true,
        ..need("first")
    }];
    let from = OutputRef {
        job: "first".to_owned(),
        output: "v".to_owned(),
    };
    second.env_from.insert("V".to_owned(), from);
    let mut empty = job("empty", &[], vec![step("nothing", "true")]);
    empty.artifacts = first.artifacts.clone();
    let mut stray = job(
        "stray",
        &[],
        vec![step("o", "echo b=1 >>\"$WINDLASS_OUTPUT\"")],
    );
    stray.outputs = vec!["v".to_owned()];
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let all = plan(vec![first, second, empty, stray]);
    let (code, rows) = ends(&all, &[("WINDLASS_ARTIFACTS", &to)]);
    assert_eq!(code, Some(1));
    assert_eq!(
        rows,
        "passed  first; passed  second; failed  empty; failed  stray"
    );
    assert!(folder.path().join("first/files/dist/sub/b.txt").exists());
}

#[test]
fn a_step_runs_beside_the_others_until_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let serve = format!(
        "echo $$ >{}; sleep 1; echo listening now; sleep 60",
        pid.display()
    );
    let beside = |text: &str, ready: Option<ReadyCheck>| StepPlan {
        background: Some(Background {
            ready: ready.map(|check| Ready {
                check,
                timeout: Duration::from_secs(20),
            }),
        }),
        ..step("server", text)
    };
    let listening = || Some(ReadyCheck::Output("listening".to_owned()));
    let good = job(
        "good",
        &[],
        vec![
            beside(&serve, listening()),
            step("use", &format!("kill -0 \"$(cat {})\"", pid.display())),
        ],
    );
    let dies = job(
        "dies",
        &[],
        vec![beside("exit 0", listening()), step("use", "true")],
    );
    let fails = job(
        "fails",
        &[],
        vec![beside("exit 5", None), step("use", "sleep 1")],
    );
    let (code, rows) = ends(&plan(vec![good, dies, fails]), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(rows, "passed  good; failed  dies; failed  fails");
    let pid = std::fs::read_to_string(&pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

/// Letters of which shells think something, and a few that they don't.
fn hostile() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("$(touch owned)".to_owned()),
        Just("`touch owned`".to_owned()),
        Just("'; touch owned; '".to_owned()),
        Just("\ntouch owned\n".to_owned()),
        Just("\\".to_owned()),
        Just("$HOME ${x} $$".to_owned()),
        Just("*".to_owned()),
        Just("%s\\n".to_owned()),
        Just("-n".to_owned()),
        Just("é\u{2028}\u{7f}\u{1b}[1m".to_owned()),
        Just("EOF\n".to_owned()),
        Just("#!&|<>(){}[]~=;".to_owned()),
        "[ -~]{0,3}",
    ];
    prop::collection::vec(pieces, 0..5).prop_map(|pieces| pieces.concat())
}

fn some_name() -> impl Strategy<Value = String> {
    hostile().prop_map(|text| format!("x{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn nothing_breaks_out(
        names in prop::collection::vec(some_name(), 4),
        values in prop::collection::vec(hostile(), 4),
        arguments in prop::collection::vec(hostile(), 1..4),
        branch in hostile(),
        secret in hostile(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let (head, tail) = ("for a do printf '%s\\0' \"$a\"; done >\"$OUT\"; printf '%s\\0' \"$A\" \"$B\" \
            \"$MATRIX_M\" \"$WINDLASS_BRANCH\" \"$WINDLASS_JOB\" \"$TOKEN\" >>\"$OUT\"", "sh");
        let mut only = job(&names[0], &[], vec![]);
        only.env.insert("OUT".to_owned(), out.display().to_string());
        only.env.insert("A".to_owned(), values[0].clone());
        only.matrix.insert("m".to_owned(), values[1].clone());
        only.secrets = vec!["TOKEN".to_owned()];
        only.approve = Some(values[3].clone());
        only.when = vec![Clause { text: names[3].clone(), ..result_is(&names[3], "skipped") }];
        only.on_result = OnResult::Always;
        let mut argv: Vec<String> = ["/bin/sh", "-c", head, tail].map(str::to_owned).to_vec();
        argv.extend(arguments.iter().cloned());
        let mut run = StepPlan { name: names[1].clone(), argv, ..StepPlan::default() };
        run.env.insert("B".to_owned(), values[2].clone());
        let left = StepPlan { skipped: Some(values[2].clone()), ..step(&names[2], "true") };
        only.steps = vec![run, left];
        only.artifacts = vec![ArtifactPlan {
            name: names[2].clone(),
            paths: vec![names[3].clone()],
            retention: None,
            required: false,
            when: OnResult::Always,
        }];
        let mut skipped = job(&names[3], &[], vec![step(&values[0], &values[1])]);
        skipped.skipped = Some(values[3].clone());
        let both = Plan { jobs: vec![only, skipped], skipped: Some(values[3].clone()), ..Plan::default() };
        let text = made(&both, &branch, script);
        sound(&text);
        for shell in ["sh", "bash"] {
            let env = [("TOKEN", secret.as_str()), ("WINDLASS_YES", "1")];
            let ran = run_with(shell, &text, &env);
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            prop_assert_eq!(ran.status.code(), Some(0), "{}\n{}", said, String::from_utf8_lossy(&ran.stderr));
            let mut wanted = arguments.clone();
            wanted.extend([&values[0], &values[2], &values[1], &branch, &names[0], &secret].map(Clone::clone));
            let wanted: String = wanted.iter().map(|word| format!("{word}\0")).collect();
            prop_assert_eq!(String::from_utf8(std::fs::read(&out).unwrap()).unwrap(), wanted);
            prop_assert!(!Path::new("owned").exists());
        }
    }
}
