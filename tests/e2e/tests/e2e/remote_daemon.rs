//! A Docker daemon on another machine: reached over TLS with certificates of both sides, and through ssh.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::containers::{counted, counting};
use crate::lab::{Lab, PATIENCE, Server, windlass};
use crate::swarm_lab::Swarm;

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A certificate authority, and certificates of it for a server at this address and for a client.
fn certificates(dir: &Path, address: &str) {
    std::fs::create_dir_all(dir).unwrap();
    let openssl = |args: &[&str]| run(Command::new("openssl").args(args).current_dir(dir));
    let ca = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca-key.pem -out ca.pem";
    openssl(&ca.split(' ').collect::<Vec<_>>());
    for (key, certificate, extension) in [
        (
            "server-key.pem",
            "server.pem",
            format!("subjectAltName=IP:{address}"),
        ),
        (
            "key.pem",
            "cert.pem",
            "extendedKeyUsage=clientAuth".to_owned(),
        ),
    ] {
        let new =
            format!("req -newkey rsa:2048 -nodes -subj /CN=test -keyout {key} -out request.pem");
        openssl(&new.split(' ').collect::<Vec<_>>());
        std::fs::write(dir.join("extension"), extension).unwrap();
        let sign = format!(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile extension \
             -out {certificate}"
        );
        openssl(&sign.split(' ').collect::<Vec<_>>());
    }
}

const SPEC: &str = "image: windlass-test/tiny:1\nartifacts: [out]\nsteps:\n  - echo far away > out\n  - seq 1 20000\n";

/// `windlass run` of a job in a container of this daemon.
fn build(lab: &Lab, host: &str, env: &[(&str, &str)]) -> std::process::Output {
    lab.command(windlass())
        .args(["run", "--docker", host, "--docker-pull", "never", "--dir"])
        .arg(lab.path("r"))
        .arg("--artifacts")
        .arg(lab.path("kept"))
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn passed(lab: &Lab, host: &str, env: &[(&str, &str)]) {
    let output = build(lab, host, env);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("20000"), "{text}");
    let kept = walk(&lab.path("kept"));
    assert!(kept.iter().any(|text| text == "far away\n"), "{kept:?}");
}

/// The contents of all files below a folder.
fn walk(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false => vec![std::fs::read_to_string(path).unwrap()],
        })
        .collect()
}

#[test]
fn a_daemon_is_reached_over_tls_and_only_with_a_certificate() {
    let lab = Lab::new();
    lab.repository("r", SPEC);
    let certificates_of = lab.path("certificates");
    certificates(&certificates_of, "10.78.8.1");
    let at = |name: &str| certificates_of.join(name).display().to_string();
    let swarm = Swarm::with(
        &lab,
        8,
        format!(
            "-H tcp://0.0.0.0:2376 --tlsverify --tlscacert {} --tlscert {} --tlskey {}",
            at("ca.pem"),
            at("server.pem"),
            at("server-key.pem")
        ),
    );
    let host = swarm.address(1, 2376).replace("http://", "tcp://");
    let path = certificates_of.display().to_string();
    let env = [
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", path.as_str()),
    ];
    passed(&lab, &host, &env);
    // Without, or with those of somebody else, nobody is let in.
    let refused = build(&lab, &host, &[]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{words}");
    let strangers = lab.path("strangers");
    certificates(&strangers, "10.78.8.1");
    let path = strangers.display().to_string();
    let env = [
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_CERT_PATH", path.as_str()),
    ];
    let refused = build(&lab, &host, &env);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{words}");
    assert!(words.contains("can't be reached"), "{words}");
}

struct Sshd(Child);

impl Drop for Sshd {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_daemon_is_reached_through_ssh() {
    let lab = Lab::new();
    lab.repository("r", SPEC);
    let swarm = Swarm::shared();
    let dir = lab.path("ssh");
    std::fs::create_dir_all(&dir).unwrap();
    for key in ["host", "person"] {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(dir.join(key)));
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let at = |name: &str| dir.join(name).display().to_string();
    let server = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\nSetEnv DOCKER_HOST={}\n",
        at("host"),
        at("person.pub"),
        swarm.host(1)
    );
    std::fs::write(dir.join("sshd_config"), server).unwrap();
    let client = format!(
        "Host far\n  HostName 127.0.0.1\n  Port {port}\n  User {}\n  IdentityFile {}\n  UserKnownHostsFile {}\n  \
         StrictHostKeyChecking accept-new\n",
        String::from_utf8_lossy(&Command::new("id").arg("-un").output().unwrap().stdout).trim(),
        at("person"),
        at("known")
    );
    std::fs::write(dir.join("config"), client).unwrap();
    // ssh looks for its configuration in the home folder of the system's list, whatever HOME says: a program of
    // the same name hands it ours.
    let bin = lab.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let wrapper = format!("#!/bin/sh\nexec /usr/bin/ssh -F {} \"$@\"\n", at("config"));
    std::fs::write(bin.join("ssh"), wrapper).unwrap();
    run(Command::new("chmod").arg("+x").arg(bin.join("ssh")));
    std::fs::create_dir_all("/run/sshd").unwrap();
    let _sshd = Sshd(
        Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stderr(Stdio::null())
            .spawn()
            .expect("sshd is missing: apt-get install openssh-server"),
    );
    let deadline = Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "sshd does not start");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", bin.display());
    passed(&lab, "ssh://far", &[("PATH", &path)]);
    // A machine that is not there.
    let refused = build(&lab, "ssh://nowhere.invalid", &[("PATH", &path)]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(words.contains("can't be reached"), "{words}");
}

/// The server's machine burns down; another one has the disk, at the same path, and another name.
fn on_another_machine(lab: &Lab, args: &[&str]) -> Server {
    let moved = lab.path("moved");
    std::fs::rename(lab.data(), &moved).unwrap();
    std::fs::create_dir(lab.data()).unwrap();
    let script = "hostname elsewhere && mount --make-rprivate / && mount --bind \"$1\" \"$2\" && shift 2 && \
                  exec \"$@\"";
    let mut program = lab.command("unshare");
    program.args(["--mount", "--uts", "--", "sh", "-ec", script, "sh"]);
    program.args([&moved, &lab.data(), &windlass()]);
    lab.serve_as(program, args, &[])
}

async fn goes_on(lab: &Lab, mut server: Server, args: &[&str]) {
    lab.push("r", &["HEAD:main"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |build| {
        build["attempts"][0]["steps"][0]["state"] == "running"
    })
    .await;
    server.kill();
    let server = on_another_machine(lab, args);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(build["attempts"].as_array().unwrap().len(), 1, "{build:#}");
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(log == counted(), "the log has {} bytes", log.len());
}

#[tokio::test]
async fn a_server_that_moves_with_its_data_goes_on_with_a_container() {
    let (lab, swarm) = (Lab::new(), Swarm::shared());
    lab.hooked("r", &counting());
    let (server, host) = (lab.serve(&["--docker", &swarm.host(1)]), swarm.host(1));
    goes_on(&lab, server, &["--docker", &host]).await;
}

#[tokio::test]
async fn a_server_that_moves_with_its_data_goes_on_with_a_node_s_job() {
    let place = crate::swarm_lab::Place::new();
    place.lab.hooked("r", &counting());
    let options = place.options(1);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = place.lab.serve(&options);
    goes_on(&place.lab, server, &options).await;
}
