//! Where groups of lines begin and end, in the dialects of the systems that people come from. Only
//! how a log looks depends on them.
//!
//! | dialect | begin | end |
//! | --- | --- | --- |
//! | GitHub | `::group::TITLE` | `::endgroup::` |
//! | Azure, old GitHub | `##[group]TITLE` | `##[endgroup]` |
//! | GitLab | `section_start:TIME:NAME[collapsed=true]\r\e[0KTITLE` | `section_end:TIME:NAME` |
//! | Travis | `travis_fold:start:NAME\r\e[0KTITLE` | `travis_fold:end:NAME` |
//! | Buildkite | `--- TITLE`, `+++ TITLE` (open), `~~~ TITLE` (quiet) | the next one |
//!
//! Buildkite's headings stand at the beginning of a line, with one space behind them; `--- a/file`
//! and `+++ b/file` of a diff are none.

use serde::Serialize;

use crate::error::Result;
use crate::reader::LogReader;
use crate::search::{Search, SearchError, SearchOptions};

/// A begin or an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "mark", rename_all = "snake_case")]
pub enum Group {
    /// Lines up to the end that fits belong together.
    Begin {
        /// What stands on the line, without the command: plain text.
        title: String,
        /// Whether the lines are hidden until somebody asks for them.
        closed: bool,
        /// The next heading ends it, too: it holds no other.
        heading: bool,
    },
    /// The innermost group ends behind this line, and the line itself is not shown.
    End,
}

/// A group of lines, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fold {
    /// The row of its title, from 0.
    pub first: u64,
    /// Its last row: the one that ends it, or the last one of the log so far.
    pub last: u64,
    /// Its title: plain text.
    pub title: String,
    /// Whether its lines are hidden until somebody asks for them.
    pub closed: bool,
    /// How many groups it lies in.
    pub level: usize,
    /// Whether its end was seen.
    pub ended: bool,
}

/// No log has more groups than these; later ones are lines like others.
pub const MAX_FOLDS: usize = 10_000;
/// Groups within groups, at most; deeper ones are lines like others.
const MAX_LEVEL: usize = 8;

/// Finds the groups of a log, step by step.
#[derive(Debug, Clone)]
pub struct Folds {
    search: Search,
    next: u64,
    folds: Vec<Fold>,
    /// Those that have not ended, and whether a heading began them.
    open: Vec<(usize, bool)>,
}

impl Folds {
    /// For a log's first row.
    ///
    /// # Errors
    /// None, unless the pattern within is wrong.
    pub fn new() -> std::result::Result<Self, SearchError> {
        let pattern = r"^(?:::(?:end)?group::|##\[(?:end)?group\]|section_(?:start|end):|travis_fold:(?:start|end):|--- |\+\+\+ |~~~ )";
        let options = SearchOptions {
            case_sensitive: true,
            literal: false,
        };
        Ok(Self {
            search: Search::new(pattern, options)?,
            next: 0,
            folds: Vec::new(),
            open: Vec::new(),
        })
    }

    /// Looks at the next piece of the log, and says whether there was one.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn step(&mut self, reader: &mut LogReader) -> Result<bool> {
        let mut rows = Vec::new();
        let next = self.search.step(reader, self.next, |hit| {
            rows.push(hit.row);
            true
        })?;
        let mut bytes = Vec::new();
        for number in rows {
            if let Some(row) = reader.row(number)?.filter(|row| !row.flags.continues()) {
                reader.row_bytes(&row, &mut bytes)?;
                if let Some(group) = group(&bytes) {
                    self.push(number, group);
                }
            }
        }
        let any = next > self.next;
        self.next = next;
        Ok(any)
    }

    /// Takes the next row that means something.
    fn push(&mut self, row: u64, group: Group) {
        match group {
            Group::End => self.close(row),
            Group::Begin {
                title,
                closed,
                heading,
            } => {
                // A heading ends the one before, and everything that was left open in it.
                if heading && let Some(at) = self.open.iter().position(|(_, heading)| *heading) {
                    while self.open.len() > at {
                        self.close(row.saturating_sub(1));
                    }
                }
                if self.folds.len() < MAX_FOLDS && self.open.len() < MAX_LEVEL {
                    self.open.push((self.folds.len(), heading));
                    self.folds.push(Fold {
                        first: row,
                        last: row,
                        title,
                        closed,
                        level: self.open.len() - 1,
                        ended: false,
                    });
                }
            }
        }
    }

    fn close(&mut self, row: u64) {
        if let Some((fold, _)) = self.open.pop() {
            let fold = &mut self.folds[fold];
            (fold.last, fold.ended) = (row, true);
        }
    }

    /// The groups so far; those without an end reach to the last row, `rows` being their number.
    pub fn folds(&self, rows: u64) -> Vec<Fold> {
        let mut folds = self.folds.clone();
        for (open, _) in &self.open {
            folds[*open].last = rows.saturating_sub(1).max(folds[*open].first);
        }
        folds
    }
}

/// The longest title in characters.
const MAX_TITLE: usize = 200;

/// What this row means for groups; `None` for almost all.
pub fn group(row: &[u8]) -> Option<Group> {
    let row = without_colours(row);
    // The cheap test first: nearly all rows end here.
    match row.first()? {
        b':' => command(row, b"::", b"group::", b"endgroup::"),
        b'#' => command(row, b"##[", b"group]", b"endgroup]"),
        b's' => section(row, b"section_start:", b"section_end:", true),
        b't' => section(row, b"travis_fold:start:", b"travis_fold:end:", false),
        b'-' | b'+' | b'~' => heading(row),
        b'^' => None,
        _ => None,
    }
}

