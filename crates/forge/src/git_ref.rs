//! Branch or tag, and the names that no git accepts.
//!
//! A ref goes into git's command line and into the environment of a build. git itself refuses the
//! names below (git-check-ref-format(1)), so one that arrives was made up on the way, and is no
//! name to work with: `refs/heads/a:refs/heads/b` would be a refspec.

/// What a full ref names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RefKind<'a> {
    /// A branch, without `refs/heads/`.
    Branch(&'a str),
    /// A tag, without `refs/tags/`.
    Tag(&'a str),
    /// Notes, pull requests, another tool's own.
    Other,
}

/// What `full` names, or why it can't be a ref.
pub(crate) fn classify(full: &str) -> Result<RefKind<'_>, String> {
    let Some(rest) = full.strip_prefix("refs/") else {
        return Err("does not start with refs/".to_owned());
    };
    check_name(rest)?;
    Ok(match rest.split_once('/') {
        Some(("heads", branch)) => RefKind::Branch(branch),
        Some(("tags", tag)) => RefKind::Tag(tag),
        _ => RefKind::Other,
    })
}

/// Checks a ref without its first part, or a branch name, by the rules of git-check-ref-format(1).
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    // Not git's: a file system's limit is about this, and nobody types more.
    if name.len() > 1024 {
        return Err("is longer than 1024 bytes".to_owned());
    }
    let forbidden = |c: char| {
        c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    let part_is_bad =
        |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad = name == "@"
        || name.contains(forbidden)
        || name.contains("..")
        || name.contains("@{")
        || name.ends_with('.')
        || name.split('/').any(part_is_bad);
    if bad {
        Err("is not a name that git accepts (git-check-ref-format)".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ref_is_a_branch_a_tag_or_something_else() {
        assert_eq!(classify("refs/heads/main"), Ok(RefKind::Branch("main")));
        assert_eq!(
            classify("refs/heads/feat/ü-1"),
            Ok(RefKind::Branch("feat/ü-1"))
        );
        assert_eq!(classify("refs/tags/v1.0.0"), Ok(RefKind::Tag("v1.0.0")));
        for other in ["refs/notes/commits", "refs/pull/7/head", "refs/stash"] {
            assert_eq!(classify(other), Ok(RefKind::Other), "{other}");
        }
    }

    #[test]
    fn what_git_refuses_is_refused() {
        let long = format!("refs/heads/{}", "a".repeat(1025));
        for bad in [
            "",
            "main",
            "HEAD",
            "refs/",
            "--upload-pack=x",
            "refs/heads/",
            "refs//heads/a",
            "refs/heads/a:refs/heads/b",
            "refs/heads/a b",
            "refs/heads/a\nb",
            "refs/heads/../x",
            "refs/heads/a.lock",
            "refs/heads/.a",
            "refs/heads/a.",
            "refs/heads/a@{1}",
            "refs/heads/a*",
            "refs/heads/a/",
            "refs/heads/a\\b",
            "refs/heads/a\u{7f}",
            &long,
        ] {
            assert!(classify(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(check_name("@").is_err());
    }
}
