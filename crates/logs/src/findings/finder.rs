//! One pass over a log: rows in, findings out.
//!
//! Each row is read for what a person sees of it, hashed for the comparison with passing runs, and
//! searched once for the texts that wake a matcher. Only rows with such a text meet expressions.
//! Nothing grows with the log: what is kept is bounded by the constants below.

use std::collections::VecDeque;
use std::io;

use regex::bytes::Captures;

use super::commands::{Commands, Reported};
use super::generic::{self, Sure};
use super::known::{Known, Normal, line_hash};
use super::matcher::{ALL, GENERIC, Matcher, Pattern, Set, severity};
use super::rows::{Rows, visible};
use super::{Finding, Findings, MAX_TEXT, Novelty, Severity, rank};
use crate::strip::strip;

/// Bytes of a row that expressions see.
const MATCHED: usize = 1024;
/// Errors that are kept from the log's begin on.
const ERRORS: usize = 600;
/// Warnings and notices that are kept.
const OTHERS: usize = 300;
/// Errors that passing runs printed, too, that are kept.
const KNOWN_ERRORS: usize = 100;
/// Errors that are kept from the log's end on, beyond the others.
const LAST: usize = 200;
/// Rows that perhaps speak of a failure; the last ones are kept.
const PERHAPS: usize = 20;
/// How far from the end such a row may be.
const PERHAPS_ROWS: u64 = 60;
/// Runs of new rows that are kept.
const RANGES: usize = 2000;
/// A finding has no more rows.
const BLOCK: u64 = 60;
/// Matchers that wait for their next pattern at once.
const WAITING: usize = 16;

/// What is known of a finding before the log is read to its end. Texts are bytes as they came:
/// most findings of a log full of errors are never shown.
#[derive(Debug, Clone, Default)]
struct Raw {
    line: u64,
    begin: u64,
    end: u64,
    tool: Tool,
    weight: i32,
    severity: Option<Severity>,
    message: Option<Vec<u8>>,
    file: Option<Vec<u8>>,
    file_line: Option<u64>,
    column: Option<u64>,
    code: Option<Vec<u8>>,
    new: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Tool {
    #[default]
    Words,
    Command,
    Matcher(usize),
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Command => "command",
            Self::Matcher(number) => &ALL.matchers[number].owner,
        }
    }
}

impl Raw {
    /// 1, or 0 for what only follows from a failure or repeats one.
    fn counts(&self) -> u64 {
        u64::from(self.weight >= 0)
    }

    fn severity(&self) -> Severity {
        self.severity.unwrap_or(Severity::Error)
    }

    /// Takes what a pattern found on a row.
    fn take(&mut self, pattern: &Pattern, found: &Captures<'_>, row: &Row<'_>, is_first: bool) {
        let group = |number: Option<usize>| {
            let text = found.get(number?)?.as_bytes();
            (!text.is_empty()).then(|| text.to_vec())
        };
        let number = |at: Option<usize>| {
            std::str::from_utf8(found.get(at?)?.as_bytes())
                .ok()?
                .parse()
                .ok()
        };
        if let Some(word) = group(pattern.severity) {
            self.severity = Some(severity(&word));
        }
        self.message = group(pattern.message).or(self.message.take());
        self.file = group(pattern.file).or(self.file.take());
        self.code = group(pattern.code).or(self.code.take());
        self.file_line = number(pattern.line).or(self.file_line);
        self.column = number(pattern.column).or(self.column);
        if is_first {
            self.begin = row.number;
        }
        if is_first || pattern.anchor || pattern.repeats {
            self.line = row.number;
            self.new = row.new;
            if pattern.message.is_none() && self.message.is_none() {
                self.message = Some(row.text.to_vec());
            }
        }
        self.end = row.number;
    }
}

/// A row, as matchers see it.
struct Row<'a> {
    number: u64,
    text: &'a [u8],
    new: Option<bool>,
}

/// A matcher that waits for its next pattern.
#[derive(Debug)]
struct Waiting {
    matcher: usize,
    /// Which pattern comes next.
    next: usize,
    /// Rows that it has waited.
    waited: u32,
    found: Raw,
    /// A loop has begun: what there is has been given out.
    given: bool,
}

/// Reads one log. Also a writer, for [`crate::LogReader::copy_to`].
#[derive(Debug, Default)]
pub struct Finder {
    rows: Rows,
    bytes: u64,
    pass: Pass,
    scratch: (Vec<u8>, Normal),
    /// Reading is given up at this moment.
    deadline: Option<std::time::Instant>,
    given_up: bool,
}

