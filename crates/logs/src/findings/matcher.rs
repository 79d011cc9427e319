//! Problem matchers: what a tool's lines look like.
//!
//! The format is GitHub's
//! (<https://github.com/actions/toolkit/blob/main/docs/problem-matchers.md>): an owner, a severity,
//! and patterns, of which each must match the row after the one before it; the last may `loop`.
//! Beyond that format the matchers that we ship say:
//!
//! | key | of | meaning |
//! | --- | --- | --- |
//! | `x-triggers` | matcher | texts of which one is in every row that the first pattern matches |
//! | `x-weight` | matcher | added to the score instead of [`super::rank::MATCHER`]; below 0: the row only follows from a failure, or repeats one |
//! | `x-alone` | matcher | the weight of a finding without the optional patterns |
//! | `x-block` | matcher | rows after the last pattern that belong to the finding |
//! | `x-stop` | matcher | a row that ends the waiting for the next pattern |
//! | `x-last` | matcher | rows on the way: the last one names the file and the line |
//! | `x-sticky` | matcher | the first pattern begins nothing new while the next one is waited for |
//! | `x-anchor` | pattern | its row is the one to show; else the first row, or that of a loop |
//! | `x-within` | pattern | it may come within so many rows; 1 if nothing is said |
//! | `x-optional` | pattern | without it, the finding counts all the same |

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use super::{Severity, rank};

/// The most a compiled expression may take.
const REGEX_SIZE: usize = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(rename = "problemMatcher")]
    matchers: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    owner: String,
    severity: Option<String>,
    pattern: Vec<PatternSource>,
    #[serde(rename = "x-triggers")]
    triggers: Vec<String>,
    #[serde(rename = "x-weight")]
    weight: Option<i32>,
    #[serde(rename = "x-alone")]
    alone: Option<i32>,
    #[serde(rename = "x-block")]
    block: Option<String>,
    #[serde(rename = "x-stop")]
    stop: Option<String>,
    #[serde(rename = "x-last")]
    last: Option<String>,
    #[serde(rename = "x-sticky", default)]
    sticky: bool,
}

#[derive(Deserialize)]
struct PatternSource {
    regexp: String,
    file: Option<usize>,
    line: Option<usize>,
    column: Option<usize>,
    severity: Option<usize>,
    code: Option<usize>,
    message: Option<usize>,
    #[serde(rename = "loop", default)]
    repeats: bool,
    #[serde(rename = "x-anchor", default)]
    anchor: bool,
    #[serde(rename = "x-within")]
    within: Option<u32>,
    #[serde(rename = "x-optional", default)]
    optional: bool,
}

/// Why a file of matchers can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MatcherError {
    #[error("it is not JSON of the right form: {0}")]
    Json(#[from] serde_json::Error),
    #[error("an expression of {owner} is wrong: {source}")]
    Regex {
        owner: String,
        source: Box<regex::Error>,
    },
    #[error("{owner} has no pattern, or no trigger")]
    Empty { owner: String },
}

/// One pattern, ready.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    pub(super) file: Option<usize>,
    pub(super) line: Option<usize>,
    pub(super) column: Option<usize>,
    pub(super) severity: Option<usize>,
    pub(super) code: Option<usize>,
    pub(super) message: Option<usize>,
    pub(super) repeats: bool,
    pub(super) anchor: bool,
    pub(super) within: u32,
    pub(super) optional: bool,
}

/// One matcher, ready.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) owner: String,
    pub(super) severity: Severity,
    pub(super) weight: i32,
    pub(super) alone: Option<i32>,
    pub(super) patterns: Vec<Pattern>,
    pub(super) block: Option<Regex>,
    pub(super) stop: Option<Regex>,
    pub(super) last: Option<Regex>,
    pub(super) sticky: bool,
}

/// A text that has to be in a row before anything is tried on it.
#[derive(Debug)]
struct Trigger {
    /// The matchers to try: their numbers in [`Set::matchers`]. [`GENERIC`] for the words.
    wakes: Vec<usize>,
}

/// Stands for the words that no tool's format covers.
pub(super) const GENERIC: usize = usize::MAX;

/// Matchers, and what wakes them.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) matchers: Vec<Matcher>,
    finder: AhoCorasick,
    triggers: Vec<Trigger>,
}

/// The files with the matchers that we ship.
const SHIPPED: [&str; 13] = [
    // Of two that say the same of one row the first one stays: those of one language before those
    // that many tools use.
    include_str!("matchers/consequences.json"),
    include_str!("matchers/rust.json"),
    include_str!("matchers/javascript.json"),
    include_str!("matchers/python.json"),
    include_str!("matchers/go.json"),
    include_str!("matchers/jvm.json"),
    include_str!("matchers/dotnet.json"),
    include_str!("matchers/ruby.json"),
    include_str!("matchers/docker.json"),
    include_str!("matchers/shell.json"),
    include_str!("matchers/make.json"),
    include_str!("matchers/c.json"),
    // The last: a tool's own format goes before words.
    include_str!("matchers/words.json"),
];