fn command(row: &[u8], prefix: &[u8], begin: &[u8], end: &[u8]) -> Option<Group> {
    let rest = row.strip_prefix(prefix)?;
    if rest.starts_with(end) {
        return Some(Group::End);
    }
    Some(Group::Begin {
        title: title(rest.strip_prefix(begin)?),
        closed: true,
        heading: false,
    })
}

fn section(row: &[u8], begin: &[u8], end: &[u8], timed: bool) -> Option<Group> {
    if row.starts_with(end) {
        return Some(Group::End);
    }
    let rest = row.strip_prefix(begin)?;
    // What is behind the carriage return is seen; a section without it shows its name.
    let (head, shown) = match memchr::memchr(b'\r', rest) {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &[][..]),
    };
    let name = if timed {
        &head[memchr::memchr(b':', head)? + 1..]
    } else {
        head
    };
    let options = memchr::memchr(b'[', name).map_or(&[][..], |at| &name[at..]);
    let words = title(shown);
    Some(Group::Begin {
        title: if words.is_empty() {
            title(&name[..name.len() - options.len()])
        } else {
            words
        },
        closed: options.starts_with(b"[collapsed=true") || !timed,
        heading: false,
    })
}

fn heading(row: &[u8]) -> Option<Group> {
    let (mark, rest) = row.split_at_checked(3)?;
    let closed = match mark {
        b"---" | b"~~~" => true,
        b"+++" => false,
        _ => return None,
    };
    let rest = rest.strip_prefix(b" ")?;
    let words = title(rest);
    let of_a_diff = ["a/", "b/", "/dev/null"]
        .iter()
        .any(|p| words.starts_with(p));
    let dashes = words.starts_with("--- ") || words.is_empty();
    // `diff -u` and `git diff` name a file and often a time behind a tab.
    (!of_a_diff && !dashes && !words.contains('\t') && !words.ends_with(" ---")).then_some(
        Group::Begin {
            title: words,
            closed,
            heading: true,
        },
    )
}

/// The row behind colours and erasing at its beginning.
fn without_colours(mut row: &[u8]) -> &[u8] {
    while let Some(rest) = row.strip_prefix(b"\x1b[") {
        let Some(end) = rest.iter().take(32).position(|b| matches!(b, b'm' | b'K')) else {
            break;
        };
        row = &rest[end + 1..];
    }
    row
}

fn title(bytes: &[u8]) -> String {
    let text = crate::strip(&bytes[..bytes.len().min(4 * MAX_TITLE)]);
    text.trim().chars().take(MAX_TITLE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(row: &str) -> Option<(String, bool, bool)> {
        match group(row.as_bytes()) {
            Some(Group::Begin {
                title,
                closed,
                heading,
            }) => Some((title, closed, heading)),
            _ => None,
        }
    }

    #[test]
    fn all_five_dialects_are_understood() {
        for (row, title, closed, heading) in [
            ("::group::Install <b>\n", "Install <b>", true, false),
            ("##[group]Run tests\r\n", "Run tests", true, false),
            (
                "\x1b[36m##[group]Run tests\x1b[0m\n",
                "Run tests",
                true,
                false,
            ),
            (
                "section_start:1560896352:my_first[collapsed=true]\r\x1b[0KHeader\n",
                "Header",
                true,
                false,
            ),
            (
                "\x1b[0Ksection_start:1560896352:prepare\r\x1b[0K\x1b[36mPreparing\x1b[0m\n",
                "Preparing",
                false,
                false,
            ),
            (
                "section_start:1:only_name\r\x1b[0K\n",
                "only_name",
                false,
                false,
            ),
            (
                "travis_fold:start:git.1\r\x1b[0K$ git clone\n",
                "$ git clone",
                true,
                false,
            ),
            ("--- :bundler: Bundle\n", ":bundler: Bundle", true, true),
            ("+++ \x1b[31mTests\x1b[0m\n", "Tests", false, true),
            ("~~~ Preparing\n", "Preparing", true, true),
        ] {
            assert_eq!(
                begin(row),
                Some((title.to_owned(), closed, heading)),
                "{row:?}"
            );
        }
        for row in [
            "::endgroup::\n",
            "##[endgroup]\n",
            "section_end:1560896353:my_first\r\x1b[0K\n",
            "\x1b[0Ksection_end:1:x\r\x1b[0K\n",
            "travis_fold:end:git.1\r\x1b[0K\n",
        ] {
            assert_eq!(group(row.as_bytes()), Some(Group::End), "{row:?}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for row in [
            "",
            "\n",
            "---\n",
            "--- a/src/lib.rs\n",
            "+++ b/src/lib.rs\n",
            "--- /dev/null\n",
            "--- old.txt\t2026-01-01 00:00:00\n",
            "--- FAIL ---\n",
            "----- x\n",
            "--- --- x\n",
            "-- x\n",
            "::error::no\n",
            "say ::group::x\n",
            "##[error]no\n",
            "section_start\n",
            "section_start:12\n",
            "travis_fold:\n",
            "\x1b[31\n",
        ] {
            assert_eq!(group(row.as_bytes()), None, "{row:?}");
        }
    }
}
