//! The tags of a whole history: what `git describe` goes by.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use windlass_model::Revision;

use super::error::from_git;
use super::mirror::Origin;
use super::url::check_ref;
use super::workspace::Job;
use super::{CheckoutError, Mirror};

/// In a mirror's folder: what the server said last of its tags.
const SEEN: &str = "windlass-tags";

impl Job<'_> {
    /// Writes the server's tags at `revision` and before it into the workspace, as lightweight ones.
    /// Others are left out: their commits may not be here. The server is asked each time, because a
    /// commit is often tagged after it was fetched; while it does not answer, the tags count that it
    /// had the last time, as nothing else of a build needs it.
    pub(super) async fn tags(
        &self,
        mirror: &Mirror,
        origin: &Origin,
        revision: &Revision,
        workspace: &Path,
    ) -> Result<(), CheckoutError> {
        let listed = self
            .git
            .call(["ls-remote", "--quiet", "--tags", "--", origin.url()])
            .access(origin.access())
            .run()
            .await;
        let seen = mirror.path().join(SEEN);
        let listed = match listed {
            Ok(listed) => {
                write(mirror, &seen, &listed.stdout)?;
                listed.stdout
            }
            Err(error) => {
                let error = from_git(error, origin.url());
                (self.log)(&format!(
                    "The tags could not be asked for ({error}); those that were seen last are taken."
                ));
                match fs::read(&seen) {
                    Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
                    read => read.map_err(CheckoutError::io("reading", &seen))?,
                }
            }
        };
        let tags = tags(&String::from_utf8_lossy(&listed));
        if tags.is_empty() {
            return Ok(());
        }
        let history = self
            .ask(&["rev-list", revision.as_str()], workspace)
            .await?;
        let history = String::from_utf8_lossy(&history.stdout);
        let history: HashSet<&str> = history.lines().collect();
        let mut text = "# pack-refs with: peeled fully-peeled sorted \n".to_owned();
        for (name, commit) in &tags {
            if history.contains(commit.as_str()) {
                text += &format!("{commit} {name}\n");
            }
        }
        let path = workspace.join(".git/packed-refs");
        fs::write(&path, text).map_err(CheckoutError::io("writing", &path))
    }
}

/// Replaces the file as a whole: other builds read it.
fn write(mirror: &Mirror, path: &Path, bytes: &[u8]) -> Result<(), CheckoutError> {
    let failed = CheckoutError::io("writing", path);
    let written = tempfile::NamedTempFile::new_in(mirror.path()).and_then(|mut file| {
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(|_| ()).map_err(failed)
}

/// Names and commits of what `git ls-remote --tags` prints; of an annotated tag, the line with `^{}`
/// has the commit.
fn tags(listed: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (id, name) in listed.lines().filter_map(|line| line.split_once('\t')) {
        let (name, peeled) = match name.strip_suffix("^{}") {
            Some(name) => (name, true),
            None => (name, false),
        };
        // A server is a stranger: its words become a file of git's.
        let sound = name.starts_with("refs/tags/") && check_ref(name).is_ok();
        let hexadecimal = id.bytes().all(|b| b.is_ascii_hexdigit());
        if sound && hexadecimal && (peeled || !found.contains_key(name)) {
            found.insert(name.to_owned(), id.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotated_tags_count_by_their_commit_and_odd_names_not_at_all() {
        let listed = "aa\trefs/tags/v1\nbb\trefs/tags/v2\ncc\trefs/tags/v2^{}\ndd\trefs/heads/main\n\
                      ee\trefs/tags/../x\nnot hex\trefs/tags/v3\n";
        let found: Vec<(String, String)> = tags(listed).into_iter().collect();
        let expected = [("refs/tags/v1", "aa"), ("refs/tags/v2", "cc")];
        assert_eq!(found, expected.map(|(n, c)| (n.to_owned(), c.to_owned())));
    }
}
