//! Jobs in containers, on a real dockerd: what goes in and comes out, and that killing the server,
//! the container or the daemon itself loses no line and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::lab::{Lab, Server};

/// The daemon that `cargo xtask lab up` starts.
pub(crate) fn daemon() -> String {
    let socket = std::env::temp_dir().join("windlass-lab/docker.sock");
    assert!(
        std::os::unix::net::UnixStream::connect(&socket).is_ok(),
        "no Docker daemon answers at {}: run `cargo xtask lab up` (`cargo xtask test` does)",
        socket.display()
    );
    format!("unix://{}", socket.display())
}

#[track_caller]
pub(crate) fn docker(host: &str, args: &[&str]) -> String {
    let output = Command::new("docker")
        .args(args)
        .env("DOCKER_HOST", host)
        .output()
        .unwrap();
    assert!(output.status.success(), "docker {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What things of this test's data folder are marked with.
pub(crate) fn owner(lab: &Lab) -> String {
    let work = lab.data().join("work");
    let digest = hex::encode(Sha256::digest(work.as_os_str().as_encoded_bytes()));
    digest[..12].to_owned()
}

fn ours_by_name(lab: &Lab, name: &str) -> bool {
    name.contains(&owner(lab))
}

/// The containers of this test's data folder.
fn ours(lab: &Lab, host: &str) -> Vec<String> {
    let filter = format!("label=windlass.owner={}", owner(lab));
    let list = docker(host, &["ps", "-aq", "--no-trunc", "--filter", &filter]);
    list.lines().map(ToOwned::to_owned).collect()
}

fn serve(lab: &Lab, host: &str) -> Server {
    lab.serve(&["--docker", host, "--docker-pull", "never"])
}

/// Gives the repository `r` its secret.
fn set_token(lab: &Lab) {
    let file = lab.path("secret");
    std::fs::write(&file, "hunter2-hunter2").unwrap();
    let from = ["--from-file", file.to_str().unwrap()];
    lab.ok(&[&["secret", "set", "r", "TOKEN"], &from[..]].concat());
}

fn attempts(build: &Value) -> usize {
    build["attempts"].as_array().unwrap().len()
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
      - echo "token $TOKEN" && cat /proc/1/cmdline
  use:
    needs: [{ job: make, artifacts: true }]
    network: none
    env: { VERSION: "${{ needs.make.outputs.version }}" }
    limits: { memory: 200M, pids: 50 }
    steps:
      - test "$(cat out/a)$VERSION" = made7 && test ! -e out/link
      - test "$(ls /sys/class/net)" = lo
      - test "$(id -u)" = 0
"#;

#[tokio::test]
async fn a_job_in_a_container_gets_and_leaves_what_any_job_does() {
    let (lab, host) = (Lab::new(), daemon());
    lab.hooked("r", WHOLE);
    set_token(&lab);
    let server = serve(&lab, &host);
    for (number, cache) in [(1, "cache miss"), (2, "cache hit")] {
        if number == 2 {
            lab.commit("r", WHOLE, "Again");
        }
        lab.push("r", &["HEAD:main"]);
        let build = lab.ended(&server, "r", number).await;
        assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
        let jobs = build["jobs"].as_array().unwrap();
        let attempt = &jobs.iter().find(|job| job["name"] == "make").unwrap()["attempt"];
        let log = |step| format!("/repos/r/builds/{number}/steps/{step}/log?attempt={attempt}");
        let text = lab.text(&server, &log(4)).await + &lab.text(&server, &log(5)).await;
        assert!(text.contains(cache), "{cache}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
}

#[tokio::test]
async fn secrets_are_in_no_description_of_the_container() {
    let (lab, host) = (Lab::new(), daemon());
    let spec = "image: windlass-test/tiny:1\nsecrets: [TOKEN]\nsteps:\n  - test ${#TOKEN} = 15 && echo ready && sleep 60\n";
    lab.hooked("r", spec);
    set_token(&lab);
    let server = serve(&lab, &host);
    lab.push("r", &["HEAD:main"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |b| {
        b["state"] == "running"
    })
    .await;
    lab.wait("it is ready", || {
        ours(&lab, &host)
            .first()
            .is_some_and(|id| docker(&host, &["logs", id]).contains("ready"))
    });
    let id = ours(&lab, &host).remove(0);
    let inspect = docker(&host, &["inspect", &id]);
    assert!(!inspect.contains("hunter2"), "{inspect}");
    assert!(!docker(&host, &["logs", &id]).contains("hunter2"));
    assert!(inspect.contains("no-new-privileges") && inspect.contains("\"Privileged\": false"));
    assert!(inspect.contains("\"Mounts\": []"), "{inspect}");
    // Who cancels gets a tidy end, and nothing stays.
    let cancelled = lab
        .http
        .post(format!("{}/api/v1/repos/r/builds/1/cancel", server.url))
        .bearer_auth(lab.token())
        .send()
        .await
        .unwrap();
    assert!(cancelled.status().is_success(), "{cancelled:?}");
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "cancelled", "{build:#}");
    lab.wait("nothing is left", || ours(&lab, &host).is_empty());
}

const LINES: usize = 150_000;

/// Many lines at once, then some that take their time, then bytes that are no text.
pub(crate) fn counting() -> String {
    format!(
        "image: windlass-test/tiny:1\nsteps:\n  - name: count\n    run: |\n      seq 1 {LINES}\n      \
         for i in $(seq 1 300); do echo slow $i; sleep 0.01; done\n      \
         printf 'ümläut \\377\\000 no newline'\n"
    )
}

/// What [`counting`] prints.
pub(crate) fn counted() -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=LINES)
        .flat_map(|i| format!("{i}\n").into_bytes())
        .collect();
    bytes.extend((1..=300).flat_map(|i| format!("slow {i}\n").into_bytes()));
    bytes.extend("ümläut ".as_bytes());
    bytes.extend(b"\xff\0 no newline");
    bytes
}

#[tokio::test]
async fn a_killed_server_loses_no_line_of_a_container() {
    let (lab, host) = (Lab::new(), daemon());
    lab.hooked("r", &counting());
    let mut server = serve(&lab, &host);
    lab.push("r", &["HEAD:main"]);
    for pause in [900, 700, 500] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        server = serve(&lab, &host);
    }
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build), 1, "{build:#}");
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(log == counted(), "the log has {} bytes", log.len());
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
}

