//! Names and numbers that appear in URLs, folders and commands. Parsing is the only door in,
//! so a value of these types is always safe to put into a path or a URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a build within its repository: 1 for the first.
pub type BuildNumber = i64;

/// Why a text is not a legal id. The message says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidId {
    /// Which kind of id was expected ("repository name").
    pub what: &'static str,
    /// The text that was given.
    pub given: String,
    /// What is allowed.
    pub rule: &'static str,
}

/// A repository's name in Windlass: letters, digits, `.`, `_`, `-`; starts with a letter or digit;
/// at most 100 characters. It is a path component and a URL segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName(String);

impl RepoName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RepoName {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = s.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if starts_well && s.len() <= 100 && s.chars().all(legal) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidId {
                what: "repository name",
                given: s.to_owned(),
                rule: "use letters, digits, '.', '_' and '-', start with a letter or digit, \
                       at most 100 characters",
            })
        }
    }
}

impl TryFrom<String> for RepoName {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<RepoName> for String {
    fn from(name: RepoName) -> Self {
        name.0
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One try at a job: `a` and the row's number in the store (`a17`), or another short word for
/// builds without a server (`local-8213`). It names the attempt's folder, its cgroup and its
/// environment mark, so the alphabet is `[a-z0-9-]`, at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptId(String);

impl AttemptId {
    /// The id of row `id` of the store's attempts.
    pub fn from_row(id: i64) -> Self {
        Self(format!("a{id}"))
    }

    /// The row in the store, for ids that came from there.
    pub fn row(&self) -> Option<i64> {
        self.0.strip_prefix('a')?.parse().ok()
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AttemptId {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !s.is_empty() && s.len() <= 64 && !s.starts_with('-') && s.bytes().all(legal) {
            Ok(Self(s.to_owned()))
        } else {
            Err(InvalidId {
                what: "attempt id",
                given: s.to_owned(),
                rule: "use lower-case letters, digits and '-', at most 64 characters",
            })
        }
    }
}

impl TryFrom<String> for AttemptId {
    type Error = InvalidId;
    fn try_from(s: String) -> Result<Self, InvalidId> {
        s.parse()
    }
}

impl From<AttemptId> for String {
    fn from(id: AttemptId) -> Self {
        id.0
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_name_is_safe_in_a_path_and_in_a_url() {
        for good in ["demo", "a", "My-Repo_2.0", "9lives"] {
            assert_eq!(good.parse::<RepoName>().unwrap().as_str(), good);
        }
        let long = "a".repeat(101);
        for bad in [
            "", ".", "..", ".git", "-x", "a/b", "a b", "ü", "a\0", "a%2f", &long,
        ] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn an_attempt_id_leads_back_to_its_row() {
        assert_eq!(AttemptId::from_row(17).row(), Some(17));
        assert_eq!("local-8213".parse::<AttemptId>().unwrap().row(), None);
        for bad in ["", "A", "../x", "a b", "-rf"] {
            assert!(bad.parse::<AttemptId>().is_err(), "{bad:?} was accepted");
        }
    }
}
