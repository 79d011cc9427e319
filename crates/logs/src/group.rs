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
//! | a shell's trace, a shown command | `+ COMMAND`, `$ COMMAND` ([`traces`]) | the next one, or any other begin or end |
//!
//! Buildkite's headings stand at the beginning of a line, with one space behind them; `--- a/file`
//! and `+++ b/file` of a diff are none.

mod command;

use serde::Serialize;

pub use self::command::traces;
use self::command::{Hunk, depth, shows};
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

/// What made a group of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FoldKind {
    /// A begin in one of the dialects.
    Group,
    /// A command that the log shows: what it printed. It holds no other group, and may hold no line but its first.
    Command,
}

/// A group of lines, whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fold {
    /// What made it.
    pub kind: FoldKind,
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
    /// When its first row came, in microseconds since 1970.
    #[serde(skip)]
    pub began_us: i64,
    /// From then to what ended it, in microseconds; `None` while it goes on.
    pub duration_us: Option<u64>,
}

/// No log has more groups than these; later ones are lines like others.
pub const MAX_FOLDS: usize = 10_000;
/// Groups within groups, at most; deeper ones are lines like others.
const MAX_LEVEL: usize = 8;

/// What is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Up to its end.
    Group,
    /// Up to the next one.
    Heading,
    /// Up to whatever comes next.
    Command,
}

/// Finds the groups of a log, step by step.
#[derive(Debug, Clone)]
pub struct Folds {
    search: Search,
    next: u64,
    folds: Vec<Fold>,
    /// Those that have not ended: which of `folds`.
    open: Vec<(usize, Open)>,
    /// Begins beyond the bounds: their ends end nothing.
    beyond: usize,
    /// Lines `+ COMMAND` are commands.
    traced: bool,
    /// The last row of the difference that was seen last.
    difference_end: u64,
    /// The last row of a trace: its number, how deep it lies, and whether a heading stands in it.
    trace: Option<Near>,
}

/// A row of a trace, by which `+++ ...` near it is told from a heading.
#[derive(Debug, Clone, Copy)]
struct Near {
    row: u64,
    depth: usize,
    /// It is the command that prints a heading: `+ echo '+++ Tests'`.
    prints: bool,
}

