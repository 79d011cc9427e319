//! A bare git repository whose post-receive hook tells Windlass what was pushed.
//!
//! git gives the hook one line per ref on its standard input (githooks(5), "post-receive"). The
//! same rules as for a forge's push apply. Whether a push was forced isn't in the line; finding out
//! needs the repository, so it counts as not forced.

use std::collections::BTreeMap;

use windlass_model::{Event, Revision, Trigger};

use crate::git_ref::{self, RefKind};
use crate::incoming::{Meaning, PayloadError};
use crate::{people, skip};

/// What the hook may know beyond the line. All of it may be left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The commit that the new value leads to (`git rev-parse NEW^{commit}`): another id than the
    /// line's for an annotated tag.
    pub commit: Option<&'a str>,
    /// The whole commit message: where `[skip ci]` is looked for.
    pub message: &'a str,
    /// Who pushed, or who wrote the commit.
    pub author: &'a str,
}

/// What the line `OLD NEW REF` means. A line end is allowed, a second line isn't.
///
/// # Errors
///
/// [`PayloadError::HookLine`] when the line isn't one that git writes.
pub fn read(line: &str, about: &About<'_>) -> Result<Meaning, PayloadError> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let fields: Vec<&str> = line.splitn(3, ' ').collect();
    let &[old, new, full_ref] = fields.as_slice() else {
        return Err(bad("it doesn't have three fields"));
    };
    let old = old
        .parse::<Revision>()
        .map_err(|_| bad("the first field is not a full object id"))?;
    let new: Revision = new
        .parse()
        .map_err(|_| bad("the second field is not a full object id"))?;
    let kind = git_ref::classify(full_ref).map_err(|problem| bad(format!("the ref {problem}")))?;
    let commit = match about.commit {
        None => new.clone(),
        Some(commit) => commit
            .parse()
            .map_err(|_| bad("the commit given beside it is not a full commit id"))?,
    };
    let event = match kind {
        RefKind::Branch(_) if new.is_zero() => return Ok(Meaning::ignored("branch deleted")),
        RefKind::Tag(_) if new.is_zero() => return Ok(Meaning::ignored("tag deleted")),
        RefKind::Branch(branch) => Event::Push {
            branch: branch.to_owned(),
            forced: false,
        },
        RefKind::Tag(tag) => Event::Tag {
            tag: tag.to_owned(),
        },
        RefKind::Other => {
            let name = people::one_line(full_ref, people::NAME);
            let reason = format!("{name} is neither a branch nor a tag");
            return Ok(Meaning::ignored(reason));
        }
    };
    if commit.is_zero() {
        return Err(bad("the commit given beside it is no commit"));
    }
    let is_branch = matches!(event, Event::Push { .. });
    Ok(Meaning::Build(Box::new(Trigger {
        event,
        revision: commit,
        git_ref: full_ref.to_owned(),
        message: people::first_line(about.message, people::LINE),
        author: people::one_line(about.author, people::NAME),
        url: None,
        before: Some(old).filter(|old| is_branch && !old.is_zero()),
        skip: skip::marker(about.message)
            .filter(|_| is_branch)
            .map(ToOwned::to_owned),
        params: BTreeMap::new(),
    })))
}

fn bad(problem: impl Into<String>) -> PayloadError {
    PayloadError::HookLine {
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "1111111111111111111111111111111111111111";
    const NEW: &str = "2222222222222222222222222222222222222222";
    const ZERO: &str = "0000000000000000000000000000000000000000";

    fn meaning(line: &str) -> Meaning {
        read(line, &About::default()).unwrap()
    }

    #[test]
    fn a_push_to_a_branch_builds_its_new_tip() {
        let about = About {
            message: "Fix it\n\nbecause",
            author: "Ada\u{1b}[2J",
            ..About::default()
        };
        for old in [OLD, ZERO] {
            let line = format!("{old} {NEW} refs/heads/feat/x\n");
            let Meaning::Build(trigger) = read(&line, &about).unwrap() else {
                panic!("no build");
            };
            assert_eq!(trigger.revision.as_str(), NEW);
            assert_eq!(trigger.git_ref, "refs/heads/feat/x");
            assert_eq!(
                (trigger.message.as_str(), trigger.author.as_str()),
                ("Fix it", "Ada[2J")
            );
            let branch = "feat/x".to_owned();
            let forced = false;
            assert_eq!(trigger.event, Event::Push { branch, forced });
        }
    }

    #[test]
    fn a_tag_builds_the_commit_that_it_leads_to() {
        let line = format!("{ZERO} {NEW} refs/tags/v1");
        let Meaning::Build(trigger) = meaning(&line) else {
            panic!("no build");
        };
        assert_eq!(trigger.revision.as_str(), NEW);
        let about = About {
            commit: Some(OLD),
            message: "Release [skip ci]",
            ..About::default()
        };
        let Meaning::Build(trigger) = read(&line, &about).unwrap() else {
            panic!("a tag is built whatever the message says");
        };
        assert_eq!(trigger.revision.as_str(), OLD);
        assert_eq!(
            trigger.event,
            Event::Tag {
                tag: "v1".to_owned()
            }
        );
    }

    #[test]
    fn what_starts_no_build_says_why() {
        let ignored = Meaning::ignored;
        let line = |new: &str, name: &str| format!("{OLD} {new} {name}");
        assert_eq!(
            meaning(&line(ZERO, "refs/heads/x")),
            ignored("branch deleted")
        );
        assert_eq!(meaning(&line(ZERO, "refs/tags/v1")), ignored("tag deleted"));
        assert_eq!(
            meaning(&line(NEW, "refs/notes/commits")),
            ignored("refs/notes/commits is neither a branch nor a tag")
        );
        let about = About {
            message: "Docs [Skip CI]",
            ..About::default()
        };
        let Meaning::Build(trigger) = read(&line(NEW, "refs/heads/x"), &about).unwrap() else {
            panic!("a skipped build is a visible one");
        };
        assert_eq!(trigger.skip.as_deref(), Some("[skip ci]"));
    }

    #[test]
    fn what_git_does_not_write_is_refused() {
        for line in [
            String::new(),
            format!("{OLD} {NEW}"),
            format!("{OLD} {NEW} main"),
            format!("{OLD} HEAD refs/heads/x"),
            format!("HEAD {NEW} refs/heads/x"),
            format!("{OLD}  {NEW} refs/heads/x"),
            format!("{OLD} {NEW} refs/heads/x y"),
            format!("{OLD} {NEW} refs/heads/x\n{OLD} {NEW} refs/heads/y"),
            format!("{OLD} {NEW} --upload-pack=x"),
        ] {
            let result = read(&line, &About::default());
            assert!(
                matches!(result, Err(PayloadError::HookLine { .. })),
                "{line:?}: {result:?}"
            );
        }
        for commit in ["main", ZERO] {
            let about = About {
                commit: Some(commit),
                ..About::default()
            };
            assert!(
                read(&format!("{OLD} {NEW} refs/heads/x"), &about).is_err(),
                "{commit}"
            );
        }
    }
}
