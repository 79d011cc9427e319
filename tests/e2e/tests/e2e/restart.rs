//! A restart is a non-event: the server is killed at every named point and at random ones, and the
//! build ends as if nothing had happened.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, Server};
use crate::servers::Postgres;

const LINES: usize = 200;

/// Two steps with a known output; each notes outside the workspace that it ran.
fn spec(lab: &Lab) -> String {
    let count = lab.path("count");
    let count = count.display();
    format!(
        "steps:\n  - name: one\n    run: |\n      echo one >> {count}\n      \
         for i in $(seq 1 {LINES}); do echo line $i; sleep 0.004; done\n      \
         printf 'no newline \\377\\000'\n  - name: two\n    run: |\n      echo two >> {count}\n      \
         for i in $(seq 1 {LINES}); do echo again $i; sleep 0.002; done\n"
    )
}

fn expected(word: &str, tail: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=LINES)
        .flat_map(|i| format!("{word} {i}\n").into_bytes())
        .collect();
    bytes.extend(tail);
    bytes
}

/// One build, one attempt, every byte, each step run once, nothing left over.
async fn check(lab: &Lab, server: &Server) {
    let build = lab.ended(server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(build["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(lab.builds(server).await.len(), 1);
    let log = |step| format!("/repos/r/builds/1/steps/{step}/log");
    let (one, two) = (
        expected("line", b"no newline \xff\0"),
        expected("again", b""),
    );
    assert!(
        lab.bytes(server, &log(1)).await == one,
        "step one's log differs"
    );
    assert!(
        lab.bytes(server, &log(2)).await == two,
        "step two's log differs"
    );
    assert_eq!(
        std::fs::read_to_string(lab.path("count")).unwrap(),
        "one\ntwo\n"
    );
    lab.wait("the work folder is empty", || lab.work().is_empty());
    assert_eq!(lab.job_processes(), [] as [i32; 0]);
    let deliveries = lab.json(server, "/api/v1/deliveries").await;
    assert_eq!(deliveries["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(deliveries["deliveries"][0]["verdict"], "made build 1");
    // After sealing it still reads the same.
    assert!(
        lab.bytes(server, &log(1)).await == one,
        "step one's sealed log differs"
    );
}

async fn killed_at(point: &str) {
    killed_in(&Lab::new(), point).await;
}

async fn killed_in(lab: &Lab, point: &str) {
    lab.hooked("r", &spec(lab));
    let mut server = lab.serve_with(&[], &[("WINDLASS_KILL_AT", point)]);
    lab.push("r", &["HEAD:main"]);
    assert_eq!(server.wait(), None, "nothing was killed at {point}");
    assert!(
        server
            .said()
            .contains(&format!("killed at {}", point.split(':').next().unwrap()))
    );
    let server = lab.serve(&[]);
    check(lab, &server).await;
}

macro_rules! killed_at {
    ($($name:ident: $point:literal,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                killed_at($point).await;
            }
        )*
    };
}

killed_at! {
    killed_before_a_delivery_is_stored: "before-receive",
    killed_after_a_delivery_is_stored: "after-receive",
    killed_before_a_delivery_is_read: "before-reading",
    killed_before_a_build_is_made: "before-submit",
    killed_after_a_build_is_made: "after-submit",
    killed_before_a_claim: "before-claim",
    killed_after_a_claim: "after-claim",
    killed_before_the_checkout: "before-checkout",
    killed_after_the_checkout: "after-checkout",
    killed_before_the_plan_is_stored: "before-launched",
    killed_after_the_plan_is_stored: "after-launched",
    killed_when_the_shim_has_started: "after-start",
    killed_before_the_first_event: "before-record",
    killed_after_the_first_event: "after-record",
    killed_while_a_step_runs: "after-record:20",
    killed_when_a_step_has_just_ended: "before-record:2",
    killed_before_the_result: "before-finish",
    killed_after_the_result: "after-finish",
    killed_before_sealing: "before-seal",
    killed_after_sealing: "after-seal",
    killed_after_cleaning_up: "after-clean-up",
    killed_before_the_end: "before-done",
    killed_after_the_end: "after-done",
}

#[tokio::test]
async fn killed_anywhere_with_the_data_in_postgresql() {
    let postgres = Postgres::start().await;
    for (n, point) in [
        "after-receive",
        "before-submit",
        "after-record",
        "before-finish",
    ]
    .into_iter()
    .enumerate()
    {
        let create = format!("create database lab{n}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(create))
            .execute(&mut postgres.connect().await)
            .await
            .unwrap();
        let mut lab = Lab::new();
        let port = postgres.port;
        lab.database = Some(format!("postgres://windlass@127.0.0.1:{port}/lab{n}"));
        killed_in(&lab, point).await;
        let file = lab.data().join("windlass.db");
        assert!(!file.exists(), "a file was used");
    }
}

#[tokio::test]
async fn two_folders_can_not_have_servers_on_one_database() {
    let postgres = Postgres::start().await;
    let (mut one, mut two) = (Lab::new(), Lab::new());
    one.database = Some(postgres.url.clone());
    two.database = Some(postgres.url.clone());
    let mut first = one.serve(&[]);
    let refused = two.run(&["serve", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("another server works on this database"),
        "{said}"
    );
    // A crash frees it.
    first.kill();
    let second = two.serve(&[]);
    assert_eq!(two.text(&second, "/healthz").await, "ok\n");
    assert!(two.ok(&["db", "verify"]).contains("fit"));
}

/// A linear congruential generator: the seed is all that repeating a failure needs.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

#[tokio::test]
async fn killed_eight_times_at_random() {
    let lab = Lab::new();
    let flood = "steps:\n  - |\n    for i in $(seq 1 12); do seq $((i * 100000)) $((i * 100000 + 4999));\
                 \n    sleep 0.25; done\n";
    lab.hooked("r", flood);
    let seed = u64::from(std::process::id());
    eprintln!("seed {seed}");
    let mut random = Random(seed);
    let mut server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(50 + random.below(450)));
        server.kill();
        server = lab.serve(&[]);
    }
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(lab.builds(&server).await.len(), 1);
    let expected: String = (1..=12)
        .flat_map(|i| (i * 100_000..i * 100_000 + 5000).map(|n: u32| format!("{n}\n")))
        .collect();
    let log = lab.text(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(
        log == expected,
        "{} bytes instead of {}",
        log.len(),
        expected.len()
    );
}

#[tokio::test]
async fn sigterm_leaves_the_job_to_its_shim_and_exits_at_once() {
    let lab = Lab::new();
    lab.hooked("r", &spec(&lab));
    let mut server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.wait("the step runs", || lab.path("count").exists());
    let began = std::time::Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(
        !lab.job_processes().is_empty(),
        "the job did not go on alone"
    );
    let server = lab.serve(&[]);
    check(&lab, &server).await;
}

#[tokio::test]
async fn drain_waits_for_the_job() {
    let lab = Lab::new();
    lab.hooked("r", &spec(&lab));
    let mut server = lab.serve(&["--drain"]);
    lab.push("r", &["HEAD:main"]);
    lab.wait("the step runs", || lab.path("count").exists());
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    assert_eq!(
        std::fs::read_to_string(lab.path("count")).unwrap(),
        "one\ntwo\n"
    );
    assert!(lab.work().is_empty());
    let server = lab.serve(&[]);
    check(&lab, &server).await;
}

#[tokio::test]
async fn a_killed_shim_is_an_error_that_says_so_and_leaves_no_stray() {
    let lab = Lab::new();
    let spec = "steps:\n  - |\n    echo hello\n    setsid sleep 300 &\n    sleep 300\n";
    lab.hooked("r", spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let shim = lab.path("data/work/a1/shim/journal");
    // Also that its output has come through the pipe: what a killed program holds in its hands is lost.
    lab.wait("the job runs", || {
        let journal = std::fs::read_to_string(&shim).unwrap_or_default();
        journal.contains("hello") && lab.job_processes().len() >= 3
    });
    let journal = std::fs::read_to_string(shim).unwrap();
    let pid = journal.split("\"pid\":").nth(1).unwrap();
    let pid: i32 = pid.split([',', '}']).next().unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "error", "{build:#}");
    assert!(
        build["summary"].as_str().unwrap().contains("lost"),
        "{build:#}"
    );
    assert!(
        build["attempts"][0]["hint"]
            .as_str()
            .unwrap()
            .contains("retry")
    );
    lab.wait("no stray is left", || lab.job_processes().is_empty());
    assert_eq!(
        lab.text(&server, "/repos/r/builds/1/steps/1/log").await,
        "hello\n"
    );

    // The queue goes on.
    lab.commit("r", "steps: ['true']\n", "Next");
    lab.push("r", &["HEAD:main"]);
    assert_eq!(lab.ended(&server, "r", 2).await["state"], "passed");
}

#[tokio::test]
async fn another_server_s_job_with_the_same_number_is_none_of_our_business() {
    let (ours, theirs) = (Lab::new(), Lab::new());
    let mut servers = Vec::new();
    for lab in [&ours, &theirs] {
        lab.hooked(
            "r",
            &format!("steps: ['touch {}; sleep 3']\n", lab.path("runs").display()),
        );
        servers.push(lab.serve(&[]));
        lab.push("r", &["HEAD:main"]);
        lab.wait("the job runs", || lab.path("runs").exists());
    }
    // Both are attempt a1 on this machine. Ours loses its shim, and its strays are killed.
    let journal = std::fs::read_to_string(ours.path("data/work/a1/shim/journal")).unwrap();
    let pid = journal
        .split("\"pid\":")
        .nth(1)
        .unwrap()
        .split([',', '}'])
        .next()
        .unwrap();
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(ours.ended(&servers[0], "r", 1).await["state"], "error");
    ours.wait("our strays are gone", || ours.job_processes().is_empty());
    assert_eq!(theirs.ended(&servers[1], "r", 1).await["state"], "passed");
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let lab = Lab::new();
    let _server = lab.serve(&[]);
    let second = lab.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(4));
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        words.contains("another server") && words.contains("--data"),
        "{words}"
    );
}

#[tokio::test]
async fn sixty_builds_with_four_slots_all_pass_once() {
    let lab = Lab::new();
    let count = lab.path("count");
    lab.hooked(
        "r",
        &format!("steps: ['echo $WINDLASS_BUILD >> {}']\n", count.display()),
    );
    let server = lab.serve(&["--slots", "4"]);
    let revision = lab.git(&lab.path("r"), &["rev-parse", "HEAD"]);
    lab.push("r", &["HEAD:main"]);
    for _ in 0..59 {
        let wish = format!("{{\"revision\": \"{revision}\", \"git_ref\": \"refs/heads/main\"}}");
        let post = lab
            .http
            .post(format!("{}/api/v1/repos/r/builds", server.url));
        let answer = post
            .bearer_auth(lab.token())
            .body(wish)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
    }
    let all = |v: &serde_json::Value| v["builds"].as_array().is_some_and(|b| b.len() == 60);
    lab.until(&server, "/api/v1/builds?state=passed&limit=100", all)
        .await;
    let mut ran: Vec<u32> = std::fs::read_to_string(count)
        .unwrap()
        .lines()
        .map(|l| l.parse().unwrap())
        .collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=60).collect::<Vec<_>>());
}
