//! What a migration is called: a number in nearly all folders; `1.4.2` in those of Flyway; and, of a file that is
//! run again whenever its text changes, its name with that text.
//!
//! Our tables keep a number. A version of several parts and a repeatable file have a negative one, which is made
//! from the version and says nothing by itself; the row's name begins with what it stands for.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::Mutex;

use sha2::{Digest as _, Sha256};

/// What a repeatable file's version begins with, as its name does.
const REPEATABLE: &str = "R__";
/// Longer is nobody's version: the history of Flyway has room for 50 characters.
const MOST_PARTS: usize = 24;

/// A migration's version. Numbers come first, part by part as Flyway orders them (1 is 1.0, and below 1.1, which is
/// below 2), and then the repeatable ones, by name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Number(i64),
    /// Two or more; the last is not 0.
    Parts(&'static [u64]),
    Repeatable(&'static Repeatable),
}

#[derive(PartialEq, Eq, Hash)]
struct Repeatable {
    name: String,
    /// Of its text; empty where people name it.
    checksum: String,
}

/// One of each, for good: so a version is copied as a number is. There are as many as folders and histories have.
fn only_one<T: ?Sized + Eq + Hash>(
    known: &Mutex<Option<HashSet<&'static T>>>,
    value: &T,
    make: impl FnOnce() -> &'static T,
) -> &'static T {
    let mut known = known
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(there) = known.get(value) {
        return there;
    }
    let made = make();
    known.insert(made);
    made
}

impl Version {
    /// Below every migration's.
    pub const NONE: Self = Self(Kind::Number(0));

    /// From the parts of `1.4.2`, zeros at the end not counted. `None`: no part at all, or far too many, or a number
    /// that is too large.
    fn from_parts(parts: &[u64]) -> Option<Self> {
        let end = parts
            .iter()
            .rposition(|part| *part > 0)
            .map_or(1, |at| at + 1);
        match parts.get(..end)? {
            [] => None,
            [number] => i64::try_from(*number).ok().map(Self::from),
            parts if parts.len() > MOST_PARTS => None,
            parts => {
                static KNOWN: Mutex<Option<HashSet<&'static [u64]>>> = Mutex::new(None);
                let parts = only_one(&KNOWN, parts, || Vec::leak(parts.to_vec()));
                Some(Self(Kind::Parts(parts)))
            }
        }
    }

    /// Of a repeatable file. `name`: what follows `R__`; `checksum`: [`crate::folder::File::checksum`].
    pub fn repeatable(name: &str, checksum: &str) -> Self {
        static KNOWN: Mutex<Option<HashSet<&'static Repeatable>>> = Mutex::new(None);
        let wanted = Repeatable {
            name: name.to_owned(),
            checksum: checksum.to_owned(),
        };
        let known = only_one(&KNOWN, &wanted, || {
            Box::leak(Box::new(Repeatable {
                name: name.to_owned(),
                checksum: checksum.to_owned(),
            }))
        });
        Self(Kind::Repeatable(known))
    }

    /// A repeatable file's name, without `R__`.
    pub fn repeats(self) -> Option<&'static str> {
        match self.0 {
            Kind::Repeatable(it) => Some(&it.name),
            _ => None,
        }
    }

    /// It is a number.
    pub fn number(self) -> Option<i64> {
        match self.0 {
            Kind::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The same migration: of a repeatable one, with whichever text.
    pub fn is_of(self, other: Self) -> bool {
        match (self.repeats(), other.repeats()) {
            (Some(a), Some(b)) => a == b,
            _ => self == other,
        }
    }

    /// The next one of this kind: the last part grows.
    pub fn next(self) -> Self {
        match self.0 {
            Kind::Number(number) => Self::from(number.saturating_add(1)),
            Kind::Parts(parts) => {
                let mut parts = parts.to_vec();
                if let Some(last) = parts.last_mut() {
                    *last = last.saturating_add(1);
                }
                Self::from_parts(&parts).unwrap_or(self)
            }
            Kind::Repeatable(_) => self,
        }
    }

    /// What our tables call it.
    pub(crate) fn key(self) -> i64 {
        match self.0 {
            Kind::Number(number) => number,
            Kind::Parts(_) => hashed(&self.to_string()),
            // Each text has a row: who needs an earlier one sees that it was applied once.
            Kind::Repeatable(it) => hashed(&format!("{self} {}", it.checksum)),
        }
    }

    /// What the journal of its statements calls it. A repeatable file whose text changes after a crash is still the
    /// file that was interrupted.
    pub(crate) fn journal_key(self) -> i64 {
        match self.0 {
            Kind::Repeatable(_) => hashed(&self.to_string()),
            _ => self.key(),
        }
    }

    /// The name in our tables.
    pub(crate) fn stored_name(self, name: &str) -> Cow<'_, str> {
        match self.0 {
            Kind::Number(_) => Cow::Borrowed(name),
            Kind::Parts(_) => Cow::Owned(format!("V{self}__{name}")),
            Kind::Repeatable(_) => Cow::Owned(self.to_string()),
        }
    }

    /// Version and name from what a row of the history has for number, name and checksum.
    pub(crate) fn from_row(key: i64, name: &str, checksum: &str) -> (Self, String) {
        let found = || {
            if key >= 0 {
                return None;
            }
            if let Some(name) = name.strip_prefix(REPEATABLE) {
                return Some((Self::repeatable(name, checksum), name));
            }
            let (version, name) = name.strip_prefix('V')?.split_once("__")?;
            Some((version.parse().ok()?, name))
        };
        let (version, name) = found().unwrap_or((Self::from(key), name));
        (version, name.to_owned())
    }

    fn parts(&self) -> (i128, &[u64]) {
        match &self.0 {
            Kind::Number(number) => (i128::from(*number), &[]),
            Kind::Parts([first, rest @ ..]) => (i128::from(*first), rest),
            // After all numbers.
            _ => (i128::MAX, &[]),
        }
    }
}

