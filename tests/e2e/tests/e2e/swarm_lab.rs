//! Real Swarms of three nodes on this machine (`tests/lab/swarm.sh`), and servers whose jobs run there.

use std::path::PathBuf;
use std::process::Command;

use sha2::{Digest as _, Sha256};

use crate::lab::{Lab, Server};

/// Registries of tests are on this machine and have no certificates.
const INSECURE: &str = "--insecure-registry 10.78.0.0/16";

/// A Swarm of `tests/lab/swarm.sh`.
pub(crate) struct Swarm {
    folder: PathBuf,
    id: String,
    net: String,
    managers: u32,
    /// Its nodes never pull images.
    offline: bool,
    /// Words for every dockerd.
    args: String,
    /// It is this test's own, and is taken down with it.
    own: bool,
}

impl Swarm {
    /// The one that `cargo xtask lab up` makes, for tests that break nothing.
    pub(crate) fn shared() -> Self {
        let swarm = Self {
            folder: std::env::temp_dir().join("windlass-lab/swarm"),
            id: "wlt".to_owned(),
            net: "10.78.0".to_owned(),
            managers: 1,
            offline: true,
            args: String::new(),
            own: false,
        };
        let socket = swarm.folder.join("n1/docker.sock");
        assert!(
            std::os::unix::net::UnixStream::connect(&socket).is_ok(),
            "no Swarm answers at {}: run `cargo xtask lab up` (`cargo xtask test` does)",
            socket.display()
        );
        swarm
    }

    /// One of this test's own, to be broken. `number` tells it from those of other tests.
    pub(crate) fn own(lab: &Lab, number: u32, managers: u32) -> Self {
        Self {
            folder: lab.path("swarm"),
            id: format!("wl{number}"),
            net: format!("10.78.{number}"),
            managers,
            offline: true,
            args: INSECURE.to_owned(),
            own: true,
        }
        .up()
    }

    /// One whose nodes pull images from registries without certificates.
    pub(crate) fn pulling(lab: &Lab, number: u32) -> Self {
        Self {
            folder: lab.path("swarm"),
            id: format!("wl{number}"),
            net: format!("10.78.{number}"),
            managers: 1,
            offline: false,
            args: INSECURE.to_owned(),
            own: true,
        }
        .up()
    }

    /// One whose daemons have these further words.
    pub(crate) fn with(lab: &Lab, number: u32, args: String) -> Self {
        Self {
            folder: lab.path("swarm"),
            id: format!("wl{number}"),
            net: format!("10.78.{number}"),
            managers: 1,
            offline: true,
            args,
            own: true,
        }
        .up()
    }

    fn up(self) -> Self {
        let image = std::env::temp_dir().join("windlass-lab/tiny-image.tar");
        assert!(
            image.exists(),
            "{} is missing: run `cargo xtask lab up`",
            image.display()
        );
        // What a run of this test that was killed left behind.
        self.script(&["down"]);
        self.script(&["up", "3", image.to_str().unwrap()]);
        self
    }