/// What goes on from row to row.
#[derive(Debug, Default)]
struct Pass {
    known: Known,
    commands: Commands,
    waiting: Vec<Waiting>,
    woken: Vec<usize>,
    /// The last finding, which following rows may still belong to.
    open: Option<Raw>,
    kept: Kept,
    new_rows: u64,
    ranges: Vec<(u64, u64)>,
    more_ranges: bool,
    /// The last row that is not blank and is not new.
    last_old: u64,
}

/// The findings that are kept.
#[derive(Debug, Default)]
struct Kept {
    errors: Vec<Raw>,
    known_errors: Vec<Raw>,
    others: Vec<Raw>,
    last: VecDeque<Raw>,
    perhaps: VecDeque<Raw>,
    /// Errors, warnings, notices.
    counts: [u64; 3],
}

impl Finder {
    /// Compares with what passing runs printed.
    pub fn new(known: Known) -> Self {
        Self {
            pass: Pass {
                known,
                ..Pass::default()
            },
            ..Self::default()
        }
    }

    /// Gives up reading at `deadline`: what was found up to there counts.
    #[must_use]
    pub fn until(mut self, deadline: std::time::Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The next bytes of the log.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let (pass, scratch) = (&mut self.pass, &mut self.scratch);
        self.rows.push(bytes, |number, row| {
            pass.row(number, row, scratch);
        });
    }

    /// All that was found; without excerpt and last words, which need the log once more. A step that
    /// has not `failed` has no first failure, and what only perhaps speaks of one is left out.
    pub fn finish(mut self, failed: bool) -> Findings {
        let (pass, scratch) = (&mut self.pass, &mut self.scratch);
        self.rows.finish(|number, row| {
            pass.row(number, row, scratch);
        });
        for waiting in std::mem::take(&mut pass.waiting) {
            pass.end(waiting);
        }
        pass.close();
        let rows = self.rows.count;
        let pass = self.pass;
        let against = pass.known.names().to_vec();
        let mut kept = pass.kept;
        if !failed {
            kept.perhaps.clear();
        }
        let (findings, counts) = kept.settle(rows, &against);
        let novelty = (!against.is_empty()).then_some(Novelty {
            against,
            rows: pass.new_rows,
            ranges: pass.ranges,
            more: pass.more_ranges,
        });
        Findings {
            version: super::sidecar::VERSION,
            rows,
            bytes: self.bytes,
            complete: !self.given_up,
            errors: counts[0],
            warnings: counts[1],
            notices: counts[2],
            first: rank::first(&findings).filter(|_| failed),
            findings,
            excerpt: Vec::new(),
            last_words: Vec::new(),
            novelty,
        }
    }
}

