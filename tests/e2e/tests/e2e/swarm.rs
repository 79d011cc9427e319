//! Jobs on a real Docker Swarm of three nodes: placed, followed, finished; and what happens when the
//! server, a node, a cable or a manager is lost.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::containers::{READ_ONLY, check_service_logs, counted, counting, links_lead_nowhere};
use crate::lab::{Lab, PATIENCE, Server};
use crate::swarm_lab::{Place, Swarm, owner};

pub(crate) fn attempts(build: &Value) -> &Vec<Value> {
    build["attempts"].as_array().unwrap()
}

/// The node that an attempt's remarks name.
fn node_of(attempt: &Value) -> String {
    let remarks = attempt["remarks"].as_str().unwrap();
    let line = remarks.lines().find_map(|l| l.strip_prefix("node: "));
    let name = line.and_then(|l| l.split(',').next());
    name.unwrap_or_default().to_owned()
}

pub(crate) async fn running_on(lab: &Lab, server: &Server, number: i64) -> String {
    let path = format!("/api/v1/repos/r/builds/{number}");
    let build = lab
        .until(server, &path, |b| {
            let all = b["attempts"].as_array();
            all.and_then(|all| all.last())
                .is_some_and(|a| a["state"] == "running" && !node_of(a).is_empty())
        })
        .await;
    node_of(attempts(&build).last().unwrap())
}

pub(crate) async fn cancel(lab: &Lab, server: &Server, number: i64) {
    let url = format!("{}/api/v1/repos/r/builds/{number}/cancel", server.url);
    let asked = lab.http.post(url).bearer_auth(lab.token()).send().await;
    assert!(asked.unwrap().status().is_success());
}

