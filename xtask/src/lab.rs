//! A Docker daemon and a Swarm of three nodes for the tests, with images made of nothing but this
//! machine's busybox: there is no registry. They have a folder and sockets of their own and do not touch
//! a daemon that is installed.

mod packages;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{output, program, run, works};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell and the usual tools, root and a user `ci`.
pub(crate) const TINY: &str = "windlass-test/tiny:1";
/// One program that is no shell, and no user at all.
const BARE: &str = "windlass-test/bare:1";
/// PostgreSQL's server and, for a service that uses it, Python with its driver and git.
const POSTGRES: &str = "windlass-test/postgres:1";

/// Where everything of the daemon lies. The tests know the same place.
fn folder() -> PathBuf {
    std::env::temp_dir().join("windlass-lab")
}

/// Its address.
pub(crate) fn host() -> String {
    format!("unix://{}", folder().join("docker.sock").display())
}

fn docker(args: &[&str]) -> std::process::Command {
    let mut command = program("docker", args);
    command.env("DOCKER_HOST", host());
    command
}

/// Starts the daemon if it does not run, and makes the images that it lacks.
pub(crate) fn up() -> Result<()> {
    if !works(docker(&["version"])) {
        start()?;
    }
    if !works(docker(&["image", "inspect", TINY])) {
        image(TINY, Inside::Shell)?;
    }
    if !works(docker(&["run", "--rm", "--network=none", TINY, "true"])) {
        bail!(
            "no container runs here: `docker -H {} run --rm {TINY} true` says why (is busybox the \
             static one, of Debian's package busybox-static?)",
            host()
        );
    }
    if !works(docker(&["image", "inspect", BARE])) {
        image(BARE, Inside::Sleep)?;
    }
    if !works(docker(&["image", "inspect", POSTGRES])) {
        image(POSTGRES, Inside::Packages)?;
    }
    println!("the tests' Docker daemon: {}", host());
    swarm_up()
}

/// The address of the Swarm's manager.
pub(crate) fn manager() -> String {
    format!("unix://{}", folder().join("swarm/n1/docker.sock").display())
}

/// The address of this machine for the Swarm's nodes.
pub(crate) const HOST_FOR_NODES: &str = "10.78.0.254";

/// A script of ours that makes Swarms, with what the tests' common one is called.
fn swarm(args: &[&str]) -> std::process::Command {
    let script = crate::root().join("tests/lab/swarm.sh");
    let lab = format!("LAB={}", folder().join("swarm").display());
    let script = script.to_string_lossy();
    // A heartbeat of a second: a node that is lost is missed after three.
    // Registries of tests are on this machine and have no certificates.
    let insecure = "DOCKERD_ARGS=--insecure-registry 10.78.0.0/16";
    let environment = [
        &lab,
        "LAB_ID=wlt",
        "LAB_NET=10.78.0",
        "HEARTBEAT=1s",
        insecure,
    ];
    let all = [&environment, &["bash", &script][..], args].concat();
    as_root("env", &all)
}

/// Starts the Swarm if it does not run, with the image that the tests use on every node.
fn swarm_up() -> Result<()> {
    let image = folder().join("tiny-image.tar");
    if !image.exists() {
        let path = image.to_string_lossy();
        run(docker(&["save", "-o", &path, TINY]))?;
    }
    let up = ["up", "3", &image.to_string_lossy()];
    run(swarm(&up)).context(
        "the tests' Swarm did not start: it needs root, network namespaces (`ip netns add`) and the \
         kernel's vxlan",
    )
}

