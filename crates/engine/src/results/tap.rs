//! The Test Anything Protocol, versions 12 to 14: <https://testanything.org>.
//!
//! Lines that are none of the protocol's are the output of tests; a file may have any of them.

use std::time::Duration;

use windlass_model::plan::ReportKind;

use super::report::{Report, TestCase, TestResult};
use super::xml::{cut, decode};

/// So deep are subtests told apart; only a hostile file has more.
const MAX_LEVEL: usize = 8;

/// Understands a file.
pub fn parse(path: &str, bytes: &[u8]) -> Report {
    let text = decode(bytes);
    let mut reading = Reading {
        report: Report::new(ReportKind::Tap, path),
        levels: vec![Level::default()],
        block: None,
        last: None,
        behind_test: false,
        full: false,
    };
    let mut lines = 0;
    for (number, line) in text.lines().enumerate() {
        lines = number + 1;
        reading.line(lines, line.trim_end_matches('\r'));
        if reading.full {
            return reading.report;
        }
    }
    reading.end(lines);
    reading.report
}

/// A run of tests: the file itself, or a subtest.
#[derive(Debug, Default)]
struct Level {
    planned: Option<(usize, usize)>,
    seen: usize,
    /// The highest number of a test; they may come in any order.
    highest: usize,
    tests: Vec<TestCase>,
    begun: bool,
}

/// A YAML block behind a test.
struct Block {
    indent: usize,
    line: usize,
    lines: Vec<String>,
}

struct Reading {
    report: Report,
    /// The file, and the subtests that are open.
    levels: Vec<Level>,
    block: Option<Block>,
    /// Which level's last test the lines that follow are about.
    last: Option<usize>,
    /// The line before was a test's: a block may follow.
    behind_test: bool,
    full: bool,
}

