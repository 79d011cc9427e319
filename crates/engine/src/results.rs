//! What a job leaves behind: artifacts for people and other jobs, caches for speed, reports that
//! are understood.
//!
//! A stranger's build wrote the workspace. So nothing here follows a symbolic link out of it, and
//! nothing but regular files is ever read: every file is opened by its name in a folder that is
//! already open, without following links, and what was opened is looked at before it is read
//! ([`beneath`]). What is left out for that is reported with a reason, never silently.
//!
//! All functions block; async callers put them on a thread of their own.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | opening, listing and writing beneath a folder | [`beneath`] |
//! | which files the globs of a plan take | [`collect`] |
//! | spec key `artifacts` | [`artifacts`] |
//! | spec key `cache` | [`cache`] |
//! | spec key `reports`; the formats | [`report`], [`junit`], [`tap`], [`lcov`], [`cobertura`] |

pub mod artifacts;
pub mod beneath;
pub mod cache;
pub mod cobertura;
pub mod collect;
pub mod junit;
pub mod lcov;
pub mod report;
pub mod tap;
mod xml;

/// Something in the workspace that was left alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skipped {
    /// Where, relative to the workspace (`~/…` for the home folder). Bytes that are not UTF-8 are
    /// replaced.
    pub path: String,
    /// Why, as a clause: "is a symbolic link to …".
    pub reason: String,
}

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.path, self.reason)
    }
}

/// A number of bytes as people write it: `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.trim_end_matches(".0"), UNITS[unit])
}

/// The longest name that [`file_name`] makes; room for our prefixes and suffixes is left.
const MAX_NAME: usize = 200;

/// The name of a file or folder of ours for a text from a spec: one path component, never hidden,
/// and different for different texts. `None` if the text is empty or too long.
pub(crate) fn file_name(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if c == '/' || c == '%' || c == '\\' || c.is_control() || (at == 0 && c == '.') {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                name.push_str(&format!("%{byte:02X}"));
            }
        } else {
            name.push(c);
        }
    }
    (!name.is_empty() && name.len() <= MAX_NAME).then_some(name)
}

/// The text of which [`file_name`] made a name.
pub(crate) fn text_of(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            bytes.extend(hex::decode(after.get(..2)?).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!(size(0), "0 bytes");
        assert_eq!(size(1023), "1023 bytes");
        assert_eq!(size(1024), "1 KiB");
        assert_eq!(size(1536 * 1024 * 1024), "1.5 GiB");
        assert_eq!(size(u64::MAX), "16777216 TiB");
    }

    #[test]
    fn names_of_ours_are_one_component_and_come_back() {
        for text in [
            "a",
            "test (3.10, linux)",
            "a/b",
            "..",
            ".",
            "../x",
            "a%2Fb",
            "a\nb",
            "ä",
        ] {
            let name = file_name(text).expect(text);
            assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
            assert_eq!(text_of(&name).as_deref(), Some(text));
        }
        assert_ne!(file_name("a/b"), file_name("a%2Fb"));
        assert_eq!(file_name(""), None);
        assert_eq!(file_name(&"x".repeat(201)), None);
        assert_eq!(text_of("%"), None);
        assert_eq!(text_of("%zz"), None);
    }
}