#[tokio::test]
async fn a_killed_container_is_told_and_tried_again() {
    let (lab, host) = (Lab::new(), daemon());
    let spec = "image: windlass-test/tiny:1\nretry: { count: 1, backoff: 1s, on: [infrastructure] }\nsteps:\n  \
                - echo begun && sleep 4\n";
    lab.hooked("r", spec);
    let server = serve(&lab, &host);
    lab.push("r", &["HEAD:main"]);
    lab.wait("it runs", || {
        ours(&lab, &host)
            .first()
            .is_some_and(|id| docker(&host, &["logs", id]).contains("begun"))
    });
    docker(&host, &["kill", &ours(&lab, &host)[0]]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(attempts(&build), 2, "{build:#}");
    let text = build.to_string();
    assert!(text.contains("killed from outside"), "{text}");
    lab.wait("nothing is left", || ours(&lab, &host).is_empty());
}

#[tokio::test]
async fn what_can_not_run_says_why() {
    let (lab, host) = (Lab::new(), daemon());
    let cases = [
        ("none", "windlass-test/none:1", "sh", "never pulls images"),
        (
            "bare",
            "windlass-test/bare:1",
            "sh",
            "could not start: /bin/sh",
        ),
        (
            "user",
            "windlass-test/tiny:1\nuser: nobody",
            "sh",
            "no user \"nobody\"",
        ),
    ];
    let server = serve(&lab, &host);
    for (name, image, shell, words) in cases {
        lab.hooked(
            name,
            &format!("image: {image}\nshell: {shell}\nsteps: [\"true\"]\n"),
        );
        lab.push(name, &["HEAD:main"]);
        let build = lab.ended(&server, name, 1).await;
        assert_eq!(build["state"], "error", "{build:#}");
        let text = build.to_string().replace("\\\"", "\"");
        assert!(text.contains(words), "{words}: {text}");
    }
    // Memory is the last one: the kernel needs a moment.
    let eat = "image: windlass-test/tiny:1\nlimits: { memory: 40M }\nsteps:\n  - awk 'BEGIN { s = \"x\"; while (1) s = s s }'\n";
    lab.hooked("memory", eat);
    lab.push("memory", &["HEAD:main"]);
    let build = lab.ended(&server, "memory", 1).await;
    assert_ne!(build["state"], "passed", "{build:#}");
    assert!(build.to_string().contains("memory"), "{build:#}");
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
}

#[tokio::test]
async fn without_a_daemon_a_laptop_says_so_and_other_jobs_run() {
    let lab = Lab::new();
    let host = format!("unix://{}", lab.path("no.sock").display());
    lab.repository(
        "r",
        "jobs:\n  a: { image: windlass-test/tiny:1, steps: [\"true\"] }\n",
    );
    let run = |name: &str, host: &str| {
        lab.command(crate::lab::windlass())
            .args(["run", "--docker", host, "--docker-pull", "never", "--dir"])
            .arg(lab.path(name))
            .output()
            .unwrap()
    };
    let refused = run("r", &host);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && words.contains("can't be reached"),
        "{words}"
    );
    assert!(words.contains("is dockerd running"), "{words}");
    lab.repository("p", "steps: [\"true\"]\n");
    assert!(run("p", &host).status.success());
    // And with one, the laptop does as the server does.
    let passed = run("r", &daemon());
    assert!(passed.status.success(), "{passed:?}");
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
    network: none
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
      db: { image: windlass-test/tiny:1, command: [sleep, "1000"], ready: { port: 1, timeout: 2s } }
    steps: ["true"]
"#;

/// The logs of the job `good`'s services: each alone, and all with the steps in the order of time.
pub(crate) async fn check_service_logs(lab: &Lab, server: &Server, attempt: &Value) {
    let url = format!("/repos/r/builds/1/services?attempt={attempt}");
    let words = lab.text(server, &format!("{url}&service=words")).await;
    assert!(words.ends_with("Z up and running\n"), "{words}");
    let all = lab.text(server, &url).await;
    assert!(all.contains("words  | up and running\n"), "{all}");
    let last = all.lines().last().unwrap();
    assert!(last.contains("step 1 | reached"), "{all}");
    let times: Vec<&str> = all.lines().map(|line| &line[..26]).collect();
    assert!(times.is_sorted(), "{all}");
    let page = lab
        .text(server, &format!("/repos/r/builds/1?attempt={attempt}"))
        .await;
    assert!(
        page.contains("&#38;service=words") || page.contains("&amp;service=words"),
        "{page}"
    );
    let path = format!("{}{url}&service=..%2f..%2f0", server.url);
    let hostile = lab.http.get(path).send().await.unwrap();
    assert_eq!(hostile.status().as_u16(), 404);
}

#[tokio::test]
async fn services_are_awaited_and_reached_by_name() {
    let (lab, host) = (Lab::new(), daemon());
    lab.hooked("r", SERVICES);
    let server = serve(&lab, &host);
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
    check_service_logs(&lab, &server, &of("good")["attempt"]).await;
    for (name, words) in [
        ("bad", "exit code 7"),
        ("bad", "no disk here"),
        ("late", "not ready after 2 s"),
    ] {
        assert_eq!(of(name)["state"], "error", "{build:#}");
        assert!(build.to_string().contains(words), "{words}: {build:#}");
    }
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
    let networks = docker(&host, &["network", "ls", "--format", "{{.Name}}"]);
    assert!(
        !networks.lines().any(|name| ours_by_name(&lab, name)),
        "{networks}"
    );
}

pub(crate) const READ_ONLY: &str = r#"
image: windlass-test/tiny:1
user: ci
read-only: true
tmpfs: [/scratch]
artifacts: [out]
cache: { key: home, paths: ~/kept }
steps:
  - if touch /tmp/x 2>/dev/null; then exit 1; fi
  - touch "$TMPDIR/x" ~/x && mkdir ~/kept && echo 1 > ~/kept/a
  - grep -q "/scratch tmpfs" /proc/mounts && test "$PWD" = /windlass/src
  - echo made > out
"#;

/// A job that puts a link to the server's own files in the place of its workspace and home.
pub(crate) async fn links_lead_nowhere(lab: &Lab, server: &Server) {
    let data = lab.data();
    let data = data.display();
    let spec = format!(
        "image: windlass-test/tiny:1\nartifacts: ['*']\ncache: {{ key: c, paths: [~/work, '*.key'] }}\nsteps:\n  \
         - cd / && rm -rf /windlass/src /windlass/home && ln -s {data} /windlass/src && ln -s {data} /windlass/home\n"
    );
    lab.hooked("evil", &spec);
    lab.push("evil", &["HEAD:main"]);
    let build = lab.ended(server, "evil", 1).await;
    let text = build.to_string();
    // The artifact is required, and there is none.
    assert_eq!(build["state"], "failed", "{text}");
    assert!(
        !text.contains("file kept") && !text.contains("files kept"),
        "{text}"
    );
    assert!(!text.contains("saved"), "{text}");
}

#[tokio::test]
async fn a_link_in_the_place_of_the_workspace_leads_nowhere() {
    let (lab, host) = (Lab::new(), daemon());
    let server = serve(&lab, &host);
    links_lead_nowhere(&lab, &server).await;
    lab.wait("nothing is left", || ours(&lab, &host).is_empty());
}

#[tokio::test]
async fn a_read_only_image_still_has_a_workspace() {
    let (lab, host) = (Lab::new(), daemon());
    lab.hooked("r", READ_ONLY);
    let server = serve(&lab, &host);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let text = build.to_string();
    assert!(
        text.contains("1 file kept") && text.contains("files saved"),
        "{text}"
    );
    lab.wait("nothing is left", || ours(&lab, &host).is_empty());
    let volumes = docker(&host, &["volume", "ls", "-q", "--filter", "dangling=true"]);
    assert_eq!(volumes, "", "a workspace without a container");
}

#[tokio::test]
async fn rights_on_the_machine_are_for_those_to_whom_they_are_given() {
    let (lab, host) = (Lab::new(), daemon());
    let shared = lab.path("shared");
    std::fs::create_dir_all(shared.join("below")).unwrap();
    std::fs::write(shared.join("a"), "of the machine").unwrap();
    let shared = shared.to_str().unwrap();
    let spec = |path: &str| {
        format!(
            "image: windlass-test/tiny:1\nmounts: ['{path}:/shared:ro']\nsteps:\n  \
             - cat /shared/a\n  - if touch /shared/b; then exit 1; fi\n"
        )
    };
    lab.hooked("r", &spec(shared));
    let refused = serve(&lab, &host);
    lab.push("r", &["HEAD:main"]);
    let text = lab.ended(&refused, "r", 1).await.to_string();
    assert!(text.contains("is not allowed to this build"), "{text}");
    let all = "image: windlass-test/tiny:1\nprivileged: true\nsteps:\n  - grep -q 'CapEff.*ffff$' /proc/self/status\n";
    lab.hooked("all", all);
    lab.push("all", &["HEAD:main"]);
    let text = lab.ended(&refused, "all", 1).await.to_string();
    assert!(text.contains("`privileged` is not allowed"), "{text}");
    drop(refused);
    let allow = format!("r:{shared}");
    let args = ["--docker", &host, "--docker-pull", "never"];
    let rights = ["--allow-privileged", "all", "--allow-mount", &allow];
    let server = lab.serve(&[&args[..], &rights].concat());
    lab.commit("r", &spec(shared), "Again");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 2).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    // Exactly this path, and only this repository.
    lab.commit("r", &spec(&format!("{shared}/below")), "Below");
    lab.push("r", &["HEAD:main"]);
    let text = lab.ended(&server, "r", 3).await.to_string();
    assert!(text.contains("is not allowed to this build"), "{text}");
    lab.hooked("other", &spec(shared));
    lab.push("other", &["HEAD:main"]);
    let text = lab.ended(&server, "other", 1).await.to_string();
    assert!(text.contains("is not allowed to this build"), "{text}");
    lab.commit("all", all, "Again");
    lab.push("all", &["HEAD:main"]);
    let build = lab.ended(&server, "all", 2).await;
    let text = build.to_string();
    // A machine that is a container itself may not give what it has not got: then Docker was asked for it.
    let asked = text.contains("unable to apply caps: operation not permitted");
    assert!(build["state"] == "passed" || asked, "{text}");
}