impl io::Write for Finder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self
            .deadline
            .is_some_and(|at| std::time::Instant::now() > at)
        {
            self.given_up = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        // In pieces, so that the clock is looked at in between.
        let piece = &bytes[..bytes.len().min(64 * 1024)];
        self.push(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pass {
    fn row(&mut self, number: u64, row: &[u8], scratch: &mut (Vec<u8>, Normal)) {
        let text = visible(row, &mut scratch.0);
        let hash = match self.known.names() {
            [] => None,
            _ => line_hash(text, &mut scratch.1),
        };
        let new = hash.and_then(|hash| self.known.is_new(hash));
        match new {
            Some(true) => self.note_new(number),
            Some(false) => self.last_old = number,
            None => {}
        }
        let text = text.trim_ascii_end();
        let row = Row {
            number,
            text: &text[..text.len().min(MATCHED)],
            new,
        };
        if (row.text.starts_with(b"::") || row.text.starts_with(b"##"))
            && let Some(reported) = self.commands.read(row.text)
        {
            self.give(Raw::reported(reported, &row));
            return;
        }
        let mut covered = self.covers(&row);
        if !self.waiting.is_empty() {
            covered |= self.advance(&row);
            // What a matcher has just given out may go on with this row.
            covered = covered || self.covers(&row);
        }
        if covered || row.text.is_empty() {
            return;
        }
        let mut woken = std::mem::take(&mut self.woken);
        ALL.wake(row.text, &mut woken);
        for number in &woken {
            self.begin(*number, &row);
        }
        self.woken = woken;
    }

    fn note_new(&mut self, number: u64) {
        self.new_rows += 1;
        match self.ranges.last_mut() {
            // Only blank rows are between.
            Some((_, end)) if self.last_old < *end && !self.more_ranges => {
                *end = number;
                return;
            }
            _ => {}
        }
        if self.ranges.len() < RANGES {
            self.ranges.push((number, number));
        } else {
            self.more_ranges = true;
        }
    }

    /// Whether the row belongs to the last finding.
    fn covers(&mut self, row: &Row<'_>) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let Tool::Matcher(number) = open.tool else {
            return false;
        };
        if open.end == row.number {
            return false;
        }
        let belongs = open.end + 1 == row.number
            && row.number - open.begin < BLOCK
            && ALL.matchers[number]
                .block
                .as_ref()
                .is_some_and(|block| block.is_match(row.text));
        if belongs {
            open.end = row.number;
        }
        belongs
    }

    /// Shows the row to the matchers that wait; whether one of them took it.
    fn advance(&mut self, row: &Row<'_>) -> bool {
        let mut taken = false;
        let mut at = 0;
        while at < self.waiting.len() {
            let waiting = &mut self.waiting[at];
            let matcher = &ALL.matchers[waiting.matcher];
            if matcher.stop.as_ref().is_some_and(|r| r.is_match(row.text)) {
                let waiting = self.waiting.remove(at);
                self.end(waiting);
                continue;
            }
            if let Some(found) = matcher.last.as_ref().and_then(|r| r.captures(row.text)) {
                let text = |group: usize| found.get(group).map(|m| m.as_bytes());
                waiting.found.file = text(1).map(<[u8]>::to_vec);
                waiting.found.file_line =
                    text(2).and_then(|n| std::str::from_utf8(n).ok()?.parse().ok());
            }
            let pattern = &matcher.patterns[waiting.next];
            let is_last = waiting.next + 1 == matcher.patterns.len();
            match pattern.regex.captures(row.text) {
                Some(found) if is_last && pattern.repeats => {
                    let mut given = waiting.found.clone();
                    given.take(pattern, &found, row, false);
                    if waiting.given {
                        given.begin = row.number;
                    }
                    (waiting.given, waiting.waited, taken) = (true, 0, true);
                    self.give(given);
                }
                Some(found) => {
                    waiting.found.take(pattern, &found, row, false);
                    taken = true;
                    if is_last {
                        let waiting = self.waiting.remove(at);
                        self.give(waiting.found);
                        continue;
                    }
                    waiting.next += 1;
                    waiting.waited = 0;
                }
                None => {
                    waiting.waited += 1;
                    if waiting.waited >= pattern.within {
                        let waiting = self.waiting.remove(at);
                        self.end(waiting);
                        continue;
                    }
                }
            }
            at += 1;
        }
        taken
    }

    /// A matcher waits no longer.
    fn end(&mut self, mut waiting: Waiting) {
        let matcher = &ALL.matchers[waiting.matcher];
        let rest = &matcher.patterns[waiting.next..];
        if !waiting.given && rest.iter().all(|pattern| pattern.optional) {
            waiting.found.weight = matcher.alone.unwrap_or(waiting.found.weight);
            self.give(waiting.found);
        }
    }

    /// Tries a matcher's first pattern on the row.
    fn begin(&mut self, number: usize, row: &Row<'_>) {
        if number == GENERIC {
            return self.words(row);
        }
        let matcher: &Matcher = &ALL.matchers[number];
        let waits = self.waiting.iter().position(|w| w.matcher == number);
        if waits.is_some() && matcher.sticky {
            return;
        }
        let pattern = &matcher.patterns[0];
        // Groups cost much more, and most rows that are looked at have another format.
        if !pattern.regex.is_match(row.text) {
            return;
        }
        let Some(found) = pattern.regex.captures(row.text) else {
            return;
        };
        if let Some(at) = waits {
            let before = self.waiting.remove(at);
            self.end(before);
        }
        let mut raw = Raw {
            tool: Tool::Matcher(number),
            weight: matcher.weight,
            severity: Some(matcher.severity),
            ..Raw::default()
        };
        raw.take(pattern, &found, row, true);
        if matcher.patterns.len() == 1 {
            self.give(raw);
        } else if self.waiting.len() < WAITING {
            self.waiting.push(Waiting {
                matcher: number,
                next: 1,
                waited: 0,
                found: raw,
                given: false,
            });
        }
    }

    fn words(&mut self, row: &Row<'_>) {
        let Some((severity, sure)) = generic::judge(row.text) else {
            return;
        };
        let raw = Raw {
            line: row.number,
            begin: row.number,
            end: row.number,
            weight: if sure == Sure::Yes { 0 } else { rank::PERHAPS },
            severity: Some(severity),
            message: Some(row.text.to_vec()),
            new: row.new,
            ..Raw::default()
        };
        if sure == Sure::Yes {
            self.kept.keep(raw);
        } else if row.new != Some(false) {
            if self.kept.perhaps.len() == PERHAPS {
                self.kept.perhaps.pop_front();
            }
            self.kept.perhaps.push_back(raw);
        }
    }

    fn give(&mut self, raw: Raw) {
        self.close();
        self.open = Some(raw);
    }

    fn close(&mut self) {
        if let Some(raw) = self.open.take() {
            self.kept.keep(raw);
        }
    }
}

impl Raw {
    fn reported(reported: Reported, row: &Row<'_>) -> Self {
        Self {
            line: row.number,
            begin: row.number,
            end: row.number,
            tool: Tool::Command,
            weight: rank::COMMAND,
            severity: Some(reported.severity),
            message: Some(reported.message.into_bytes()),
            file: reported.file.map(String::into_bytes),
            file_line: reported.line,
            column: reported.column,
            code: reported.code.map(String::into_bytes),
            new: row.new,
        }
    }

    fn settle(self, rows: u64, against: &[String]) -> Finding {
        let severity = self.severity();
        let tool = self.tool.name();
        let to_end = rows.saturating_sub(self.end);
        let (score, why) = rank::score(severity, self.weight, tool, self.new, to_end, against);
        let text = |bytes: Option<Vec<u8>>| bytes.map(|b| plain(&b)).filter(|t| !t.is_empty());
        Finding {
            line: self.line,
            begin: self.begin,
            end: self.end,
            severity,
            tool: tool.to_owned(),
            message: text(self.message).unwrap_or_default(),
            file: text(self.file),
            file_line: self.file_line,
            column: self.column,
            code: text(self.code),
            new: self.new,
            score,
            why,
        }
    }
}

impl Kept {
    fn keep(&mut self, raw: Raw) {
        let severity = raw.severity();
        self.counts[count_of(severity)] += raw.counts();
        if severity != Severity::Error {
            if self.others.len() < OTHERS {
                self.others.push(raw);
            }
        } else if raw.new == Some(false) {
            if self.known_errors.len() < KNOWN_ERRORS {
                self.known_errors.push(raw);
            }
        } else if self.errors.len() < ERRORS {
            self.errors.push(raw);
        } else {
            if self.last.len() == LAST {
                self.last.pop_front();
            }
            self.last.push_back(raw);
        }
    }

    /// In the order of the rows, one finding for a row.
    fn settle(self, rows: u64, against: &[String]) -> (Vec<Finding>, [u64; 3]) {
        let mut counts = self.counts;
        let lists = [
            self.errors,
            self.known_errors,
            self.others,
            self.last.into(),
        ];
        let mut all: Vec<Raw> = lists.into_iter().flatten().collect();
        // What follows from a failure says so: it wins over formats that only see an error.
        let order = |raw: &Raw| {
            let matched = raw.tool != Tool::Words;
            (raw.line, raw.weight >= 0, !matched, -raw.weight)
        };
        all.sort_by_key(order);
        let mut one: Vec<Raw> = Vec::with_capacity(all.len());
        let mut covered_to = 0;
        for raw in all {
            let same = one.last().is_some_and(|last| last.line == raw.line);
            let inside = raw.tool == Tool::Words && raw.line <= covered_to;
            if same || inside {
                counts[count_of(raw.severity())] -= raw.counts();
                continue;
            }
            if raw.tool != Tool::Words {
                covered_to = covered_to.max(raw.end);
            }
            one.push(raw);
        }
        if !one.iter().any(|raw| raw.severity() == Severity::Error) {
            let near = self.perhaps.into_iter();
            let near: Vec<Raw> = near
                .filter(|raw| rows - raw.line < PERHAPS_ROWS)
                .filter(|raw| one.iter().all(|other| other.line != raw.line))
                .collect();
            counts[0] += near.len() as u64;
            one.extend(near);
            one.sort_by_key(|raw| raw.line);
        }
        let findings = one.into_iter().map(|raw| raw.settle(rows, against));
        (findings.collect(), counts)
    }
}

fn count_of(severity: Severity) -> usize {
    match severity {
        Severity::Error => 0,
        Severity::Warning => 1,
        Severity::Notice => 2,
    }
}

/// One line of plain text, cut.
fn plain(bytes: &[u8]) -> String {
    let text = strip(&bytes[..bytes.len().min(4 * MAX_TEXT)]);
    cut(text.split_whitespace(), MAX_TEXT)
}

/// Words with one blank between them, at most `most` characters.
fn cut<'a>(words: impl Iterator<Item = &'a str>, most: usize) -> String {
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > most {
        line = line.chars().take(most - 1).collect();
        line.push('…');
    }
    line
}

/// Forces the expressions to be compiled, which takes some tens of milliseconds the first time.
pub(super) fn warm_up() -> &'static Set {
    &ALL
}