const WHOLE: &str = r#"
image: windlass-test/tiny:1
jobs:
  make:
    user: ci
    outputs: [version]
    artifacts: [out/**]
    cache: [{ key: home, paths: ~/kept }, { key: here, paths: deps }]
    secrets: [TOKEN]
    steps:
      - test "$FROM_IMAGE" = yes && test "$(id -u)" = 1000 && test "$PWD" = "$WINDLASS_WORKSPACE"
      - test -d .git/objects/pack && test ! -e .git/objects/info/alternates && test ! -e /var/run/docker.sock
      - mkdir out && echo made > out/a && ln -s /etc/passwd out/link && echo "version=7" >> "$WINDLASS_OUTPUT"
      - if [ -e ~/kept/x ] && [ -e deps/y ]; then echo "cache hit"; else echo "cache miss"; mkdir -p ~/kept deps; echo 1 > ~/kept/x; echo 2 > deps/y; fi
      - test ${#TOKEN} = 15 && echo "token $TOKEN" && ! cat /run/secrets/windlass && grep -q "NoNewPrivs.*1" /proc/self/status
  use:
    needs: [{ job: make, artifacts: true }]
    env: { VERSION: "${{ needs.make.outputs.version }}" }
    limits: { memory: 200M, pids: 50, cpus: 0.5 }
    steps:
      - test "$(cat out/a)$VERSION" = made7 && test ! -e out/link
      - test "$(id -u)" = 0
"#;

#[tokio::test]
async fn a_job_on_a_node_gets_and_leaves_what_any_job_does() {
    let place = Place::new();
    let lab = &place.lab;
    lab.hooked("r", WHOLE);
    let file = lab.path("secret");
    std::fs::write(&file, "hunter2-hunter2").unwrap();
    let from = ["--from-file", file.to_str().unwrap()];
    lab.ok(&[&["secret", "set", "r", "TOKEN"], &from[..]].concat());
    let server = place.serve(&[]);
    for (number, cache) in [(1, "cache miss"), (2, "cache hit")] {
        if number == 2 {
            lab.commit("r", WHOLE, "Again");
        }
        lab.push("r", &["HEAD:main"]);
        let build = lab.ended(&server, "r", number).await;
        assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
        assert_eq!(attempts(&build)[0]["executor"], "swarm");
        let jobs = build["jobs"].as_array().unwrap();
        let attempt = &jobs.iter().find(|job| job["name"] == "make").unwrap()["attempt"];
        let log = |step| format!("/repos/r/builds/{number}/steps/{step}/log?attempt={attempt}");
        let text = lab.text(&server, &log(4)).await + &lab.text(&server, &log(5)).await;
        assert!(text.contains(cache), "{cache}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    place.nothing_is_left();
}

#[tokio::test]
async fn secrets_are_in_nothing_that_swarm_tells() {
    let place = Place::new();
    let lab = &place.lab;
    let spec = "image: windlass-test/tiny:1\nsecrets: [TOKEN]\nsteps:\n  - test ${#TOKEN} = 15 && echo ready && sleep 60\n";
    lab.hooked("r", spec);
    let file = lab.path("secret");
    std::fs::write(&file, "hunter2-hunter2").unwrap();
    let from = ["--from-file", file.to_str().unwrap()];
    lab.ok(&[&["secret", "set", "r", "TOKEN"], &from[..]].concat());
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let node = running_on(lab, &server, 1).await;
    let path = "/repos/r/builds/1/steps/1/log";
    let deadline = Instant::now() + PATIENCE;
    while !lab.text(&server, path).await.contains("ready") {
        assert!(Instant::now() < deadline, "the step does not begin");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let filter = format!("label=windlass.owner={}", owner(lab));
    let one = |node, kind: &str| {
        let list: &[&str] = match kind {
            "container" => &["ps", "-q", "--filter", &filter],
            kind => &[kind, "ls", "-q", "--filter", &filter],
        };
        place
            .swarm
            .docker(node, list)
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let number = node.trim_start_matches('n').parse().unwrap();
    let (service, secret) = (one(1, "service"), one(1, "secret"));
    let container = one(number, "container");
    let told = [
        place.swarm.docker(1, &["service", "inspect", &service]),
        place.swarm.docker(1, &["secret", "inspect", &secret]),
        place.swarm.docker(number, &["inspect", &container]),
        place.swarm.docker(number, &["logs", &container]),
    ];
    for text in &told {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!told[2].contains("docker.sock"), "{}", told[2]);
    // Who cancels gets a tidy end, soon, and nothing stays.
    cancel(lab, &server, 1).await;
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "cancelled", "{build:#}");
    place.nothing_is_left();
}

#[tokio::test]
async fn a_killed_server_loses_no_line_of_a_node() {
    let place = Place::new();
    let lab = &place.lab;
    lab.hooked("r", &counting());
    let mut server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    for pause in [1200, 700, 500] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        // Longer than the shim's first pauses: it has to wait for the server.
        tokio::time::sleep(Duration::from_millis(400)).await;
        server = place.serve(&[]);
    }
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build).len(), 1, "{build:#}");
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(log == counted(), "the log has {} bytes", log.len());
    place.nothing_is_left();
}

#[tokio::test]
async fn a_million_lines_of_a_node_arrive_byte_for_byte() {
    let place = Place::new();
    let lab = &place.lab;
    let spec = "image: windlass-test/tiny:1\nsteps:\n  - seq 1000001 2000000\n";
    lab.hooked("r", spec);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    let wanted: Vec<u8> = (1_000_001..=2_000_000)
        .flat_map(|n| format!("{n}\n").into_bytes())
        .collect();
    assert!(log == wanted, "the log has {} bytes", log.len());
}

const SERVICES: &str = r#"
image: windlass-test/tiny:1
jobs:
  good:
    services:
      web:
        image: windlass-test/tiny:1
        env: { GREETING: hello }
        command: [sh, -c, "sleep 1; mkdir /w; echo $GREETING > /w/index.html; exec httpd -f -p 8080 -h /w"]
        ready: { port: 8080 }
      file:
        image: windlass-test/tiny:1
        command: [sh, -c, "sleep 1; touch /tmp/ready; echo up and running; exec sleep 1000"]
        ready: { run: test -e /tmp/ready }
      words:
        image: windlass-test/tiny:1
        command: [sh, -c, "sleep 1; echo up and running; exec sleep 1000"]
        ready: { output: up and running }
    steps:
      - |
        address=$(nslookup web 127.0.0.11 | awk '/^Address/ { a = $NF } END { print a }')
        test "$(wget -q -O - "http://$address:8080/")" = hello
        echo reached
  bad:
    services:
      db: { image: windlass-test/tiny:1, command: [sh, -c, "echo no disk here; exit 7"], ready: { port: 1 } }
    steps: ["true"]
  late:
    services:
      db: { image: windlass-test/tiny:1, command: [sleep, "1000"], ready: { port: 1, timeout: 5s } }
    steps: ["true"]
"#;

#[tokio::test]
async fn services_on_any_node_are_awaited_and_reached_by_name() {
    let place = Place::new();
    let lab = &place.lab;
    lab.hooked("r", SERVICES);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    let jobs = build["jobs"].as_array().unwrap();
    let of = |name: &str| jobs.iter().find(|job| job["name"] == name).unwrap();
    assert_eq!(
        of("good")["state"],
        "passed",
        "{build:#}\n{}",
        server.said()
    );
    check_service_logs(lab, &server, &of("good")["attempt"]).await;
    for (name, words) in [
        ("bad", "exit code 7"),
        ("bad", "no disk here"),
        ("late", "not ready after 5 s"),
    ] {
        assert_eq!(of(name)["state"], "error", "{build:#}");
        assert!(build.to_string().contains(words), "{words}: {build:#}");
    }
    place.nothing_is_left();
}

#[tokio::test]
async fn a_link_in_the_place_of_the_workspace_leads_nowhere() {
    let place = Place::new();
    let server = place.serve(&[]);
    links_lead_nowhere(&place.lab, &server).await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_read_only_image_still_has_a_workspace_on_a_node() {
    let place = Place::new();
    let lab = &place.lab;
    lab.hooked("r", READ_ONLY);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let text = build.to_string();
    assert!(
        text.contains("1 file kept") && text.contains("files saved"),
        "{text}"
    );
    place.nothing_is_left();
    for node in 1..=3 {
        let filter = ["volume", "ls", "-q", "--filter", "dangling=true"];
        lab.wait("no workspace is left", || {
            place.swarm.docker(node, &filter).is_empty()
        });
    }
}

#[tokio::test]
async fn what_no_node_can_run_says_why() {
    let place = Place::new();
    let lab = &place.lab;
    let cases = [
        ("big", "limits: { cpus: 64 }", "no node has 64 cpus"),
        (
            "label",
            "runs-on: [linux, moon]",
            "`runs-on` asks for linux, moon",
        ),
        ("word", "runs-on: 'a b'", "can't be a node's label"),
        ("none", "network: none", "nothing that Swarm can do"),
        ("user", "user: nobody", "no user \\\"nobody\\\""),
        ("image", "image: windlass-test/none:1", "No such image"),
    ];
    let server = place.serve(&["--placement-limit", "4"]);
    for (name, line, _) in cases {
        let image = match name {
            "image" => "",
            _ => "image: windlass-test/tiny:1\n",
        };
        lab.hooked(name, &format!("{image}{line}\nsteps: [\"true\"]\n"));
        lab.push(name, &["HEAD:main"]);
    }
    for (name, _, words) in cases {
        let build = lab.ended(&server, name, 1).await;
        assert_eq!(build["state"], "error", "{build:#}");
        let text = build.to_string();
        assert!(text.contains(words), "{words}: {text}");
    }
    place.nothing_is_left();
}

#[tokio::test]
async fn the_nodes_are_shown_and_a_doctor_looks_at_them() {
    let place = Place::new();
    let lab = &place.lab;
    let spec =
        "image: windlass-test/tiny:1\nlimits: { cpus: 0.25, memory: 64M }\nsteps: [sleep 30]\n";
    lab.hooked("r", spec);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let node = running_on(lab, &server, 1).await;
    let page = lab.text(&server, "/nodes").await;
    assert!(page.contains("3 of 3 nodes take jobs"), "{page}");
    assert!(
        page.contains("/repos/r/builds/1\">r #1</a> build"),
        "{page}"
    );
    let told = lab.json(&server, "/api/v1/nodes").await;
    let nodes = told["nodes"].as_array().unwrap();
    let own = nodes.iter().find(|n| n["name"] == node.as_str()).unwrap();
    assert_eq!(own["jobs"][0]["job"], "build", "{told:#}");
    assert!(own["reserved_cpu_millis"].as_u64() >= Some(250), "{told:#}");
    let host = place.swarm.host(1);
    let listed = lab.ok(&["nodes", "--docker", &host]);
    assert!(
        listed.contains("n3") && listed.contains("runs build"),
        "{listed}"
    );

    let url = format!("http://{}", place.address);
    let doctor = |image: &str, url: &str| {
        let ask = ["cluster", "doctor", "--docker", &host, "--nodes-url", url];
        let output = lab.run(&[&ask[..], &["--image", image]].concat());
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.code().is_some_and(|c| c < 2), "{output:?}");
        (output.status.success(), text)
    };
    let (well, text) = doctor("windlass-test/tiny:1", &url);
    assert!(
        well && text.contains("all nodes reach the server"),
        "{text}"
    );
    assert!(text.contains("all nodes reach each other"), "{text}");
    assert!(text.contains("! there is one manager"), "{text}");
    let (well, text) = doctor("windlass-test/none:1", &url);
    assert!(!well && text.contains("No such image"), "{text}");
    assert!(
        text.contains("push windlass-test/none:1 to a registry"),
        "{text}"
    );
    // A manager that is no manager: not an examination, but one sentence.
    let worker = place.swarm.host(2);
    let refused = lab.run(&["cluster", "doctor", "--docker", &worker]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("needs a manager of the Swarm"), "{words}");
    cancel(lab, &server, 1).await;
    lab.ended(&server, "r", 1).await;
    place.nothing_is_left();
}

/// Jobs that fill the cluster wait their turn, are told why, and come in their order.
#[tokio::test]
async fn jobs_wait_for_capacity_in_their_order() {
    let place = Place::own(1, 1);
    let lab = &place.lab;
    let cores = std::thread::available_parallelism().unwrap();
    let spec = format!(
        "image: windlass-test/tiny:1\nlimits: {{ cpus: {cores} }}\njobs:\n  j:\n    \
         matrix: {{ n: [1,2,3,4,5,6,7,8,9] }}\n    steps: [\"sleep 3\"]\n"
    );
    lab.hooked("r", &spec);
    let server = place.serve(&["--slots", "9"]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let all = attempts(&build);
    let nodes: std::collections::BTreeSet<String> = all.iter().map(node_of).collect();
    assert_eq!(nodes.len(), 3, "{nodes:?}: all nodes are used");
    let text = build.to_string();
    assert!(text.contains("waiting for a node: no node has"), "{text}");
    assert!(text.contains("waiting for its turn"), "{text}");
    let begun: Vec<i64> = all
        .iter()
        .map(|a| a["steps"][0]["started_us"].as_i64().unwrap())
        .collect();
    // Three at a time: the clocks of those that begin together differ by less than a job takes.
    for (earlier, later) in begun.iter().zip(&begun[3..]) {
        assert!(earlier < later, "{begun:?}");
    }
    place.nothing_is_left();
}

#[tokio::test]
async fn nothing_is_left_of_a_hundred_jobs_and_killed_servers() {
    let place = Place::new();
    let lab = &place.lab;
    let numbers: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
    let spec = format!(
        "image: windlass-test/tiny:1\njobs:\n  j:\n    matrix: {{ n: [{}] }}\n    \
         steps: [\"echo $MATRIX_N\"]\n",
        numbers.join(", ")
    );
    lab.hooked("r", &spec);
    let mut server = place.serve(&["--slots", "100"]);
    lab.push("r", &["HEAD:main"]);
    for pause in [2500, 1500, 4000] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        server = place.serve(&["--slots", "100"]);
    }
    let deadline = Instant::now() + 3 * PATIENCE;
    let build = loop {
        let build = lab.json(&server, "/api/v1/repos/r/builds/1").await;
        let state = build["state"].as_str().unwrap_or_default().to_owned();
        if !matches!(state.as_str(), "queued" | "running" | "") {
            break build;
        }
        assert!(Instant::now() < deadline, "{}", server.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build).len(), 100, "one attempt of each job");
    place.nothing_is_left();
}

const PATIENT: &str = "image: windlass-test/tiny:1\nruns-on: role=worker\n\
    retry: { count: 1, backoff: 1s, on: [infrastructure] }\nsteps:\n  \
    - for i in $(seq 1 100); do echo $i; sleep 0.1; done\n";

fn patient() -> String {
    (1..=100).map(|n| format!("{n}\n")).collect()
}

/// The job is on a node that is lost by `how`; another attempt on another node does it.
async fn lost(number: u32, how: impl Fn(&Swarm, &str), words: &str) -> (Place, Server, String) {
    let place = Place::own(number, 1);
    let lab = &place.lab;
    lab.hooked("r", PATIENT);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let node = running_on(lab, &server, 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    how(&place.swarm, &node);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let all = attempts(&build);
    assert_eq!(all.len(), 2, "{build:#}");
    assert_eq!(all[0]["state"], "error", "{build:#}");
    let text = all[0].to_string();
    assert!(text.contains(&words.replace("NODE", &node)), "{text}");
    assert_ne!(node_of(&all[1]), node);
    let log = "/repos/r/builds/1/steps/1/log?attempt=2";
    assert_eq!(lab.text(&server, log).await, patient());
    (place, server, node)
}

#[tokio::test]
async fn a_killed_node_costs_one_attempt() {
    let kill = |swarm: &Swarm, node: &str| swarm.script(&["kill", &node[1..]]);
    let (place, _server, _) = lost(2, kill, "the node NODE is down").await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_drained_node_costs_one_attempt() {
    let drain = |swarm: &Swarm, node: &str| {
        swarm.docker(1, &["node", "update", "--availability", "drain", node]);
    };
    let (place, _server, _) = lost(3, drain, "the node NODE was drained").await;
    place.nothing_is_left();
}

#[tokio::test]
async fn a_node_that_was_cut_off_writes_nothing_when_it_is_back() {
    let cut = |swarm: &Swarm, node: &str| swarm.script(&["cut", &node[1..]]);
    let (place, server, node) = lost(4, cut, "the node NODE is down").await;
    place.swarm.script(&["mend", &node[1..]]);
    // Its container ends when its shim hears that the attempt is over, or Swarm ends it.
    place.nothing_is_left();
    let log = "/repos/r/builds/1/steps/1/log?attempt=2";
    assert_eq!(place.lab.text(&server, log).await, patient());
    let build = place.lab.json(&server, "/api/v1/repos/r/builds/1").await;
    assert_eq!(attempts(&build)[0]["state"], "error", "{build:#}");
}

#[tokio::test]
async fn a_rebooted_node_costs_one_attempt() {
    let place = Place::own(9, 1);
    let lab = &place.lab;
    lab.hooked("r", PATIENT);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let node = running_on(lab, &server, 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // It is back before the managers have missed it.
    place.swarm.script(&["kill", &node[1..]]);
    place.swarm.script(&["start", &node[1..]]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let all = attempts(&build);
    assert_eq!(all.len(), 2, "{build:#}");
    assert_eq!(all[0]["state"], "error", "{build:#}");
    let log = "/repos/r/builds/1/steps/1/log?attempt=2";
    assert_eq!(lab.text(&server, log).await, patient());
    place.nothing_is_left();
}

#[tokio::test]
async fn managers_may_come_and_go() {
    let place = Place::own(5, 3);
    let lab = &place.lab;
    let spec = PATIENT.replace("runs-on: role=worker", "runs-on: hostname=n2");
    let spec = spec.replace("seq 1 100", "seq 1 250");
    lab.hooked("r", &spec);
    let server = place.serve_on(2, &[]);
    lab.push("r", &["HEAD:main"]);
    running_on(lab, &server, 1).await;
    // The leader, and so the one and only copy of its memory.
    place.swarm.script(&["kill", "1"]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // And the next one: there is no majority. The job does not notice.
    place.swarm.script(&["kill", "3"]);
    lab.commit("r", &spec.replace("seq 1 250", "seq 1 5"), "Meanwhile");
    lab.push("r", &["HEAD:main"]);
    let path = "/api/v1/repos/r/builds/2";
    let waits = |b: &Value| b.to_string().contains("waiting for a manager of the Swarm");
    lab.until(&server, path, waits).await;
    place.swarm.script(&["start", "1"]);
    place.swarm.script(&["start", "3"]);
    for number in [1, 2] {
        let build = lab.ended(&server, "r", number).await;
        assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
        assert_eq!(attempts(&build).len(), 1, "{build:#}");
    }
    let log = lab.text(&server, "/repos/r/builds/1/steps/1/log").await;
    let wanted: String = (1..=250).map(|n| format!("{n}\n")).collect();
    assert_eq!(log, wanted);
    place.nothing_is_left();
}
