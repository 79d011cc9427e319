//! The data folder: where everything that must survive a restart lies.
//!
//! | path | what it is |
//! | --- | --- |
//! | `windlass.db`, `secret.key` | the store and the key of its secrets |
//! | `admin.token` | the token for everything that changes something over HTTP |
//! | `server.lock`, `server.json` | held and written by the running server |
//! | `logs/<attempt>/` | a file and an index per step |
//! | `work/<attempt>/` | a running attempt: order, journal, workspace |
//! | `mirrors/` | what was fetched, per repository |
//! | `artifacts/<attempt>/` | files that jobs kept |
//! | `caches/<repository>/` | files that make later jobs faster |
//! | `bin/` | the shim |

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use windlass_model::Secret;
use windlass_store::Place;

use crate::report::Problem;

/// The shim, as the build script made it.
const SHIM: &[u8] = include_bytes!(env!("WINDLASS_SHIM"));

/// How long a start waits for the data folder's lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The paths in a data folder.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    /// The data folder itself.
    pub(crate) root: PathBuf,
    /// Nobody named it.
    default: bool,
    /// PostgreSQL's address, if the store is there.
    database: Option<String>,
}

impl Folders {
    /// `--data`, or `$XDG_DATA_HOME/windlass`, or `~/.local/share/windlass`.
    pub(crate) fn choose(
        given: Option<PathBuf>,
        database: Option<String>,
    ) -> Result<Self, Problem> {
        let default = given.is_none();
        let root = match given {
            Some(path) => std::path::absolute(path)
                .map_err(|e| Problem::new(format!("the data folder is not a path: {e}")))?,
            None => xdg("XDG_DATA_HOME", ".local/share")?.join("windlass"),
        };
        Ok(Self {
            root,
            default,
            database,
        })
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> Place {
        Place {
            folder: self.root.clone(),
            database: self.database.clone(),
        }
    }

    /// Whether this is the folder that is used when nobody names one.
    pub(crate) fn is_default(&self) -> bool {
        self.default
    }

    /// Makes the data folder, readable for nobody else: it holds secrets and logs.
    pub(crate) fn create(&self) -> Result<(), Problem> {
        for dir in [
            self.root.clone(),
            self.logs(),
            self.work(),
            self.mirrors(),
            self.artifacts(),
            self.caches(),
        ] {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(|e| {
                    Problem::new(format!("could not create {}: {e}", dir.display()))
                        .hint("choose another data folder with --data DIR")
                })?;
        }
        Ok(())
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(crate) fn mirrors(&self) -> PathBuf {
        self.root.join("mirrors")
    }

    pub(crate) fn artifacts(&self) -> PathBuf {
        self.root.join("artifacts")
    }

    pub(crate) fn caches(&self) -> PathBuf {
        self.root.join("caches")
    }

    pub(crate) fn server_file(&self) -> PathBuf {
        self.root.join("server.json")
    }

    fn token_file(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    /// Takes the folder for one server, for as long as the answer lives.
    pub(crate) fn lock(&self) -> Result<Flock<File>, Problem> {
        let path = self.root.join("server.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| Problem::new(format!("could not open {}: {e}", path.display())))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        let mut file = file;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                // A server that was killed while it started a program leaves a process behind
                // that shares its lock until it calls exec: a moment.
                Err((back, _)) if Instant::now() < deadline => file = back,
                Err(_) => {
                    let root = self.root.display();
                    return Err(Problem::new(format!(
                        "another server is using the data folder {root}"
                    ))
                    .hint("stop it first, or give this one its own folder with --data DIR"));
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The admin token, made at the first call.
    pub(crate) fn token(&self) -> Result<Secret, Problem> {
        let path = self.token_file();
        let failed = |e| Problem::new(format!("could not use {}: {e}", path.display()));
        match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(Secret::new(text.trim())),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        let mut bytes = [0_u8; 24];
        File::open("/dev/urandom")
            .and_then(|mut f| f.read_exact(&mut bytes))
            .map_err(failed)?;
        let token = format!("wl_{}", hex::encode(bytes));
        let temporary = self
            .root
            .join(format!("admin.token.{}", std::process::id()));
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut f| f.write_all(format!("{token}\n").as_bytes()))
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(failed)?;
        Ok(Secret::new(token))
    }

    /// The shim in `bin/`, written if this very build is not there yet. Running shims of other
    /// builds keep their files.
    pub(crate) fn shim(&self) -> Result<PathBuf, Problem> {
        install_shim(&self.root.join("bin"))
    }
}

/// Writes the shim into `dir` under a name made of its contents, in one step.
pub(crate) fn install_shim(dir: &Path) -> Result<PathBuf, Problem> {
    use sha2::{Digest as _, Sha256};
    let digest = hex::encode(Sha256::digest(SHIM));
    let path = dir.join(format!("windlass-shim-{}", &digest[..16]));
    if path.metadata().is_ok_and(|m| m.len() == SHIM.len() as u64) {
        return Ok(path);
    }
    let temporary = dir.join(format!(".shim.{}", std::process::id()));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&temporary, SHIM))
        .and_then(|()| std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|e| {
            Problem::new(format!(
                "could not write the shim to {}: {e}",
                path.display()
            ))
            .hint("the folder must be writable and must allow programs to run")
        })?;
    Ok(path)
}

/// A folder of the XDG base directory specification, with its default below the home folder.
pub(crate) fn xdg(variable: &str, default: &str) -> Result<PathBuf, Problem> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute(variable)
        .or_else(|| Some(absolute("HOME")?.join(default)))
        .ok_or_else(|| {
            Problem::new("there is no home folder: neither HOME nor the XDG variables are set")
                .hint("say where data shall lie with --data DIR")
        })
}
