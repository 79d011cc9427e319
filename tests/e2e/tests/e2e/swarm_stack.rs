//! Windlass as a service of the Swarm on which its jobs run, by the stack file of the documentation; and
//! an upgrade of it while a job runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, PATIENCE, windlass};
use crate::swarm_lab::Swarm;

/// Copies a program with the libraries that it needs.
fn with_libraries(root: &Path, program: &Path, to: &str) {
    let put = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    put(program, &root.join(to));
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in text.split_whitespace().filter(|word| word.starts_with('/')) {
        put(Path::new(word), &root.join(&word[1..]));
    }
}

/// An image of the program under test and of this machine's git: what the documentation's Dockerfile
/// makes, without Debian. There is no registry to have that from.
fn image(lab: &Lab, swarm: &Swarm, bare: &Path, tags: &[&str]) {
    let root = lab.path("image");
    for folder in ["tmp", "data", "etc", "srv", "usr/lib/git-core"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/data:/bin/sh\n").unwrap();
    with_libraries(&root, &windlass(), "usr/local/bin/windlass");
    let find = |name: &str| {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(name));
        found.into_iter().find(|file| file.is_file()).unwrap()
    };
    with_libraries(&root, &find("git"), "usr/bin/git");
    with_libraries(&root, &find("busybox"), "bin/sh");
    for name in ["usr/bin/git-upload-pack", "usr/lib/git-core/git"] {
        let link = root.join(name);
        std::os::unix::fs::symlink("/usr/bin/git", link).unwrap();
    }
    let copied = Command::new("cp")
        .arg("-r")
        .args([bare, &root.join("srv/r.git")])
        .status();
    assert!(copied.unwrap().success());
    let archive = lab.path("image.tar");
    let packed = Command::new("tar")
        .arg("-C")
        .args([&root, &PathBuf::from("-cf"), &archive, &PathBuf::from(".")])
        .status();
    assert!(packed.unwrap().success());
    let archive = archive.to_str().unwrap();
    for (number, tag) in tags.iter().enumerate() {
        let change = format!(
            "ENV PATH=/usr/local/bin:/usr/bin:/bin GIT_CONFIG_NOSYSTEM=1 RELEASE={number}\n\
             ENTRYPOINT [\"/usr/local/bin/windlass\"]\nCMD [\"serve\"]"
        );
        let changes: Vec<&str> = change.lines().flat_map(|line| ["--change", line]).collect();
        swarm.docker(1, &[&["import"], &changes[..], &[archive, tag]].concat());
    }
}

#[tokio::test]
async fn it_runs_as_a_service_and_is_upgraded_under_a_job() {
    let lab = Lab::new();
    let swarm = Swarm::own(&lab, 6, 1);
    let spec = "image: windlass-test/tiny:1\nsteps:\n  - for i in $(seq 1 150); do echo $i; sleep 0.1; done\n";
    let bare = lab.repository("r", spec);
    lab.push("r", &["HEAD:main"]);
    image(&lab, &swarm, &bare, &["windlass:1", "windlass:2"]);
    swarm.docker(1, &["node", "update", "--label-add", "windlass=true", "n1"]);
    let url = swarm.address(1, 8080);
    let stack = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/ops/windlass-stack.yml"
    );
    let deployed = Command::new("docker")
        .args([
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "-c",
            stack,
            "ci",
        ])
        .env("DOCKER_HOST", swarm.host(1))
        .env("WINDLASS_IMAGE", "windlass:1")
        .env("WINDLASS_PUBLIC_URL", &url)
        .output()
        .unwrap();
    assert!(deployed.status.success(), "{deployed:?}");
    // The server's container on this node, once it answers.
    let exec = |args: &[&str]| {
        let filter = "label=com.docker.swarm.service.name=ci_windlass";
        let id = swarm.try_docker(1, &["ps", "-q", "--filter", filter])?;
        let id = id.lines().next()?.to_owned();
        swarm.try_docker(1, &[&["exec", &id, "windlass"], args].concat())
    };
    let get = async |path: &str| {
        let answer = lab.http.get(format!("{url}{path}")).send().await;
        match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    };
    let deadline = Instant::now() + PATIENCE;
    while get("/healthz").await != "ok\n" {
        let log = swarm.try_docker(1, &["service", "logs", "ci_windlass"]);
        let tasks = swarm.try_docker(1, &["service", "ps", "--no-trunc", "ci_windlass"]);
        assert!(Instant::now() < deadline, "no answer: {log:?} {tasks:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    exec(&["repo", "add", "r", "--url", "/srv/r.git"]).expect("the repository is added");
    let read = |file: &str| {
        let id = swarm.docker(1, &["ps", "-q", "--filter", "ancestor=windlass:1"]);
        swarm.docker(
            1,
            &[
                "exec",
                &id,
                "sh",
                "-c",
                &format!("while read l; do echo $l; done < {file}"),
            ],
        )
    };
    let token = read("/data/admin.token");
    let asked = lab
        .http
        .post(format!("{url}/api/v1/repos/r/builds"))
        .bearer_auth(&token)
        .json(&serde_json::json!({"revision": "main"}))
        .send()
        .await
        .unwrap();
    let status = asked.status();
    let words = asked.text().await.unwrap();
    assert!(status.is_success(), "{status}: {words}");
    let log = "/repos/r/builds/1/steps/1/log";
    let deadline = Instant::now() + PATIENCE;
    while !get(log).await.contains("20\n") {
        let build = get("/api/v1/repos/r/builds/1").await;
        assert!(Instant::now() < deadline, "it does not run: {build}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    swarm.docker(
        1,
        &[
            "service",
            "update",
            "--detach",
            "--no-resolve-image",
            "--image",
            "windlass:2",
            "ci_windlass",
        ],
    );
    let deadline = Instant::now() + 2 * PATIENCE;
    let build = loop {
        let text = get("/api/v1/repos/r/builds/1").await;
        let build: Value = serde_json::from_str(&text).unwrap_or_default();
        if !matches!(build["state"].as_str(), None | Some("queued" | "running")) {
            break build;
        }
        assert!(Instant::now() < deadline, "it does not end: {build:#}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(build["attempts"].as_array().unwrap().len(), 1, "{build:#}");
    let wanted: String = (1..=150).map(|n| format!("{n}\n")).collect();
    assert_eq!(get(log).await, wanted);
    let new = swarm.docker(1, &["ps", "-q", "--filter", "ancestor=windlass:2"]);
    assert!(!new.is_empty(), "the new release runs");
}
