//! What a delivery, a person or an API call means: build this revision for this reason.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// A full commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits. Never a branch name, never
/// an option: it may stand in a git command line as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// All hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }

    /// Git's "no such object", of SHA-1's length: for plans of no revision in particular.
    pub fn zero() -> Self {
        Self("0".repeat(40))
    }

    /// Whether this is git's "no such object" (all zeros): the `after` of a deleted branch.
    pub fn is_zero(&self) -> bool {
        self.0.bytes().all(|b| b == b'0')
    }
}

impl FromStr for Revision {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let hex = s
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && (s.len() == 40 || s.len() == 64) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidId {
                what: "revision",
                given: s.to_owned(),
                rule: "give the full commit id: 40 or 64 lower-case hex digits",
            })
        }
    }
}

impl TryFrom<String> for Revision {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<Revision> for String {
    fn from(r: Revision) -> Self {
        r.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened in the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Commits arrived on a branch.
    Push {
        /// The branch, without `refs/heads/`.
        branch: String,
        /// The old tip is not an ancestor of the new one.
        forced: bool,
    },
    /// A tag was made or moved.
    Tag {
        /// The tag, without `refs/tags/`.
        tag: String,
    },
    /// A pull request was opened, reopened, or has new commits.
    PullRequest {
        /// Its number on the forge.
        number: u64,
        /// Its title.
        title: String,
        /// The branch that it wants to go into.
        base: String,
        /// The branch that it comes from, in the head repository.
        head: String,
        /// The commits come from another repository, or from one that is gone: strangers wrote
        /// them, so they get no secrets, and are built only if the repository says so.
        from_fork: bool,
    },
    /// A time that the spec names (`on: schedule`) has come.
    Schedule {
        /// The schedule's name in the spec.
        name: String,
    },
    /// A person asked.
    Manual,
    /// A program asked, through the API.
    Api,
}

impl Event {
    /// One word: `push`, `tag`, `pull_request`, `schedule`, `manual`, `api`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Push { .. } => "push",
            Self::Tag { .. } => "tag",
            Self::PullRequest { .. } => "pull_request",
            Self::Schedule { .. } => "schedule",
            Self::Manual => "manual",
            Self::Api => "api",
        }
    }

    /// Whether people who can't write to the repository wrote the code.
    pub fn is_untrusted(&self) -> bool {
        matches!(
            self,
            Self::PullRequest {
                from_fork: true,
                ..
            }
        )
    }
}

/// Build `revision`, because of `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// What to build: exactly this commit.
    pub revision: Revision,
    /// The ref through which the commit can be fetched when the server refuses bare commit ids:
    /// `refs/heads/main`, `refs/pull/7/head`, `refs/tags/v1`.
    pub git_ref: String,
    /// The first line of the commit message, for people. May be empty.
    pub message: String,
    /// Who did it, for people (a login or a name). May be empty.
    pub author: String,
    /// A page on the forge about it: the commit, the comparison, the pull request.
    pub url: Option<String>,
    /// What the revision is compared with to see which paths changed: the branch's old tip, or the
    /// tip that a pull request wants to go into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Revision>,
    /// Why nothing is to be built, if the commit's message says so: its marker, `[skip ci]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// The parameters that were given, as they were given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl Trigger {
    /// A trigger of which no more is known: nobody said who or why, nothing to compare with.
    pub fn new(event: Event, revision: Revision, git_ref: impl Into<String>) -> Self {
        Self {
            event,
            revision,
            git_ref: git_ref.into(),
            message: String::new(),
            author: String::new(),
            url: None,
            before: None,
            skip: None,
            params: BTreeMap::new(),
        }
    }

    /// The branch that is built (of a pull request, the one it comes from); empty for a tag.
    pub fn branch(&self) -> &str {
        match &self.event {
            Event::Push { branch, .. } => branch,
            Event::PullRequest { head, .. } => head,
            Event::Tag { .. } => "",
            Event::Schedule { .. } | Event::Manual | Event::Api => {
                self.git_ref.strip_prefix("refs/heads/").unwrap_or_default()
            }
        }
    }

    /// The tag that is built; empty if it is none.
    pub fn tag(&self) -> &str {
        match &self.event {
            Event::Tag { tag } => tag,
            Event::Schedule { .. } | Event::Manual | Event::Api => {
                self.git_ref.strip_prefix("refs/tags/").unwrap_or_default()
            }
            Event::Push { .. } | Event::PullRequest { .. } => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_full_commit_id_and_nothing_else() {
        assert!("a".repeat(40).parse::<Revision>().is_ok());
        assert!("0".repeat(64).parse::<Revision>().unwrap().is_zero());
        let upper = "A".repeat(40);
        for bad in ["", "main", "--upload-pack=x", "HEAD", "abc1234", &upper] {
            assert!(bad.parse::<Revision>().is_err(), "{bad:?} was accepted");
        }
    }
}