#[tokio::test]
async fn a_person_looks_into_the_container_of_a_failed_job() {
    let (lab, host) = (Lab::new(), daemon());
    let spec = "image: windlass-test/tiny:1\nuser: ci\nsecrets: [TOKEN]\nsteps:\n  - echo why > trace && exit 3\n";
    lab.hooked("r", spec);
    set_token(&lab);
    let args = ["--docker", &host, "--docker-pull", "never"];
    let server = lab.serve(&[&args[..], &["--keep-failed", "6"]].concat());
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    let ended = std::time::Instant::now();
    assert_eq!(build["state"], "failed", "{build:#}");
    lab.wait("the folder is removed", || {
        lab.work().iter().all(|name| name.starts_with('.'))
    });
    let shell = |build: &str, typed: &str| {
        use std::io::Write as _;
        let mut child = lab
            .command(crate::lab::windlass())
            .args(["shell", build, "--docker", &host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keys = child.stdin.take().unwrap();
        keys.write_all(typed.as_bytes()).unwrap();
        drop(keys);
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let typed = "pwd; cat trace; id -u; env; cat /proc/*/environ; touch new; exit 5\n";
    let (code, out, err) = shell("r/1", typed);
    assert!(out.starts_with("/windlass/src\nwhy\n1000\n"), "{out} {err}");
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!(code, Some(5), "{out} {err}");
    // A copy: the next one finds the job's container as it was, and nothing of the first.
    let (code, out, _) = shell("r/1", "ls\n");
    assert_eq!(
        (code, out.contains("trace"), out.contains("new")),
        (Some(0), true, false),
        "{out}"
    );
    let (_, _, err) = shell("r/9", "");
    assert!(err.contains("9"), "{err}");
    let image = |filter: &str| docker(&host, &["images", "-q", "--filter", filter]);
    let label = format!("label=windlass.owner={}", owner(&lab));
    assert_eq!((ours(&lab, &host).len(), image(&label)), (1, String::new()));
    // When its time is over, a sweep removes it: the one at the next start.
    drop(server);
    tokio::time::sleep(Duration::from_secs(7).saturating_sub(ended.elapsed())).await;
    let _server = serve(&lab, &host);
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
    let (code, _, err) = shell("r/1", "");
    assert!(code != Some(0) && err.contains("--keep-failed"), "{err}");
}

/// A daemon of one test's own, to be killed. As on a real machine, containerd is a service of its
/// own; a network namespace keeps the daemon away from the bridge of others.
struct Daemon {
    containerd: Child,
    dockerd: Child,
    dir: PathBuf,
    args: Vec<String>,
}

impl Daemon {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        std::fs::create_dir_all(dir).unwrap();
        let containerd = Command::new("containerd")
            .arg("--root")
            .arg(dir.join("c/root"))
            .arg("--state")
            .arg(dir.join("c/state"))
            .arg("--address")
            .arg(dir.join("c.sock"))
            .args(["--log-level", "warn"])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("containerd.log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            containerd,
            dockerd: Self::spawn(dir, &args),
            dir: dir.to_path_buf(),
            args,
        }
    }

    fn spawn(dir: &Path, args: &[String]) -> Child {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let host = format!("unix://{}", dir.join("d.sock").display());
        let child = Command::new("unshare")
            .args(["--net", "dockerd", "--data-root"])
            .arg(dir.join("data"))
            .arg("--exec-root")
            .arg(dir.join("exec"))
            .arg("--pidfile")
            .arg(dir.join("pid"))
            .arg("--containerd")
            .arg(dir.join("c.sock"))
            .args(["--host", &host])
            .args(["--bridge=none", "--iptables=false", "--log-level=warn"])
            .args(args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
        let answers = || {
            let mut version = Command::new("docker");
            version.arg("version").env("DOCKER_HOST", &host);
            version.output().unwrap().status.success()
        };
        while !answers() {
            assert!(
                std::time::Instant::now() < deadline,
                "dockerd does not start: {}",
                std::fs::read_to_string(dir.join("log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        child
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.join("d.sock").display())
    }

    fn kill_and_start(&mut self, pause: Duration) {
        self.dockerd.kill().unwrap();
        self.dockerd.wait().unwrap();
        std::thread::sleep(pause);
        std::fs::remove_file(self.dir.join("pid")).ok();
        self.dockerd = Self::spawn(&self.dir, &self.args);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let docker = |args: &[&str]| {
            let mut command = Command::new("docker");
            command.args(args).env("DOCKER_HOST", self.host());
            let output = command.output();
            output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        };
        // What runs would outlive it: the daemon can be told to let it live.
        for id in docker(&["ps", "-q"]).unwrap_or_default().lines() {
            docker(&["rm", "-f", id]).ok();
        }
        for child in [&mut self.dockerd, &mut self.containerd] {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).ok();
            child.wait().ok();
        }
    }
}

async fn killed_daemon(args: &[&str]) -> (Lab, Server, Daemon, Value) {
    let (lab, shared) = (Lab::new(), daemon());
    let mut own = Daemon::start(&lab.path("d"), args);
    let image = lab.path("image.tar");
    docker(
        &shared,
        &[
            "save",
            "-o",
            image.to_str().unwrap(),
            "windlass-test/tiny:1",
        ],
    );
    docker(&own.host(), &["load", "-q", "-i", image.to_str().unwrap()]);
    let retry = "network: none\nretry: { count: 1, backoff: 1s, on: [infrastructure] }\n";
    lab.hooked("r", &format!("{retry}{}", counting()));
    let server = serve(&lab, &own.host());
    lab.push("r", &["HEAD:main"]);
    let host = own.host();
    lab.wait("it prints slowly", || {
        ours(&lab, &host)
            .first()
            .is_some_and(|id| docker(&host, &["logs", "--tail", "3", id]).contains("slow"))
    });
    own.kill_and_start(Duration::from_millis(300));
    let build = lab.ended(&server, "r", 1).await;
    (lab, server, own, build)
}

#[tokio::test]
async fn a_killed_daemon_that_lets_containers_live_loses_nothing() {
    let (lab, server, own, build) = killed_daemon(&["--live-restore"]).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build), 1, "{build:#}");
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(log == counted(), "the log has {} bytes", log.len());
    lab.wait("nothing is left", || ours(&lab, &own.host()).is_empty());
}

#[tokio::test]
async fn a_killed_daemon_that_takes_containers_along_costs_one_attempt() {
    let (lab, server, own, build) = killed_daemon(&[]).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build), 2, "{build:#}");
    let log = lab
        .bytes(&server, "/repos/r/builds/1/steps/1/log?attempt=2")
        .await;
    assert!(log == counted(), "the log has {} bytes", log.len());
    lab.wait("nothing is left", || ours(&lab, &own.host()).is_empty());
}

#[tokio::test]
async fn a_daemon_that_never_comes_back_costs_the_attempt_and_not_for_ever() {
    let (lab, shared) = (Lab::new(), daemon());
    let mut own = Daemon::start(&lab.path("d"), &[]);
    let image = lab.path("image.tar");
    let image = image.to_str().unwrap();
    docker(&shared, &["save", "-o", image, "windlass-test/tiny:1"]);
    docker(&own.host(), &["load", "-q", "-i", image]);
    lab.hooked(
        "r",
        "image: windlass-test/tiny:1\nnetwork: none\nsteps:\n  - echo begun; sleep 600\n",
    );
    let host = own.host();
    let args = ["--docker", &host, "--docker-pull", "never"];
    let server = lab.serve(&[&args[..], &["--docker-patience", "3"]].concat());
    lab.push("r", &["HEAD:main"]);
    lab.wait("it runs", || {
        ours(&lab, &host)
            .first()
            .is_some_and(|id| docker(&host, &["logs", id]).contains("begun"))
    });
    own.dockerd.kill().unwrap();
    own.dockerd.wait().unwrap();
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "error", "{build:#}");
    let text = build.to_string();
    assert!(text.contains("could not be reached for"), "{text}");
    // For the end of this test, which takes down what still runs there.
    own.kill_and_start(Duration::ZERO);
}