/// The matchers that we ship. A test proves that each of them can be read.
pub(super) static ALL: LazyLock<Set> = LazyLock::new(|| {
    Set::new(&SHIPPED, super::generic::TRIGGERS).expect("the matchers that we ship can be read")
});

impl Set {
    fn new(files: &[&str], generic: &[&str]) -> Result<Self, MatcherError> {
        let mut matchers = Vec::new();
        let mut texts: Vec<String> = generic.iter().map(|text| (*text).to_owned()).collect();
        let mut triggers: Vec<Trigger> = generic
            .iter()
            .map(|_| Trigger {
                wakes: vec![GENERIC],
            })
            .collect();
        for file in files {
            let file: File = serde_json::from_str(file)?;
            for source in file.matchers {
                for text in &source.triggers {
                    let at = texts.iter().position(|known| known == text);
                    let at = at.unwrap_or_else(|| {
                        texts.push(text.clone());
                        triggers.push(Trigger { wakes: Vec::new() });
                        texts.len() - 1
                    });
                    triggers[at].wakes.push(matchers.len());
                }
                matchers.push(Matcher::new(source)?);
            }
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .map_err(|_| MatcherError::Empty {
                owner: "the triggers".to_owned(),
            })?;
        Ok(Self {
            matchers,
            finder,
            triggers,
        })
    }

    /// Puts the numbers of the matchers to try on `row` into `woken`, sorted.
    pub(super) fn wake(&self, row: &[u8], woken: &mut Vec<usize>) {
        woken.clear();
        // Finding nothing is faster than finding all.
        if !self.finder.is_match(row) {
            return;
        }
        for hit in self.finder.find_overlapping_iter(row) {
            woken.extend_from_slice(&self.triggers[hit.pattern().as_usize()].wakes);
        }
        if woken.len() > 1 {
            woken.sort_unstable();
            woken.dedup();
        }
    }
}

impl Matcher {
    fn new(source: Source) -> Result<Self, MatcherError> {
        let owner = source.owner;
        if source.pattern.is_empty() || source.triggers.iter().any(String::is_empty) {
            return Err(MatcherError::Empty { owner });
        }
        let regex = |text: &str| {
            // Bytes, and in linear time whatever a program prints.
            RegexBuilder::new(text)
                .unicode(false)
                .size_limit(REGEX_SIZE)
                .build()
                .map_err(|e| MatcherError::Regex {
                    owner: owner.clone(),
                    source: Box::new(e),
                })
        };
        let optional = |text: Option<&String>| text.map(|text| regex(text)).transpose();
        let (block, stop, last) = (
            optional(source.block.as_ref())?,
            optional(source.stop.as_ref())?,
            optional(source.last.as_ref())?,
        );
        let patterns = source.pattern.iter().map(|pattern| {
            Ok(Pattern {
                regex: regex(&pattern.regexp)?,
                file: pattern.file,
                line: pattern.line,
                column: pattern.column,
                severity: pattern.severity,
                code: pattern.code,
                message: pattern.message,
                repeats: pattern.repeats,
                anchor: pattern.anchor,
                within: pattern.within.unwrap_or(1),
                optional: pattern.optional,
            })
        });
        Ok(Self {
            patterns: patterns.collect::<Result<_, MatcherError>>()?,
            severity: severity(source.severity.as_deref().unwrap_or("error").as_bytes()),
            weight: source.weight.unwrap_or(rank::MATCHER),
            alone: source.alone,
            sticky: source.sticky,
            owner,
            block,
            stop,
            last,
        })
    }
}

/// The severity that a tool's word means.
pub(super) fn severity(word: &[u8]) -> Severity {
    if word.eq_ignore_ascii_case(b"warning") || word.eq_ignore_ascii_case(b"warn") {
        Severity::Warning
    } else if [&b"notice"[..], b"note", b"info", b"style", b"debug"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
    {
        Severity::Notice
    } else {
        Severity::Error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matcher_that_we_ship_can_be_read() {
        let set = Set::new(&SHIPPED, super::super::generic::TRIGGERS).unwrap();
        assert!(set.matchers.len() > 80, "{}", set.matchers.len());
        for matcher in &set.matchers {
            for pattern in &matcher.patterns {
                let groups = pattern.regex.captures_len();
                let named = [
                    pattern.file,
                    pattern.line,
                    pattern.column,
                    pattern.severity,
                    pattern.code,
                    pattern.message,
                ];
                assert!(
                    named.iter().flatten().all(|group| *group < groups),
                    "{}: {}",
                    matcher.owner,
                    pattern.regex
                );
            }
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let with = |pattern: &str| {
            let file = format!(
                r#"{{"problemMatcher": [{{"owner": "x", "x-triggers": ["x"], "pattern": [{pattern}]}}]}}"#
            );
            Set::new(&[&file], &[]).unwrap_err().to_string()
        };
        assert!(with(r#"{"regexp": "("}"#).contains("of x is wrong"));
        assert!(with("").contains("no pattern"));
        assert!(with("{}").contains("regexp"));
        // Too large to be compiled.
        assert!(with(r#"{"regexp": "(?:x{1000}){1000}"}"#).contains("of x is wrong"));
    }
}