impl Reading {
    fn line(&mut self, number: usize, line: &str) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let text = line.trim();
        if let Some(block) = &mut self.block {
            if text == "..." && indent <= block.indent {
                self.end_block();
            } else {
                // A plain line at the margin says that the end of the block was forgotten.
                if indent >= block.indent || text.is_empty() {
                    let inner = line.get(block.indent..).unwrap_or_default();
                    block.lines.push(inner.to_owned());
                    return;
                }
                let begun = block.line;
                self.report
                    .problem(format_args!("line {begun}: this block has no end (`...`)"));
                self.end_block();
                self.line(number, line);
            }
            return;
        }
        let behind_test = self.behind_test;
        // Comments and blanks may stand between a test and its block.
        self.behind_test &= text.is_empty() || text.starts_with('#');
        if text == "---" && behind_test && indent > 0 {
            let (line, lines) = (number, Vec::new());
            self.block = Some(Block {
                indent,
                line,
                lines,
            });
            return;
        }
        let level = (indent / 4).min(MAX_LEVEL);
        if let Some(point) = Point::of(text) {
            self.point(number, level, point);
        } else if let Some((count, why)) = plan(text) {
            self.plan(number, level, count, why);
        } else if let Some(reason) = text.strip_prefix("Bail out!") {
            self.bail_out(reason.trim());
        } else if let Some(comment) = text.strip_prefix('#') {
            self.comment(comment.trim());
        }
    }

    /// Opens the levels down to one, and ends those that are deeper.
    fn go_to(&mut self, number: usize, level: usize) {
        while self.levels.len() > level + 1 {
            // Subtests without a test that sums them up: they count by themselves.
            let Some(ended) = self.levels.pop() else {
                return;
            };
            let tests = self.close(number, ended);
            if let Some(outer) = self.levels.last_mut() {
                outer.tests.extend(tests);
            }
        }
        while self.levels.len() < level + 1 {
            self.levels.push(Level::default());
        }
        if let Some(level) = self.levels.last_mut() {
            level.begun = true;
        }
    }

    fn point(&mut self, number: usize, level: usize, point: Point) {
        // The test that stands behind a subtest sums it up.
        let mut inner = Vec::new();
        while self.levels.len() > level + 1 {
            if let Some(ended) = self.levels.pop() {
                let tests = self.close(number, ended);
                inner.splice(0..0, tests);
            }
        }
        self.go_to(number, level);
        let Some(here) = self.levels.last_mut() else {
            return;
        };
        here.seen += 1;
        let seen = here.seen;
        here.highest = here.highest.max(point.id.unwrap_or(seen));
        let test = point.into_test(seen);
        let bad = |t: &TestCase| matches!(t.result, TestResult::Failed | TestResult::Error);
        let told = !inner.is_empty() && (!bad(&test) || inner.iter().any(bad));
        for inner in &mut inner {
            let outer = test.name.clone();
            inner.suite = match inner.suite.is_empty() {
                true => outer,
                false => cut(format!("{outer} > {}", inner.suite), 1024),
            };
        }
        if let Some(here) = self.levels.last_mut() {
            here.tests.extend(inner);
            if !told {
                here.tests.push(test);
            }
        }
        self.last = (!told).then_some(level);
        self.behind_test = true;
        self.flush();
    }

    /// Tests of the file itself are told at once, but for the last: lines about it may follow.
    fn flush(&mut self) {
        if let [top] = self.levels.as_mut_slice() {
            let keep = usize::from(self.last.is_some()).min(top.tests.len());
            let done = top.tests.len() - keep;
            for test in top.tests.drain(..done) {
                if !self.report.push(test) {
                    self.full = true;
                    return;
                }
            }
        }
        let waiting: usize = self.levels.iter().map(|l| l.tests.len()).sum();
        if waiting > super::report::MAX_CASES {
            self.report
                .problem("has too many subtests; they are left out");
            self.full = true;
        }
    }

    fn plan(&mut self, number: usize, level: usize, count: usize, why: Option<String>) {
        self.go_to(number, level);
        self.last = None;
        let Some(here) = self.levels.last_mut() else {
            return;
        };
        if here.planned.is_some() {
            self.report
                .problem(format_args!("line {number}: a second plan"));
            return;
        }
        here.planned = Some((count, number));
        // `1..0 # SKIP reason`: the whole file, or the subtest.
        if count == 0 {
            let mut test = TestCase::new("", "all tests");
            test.result = TestResult::Skipped;
            test.message = why;
            here.tests.push(test);
        }
    }

    fn bail_out(&mut self, reason: &str) {
        let mut test = TestCase::new("", "Bail out!");
        test.result = TestResult::Error;
        test.message = Some(reason.to_owned());
        if let Some(top) = self.levels.first_mut() {
            top.tests.push(test);
            // Those that did not run are no news now.
            top.planned = None;
        }
        for level in &mut self.levels {
            level.planned = None;
        }
        self.last = None;
    }

    fn comment(&mut self, comment: &str) {
        if comment.starts_with("Subtest") {
            self.last = None;
        }
        if let Some(test) = self.last_test()
            && test.result != TestResult::Passed
            && !comment.is_empty()
            && !comment.starts_with("Looks like you")
        {
            // The reason of a skip or a TODO stands first.
            let text = test.message.get_or_insert_default();
            if text.len() < 64 * 1024 {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(comment);
            }
        }
    }

    fn last_test(&mut self) -> Option<&mut TestCase> {
        self.levels.get_mut(self.last?)?.tests.last_mut()
    }

    fn end_block(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        let Some(test) = self.last_test() else {
            return;
        };
        let about = |key: &str| value(&block.lines, key);
        if let Some(milliseconds) = about("duration_ms").and_then(|v| v.parse::<f64>().ok()) {
            test.duration = Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
        }
        if test.result == TestResult::Passed {
            return;
        }
        let message = about("message")
            .or_else(|| about("error"))
            .filter(|m| !m.is_empty());
        let place = about("location").and_then(|place| split_place(&place));
        if let Some((file, line)) = place {
            (test.file, test.line) = (Some(file), Some(line));
        } else if let (Some(file), Some(line)) = (about("file"), about("line")) {
            (test.file, test.line) = (Some(file), line.parse().ok());
        }
        let text = block.lines.join("\n");
        match message {
            Some(message) => {
                test.message.get_or_insert(message);
                test.output = Some(text);
            }
            None if test.message.is_none() => test.message = Some(text),
            None => test.output = Some(text),
        }
    }

    /// What is wrong with a run that has ended, and its tests.
    fn close(&mut self, number: usize, level: Level) -> Vec<TestCase> {
        let seen = level.seen;
        match level.planned {
            Some((planned, line)) if planned != seen => {
                let were = if planned == 1 {
                    "test was"
                } else {
                    "tests were"
                };
                self.report.problem(format_args!(
                    "line {line}: {planned} {were} planned, {seen} ran"
                ));
            }
            Some((planned, line)) if level.highest > planned => {
                let highest = level.highest;
                let what = format!("test {highest} is beyond the {planned} that were planned");
                self.report.problem(format_args!("line {line}: {what}"));
            }
            None if seen > 0 && !level.tests.iter().any(|t| t.name == "Bail out!") => {
                let what = "there is no plan (`1..N`): the program may have ended too early";
                self.report.problem(format_args!("line {number}: {what}"));
            }
            _ => {}
        }
        level.tests
    }

    fn end(&mut self, number: usize) {
        if let Some(begun) = self.block.as_ref().map(|b| b.line) {
            self.report
                .problem(format_args!("line {begun}: this block has no end (`...`)"));
            self.end_block();
        }
        self.go_to(number, 0);
        let Some(top) = self.levels.pop() else {
            return;
        };
        if top.planned.is_none()
            && top.seen == 0
            && top.tests.is_empty()
            && self.report.tests.is_empty()
        {
            self.report
                .problem("has no line of TAP: neither a plan (`1..N`) nor `ok`");
            return;
        }
        for test in self.close(number, top) {
            if !self.report.push(test) {
                return;
            }
        }
    }
}