/// Many short jobs, and a server that is killed again and again.
#[tokio::test]
async fn nothing_is_left_of_two_hundred_jobs_and_many_kills() {
    let (lab, host) = (Lab::new(), daemon());
    let numbers: Vec<String> = (1..=200).map(|n| n.to_string()).collect();
    let spec = format!(
        "image: windlass-test/tiny:1\nnetwork: none\njobs:\n  j:\n    matrix: {{ n: [{}] }}\n    \
         steps: [\"echo $MATRIX_N\"]\n",
        numbers.join(", ")
    );
    lab.hooked("r", &spec);
    let args = ["--docker", &host, "--docker-pull", "never", "--slots", "8"];
    let mut server = lab.serve(&args);
    lab.push("r", &["HEAD:main"]);
    for pause in [700, 300, 900, 100, 500, 3000, 40, 2100, 5000] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        server = lab.serve(&args);
    }
    let deadline = std::time::Instant::now() + 4 * crate::lab::PATIENCE;
    let build = loop {
        let build = lab.json(&server, "/api/v1/repos/r/builds/1").await;
        if !matches!(build["state"].as_str(), None | Some("queued" | "running")) {
            break build;
        }
        assert!(std::time::Instant::now() < deadline, "{}", server.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    // Two hundred that passed would hide the one that did not.
    let mut not_passed = build["attempts"].as_array().unwrap().clone();
    not_passed.retain(|attempt| attempt["state"] != "passed");
    assert_eq!(build["state"], "passed", "{not_passed:#?}");
    assert_eq!(attempts(&build), 200, "one attempt of each job");
    lab.wait("nothing is left", || {
        ours(&lab, &host).is_empty() && lab.work().is_empty()
    });
}
