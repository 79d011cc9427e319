//! Images of a real registry that lets only those in who are known to it: pulled by one daemon, and by the
//! nodes of a Swarm.

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::lab::{Lab, PATIENCE, Server};
use crate::swarm::Swarm;

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