/// Below zero, where no number of a file is.
fn hashed(text: &str) -> i64 {
    let hash = Sha256::digest(text.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    -((i64::from_be_bytes(first) & i64::MAX).max(1))
}

/// [`Version::NONE`].
impl Default for Version {
    fn default() -> Self {
        Self::NONE
    }
}

impl From<i64> for Version {
    fn from(number: i64) -> Self {
        Self(Kind::Number(number))
    }
}

impl PartialEq<i64> for Version {
    fn eq(&self, number: &i64) -> bool {
        self.number() == Some(*number)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Kind::Repeatable(a), Kind::Repeatable(b)) = (self.0, other.0) {
            // Flyway orders them by what it calls them, and that has spaces.
            let words = |name: &'static str| name.bytes().map(|b| if b == b'_' { b' ' } else { b });
            return words(&a.name)
                .cmp(words(&b.name))
                .then_with(|| (&a.name, &a.checksum).cmp(&(&b.name, &b.checksum)));
        }
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Number(number) => number.fmt(f),
            Kind::Parts(parts) => {
                let parts: Vec<String> = parts.iter().map(u64::to_string).collect();
                f.write_str(&parts.join("."))
            }
            Kind::Repeatable(it) => write!(f, "{REPEATABLE}{}", it.name),
        }
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A number as a number, everything else as text.
impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => serializer.serialize_i64(number),
            None => serializer.collect_str(self),
        }
    }
}

/// Not a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no migration's version: say it as its file does, such as 7, 1.4 or R__views")]
pub struct NoVersion(String);

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let found = match text.strip_prefix(REPEATABLE) {
            Some(name) => {
                let name = name.strip_suffix(".sql").unwrap_or(name);
                (!name.is_empty()).then(|| Self::repeatable(name, ""))
            }
            None => {
                // As a file's name begins.
                let text = text.strip_prefix('V').unwrap_or(text);
                let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
                let parts = text.split(['.', '_']);
                let parts: Option<Vec<u64>> = parts
                    .map(|part| part.parse().ok().filter(|_| digits(part)))
                    .collect();
                parts.and_then(|parts| Self::from_parts(&parts))
            }
        };
        found.ok_or_else(|| NoVersion(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_ordered_part_by_part_and_repeatable_ones_come_last() {
        let ordered = [
            "0.9",
            "1",
            "1.0.1",
            "1.1",
            "1.2",
            "1.10",
            "2",
            "2026.01.05.1200",
            "20260105120000",
            "20260105120000.1",
            "R__a_b",
            "R__a1",
            "R__b",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(version(a).cmp(&version(b)), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(version("1.0"), version("1"));
        assert_eq!(version("001_010"), version("1.10"));
        assert_eq!(version("007"), 7);
        assert_eq!(version("V1.2"), version("1.2"));
        for wrong in ["", "x", "1.x", "1..2", "+1", "-1", "1.", "R__", "V", "VV1"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
        assert!("99999999999999999999".parse::<Version>().is_err());
        assert!(
            "1.".repeat(30)
                .trim_end_matches('.')
                .parse::<Version>()
                .is_err()
        );
    }

    #[test]
    fn a_row_gives_back_what_it_was_made_of() {
        for (version, name) in [
            (version("7"), "add_email"),
            (version("1.1"), "add__email"),
            (version("1.1"), ""),
            (Version::repeatable("views", "abc"), "views"),
        ] {
            let stored = version.stored_name(name).into_owned();
            let back = Version::from_row(version.key(), &stored, "abc");
            assert_eq!(back, (version, name.to_owned()));
            assert_eq!(version.key() < 0, version.number().is_none());
        }
        // A number says all; what is like a version in a name means nothing then.
        assert_eq!(
            Version::from_row(7, "V1.1__x", ""),
            (Version::from(7), "V1.1__x".to_owned())
        );
        // What nobody here has made is still something.
        assert_eq!(Version::from_row(-7, "x", "").0, -7);
    }

    #[test]
    fn texts_of_a_repeatable_file_are_told_apart_and_are_one_file() {
        let (a, b) = (Version::repeatable("v", "a"), Version::repeatable("v", "b"));
        assert_ne!(a.key(), b.key());
        assert_eq!(a.journal_key(), b.journal_key());
        assert!(a.is_of(b) && a != b && a == Version::repeatable("v", "a"));
        assert!(!a.is_of(version("7")) && version("7").is_of(version("7.0")));
        assert_eq!(
            serde_json::json!([a, version("1.1"), version("7")]).to_string(),
            r#"["R__v","1.1",7]"#
        );
        assert_eq!(
            (version("1.9").next(), version("9").next()),
            (version("1.10"), version("10"))
        );
    }
}
