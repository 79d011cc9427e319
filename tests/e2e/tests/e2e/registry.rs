//! Images of a real registry that lets only those in who are known to it: pulled by one daemon, and by the
//! nodes of a Swarm.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::lab::{Lab, PATIENCE, Server};
use crate::swarm_lab::Swarm;

const USER: &str = "ada";
const PASSWORD: &str = "sword=fish+9/}{|";
/// bcrypt of it.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuf8.QslWPeP5l7js7TKW97c35NrDl0DO";

/// Debian's docker-registry, at an address that the nodes reach.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(lab: &Lab, swarm: &Swarm) -> Self {
        let address = swarm.free_port();
        let users = lab.path("users");
        std::fs::write(&users, format!("{USER}:{HASH}\n")).unwrap();
        let config = lab.path("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: '{address}' }}\nauth: {{ htpasswd: {{ realm: test, path: {} }} }}\n",
            lab.path("registry").display(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = lab
            .command("docker-registry")
            .arg("serve")
            .arg(config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is missing: apt-get install docker-registry");
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry does not start");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Puts the tests' image into the registry, and away from the node on which that was done.
fn push(lab: &Lab, swarm: &Swarm, registry: &Registry) -> String {
    let image = format!("{}/team/tiny:1", registry.address);
    let docker = |args: &[&str]| {
        let output = Command::new("docker")
            .args(args)
            .env("DOCKER_HOST", swarm.host(1))
            .env("DOCKER_CONFIG", lab.path("docker"))
            .output()
            .unwrap();
        assert!(output.status.success(), "docker {args:?}: {output:?}");
    };
    docker(&["login", "-u", USER, "-p", PASSWORD, &registry.address]);
    docker(&["tag", "windlass-test/tiny:1", &image]);
    docker(&["push", "-q", &image]);
    docker(&["rmi", &image]);
    image
}

async fn one(lab: &Lab, server: &Server, name: &str, spec: &str) -> serde_json::Value {
    lab.hooked(name, spec);
    lab.push(name, &["HEAD:main"]);
    lab.ended(server, name, 1).await
}

fn log_in(lab: &Lab, name: &str, registry: &Registry, password: &str) {
    let file = lab.path("password");
    std::fs::write(&file, password).unwrap();
    let file = file.to_str().unwrap();
    let set = ["registry", "set", name, &registry.address];
    lab.ok(&[&set[..], &["--user", USER, "--password-file", file]].concat());
}

#[tokio::test]
async fn private_images_are_pulled_with_the_repository_s_login() {
    let (lab, swarm) = (Lab::new(), Swarm::shared());
    let registry = Registry::start(&lab, &swarm);
    let image = push(&lab, &swarm, &registry);
    let spec = format!("image: {image}\nsteps:\n  - env && ! env | grep -q fish\n");
    let server = lab.serve(&["--docker", &swarm.host(1)]);
    let build = one(&lab, &server, "stranger", &spec).await;
    let text = build.to_string();
    assert_eq!(build["state"], "error", "{text}");
    assert!(text.contains("windlass registry set"), "{text}");
    lab.hooked("r", &spec);
    log_in(&lab, "r", &registry, PASSWORD);
    let listed = lab.ok(&["registry", "list", "r"]);
    assert!(listed.contains(&registry.address) && !listed.contains(PASSWORD));
    // What the library would garble is refused.
    std::fs::write(lab.path("password"), "what?").unwrap();
    let file = lab.path("password");
    let file = file.to_str().unwrap();
    let set = ["registry", "set", "r", "x.example", "--user", "a"];
    let refused = lab.run(&[&set[..], &["--password-file", file]].concat());
    assert!(!refused.status.success(), "{refused:?}");
    // A login is no secret that a spec could ask for.
    assert_eq!(lab.ok(&["secret", "list", "r"]), "");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    let text = build.to_string();
    assert_eq!(build["state"], "passed", "{text}\n{}", server.said());
    assert!(text.contains("pulled in"), "{text}");
    assert!(text.contains("team/tiny@sha256:"), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
    // It is there now; a tag that is not is told as such.
    let missing = spec.replace("tiny:1", "tiny:2");
    lab.commit("r", &missing, "Another");
    lab.push("r", &["HEAD:main"]);
    let text = lab.ended(&server, "r", 2).await.to_string();
    assert!(
        text.contains("not found") || text.contains("unknown"),
        "{text}"
    );
    swarm.docker(1, &["rmi", "-f", &image]);
    // On a laptop, with the login of Docker's own client.
    let run = lab
        .command(crate::lab::windlass())
        .args(["run", "--docker", &swarm.host(1), "--dir"])
        .arg(lab.path("stranger"))
        .env("DOCKER_CONFIG", lab.path("docker"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    swarm.docker(1, &["rmi", "-f", &image]);
}

#[tokio::test]
async fn nodes_pull_private_images_with_the_repository_s_login() {
    let lab = Lab::new();
    let swarm = Swarm::pulling(&lab, 7);
    let registry = Registry::start(&lab, &swarm);
    let image = push(&lab, &swarm, &registry);
    let spec = format!("image: {image}\nruns-on: hostname=n3\nsteps: [\"true\"]\n");
    let address = swarm.free_port();
    let url = format!("http://{address}");
    let host = swarm.host(1);
    let server = lab.serve(&[
        "--executor",
        "swarm",
        "--docker",
        &host,
        "--nodes-listen",
        &address,
        "--nodes-url",
        &url,
    ]);
    let build = one(&lab, &server, "stranger", &spec).await;
    let text = build.to_string();
    assert_eq!(build["state"], "error", "{text}");
    assert!(text.contains("windlass registry set"), "{text}");
    lab.hooked("r", &spec);
    log_in(&lab, "r", &registry, PASSWORD);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    let text = build.to_string();
    assert_eq!(build["state"], "passed", "{text}\n{}", server.said());
    // Pinned, so that all nodes run the same.
    assert!(text.contains("team/tiny@sha256:"), "{text}");
}

const MADE: &str = r#"
jobs:
  compile:
    image: windlass-test/tiny:1
    steps: [mkdir out && echo made > out/app]
    artifacts: [out/app]
  image:
    needs: [{ job: compile, artifacts: true }]
    outputs: [digest]
    secrets: [TOKEN]
    steps:
      - build:
          file: docker/app.Dockerfile
          args: { BRANCH: "${{ branch }}" }
          tags: ["REGISTRY/team/app:1", "REGISTRY/team/app:${{ branch }}"]
          push: true
  told:
    needs: [image]
    env: { DIGEST: "${{ needs.image.outputs.digest }}" }
    steps: ['echo "$DIGEST" | grep -q "^sha256:"']
  use:
    needs: [image]
    image: "REGISTRY/team/app:main"
    steps: ['test "$(cat /app /branch)" = "$(printf "made\nmain")" && test ! -e /run/secrets/TOKEN']
"#;

/// The Docker client of Debian's docker.io, which has BuildKit in itself.
fn debian_s_client() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    assert!(
        std::path::Path::new("/usr/bin/docker").exists(),
        "Docker's client is missing: apt-get install docker.io"
    );
    format!("/usr/bin:{path}")
}

fn set_token(lab: &Lab, name: &str) {
    std::fs::write(lab.path("token"), "hunter2-hunter2").unwrap();
    let file = lab.path("token");
    lab.ok(&[
        "secret",
        "set",
        name,
        "TOKEN",
        "--from-file",
        file.to_str().unwrap(),
    ]);
}

fn built_here(lab: &Lab, swarm: &Swarm) -> String {
    let filter = format!("label=windlass.built={}", crate::containers::owner(lab));
    swarm.docker(1, &["images", "-q", "--filter", &filter])
}

#[tokio::test]
async fn an_image_is_made_and_pushed_with_a_login_that_no_script_reads() {
    let (lab, swarm) = (Lab::new(), Swarm::shared());
    let registry = Registry::start(&lab, &swarm);
    let spec = MADE.replace("REGISTRY", &registry.address);
    lab.hooked("r", &spec);
    let folder = lab.path("r");
    std::fs::create_dir(folder.join("docker")).unwrap();
    // What a build step reads of its secrets and logins would be in its output.
    let file = "FROM windlass-test/tiny:1\nARG BRANCH\nCOPY out/app /app\nRUN --mount=type=secret,id=TOKEN \
                test \"$(cat /run/secrets/TOKEN)\" = hunter2-hunter2 && env && cat /run/secrets/TOKEN && ! env | grep \
                -q fish && echo \"$BRANCH\" > /branch\n";
    std::fs::write(folder.join("docker/app.Dockerfile"), file).unwrap();
    lab.commit("r", &spec, "A Dockerfile");
    set_token(&lab, "r");
    let server = lab.serve_with(
        &["--docker", &swarm.host(1)],
        &[("PATH", &debian_s_client())],
    );
    // Without a login it is made, and can't be pushed.
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    let log = image_log(&lab, &server, &build).await;
    assert_eq!(build["state"], "failed", "{build:#}\n{log}");
    assert!(log.contains("windlass registry set"), "{log}");
    log_in(&lab, "r", &registry, PASSWORD);
    lab.commit("r", &format!("{spec}# again\n"), "Again");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 2).await;
    let log = image_log(&lab, &server, &build).await;
    assert_eq!(
        build["state"],
        "passed",
        "{build:#}\n{log}\n{}",
        server.said()
    );
    assert!(log.contains("with BuildKit"), "{log}");
    assert!(!log.contains("hunter2") && !log.contains(PASSWORD), "{log}");
    assert!(!build.to_string().contains(PASSWORD));
    for tag in ["1", "main"] {
        let manifest = format!("http://{}/v2/team/app/manifests/{tag}", registry.address);
        let asked = lab.http.get(manifest).basic_auth(USER, Some(PASSWORD));
        assert_eq!(asked.send().await.unwrap().status(), 200, "{tag}");
    }
    let used = format!("{}/team/app:main", registry.address);
    swarm.docker(1, &["rmi", "-f", &used]);
    assert_eq!(built_here(&lab, &swarm), "");
}

/// The whole output of the step that makes the image.
async fn image_log(lab: &Lab, server: &Server, build: &serde_json::Value) -> String {
    let attempts = build["attempts"].as_array().unwrap();
    let jobs = build["jobs"].as_array().unwrap();
    let job = jobs.iter().find(|job| job["name"] == "image").unwrap();
    let made = attempts
        .iter()
        .find(|a| a["attempt"] == job["attempt"])
        .unwrap();
    let url = made["steps"][0]["log_url"].as_str().unwrap();
    lab.text(server, url.strip_prefix(&server.url).unwrap())
        .await
}

const KEPT: &str = r#"
jobs:
  image:
    steps:
      - build: { context: web, tags: "windlass-test/kept:1" }
  use:
    needs: [image]
    image: windlass-test/kept:1
    steps: ['test "$(cat /page)" = hello']
"#;

#[tokio::test]
async fn without_buildkit_and_a_registry_the_daemon_keeps_the_image() {
    let (lab, swarm) = (Lab::new(), Swarm::shared());
    lab.hooked("r", KEPT);
    let folder = lab.path("r");
    std::fs::create_dir(folder.join("web")).unwrap();
    std::fs::write(folder.join("web/page"), "hello\n").unwrap();
    let file = "FROM windlass-test/tiny:1\nCOPY . /\nRUN test ! -e /left-out\n";
    std::fs::write(folder.join("web/Dockerfile"), file).unwrap();
    std::fs::write(folder.join("web/left-out"), "").unwrap();
    std::fs::write(folder.join("web/.dockerignore"), "left-out\n").unwrap();
    lab.commit("r", KEPT, "A Dockerfile");
    let host = swarm.host(1);
    let server = lab.serve_with(&["--docker", &host], &[("DOCKER_BUILDKIT", "0")]);
    for number in 1..=2 {
        lab.push("r", &["HEAD:main"]);
        let build = lab.ended(&server, "r", number).await;
        let log = image_log(&lab, &server, &build).await;
        assert_eq!(
            build["state"],
            "passed",
            "{build:#}\n{log}\n{}",
            server.said()
        );
        assert!(log.contains("without BuildKit"), "{log}");
        // The second is another image of the same name: the first goes.
        assert_eq!(built_here(&lab, &swarm).lines().count(), 1);
        std::fs::write(folder.join("web/more"), "more\n").unwrap();
        lab.commit("r", &format!("{KEPT}# again\n"), "Again");
    }
    // The same on a laptop.
    let run = lab.command(crate::lab::windlass());
    let mut run = run;
    let run = run.args(["run", "--docker", &host, "--dir"]).arg(&folder);
    let run = run.env("DOCKER_BUILDKIT", "0").output().unwrap();
    assert!(run.status.success(), "{run:?}");
    // What is wrong is told; what a link leads to is not.
    let link = |name: &str, to: &str| {
        std::fs::remove_file(folder.join(name)).ok();
        std::os::unix::fs::symlink(to, folder.join(name)).unwrap();
    };
    let good = lab.git(&folder, &["rev-parse", "HEAD"]);
    let mut number = 2;
    for (name, to, words) in [
        (
            "web/Dockerfile",
            "/etc/passwd",
            "leads out of the workspace",
        ),
        (
            "web/.dockerignore",
            "/etc/passwd",
            "leads out of the workspace",
        ),
        ("web/Dockerfile", "nowhere", "can't be read"),
    ] {
        link(name, to);
        lab.commit("r", &format!("{KEPT}# {name} {to}\n"), "A link");
        number += 1;
        lab.push("r", &["HEAD:main"]);
        let build = lab.ended(&server, "r", number).await;
        let log = image_log(&lab, &server, &build).await;
        assert_eq!(build["state"], "failed", "{build:#}\n{log}");
        assert!(log.contains(words) && !log.contains("root:"), "{log}");
        lab.git(&folder, &["checkout", "-q", &good, "--", "web"]);
    }
    // The next good one takes away what has lost its name: to the laptop's image, here.
    lab.commit("r", &format!("{KEPT}# good\n"), "Good");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", number + 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    swarm.docker(1, &["rmi", "-f", "windlass-test/kept:1"]);
    assert_eq!(built_here(&lab, &swarm), "");
}
