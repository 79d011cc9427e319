//! Submodules, when the spec asks for them.
//!
//! `git submodule update` is not used: it runs a dozen processes for each, keeps state in files
//! that a repository's content has reached before (CVE-2018-11235, CVE-2024-32002), and decides by
//! itself which URLs are harmless. Here each submodule is a repository like the first one: a
//! vetted URL, a mirror of its own, a folder that is known to be ours.
//!
//! The server that the build's repository lies on gets its credential; any other server gets
//! nothing of ours, no key, token or helper, because a stranger may have written its name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use windlass_model::Revision;

use super::mirror::Origin;
use super::workspace::{Job, config_entries, quote};
use super::{CheckoutError, Mirror};

/// How deep submodules may lie in each other. One that contains itself would never end.
const MAX_DEPTH: usize = 8;

/// How many there may be in one workspace.
const MAX_COUNT: usize = 500;

/// A repository whose submodules are to come.
struct Parent {
    mirror: Mirror,
    origin: Origin,
    revision: Revision,
    dir: PathBuf,
    depth: usize,
}

/// One entry of `.gitmodules` that has a commit in the tree.
struct Entry {
    name: String,
    path: String,
    url: String,
    revision: Revision,
}

/// Checks out all submodules below `workspace`, whose own files are there already.
pub(super) async fn checkout(
    job: &Job<'_>,
    mirror: &Mirror,
    origin: &Origin,
    revision: &Revision,
    workspace: &Path,
) -> Result<(), CheckoutError> {
    let mut count = 0;
    let mut waiting = vec![Parent {
        mirror: mirror.clone(),
        origin: origin.clone(),
        revision: revision.clone(),
        dir: workspace.to_owned(),
        depth: 0,
    }];
    while let Some(parent) = waiting.pop() {
        for entry in entries(job, &parent).await? {
            count += 1;
            if count > MAX_COUNT || parent.depth >= MAX_DEPTH {
                return refuse(format!(
                    "there are more than {MAX_COUNT} submodules, or more than {MAX_DEPTH} levels \
                     of them"
                ));
            }
            let child = one(job, &parent, &entry).await?;
            waiting.push(child);
        }
    }
    Ok(())
}

async fn one(job: &Job<'_>, parent: &Parent, entry: &Entry) -> Result<Parent, CheckoutError> {
    let location = parent
        .origin
        .location
        .submodule(&entry.url)
        .map_err(|e| within(e, &entry.path))?;
    let dir = real_folder(&parent.dir, &entry.path)?;
    let home = location.same_server(&job.top.location);
    let origin = Origin {
        credential: job.top.credential.clone().filter(|_| home),
        git_ref: None,
        stranger: !home,
        location,
    };
    let mirror = parent.mirror.submodule(&origin.location.url);
    (job.log)(&format!(
        "Submodule {} from {}",
        entry.path, origin.location.url
    ));
    job.fill(&mirror, &origin, &entry.revision, &dir)
        .await
        .map_err(|e| within(e, &entry.path))?;
    register(&parent.dir, &entry.name, &origin)?;
    Ok(Parent {
        mirror,
        origin,
        revision: entry.revision.clone(),
        dir,
        depth: parent.depth + 1,
    })
}

/// Reads `.gitmodules` as the commit has it, and the commits that the tree names.
async fn entries(job: &Job<'_>, parent: &Parent) -> Result<Vec<Entry>, CheckoutError> {
    if !job
        .has_file(&parent.revision, ".gitmodules", &parent.dir)
        .await?
    {
        return Ok(Vec::new());
    }
    let blob = format!("{}:.gitmodules", parent.revision);
    let out = job
        .ask(&["config", "-z", "--list", "--blob", &blob], &parent.dir)
        .await?;
    let all = config_entries(&out.stdout);
    let value = |name: &str, what: &str| {
        let wanted = format!("submodule.{name}.{what}");
        all.iter()
            .rev()
            .find(|(key, _)| *key == wanted)
            .map(|(_, value)| value.clone())
    };
    let mut entries = Vec::new();
    for (key, path) in &all {
        let name = key
            .strip_prefix("submodule.")
            .and_then(|k| k.strip_suffix(".path"));
        let Some(name) = name else { continue };
        check_name(name)?;
        check_path(path)?;
        if entries.len() >= MAX_COUNT {
            return refuse(format!("there are more than {MAX_COUNT} submodules"));
        }
        // An entry without a commit in the tree was removed or is not added yet: nothing to do.
        let args = [
            "ls-tree",
            "-z",
            parent.revision.as_str(),
            "--",
            path.trim_end_matches('/'),
        ];
        let tree = job.ask(&args, &parent.dir).await?.stdout;
        let tree = String::from_utf8_lossy(&tree).into_owned();
        let commit = tree
            .strip_prefix("160000 commit ")
            .and_then(|rest| rest.split('\t').next())
            .and_then(|id| id.parse().ok());
        let Some(revision) = commit else { continue };
        let Some(url) = value(name, "url") else {
            return refuse(format!("the submodule {path:?} has no URL in .gitmodules"));
        };
        entries.push(Entry {
            name: name.to_owned(),
            path: path.clone(),
            url,
            revision,
        });
    }
    Ok(entries)
}

