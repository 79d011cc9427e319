//! The release that runs now, as an image: its migrations and its tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use windlass_migrate::Database;
use windlass_migrate::sql::Dialect;

use super::refused;
use crate::report::Problem;

/// An image of the old release, and what was copied out of it.
pub(super) struct OldImage {
    /// Goes at the end.
    folder: TempDir,
    image: String,
    /// Further arguments of `docker run`.
    more: Vec<String>,
}

impl OldImage {
    /// Sees to it that the image is here, and copies this folder out of it.
    ///
    /// # Errors
    /// Without Docker's client or daemon, when the image can't be had, or does not have the folder.
    pub(super) fn take(image: &str, dir: Option<&Path>, more: &[String]) -> Result<Self, Problem> {
        if image.is_empty() || image.starts_with('-') {
            return Err(refused(format!("{image:?} is no image's name")));
        }
        let folder = tempfile::Builder::new()
            .prefix("windlass-old-release-")
            .tempdir()
            .map_err(|e| refused(format!("could not make a temporary folder: {e}")))?;
        let container = Container::named("files");
        // Fetches it, where it is not here. Some command must be named, where the image names none.
        docker(&["create", "--name", &container.name, image, "/bin/sh"])?;
        if let Some(dir) = dir {
            let from = format!("{}:{}", container.name, dir.display());
            let to = folder.path().join("migrations");
            docker(&["cp", &from, &to.display().to_string()]).map_err(|problem| {
                problem.hint(format!(
                    "--old-dir is a folder in {image} here: say its path there, such as /app/migrations"
                ))
            })?;
        }
        Ok(Self {
            folder,
            image: image.to_owned(),
            more: more.to_vec(),
        })
    }

    /// Where the folder was copied to.
    pub(super) fn migrations(&self) -> PathBuf {
        self.folder.path().join("migrations")
    }

    /// A command that runs `test` in a container, and the container, which is removed with it. What is in the
    /// environment under these names is there, too; on the command line everybody could read it.
    pub(super) fn command(
        &self,
        test: &str,
        database: &Database,
        variables: &[&str],
    ) -> (Vec<String>, Container) {
        let container = Container::named("test");
        let mut words: Vec<String> = ["docker", "run", "--rm", "--name", &container.name]
            .map(str::to_owned)
            .into();
        for variable in variables {
            words.extend(["-e".to_owned(), (*variable).to_owned()]);
        }
        let says_network = |word: &String| word.starts_with("--net");
        if !self.more.iter().any(says_network) {
            // Where the database's address means what it means here.
            words.push("--network=host".to_owned());
        }
        if database.dialect() == Dialect::Sqlite
            && let Some(folder) = Path::new(database.name()).parent()
        {
            let folder = folder.display();
            words.push(format!("--mount=type=bind,source={folder},target={folder}"));
        }
        words.extend(self.more.iter().cloned());
        let tail = ["--entrypoint", "/bin/sh", &self.image, "-c", test];
        words.extend(tail.map(str::to_owned));
        (words, container)
    }
}

/// Removed when this goes.
pub(super) struct Container {
    name: String,
}

impl Container {
    fn named(what: &str) -> Self {
        // Nobody else's, also of another run at the same time.
        let unique = tempfile::Builder::new().prefix("windlass-prove-").tempdir();
        let unique = unique.ok().and_then(|dir| {
            let name = dir.path().file_name()?;
            Some(name.to_string_lossy().into_owned())
        });
        let unique = unique.unwrap_or_else(|| format!("windlass-prove-{}", std::process::id()));
        Self {
            name: format!("{unique}-{what}"),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Gone already in the good case.
        Command::new("docker")
            .args(["rm", "--force", &self.name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok();
    }
}

fn docker(args: &[&str]) -> Result<(), Problem> {
    let done = Command::new("docker")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            refused(format!("could not start docker: {e}"))
                .hint("--old-image needs Docker's client: apt-get install docker.io")
        })?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let mut lines = said.lines().map(str::trim).filter(|l| !l.is_empty());
    let last = lines.next_back().unwrap_or("it failed");
    Err(refused(format!(
        "docker {}: {last}",
        args.first().unwrap_or(&"")
    )))
}