    #[track_caller]
    pub(crate) fn script(&self, args: &[&str]) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../lab/swarm.sh");
        let output = Command::new("bash")
            .arg(script)
            .args(args)
            .env("LAB", &self.folder)
            .env("LAB_ID", &self.id)
            .env("LAB_NET", &self.net)
            .env("HEARTBEAT", "1s")
            .env("MANAGERS", self.managers.to_string())
            .env("OFFLINE", if self.offline { "1" } else { "0" })
            .env("DOCKERD_ARGS", &self.args)
            .output()
            .unwrap();
        assert!(output.status.success(), "swarm.sh {args:?}: {output:?}");
    }

    pub(crate) fn host(&self, node: u32) -> String {
        format!("unix://{}/n{node}/docker.sock", self.folder.display())
    }

    pub(crate) fn try_docker(&self, node: u32, args: &[&str]) -> Option<String> {
        let output = Command::new("docker")
            .args(args)
            .env("DOCKER_HOST", self.host(node))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(text)
    }

    /// A port of a node, as this machine reaches it.
    pub(crate) fn address(&self, node: u32, port: u16) -> String {
        format!("http://{}.{node}:{port}", self.net)
    }

    #[track_caller]
    pub(crate) fn docker(&self, node: u32, args: &[&str]) -> String {
        self.try_docker(node, args)
            .unwrap_or_else(|| panic!("docker {args:?} failed on n{node}"))
    }

    /// A port of this machine that its nodes reach, and that is free.
    pub(crate) fn free_port(&self) -> String {
        let address = format!("{}.254:0", self.net);
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.local_addr().unwrap().to_string()
    }

    /// Nobody on the nodes reaches this port of this machine any more: a server that moved, or a firewall.
    pub(crate) fn shut(&self, port: u16) -> Shut {
        let all = (1..=3).map(|node| format!("{}-n{node}", self.id));
        let shut = Shut {
            port: port.to_string(),
            nodes: all.collect(),
        };
        shut.rule("-I");
        shut
    }

    /// Everything of this test's data folder that Docker has, on all nodes.
    pub(crate) fn left(&self, lab: &Lab) -> Vec<String> {
        let filter = format!("label=windlass.owner={}", owner(lab));
        let mut left = Vec::new();
        for kind in ["service", "secret", "config", "network"] {
            let list = self.docker(1, &[kind, "ls", "-q", "--filter", &filter]);
            left.extend(list.lines().map(|id| format!("{kind} {id}")));
        }
        for node in 1..=3 {
            let list = self.try_docker(node, &["ps", "-aq", "--filter", &filter]);
            let list = list.unwrap_or_default();
            left.extend(list.lines().map(|id| format!("container {id} on n{node}")));
        }
        left
    }
}

/// A port that is shut for as long as this lives.
pub(crate) struct Shut {
    port: String,
    nodes: Vec<String>,
}

impl Shut {
    fn rule(&self, verb: &str) {
        for node in &self.nodes {
            // Of a container's packets the node is a router.
            let exec = ["netns", "exec", node, "iptables", "-w", verb, "FORWARD"];
            let rule = ["-p", "tcp", "--dport", &self.port, "-j", "DROP"];
            let output = Command::new("ip").args(exec).args(rule).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.rule("-D");
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        if self.own {
            self.script(&["down"]);
        }
    }
}

/// A server whose jobs run on a Swarm, and how to start it again.
pub(crate) struct Place {
    pub(crate) lab: Lab,
    pub(crate) address: String,
    pub(crate) swarm: Swarm,
}

impl Place {
    pub(crate) fn new() -> Self {
        let (lab, swarm) = (Lab::new(), Swarm::shared());
        let address = swarm.free_port();
        Self {
            lab,
            address,
            swarm,
        }
    }

    pub(crate) fn own(number: u32, managers: u32) -> Self {
        let lab = Lab::new();
        let swarm = Swarm::own(&lab, number, managers);
        let address = swarm.free_port();
        Self {
            lab,
            address,
            swarm,
        }
    }

    pub(crate) fn serve(&self, args: &[&str]) -> Server {
        self.serve_on(1, args)
    }

    /// The nodes' way to the server, cut until the answer is dropped.
    pub(crate) fn shut(&self) -> Shut {
        let (_, port) = self.address.rsplit_once(':').unwrap();
        self.swarm.shut(port.parse().unwrap())
    }

    /// Speaks to the manager on this node.
    pub(crate) fn serve_on(&self, node: u32, args: &[&str]) -> Server {
        let own = self.options(node);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        self.lab.serve(&[&own, args].concat())
    }

    pub(crate) fn options(&self, node: u32) -> Vec<String> {
        let (host, url) = (self.swarm.host(node), format!("http://{}", self.address));
        let all = ["--executor", "swarm", "--docker", &host, "--nodes-listen"];
        let more = [&self.address, "--nodes-url", &url];
        all.iter().chain(&more).map(ToString::to_string).collect()
    }

    pub(crate) fn nothing_is_left(&self) {
        self.lab.wait("nothing is left", || {
            let left = self.swarm.left(&self.lab);
            left.is_empty() && self.lab.work().is_empty()
        });
    }
}

pub(crate) fn owner(lab: &Lab) -> String {
    let work = lab.data().join("work");
    let digest = hex::encode(Sha256::digest(work.as_os_str().as_encoded_bytes()));
    digest[..12].to_owned()
}