/// We never make a path out of a name, but programs in the build do.
fn check_name(name: &str) -> Result<(), CheckoutError> {
    let bad = name.is_empty()
        || name.chars().any(char::is_control)
        || name.starts_with('-')
        || name.split(['/', '\\']).any(|part| part == "..");
    if bad {
        refuse(format!("the submodule's name {name:?} is not safe"))
    } else {
        Ok(())
    }
}

fn check_path(path: &str) -> Result<(), CheckoutError> {
    let bad_part = |part: &str| part.is_empty() || part == "." || part == ".." || is_dot_git(part);
    let bad = path.starts_with(['-', '/'])
        || path.chars().any(|c| c.is_control() || c == '\\')
        || path.trim_end_matches('/').split('/').any(bad_part);
    if bad {
        refuse(format!("the submodule's path {path:?} is not safe"))
    } else {
        Ok(())
    }
}

/// What some file system takes for `.git`: any case, Windows' short name and trailing characters,
/// and the characters that macOS ignores.
fn is_dot_git(part: &str) -> bool {
    let plain: String = part
        .chars()
        .filter(|c| !matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'))
        .flat_map(char::to_lowercase)
        .collect();
    let plain = plain
        .split(':')
        .next()
        .unwrap_or_default()
        .trim_end_matches([' ', '.']);
    plain == ".git" || plain == "git~1"
}

/// The submodule's folder: made by our own checkout, empty, and no link on the way to it.
fn real_folder(workspace: &Path, path: &str) -> Result<PathBuf, CheckoutError> {
    let mut dir = workspace.to_owned();
    for part in path.trim_end_matches('/').split('/') {
        dir.push(part);
        let meta = fs::symlink_metadata(&dir).map_err(CheckoutError::io("looking at", &dir))?;
        if !meta.is_dir() {
            return refuse(format!(
                "the submodule's path {path:?} leads through a link or a file"
            ));
        }
    }
    let mut listing = fs::read_dir(&dir).map_err(CheckoutError::io("listing", &dir))?;
    if listing.next().is_some() {
        return refuse(format!("the submodule's folder {path:?} is not empty"));
    }
    Ok(dir)
}

/// Tells the repository above about it, as `git submodule init` would.
fn register(parent: &Path, name: &str, origin: &Origin) -> Result<(), CheckoutError> {
    let path = parent.join(".git/config");
    let (name, url) = (quote(name), quote(&origin.location.url));
    fs::File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| write!(file, "[submodule {name}]\n\tactive = true\n\turl = {url}\n"))
        .map_err(CheckoutError::io("writing", &path))
}

/// Says which submodule a refusal is about.
fn within(error: CheckoutError, path: &str) -> CheckoutError {
    match error {
        CheckoutError::Refused { what } => CheckoutError::Refused {
            what: format!("submodule {path:?}: {what}"),
        },
        error => error,
    }
}

fn refuse<T>(what: String) -> Result<T, CheckoutError> {
    Err(CheckoutError::Refused { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_that_lead_elsewhere_are_refused() {
        for good in ["lib", "a/b-c/d", ".github", "x.git", "gitt"] {
            assert!(
                check_path(good).is_ok() && check_name(good).is_ok(),
                "{good}"
            );
        }
        for bad in [
            "",
            "/a",
            "../a",
            "a/../b",
            "a//b",
            "./a",
            ".git",
            ".GIT/hooks",
            "a/.Git",
            "git~1",
            "GIT~1/x",
            ".git ",
            ".git...",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
            "-u",
            "a\\b",
            "a\nb",
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "..", "../../x", "a/../../b", "a\\..\\b", "-x", "a\nb"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
