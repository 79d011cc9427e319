//! Finding the build spec in the root of a workspace.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::Path;

use windlass_engine::checkout::{CheckoutError, Mirror, Source, read_root_file};
use windlass_engine::git::Git;
use windlass_engine::results::beneath::Folder;
use windlass_model::Revision;
use windlass_model::plan::ClonePlan;
use windlass_spec::{Include, Included};

use crate::folders::xdg;
use crate::report::{EXIT_SPEC, Problem};

/// The names, the first that is there wins.
pub(crate) const NAMES: &[&str] = &["windlass.yml", "windlass.yaml", "windlass.toml"];

/// A spec is read by people; a larger one is a mistake or an attack.
const MAX_BYTES: u64 = 256 * 1024;

/// The spec's name and text. Only a regular file counts: a symlink in a stranger's repository may
/// point anywhere on this machine.
pub(crate) fn read(workspace: &Path) -> Result<Option<(String, Vec<u8>)>, CheckoutError> {
    read_root_file(workspace, NAMES, MAX_BYTES)
}

/// The problem when there is none.
pub(crate) fn missing() -> Problem {
    Problem::new("there is no windlass.yml in the repository's root")
        .hint("run `windlass init` in a checkout: it writes a first one; commit it")
        .code(EXIT_SPEC)
}

/// Who reads included files of other repositories.
pub(crate) struct Elsewhere<'a> {
    pub(crate) git: &'a Git,
    /// Where mirrors are kept.
    pub(crate) mirrors: &'a Path,
    /// On a server, the URL of the repository that is built: only its own host may be asked, so
    /// that a stranger's spec reaches nothing that strangers can't reach.
    pub(crate) only_beside: Option<&'a str>,
}

/// The files that a spec includes. What can't be had is told by the spec's diagnostics.
pub(crate) async fn included(
    workspace: &Path,
    file: &str,
    text: &[u8],
    elsewhere: Option<&Elsewhere<'_>>,
) -> Included {
    let mut included = Included::new();
    for include in windlass_spec::includes(file, text) {
        let contents = match (&include.from, elsewhere) {
            (None, _) => own(workspace, &include),
            (Some((repo, revision)), Some(elsewhere)) => {
                elsewhere.read(repo, revision, &include.file).await
            }
            (Some(_), None) => Err("git is needed to read other repositories".to_owned()),
        };
        included.insert(include, contents);
    }
    included
}

/// As [`included`], on a person's own machine: any repository that they can reach.
pub(crate) async fn included_here(
    root: &Path,
    file: &str,
    text: &[u8],
) -> Result<Included, Problem> {
    let git = Git::find().ok();
    let mirrors = xdg("XDG_CACHE_HOME", ".cache")?.join("windlass/run/mirrors");
    let elsewhere = git.as_ref().map(|git| Elsewhere {
        git,
        mirrors: &mirrors,
        only_beside: None,
    });
    Ok(included(root, file, text, elsewhere.as_ref()).await)
}

fn own(workspace: &Path, include: &Include) -> Result<Vec<u8>, String> {
    let path = Path::new(&include.file);
    let opened = Folder::open(workspace).and_then(|folder| folder.file_at(path));
    let file = opened.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => e.to_string(),
    })?;
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|e| e.to_string())?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    Ok(text)
}

impl Elsewhere<'_> {
    async fn read(&self, repo: &str, revision: &Revision, file: &str) -> Result<Vec<u8>, String> {
        if let Some(own) = self.only_beside
            && !is_beside(own, repo)
        {
            return Err(
                "on a server, only repositories on the same host can be included from".to_owned(),
            );
        }
        let mut name = DefaultHasher::new();
        repo.hash(&mut name);
        let source = Source {
            url: repo.to_owned(),
            credential: None,
            git_ref: None,
        };
        let (key, plan) = (format!("i{:016x}", name.finish()), ClonePlan::default());
        let log = |line: &str| tracing::debug!("git: {line}");
        let read = async {
            let mirror = Mirror::open(self.mirrors, &key)?;
            mirror
                .ensure(self.git, &source, revision, &plan, &log)
                .await?;
            mirror.file(self.git, revision, file, MAX_BYTES).await
        };
        match read.await {
            Ok(Some(text)) => Ok(text),
            Ok(None) => Err("there is no such file in this revision".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Whether another repository is on the same host by the same protocol; of a local one, in the same
/// folder.
fn is_beside(own: &str, other: &str) -> bool {
    fn host(url: &str) -> Option<(&str, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        // A user's name or a password would go to the host with our request.
        let plain = !authority.is_empty() && !authority.contains('@');
        (matches!(scheme, "https" | "http") && plain).then_some((scheme, authority))
    }
    match (host(own), host(other)) {
        (Some(own), Some(other)) => own == other,
        (None, None) => {
            let parts = |path: &str| {
                let path = Path::new(path);
                let plain = path
                    .components()
                    .all(|part| !matches!(part, std::path::Component::ParentDir));
                (path.is_absolute() && plain).then(|| path.parent().map(Path::to_owned))
            };
            matches!((parts(own), parts(other)), (Some(Some(a)), Some(Some(b))) if a == b)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_neighbours_are_asked() {
        let own = "https://git.example.org/team/app.git";
        assert!(is_beside(own, "https://git.example.org/ci/shared.git"));
        for other in [
            "https://example.org/ci/shared.git",
            "http://git.example.org/ci/shared.git",
            "https://git.example.org@evil.example/x",
            "https://user:pass@git.example.org/x",
            "ssh://git.example.org/x",
            "git@git.example.org:x",
            "file:///etc",
            "/srv/git/secret.git",
            "--upload-pack=x",
            "",
        ] {
            assert!(!is_beside(own, other), "{other}");
        }
        assert!(is_beside("/srv/git/a.git", "/srv/git/b.git"));
        for other in [
            "/srv/other/b.git",
            "/srv/git/../x/b.git",
            "/srv/git/x/../../b",
            "b.git",
        ] {
            assert!(!is_beside("/srv/git/a.git", other), "{other}");
        }
    }

    #[tokio::test]
    async fn own_files_are_read_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("ci")).unwrap();
        std::fs::write(dir.path().join("ci/a.yml"), "templates: {}").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("ci/b.yml")).unwrap();
        let spec = b"include: [ci/a.yml, ci/b.yml, ci/c.yml]\nsteps: [x]";
        let included = included(dir.path(), "windlass.yml", spec, None).await;
        let got: Vec<bool> = included.values().map(Result::is_ok).collect();
        assert_eq!(got, [true, false, false]);
    }
}