/// One `ok` or `not ok`.
struct Point {
    ok: bool,
    id: Option<usize>,
    name: String,
    directive: Option<(Directive, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Skip,
    Todo,
}

impl Point {
    fn of(text: &str) -> Option<Self> {
        let (ok, rest) = match text.strip_prefix("not ok") {
            Some(rest) => (false, rest),
            None => (true, text.strip_prefix("ok")?),
        };
        // `okay` is somebody's output.
        if rest.chars().next().is_some_and(|c| !c.is_whitespace()) {
            return None;
        }
        let rest = rest.trim_start();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let ends = after.is_empty() || after.starts_with([' ', '\t']);
        let id = number.parse().ok().filter(|_| ends);
        let rest = if id.is_some() {
            after.trim_start()
        } else {
            rest
        };
        let rest = rest.strip_prefix('-').map_or(rest, str::trim_start);
        let (name, directive) = split_directive(rest);
        // A subtest in TAP 14's experimental form, `ok 1 - name {`.
        let name = name.strip_suffix(" {").unwrap_or(name);
        Some(Self {
            ok,
            id,
            name: unescape(name),
            directive,
        })
    }

    fn into_test(self, number: usize) -> TestCase {
        let name = match self.name.is_empty() {
            true => format!("test {number}"),
            false => cut(self.name, 4096),
        };
        let mut test = TestCase::new("", name);
        match self.directive {
            Some((Directive::Skip, why)) => {
                test.result = TestResult::Skipped;
                test.message = Some(why);
            }
            // What is known to fail is no failure; that it passes is good.
            Some((Directive::Todo, why)) if !self.ok => {
                test.result = TestResult::Skipped;
                test.message = Some(format!("TODO {why}").trim_end().to_owned());
            }
            _ if !self.ok => test.result = TestResult::Failed,
            _ => {}
        }
        test
    }
}

/// The name, and what stands behind the first `#` that isn't escaped, if that is a directive.
fn split_directive(text: &str) -> (&str, Option<(Directive, String)>) {
    let mut escaped = false;
    // `page.html#skip` is the end of an address.
    let mut blank = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '#' if blank => {
                if let Some(directive) = directive(&text[at + 1..]) {
                    return (text[..at].trim_end(), Some(directive));
                }
            }
            _ => {}
        }
        blank = c.is_whitespace();
    }
    (text.trim_end(), None)
}

fn directive(text: &str) -> Option<(Directive, String)> {
    let text = text.trim();
    let word = text.get(..4)?;
    let kind = if word.eq_ignore_ascii_case("skip") {
        Directive::Skip
    } else if word.eq_ignore_ascii_case("todo") {
        Directive::Todo
    } else {
        return None;
    };
    // `# Skipped: reason` is written, too.
    let reason = text[4..].split_once(char::is_whitespace);
    let reason = reason.map_or("", |(_, reason)| reason.trim());
    Some((kind, reason.to_owned()))
}

fn unescape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next @ ('\\' | '#')) if c == '\\' => {
                text.push(*next);
                chars.next();
            }
            _ => text.push(c),
        }
    }
    text
}

/// `1..N`, and why nothing is planned.
fn plan(text: &str) -> Option<(usize, Option<String>)> {
    let rest = text.strip_prefix("1..")?;
    let (count, comment) = match rest.split_once('#') {
        Some((count, comment)) => (count, Some(comment)),
        None => (rest, None),
    };
    let count = count.trim().parse().ok()?;
    // Any comment is the reason, with or without the word SKIP.
    let why = comment.map(|comment| match directive(comment) {
        Some((_, why)) => why,
        None => comment.trim().to_owned(),
    });
    Some((count, why))
}

/// A plain value of a block's outermost keys, or its text over several lines.
fn value(lines: &[String], key: &str) -> Option<String> {
    let at = lines.iter().position(|line| {
        let rest = line.trim_start().strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with(':'))
    })?;
    let first = lines[at].trim_start()[key.len() + 1..].trim();
    if matches!(first, "|" | "|-" | ">" | ">-" | "|+") {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let outer = indent(&lines[at]);
        let inner = lines[at + 1..].iter();
        let inner = inner.take_while(|l| l.trim().is_empty() || indent(l) > outer);
        let text: Vec<_> = inner.map(|line| line.trim()).collect();
        return Some(text.join("\n").trim().to_owned());
    }
    let quoted = |q: char| first.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    let plain = quoted('"').or_else(|| quoted('\'')).unwrap_or(first);
    Some(plain.to_owned())
}

/// `/w/a.test.js:7:3`
fn split_place(place: &str) -> Option<(String, u32)> {
    let mut parts = place.rsplitn(3, ':');
    let (_, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some((file.to_owned(), line.parse().ok()?))
}
