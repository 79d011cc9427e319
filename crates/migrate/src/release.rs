//! Which release of an application a schema still serves.

use std::cmp::Ordering;
use std::fmt;

use crate::version::Version;

/// A release's name such as `1.4.0`, `v2.0.0-rc.1` or `2026.11`, compared part by part: numbers as
/// numbers, and a pre-release before its release.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(into = "String")]
pub struct Release(String);

impl Release {
    /// Takes any text that begins with a digit, or with `v` and a digit.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let sound = bare.starts_with(|c: char| c.is_ascii_digit())
            && bare
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || ".-+_".contains(c));
        sound.then(|| Self(text.to_owned()))
    }

    /// The parts before `-`, and those of the pre-release. What follows `+` does not count.
    fn parts(&self) -> (Vec<&str>, Vec<&str>) {
        let bare = self.0.strip_prefix(['v', 'V']).unwrap_or(&self.0);
        let bare = bare.split('+').next().unwrap_or(bare);
        let (release, pre) = bare.split_once('-').unwrap_or((bare, ""));
        let mut release: Vec<&str> = release.split('.').collect();
        while release.len() > 1 && release.last().is_some_and(|p| p.parse() == Ok(0_u64)) {
            release.pop();
        }
        let pre = if pre.is_empty() {
            Vec::new()
        } else {
            pre.split(['.', '-']).collect()
        };
        (release, pre)
    }
}

fn compare(a: &[&str], b: &[&str]) -> Ordering {
    let one = |a: &&str, b: &&str| match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    };
    for (a, b) in a.iter().zip(b) {
        let order = one(a, b);
        if order != Ordering::Equal {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

impl Release {
    /// Which one is older.
    pub fn order(&self, other: &Self) -> Ordering {
        let (a, a_pre) = self.parts();
        let (b, b_pre) = other.parts();
        compare(&a, &b).then_with(|| match (a_pre.is_empty(), b_pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => compare(&a_pre, &b_pre),
        })
    }

    /// Whether it is `floor` or newer.
    pub fn reaches(&self, floor: &Self) -> bool {
        self.order(floor) != Ordering::Less
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Release> for String {
    fn from(release: Release) -> Self {
        release.0
    }
}

/// What an application must be to run on a schema: what a contract migration asks for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Floor {
    /// This release or a newer one.
    Release(Release),
    /// One whose folder has this migration.
    Migration(Version),
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Release(release) => write!(f, "release {release} or newer"),
            Self::Migration(version) => write!(f, "a release that has migration {version}"),
        }
    }
}

impl Floor {
    /// As the history table keeps it: `release:1.4`, `migration:5`.
    pub fn stored(&self) -> String {
        match self {
            Self::Release(release) => format!("release:{release}"),
            Self::Migration(version) => format!("migration:{version}"),
        }
    }

    /// What [`Floor::stored`] wrote.
    pub fn parse_stored(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("release", release) => Release::parse(release).map(Self::Release),
            ("migration", version) => version.parse().ok().map(Self::Migration),
            _ => None,
        }
    }
}

/// The oldest release that still runs, as the person who lets contract migrations run says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Oldest {
    /// This release.
    Release(Release),
    /// One whose newest migration is this.
    Migration(Version),
    /// Nothing older than what this folder belongs to.
    This,
}

impl std::str::FromStr for Oldest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "this" {
            return Ok(Self::This);
        }
        if let Some(version) = text.strip_prefix("migration:") {
            return version
                .parse()
                .map(Self::Migration)
                .map_err(|_| format!("{version} is no migration's number"));
        }
        Release::parse(text).map(Self::Release).ok_or_else(|| {
            format!(
                "{text} is no release: say one such as 1.4.0, or migration:NUMBER (the newest \
                 migration that the oldest running release has), or this (nothing older than this \
                 folder runs)"
            )
        })
    }
}

impl Oldest {
    /// Whether it satisfies the floor. `None`: it can't be compared, because one names a release
    /// and the other a migration.
    pub fn reaches(&self, floor: &Floor) -> Option<bool> {
        match (self, floor) {
            (Self::This, _) => Some(true),
            (Self::Release(release), Floor::Release(floor)) => Some(release.reaches(floor)),
            (Self::Migration(version), Floor::Migration(floor)) => Some(version >= floor),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_people_read_them() {
        let ordered = [
            "1.4.0-alpha.2",
            "1.4.0-alpha.10",
            "1.4.0-rc1",
            "v1.4",
            "1.4.1",
            "1.10.0",
            "2026.01",
            "2026.11",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                let (a, b) = (Release::parse(a).unwrap(), Release::parse(b).unwrap());
                assert_eq!(a.order(&b), i.cmp(&j), "{a} {b}");
            }
        }
        let (a, b) = (
            Release::parse("v1.4.0+x").unwrap(),
            Release::parse("1.4").unwrap(),
        );
        assert_eq!(a.order(&b), Ordering::Equal);
        assert_eq!(Release::parse("main"), None);
        assert_eq!(Release::parse("1; drop"), None);
    }

    #[test]
    fn the_oldest_running_is_held_against_the_floor() {
        let oldest: Oldest = "1.5".parse().unwrap();
        let floor = |text: &str| Floor::parse_stored(text).unwrap();
        assert_eq!(oldest.reaches(&floor("release:1.4")), Some(true));
        assert_eq!(oldest.reaches(&floor("release:1.6")), Some(false));
        assert_eq!(oldest.reaches(&floor("migration:3")), None);
        assert_eq!(
            "migration:3"
                .parse::<Oldest>()
                .unwrap()
                .reaches(&floor("migration:3")),
            Some(true)
        );
        assert_eq!(
            "this"
                .parse::<Oldest>()
                .unwrap()
                .reaches(&floor("release:9")),
            Some(true)
        );
        assert!("main".parse::<Oldest>().is_err());
    }
}