impl Folds {
    /// For a log's first row. `traced`: the step's shell shows its commands ([`traces`]).
    ///
    /// # Errors
    /// None, unless the pattern within is wrong.
    pub fn new(traced: bool) -> std::result::Result<Self, SearchError> {
        let pattern = r"^(?:::(?:end)?group::|##\[(?:end)?group\]|section_(?:start|end):|travis_fold:(?:start|end):|--- |~~~ |\+{1,4} |\$ |@@ -)";
        let options = SearchOptions {
            case_sensitive: true,
            literal: false,
        };
        Ok(Self {
            search: Search::new(pattern, options)?,
            next: 0,
            folds: Vec::new(),
            open: Vec::new(),
            beyond: 0,
            traced,
            difference_end: 0,
            trace: None,
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
            // Rows of a difference are what somebody wrote into a file.
            if number != 0 && number <= self.difference_end {
                continue;
            }
            if let Some(row) = reader.row(number)?.filter(|row| !row.flags.continues()) {
                reader.row_bytes(&row, &mut bytes)?;
                if let Some(hunk) = Hunk::head(&bytes) {
                    self.difference_end = end_of(reader, number, hunk)?;
                    continue;
                }
                let shown = without_colours(&bytes);
                let begin = group(&bytes);
                let nested = self.is_nested(reader, number, shown, begin.is_some())?;
                // A log that begins with a command is a trace, whatever script made it.
                self.traced |= number == 0 && (nested || shows(shown, true));
                if let Some(group) = begin.filter(|_| !nested) {
                    self.push(number, row.time_us, group);
                } else if shows(shown, self.traced) {
                    self.command(number, row.time_us, title(shown));
                }
            }
        }
        let any = next > self.next;
        self.next = next;
        Ok(any)
    }

    /// Whether a row is the trace of a command within another one. Where it could be a heading, too
    /// (`+++ ...`), the rows near it tell: bash comes back from the third depth to the second, and from
    /// there to the first.
    fn is_nested(
        &mut self,
        reader: &mut LogReader,
        number: u64,
        shown: &[u8],
        may_be_heading: bool,
    ) -> Result<bool> {
        let Some(depth) = depth(shown) else {
            return Ok(false);
        };
        let near = self.trace.filter(|near| number - near.row <= NEAR);
        let nested = if !may_be_heading {
            depth > 1
        } else if near.is_some_and(|near| near.prints && near.row + 1 == number) {
            false
        } else {
            near.is_some_and(|near| near.depth > 1) || comes_back(reader, number)?
        };
        if nested || !may_be_heading {
            let prints = memchr::memmem::find(shown, b"+++ ").is_some_and(|at| at > depth);
            self.trace = Some(Near {
                row: number,
                depth,
                prints,
            });
        }
        Ok(nested)
    }

    /// Takes the next row that means something.
    fn push(&mut self, row: u64, time_us: i64, group: Group) {
        self.close_command(row, time_us);
        match group {
            Group::End if self.beyond > 0 => self.beyond -= 1,
            Group::End => self.close(row, time_us),
            Group::Begin {
                title,
                closed,
                heading,
            } => {
                // A heading ends the one before, and everything that was left open in it.
                let before = |open: &(usize, Open)| open.1 == Open::Heading;
                if heading && let Some(at) = self.open.iter().position(before) {
                    while self.open.len() > at {
                        self.close(row.saturating_sub(1), time_us);
                    }
                    self.beyond = 0;
                }
                let open = if heading { Open::Heading } else { Open::Group };
                let fold = self.fold(row, time_us, title, closed, FoldKind::Group);
                if !self.begin(fold, open) && !heading {
                    self.beyond += 1;
                }
            }
        }
    }

    /// Takes the next row that shows a command.
    fn command(&mut self, row: u64, time_us: i64, title: String) {
        self.close_command(row, time_us);
        let fold = self.fold(row, time_us, title, false, FoldKind::Command);
        self.begin(fold, Open::Command);
    }

    fn fold(&self, row: u64, time_us: i64, title: String, closed: bool, kind: FoldKind) -> Fold {
        Fold {
            kind,
            first: row,
            last: row,
            title,
            closed,
            level: self.open.len(),
            ended: false,
            began_us: time_us,
            duration_us: None,
        }
    }

    /// Says whether there is room for it.
    fn begin(&mut self, fold: Fold, open: Open) -> bool {
        let room = self.folds.len() < MAX_FOLDS && self.open.len() < MAX_LEVEL;
        if room {
            self.open.push((self.folds.len(), open));
            self.folds.push(fold);
        }
        room
    }

    /// A command ends before anything else begins or ends: it holds no group.
    fn close_command(&mut self, row: u64, time_us: i64) {
        if let Some((_, Open::Command)) = self.open.last() {
            self.close(row.saturating_sub(1), time_us);
        }
    }

    fn close(&mut self, row: u64, time_us: i64) {
        if let Some((fold, _)) = self.open.pop() {
            let fold = &mut self.folds[fold];
            (fold.last, fold.ended) = (row, true);
            fold.duration_us = Some(since(fold.began_us, time_us));
        }
    }

    /// The groups so far; those without an end reach to the last row, `rows` being their number, and last until
    /// `end_us`, when the step's own end is known.
    pub fn folds(&self, rows: u64, end_us: Option<i64>) -> Vec<Fold> {
        let mut folds = self.folds.clone();
        for (open, _) in &self.open {
            let fold = &mut folds[*open];
            fold.last = rows.saturating_sub(1).max(fold.first);
            fold.duration_us = end_us.map(|end| since(fold.began_us, end));
        }
        folds
    }
}

fn since(from_us: i64, to_us: i64) -> u64 {
    u64::try_from(to_us.saturating_sub(from_us)).unwrap_or_default()
}

/// The most rows of one difference that are looked at.
const MAX_HUNK: u64 = 100_000;

/// The last row of the difference whose head is `row`.
fn end_of(reader: &mut LogReader, head: u64, mut hunk: Hunk) -> Result<u64> {
    let mut bytes = Vec::new();
    let mut last = head;
    while last - head < MAX_HUNK
        && let Some(row) = reader.row(last + 1)?
    {
        reader.row_bytes(&row, &mut bytes)?;
        if !row.flags.continues() && !hunk.takes(without_colours(&bytes)) {
            break;
        }
        last += 1;
    }
    Ok(last)
}

/// How many rows before and behind `+++ ...` are looked at: what a command within others prints to the
/// log is short, or nothing.
const NEAR: u64 = 20;

/// Whether a row of the second depth of a trace follows, before one of the first.
fn comes_back(reader: &mut LogReader, number: u64) -> Result<bool> {
    let mut bytes = Vec::new();
    for next in number + 1..=number + NEAR {
        let Some(row) = reader.row(next)? else {
            break;
        };
        if row.flags.continues() {
            continue;
        }
        reader.row_bytes(&row, &mut bytes)?;
        match depth(without_colours(&bytes)) {
            Some(1) => break,
            Some(2) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
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
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::folder::{IndexRow, RowFlags, Stream};

    /// The groups of a log whose rows come a second apart.
    fn folds_of(rows: &[&str], traced: bool) -> Vec<Fold> {
        let dir = tempfile::tempdir().unwrap();
        let mut index = Vec::new();
        let mut offset = 0;
        for (n, row) in rows.iter().enumerate() {
            let row_meta = IndexRow {
                offset,
                stream: Stream::Merged,
                flags: RowFlags::default(),
                time_us: n as i64 * 1_000_000,
            };
            index.extend(row_meta.to_bytes());
            offset += row.len() as u64;
        }
        fs::write(dir.path().join("0.log"), rows.concat()).unwrap();
        fs::write(dir.path().join("0.idx"), index).unwrap();
        let mut reader = LogReader::open(dir.path(), 0).unwrap();
        let mut folds = Folds::new(traced).unwrap();
        while folds.step(&mut reader).unwrap() {}
        folds.folds(reader.rows(), Some(rows.len() as i64 * 1_000_000))
    }

    fn commands(rows: &[&str], traced: bool) -> Vec<(u64, u64, String, u64)> {
        folds_of(rows, traced)
            .into_iter()
            .filter(|fold| fold.kind == FoldKind::Command)
            .map(|f| (f.first, f.last, f.title, f.duration_us.unwrap() / 1_000_000))
            .collect()
    }

    #[test]
    fn a_trace_folds_by_command_with_times() {
        let rows = [
            "before\n",
            "+ cargo build\n",
            "   Compiling a\n",
            "++ id -u\n",
            "+ git diff\n",
            "@@ -1 +1,2 @@\n",
            "-a\n",
            "+ not a command\n",
            "+b\n",
            "\x1b[33m+ make test\x1b[0m\n",
            "ok\n",
        ];
        let found = [
            (1, 3, "+ cargo build".to_owned(), 3),
            (4, 8, "+ git diff".to_owned(), 5),
            (9, 10, "+ make test".to_owned(), 2),
        ];
        assert_eq!(commands(&rows, true), found);
        // Nobody said that it is a trace: then it is none, but for one that begins with a command.
        assert_eq!(commands(&rows, false), []);
        assert_eq!(commands(&rows[1..], false).len(), 3);
        assert_eq!(commands(&["ok\n", "+ express@4.18.2\n"], false), []);
        let shown = ["$ tsc\n", "a.ts: error\n", "$ jest\n"];
        assert_eq!(commands(&shown, false).len(), 2);
    }

    #[test]
    fn a_command_within_two_others_is_no_heading_of_buildkite() {
        let headings = |rows: &[&str]| -> Vec<u64> {
            let folds = folds_of(rows, false).into_iter();
            let groups = folds.filter(|fold| fold.kind == FoldKind::Group);
            groups.map(|fold| fold.first).collect()
        };
        // As bash prints it for `DIR=$(cd "$(dirname "$0")" && pwd)`, `echo "+++ Tests"` and
        // `x=$(echo $(echo $(id -u)))`.
        let traced = [
            "+++ dirname /ci/test.sh\n",
            "++ cd /ci\n",
            "++ pwd\n",
            "+ DIR=/ci\n",
            "+ echo '+++ Tests'\n",
            "+++ Tests\n",
            "+++++ id -u\n",
            "++++ echo 0\n",
            "+++ echo 0\n",
            "++ x=0\n",
        ];
        assert_eq!(headings(&traced), [5]);
        assert_eq!(
            commands(&traced, false).len(),
            2,
            "a log that begins so is a trace"
        );
        // A file that is read by one that is read: it never comes back to the second depth.
        let read = [
            "++ . ./inner\n",
            "+++ export A=1\n",
            "+++ export B=2\n",
            "+ make\n",
        ];
        assert!(headings(&read).is_empty());
        // A trace that has come back to the top says nothing of what a tool prints then.
        let quiet = ["++ id -u\n", "+ set +x\n", "+++ Tests\n", "ok\n"];
        assert_eq!(headings(&quiet), [2]);
        // Buildkite's own.
        assert_eq!(
            headings(&["+++ Tests\n", "ok\n", "+++ More\n", "+ make\n"]),
            [0, 2]
        );
        let far: Vec<&str> = std::iter::once("++ i of C\n")
            .chain(std::iter::repeat_n("x\n", 30))
            .chain(["+++ Tests\n"])
            .collect();
        assert_eq!(headings(&far), [31]);
    }

    #[test]
    fn ends_beyond_the_bounds_end_nothing() {
        let rows = [["::group::a\n"; 10], ["::endgroup::\n"; 10]].concat();
        let found = folds_of(&rows, false);
        let places: Vec<_> = found.iter().map(|f| (f.first, f.last)).collect();
        assert_eq!(
            places,
            [
                (0, 19),
                (1, 18),
                (2, 17),
                (3, 16),
                (4, 15),
                (5, 14),
                (6, 13),
                (7, 12)
            ]
        );
    }

    const ROWS: [&str; 14] = [
        "plain\n",
        "+ make all\n",
        "+ echo ::group::x\n",
        "++ id\n",
        "$ tsc\n",
        "::group::A\n",
        "::endgroup::\n",
        "section_start:1:b\r\x1b[0KB\n",
        "section_end:1:b\r\x1b[0K\n",
        "--- C\n",
        "+++ D\n",
        "@@ -1,2 +1,2 @@\n",
        " same\n",
        "-gone\n",
    ];

    proptest! {
        #[test]
        fn groups_lie_in_each_other_and_commands_hold_none(
            rows in proptest::collection::vec(proptest::sample::select(&ROWS[..]), 0..120),
            traced: bool,
        ) {
            let folds = folds_of(&rows, traced);
            for (at, fold) in folds.iter().enumerate() {
                prop_assert!(fold.first <= fold.last && fold.last < rows.len() as u64);
                prop_assert!(at == 0 || folds[at - 1].first < fold.first);
                prop_assert!(!fold.ended || fold.duration_us.is_some());
                let mut around = 0;
                for other in &folds[..at] {
                    let inside = fold.last <= other.last;
                    prop_assert!(inside || other.last < fold.first, "{other:?} {fold:?}");
                    prop_assert!(!inside || other.kind == FoldKind::Group, "{other:?} {fold:?}");
                    around += usize::from(inside);
                }
                prop_assert_eq!(around, fold.level);
            }
        }

        #[test]
        fn every_traced_command_is_a_group_that_reaches_to_the_next(
            rows in proptest::collection::vec(
                proptest::sample::select(&["plain\n", "+ make all\n", "++ id\n", "$ tsc\n"][..]), 0..200),
        ) {
            let folds = folds_of(&rows, true);
            let begins: Vec<u64> = (0..rows.len()).filter(|n| rows[*n].starts_with("+ ")).map(|n| n as u64).collect();
            prop_assert_eq!(folds.iter().map(|f| f.first).collect::<Vec<_>>(), begins.clone());
            let ends = begins.iter().skip(1).copied().chain([rows.len() as u64]);
            for (fold, end) in folds.iter().zip(ends) {
                prop_assert_eq!(fold.last, end - 1);
                prop_assert_eq!(fold.duration_us, Some((end - fold.first) * 1_000_000));
            }
        }
    }

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
