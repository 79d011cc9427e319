//! An image of packages that are installed on this machine: PostgreSQL's server, Python with its driver,
//! git. There is no registry, and building it from Debian's archive would take minutes.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::{output, program};

/// Beside the packages with a version in their names.
const PACKAGES: &[&str] = &[
    "bash",
    "git",
    "python3-minimal",
    "python3-psycopg2",
    "tzdata",
];

/// As PostgreSQL's own image: a superuser `postgres` with this password, and each argument goes to the
/// server.
const START: &str = r#"#!/bin/sh
set -eu
: "${POSTGRES_PASSWORD:?say POSTGRES_PASSWORD, the password of the user postgres}"
mkdir -p /data /var/run/postgresql
chown postgres /data /var/run/postgresql
echo "$POSTGRES_PASSWORD" >/tmp/password
chmod 644 /tmp/password
su postgres -c "initdb -A scram-sha-256 --pwfile=/tmp/password -E UTF8 --locale=C --no-sync -D /data"
sed -i 's/^local.*/local all all trust/' /data/pg_hba.conf
echo 'host all all all scram-sha-256' >>/data/pg_hba.conf
exec su postgres -c "exec postgres -D /data -c listen_addresses='*' -c fsync=off $*"
"#;

/// Writes the image's files into the new folder `dir`, which has busybox already, and says the folders
/// of its programs.
///
/// # Errors
/// When a package is not installed.
pub(super) fn fill(dir: &Path) -> Result<String> {
    let postgres = newest_postgres()?;
    let version = postgres.file_name().unwrap_or_default().to_string_lossy();
    let python = std::fs::read_link("/usr/bin/python3")
        .context("/usr/bin/python3 is missing: run `apt-get install python3`")?;
    let python = python.display();
    let versioned = [
        format!("postgresql-{version}"),
        format!("postgresql-client-{version}"),
        format!("{python}-minimal"),
        format!("lib{python}-minimal"),
        format!("lib{python}-stdlib"),
    ];
    let mut files = BTreeSet::new();
    for package in PACKAGES
        .iter()
        .copied()
        .chain(versioned.iter().map(String::as_str))
    {
        let list = output(program("dpkg", &["-L", package]))
            .with_context(|| format!("run `apt-get install {package}`"))?;
        files.extend(list.lines().map(PathBuf::from).filter(|file| wanted(file)));
    }
    let programs: Vec<&PathBuf> = files.iter().filter(|file| is_elf(file)).collect();
    let libraries: BTreeSet<PathBuf> = libraries(&programs)?;
    files.extend(libraries);
    for file in &files {
        put(file, dir)?;
    }
    let bin = postgres.join("bin");
    std::fs::create_dir_all(dir.join("root"))?;
    let start = dir.join("bin/start-postgres");
    std::fs::write(&start, START)?;
    std::fs::set_permissions(&start, std::fs::Permissions::from_mode(0o755))?;
    let passwd = dir.join("etc/passwd");
    let users = std::fs::read_to_string(&passwd)? + "postgres:x:999:999::/tmp:/bin/sh\n";
    std::fs::write(&passwd, users)?;
    Ok(format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
}

/// Like `/usr/lib/postgresql/15`.
fn newest_postgres() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("bin/postgres").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .context("PostgreSQL's server is missing: run `apt-get install postgresql`")
}

/// Not what only people read, and not the compiler of queries, which alone is larger than all the rest.
fn wanted(file: &Path) -> bool {
    let text = file.to_string_lossy();
    let left_out = ["/usr/share/doc", "/usr/share/man", "/usr/share/locale"];
    let folder = file.is_dir() && !file.is_symlink();
    !folder
        && !left_out.iter().any(|folder| text.starts_with(folder))
        && !text.contains("llvmjit")
        && !text.contains("/bitcode/")
}

fn is_elf(file: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 4];
    let read = std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"\x7fELF"
}

/// What they load, and the loader.
fn libraries(programs: &[&PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for some in programs.chunks(100) {
        let names: Vec<_> = some.iter().map(|file| file.to_string_lossy()).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        // It ends with 1 if one of them is static, so its words count alone.
        let mut command = program("ldd", &names);
        let said = command.output().context("could not run ldd")?.stdout;
        let said = String::from_utf8_lossy(&said);
        let paths = said.lines().filter(|line| line.starts_with('\t'));
        let paths = paths.flat_map(str::split_whitespace);
        found.extend(
            paths
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    if found.is_empty() {
        bail!("ldd names no library of PostgreSQL or Python");
    }
    Ok(found)
}

/// Copies a file; a link as it is, with what it leads to. Of a folder that is a link on this machine
/// (`/lib`) a real one is made.
fn put(file: &Path, dir: &Path) -> Result<()> {
    let to = dir.join(file.strip_prefix("/").unwrap_or(file));
    if to.symlink_metadata().is_ok() {
        return Ok(());
    }
    let parent = file.parent().context("a file without a folder")?;
    std::fs::create_dir_all(to.parent().unwrap_or(dir))?;
    if let Ok(target) = std::fs::read_link(file) {
        std::os::unix::fs::symlink(&target, &to)?;
        let target = parent.join(target);
        return if target.is_file() {
            put(&target, dir)
        } else {
            Ok(())
        };
    }
    std::fs::copy(file, &to).with_context(|| format!("{} is not there", file.display()))?;
    Ok(())
}