/// Stops the daemon, if it runs, and removes its folder with everything that it mounted.
pub(crate) fn down() -> Result<()> {
    let folder = folder();
    if folder.join("swarm").exists() {
        run(swarm(&["down"]))?;
    }
    let path = folder.to_string_lossy();
    // A containerd outlives a daemon that was killed, and the next one would wait for it in vain.
    for pid in processes(&path) {
        // One that is gone already is as good.
        works(as_root("kill", &[&pid]));
        let end = Instant::now() + PATIENCE;
        while Path::new("/proc").join(&pid).exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        works(as_root("kill", &["-9", &pid]));
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let ours = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    for mount in ours.filter(|mount| Path::new(mount).starts_with(&folder)) {
        works(as_root("umount", &["-l", mount]));
    }
    if folder.exists() {
        run(as_root("rm", &["-rf", "--one-file-system", &path]))?;
    }
    Ok(())
}

/// Daemons (dockerd, containerd) whose command line names the folder, the parents first.
fn processes(folder: &str) -> Vec<String> {
    let names = |pid: &str| {
        let line = std::fs::read(Path::new("/proc").join(pid).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let program = line.split('\0').next().unwrap_or_default();
        (program.ends_with("dockerd") || program.ends_with("containerd")) && line.contains(folder)
    };
    let mut found: Vec<u32> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|pid| names(pid))
        .filter_map(|pid| pid.parse().ok())
        .collect();
    found.sort_unstable();
    found.iter().map(ToString::to_string).collect()
}

fn as_root(name: &str, args: &[&str]) -> std::process::Command {
    if output(program("id", &["-u"])).is_ok_and(|id| id == "0") {
        return program(name, args);
    }
    let mut command = program("sudo", &["-n", name]);
    command.args(args);
    command
}

fn start() -> Result<()> {
    // What one that was killed left behind.
    down()?;
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let group = output(program("id", &["-g"]))?;
    // A network namespace of its own: neither its bridge nor its packet filter may meet those of a
    // daemon that is installed (two daemons take each other's bridge away).
    let args = [
        "unshare",
        "--net",
        "dockerd",
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "--pidfile",
        &at("pid"),
        "--host",
        &host(),
        "--group",
        &group,
        "--log-level",
        "warn",
    ];
    let log = std::fs::File::create(folder.join("log"))?;
    let mut child = as_root("setsid", &args)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("could not run dockerd")?;
    let end = Instant::now() + PATIENCE;
    while !works(docker(&["version"])) {
        let gone = child.try_wait()?.is_some_and(|status| !status.success());
        if gone || Instant::now() > end {
            let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            bail!(
                "dockerd did not start; root is needed, and a kernel with overlayfs, cgroups and \
                 iptables. It said:\n{said}"
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// What an image has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// One program that is no shell.
    Sleep,
    /// A shell, the usual tools, and users.
    Shell,
    /// These, and packages of this machine.
    Packages,
}

/// Makes an image of the static busybox.
fn image(name: &str, inside: Inside) -> Result<()> {
    let with_shell = inside != Inside::Sleep;
    let dir = folder().join(match inside {
        Inside::Sleep => "bare",
        Inside::Shell => "tiny",
        Inside::Packages => "postgres",
    });
    let bin = dir.join("bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::create_dir_all(dir.join("tmp"))?;
    let busybox = crate::machine::find("busybox").context("busybox is missing")?;
    std::fs::copy(&busybox, bin.join("busybox"))?;
    let applets = output(program(&busybox.to_string_lossy(), &["--list"]))?;
    let wanted = |applet: &&str| with_shell && *applet != "busybox" || *applet == "sleep";
    for applet in applets.lines().filter(wanted) {
        let link = bin.join(applet);
        if !link.exists() {
            symlink("busybox", link)?;
        }
    }
    if with_shell {
        std::fs::create_dir_all(dir.join("etc"))?;
        std::fs::write(
            dir.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\nci:x:1000:1000::/tmp:/bin/sh\n",
        )?;
        std::fs::write(
            dir.join("etc/group"),
            "root:x:0:\nci:x:1000:\npostgres:x:999:\n",
        )?;
    }
    let path = match inside {
        Inside::Packages => packages::fill(&dir)?,
        Inside::Sleep | Inside::Shell => "/bin".to_owned(),
    };
    let environment = format!("ENV PATH={path} FROM_IMAGE=yes");
    let archive = dir.with_extension("tar");
    let (dir, archive) = (dir.to_string_lossy(), archive.to_string_lossy());
    run(program(
        "tar",
        &["--owner=0", "--group=0", "-C", &dir, "-cf", &archive, "."],
    ))?;
    run(docker(&[
        "import",
        "--change",
        &environment,
        &archive,
        name,
    ]))
}
