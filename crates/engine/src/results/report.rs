//! Spec key `reports`: files that are understood. The formats are in files of their own.
//!
//! A file that can't be understood is a problem to be shown beside the others, never a failure of
//! the job or of ours.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use windlass_model::plan::{ReportKind, ReportPlan};

use super::beneath::Folder;
use super::collect::collect;
use super::{cobertura, junit, lcov, size, tap};

/// The largest file that is read.
pub const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// So many bytes at most are read for one plan, from all files together.
const MAX_ALL_BYTES: u64 = 4 * MAX_BYTES;

/// So many test cases at most are taken from one file, and for one plan.
pub const MAX_CASES: usize = 200_000;

/// So many files of one plan are read.
const MAX_FILES: usize = 10_000;

/// So many problems of one file are told.
const MAX_PROBLEMS: usize = 20;

/// So much of a message is kept, and of a test's output.
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_OUTPUT: usize = 256 * 1024;

/// What one file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it is.
    pub kind: ReportKind,
    /// Relative to the workspace; a pattern if no file matches it.
    pub path: String,
    /// The tests in it, in its order.
    pub tests: Vec<TestCase>,
    /// What tests ran through.
    pub coverage: Option<Coverage>,
    /// What was not understood, in sentences that name the file and, where there is one, the line.
    pub problems: Vec<String>,
}

impl Report {
    /// One that says nothing yet.
    pub fn new(kind: ReportKind, path: &str) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            tests: Vec::new(),
            coverage: None,
            problems: Vec::new(),
        }
    }

    /// Notes a problem, unless there are many.
    pub(super) fn problem(&mut self, what: impl std::fmt::Display) {
        match self.problems.len() {
            n if n < MAX_PROBLEMS => self.problems.push(format!("{}: {what}", self.path)),
            MAX_PROBLEMS => self
                .problems
                .push(format!("{}: and more like these", self.path)),
            _ => {}
        }
    }

    /// Adds a test. `false` when there are too many: then it is left out, and reading can end.
    pub(super) fn push(&mut self, mut case: TestCase) -> bool {
        if self.tests.len() >= MAX_CASES {
            self.problem(format_args!(
                "has more than {MAX_CASES} tests; the others are left out"
            ));
            return false;
        }
        case.message = case.message.and_then(|m| tidy(m, MAX_MESSAGE));
        case.output = case.output.and_then(|o| tidy(o, MAX_OUTPUT));
        if case.file.is_none() {
            let texts = [case.message.as_deref(), case.output.as_deref()];
            let bad = matches!(case.result, TestResult::Failed | TestResult::Error);
            let place = texts.into_iter().flatten().filter(|_| bad).find_map(place);
            if let Some((file, line)) = place {
                (case.file, case.line) = (Some(file), Some(line));
            }
        }
        self.tests.push(case);
        true
    }
}

/// How one test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestResult {
    /// Well.
    Passed,
    /// What it asserts doesn't hold.
    Failed,
    /// It broke before it could tell.
    Error,
    /// It was left out.
    Skipped,
}

/// One test.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// What it belongs to: a class, a module, a file. May be empty.
    pub suite: String,
    /// Its name in there.
    pub name: String,
    /// How it ended, after all retries.
    pub result: TestResult,
    /// How long it took.
    pub duration: Option<Duration>,
    /// Why it failed or was skipped.
    pub message: Option<String>,
    /// What it wrote, and stack traces.
    pub output: Option<String>,
    /// The source file, as the report has it.
    pub file: Option<String>,
    /// 1-based line there.
    pub line: Option<u32>,
    /// How many attempts failed besides the one that counts. A test that passed with some is flaky.
    pub retries: u32,
}

impl TestCase {
    /// One that passed and of which nothing else is known.
    pub fn new(suite: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            suite: suite.into(),
            name: name.into(),
            result: TestResult::Passed,
            duration: None,
            message: None,
            output: None,
            file: None,
            line: None,
            retries: 0,
        }
    }

    /// Whether it passed only at a later attempt.
    pub fn flaky(&self) -> bool {
        self.result == TestResult::Passed && self.retries > 0
    }
}

/// What tests ran through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Lines that ran.
    pub lines_covered: u64,
    /// Lines that could.
    pub lines_total: u64,
    /// The same by file, sorted by path.
    pub files: Vec<FileCoverage>,
}

/// What tests ran through of one source file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileCoverage {
    /// As the report has it; relative to the workspace if it is in there.
    pub path: String,
    /// Lines that ran.
    pub lines_covered: u64,
    /// Lines that could.
    pub lines_total: u64,
    /// Lines and how often they ran, sorted by line. Empty if the report has only sums.
    pub lines: Vec<(u32, u64)>,
}

/// Seconds as reports write them: `0.012`, `1,234.5`, `1e-05`. `None` for what is none.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim().replace(',', "");
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn tidy(text: String, most: usize) -> Option<String> {
    let trimmed = text.trim_matches(['\n', '\r']).trim_end();
    match trimmed.trim().is_empty() {
        true => None,
        false => Some(super::xml::cut(trimmed.to_owned(), most)),
    }
}

/// The place of a failure in what a test says: Rust's panics, Python's and JavaScript's traces,
/// Perl's and Go's messages.
fn place(text: &str) -> Option<(String, u32)> {
    let lines = || text.lines().take(2000).filter(|l| l.len() < 2000);
    let rust = lines().find_map(|l| path_and_line(l.split_once("panicked at ")?.1));
    // pytest's last such line is the one in the test.
    let python = || {
        lines()
            .filter(|l| !l.starts_with(' '))
            .filter_map(python_place)
            .last()
    };
    let perl = || lines().find_map(|l| perl_place(l.trim_start_matches(['#', ' '])));
    let node = || {
        let frames = lines().filter(|l| l.trim_start().starts_with("at "));
        let own = |l: &&str| !l.contains("node_modules") && !l.contains("node:");
        frames.filter(own).find_map(|l| {
            let l = l.trim().trim_start_matches("at ").trim_end_matches(')');
            let path = l.rsplit_once('(').map_or(l, |(_, path)| path);
            let found = path_and_line(path.strip_prefix("file://").unwrap_or(path))?;
            let ending = found.0.rsplit('.').next()?;
            // Java's frames look alike, but their first is in the test framework.
            let script = ["js", "ts", "mjs", "cjs", "mts", "cts", "jsx", "tsx"].contains(&ending);
            script.then_some(found)
        })
    };
    rust.or_else(python).or_else(perl).or_else(node)
}

/// `tests/test_a.py:12: AssertionError`
fn python_place(line: &str) -> Option<(String, u32)> {
    let found = path_and_line(line)?;
    found.0.ends_with(".py").then_some(found)
}

/// `at t/a.t line 5.`
fn perl_place(line: &str) -> Option<(String, u32)> {
    let (file, rest) = line.strip_prefix("at ")?.split_once(" line ")?;
    Some((file.to_owned(), rest.trim_end_matches('.').parse().ok()?))
}

/// `src/lib.rs:10:5`, whatever follows.
fn path_and_line(text: &str) -> Option<(String, u32)> {
    // A path has no blanks here: else any sentence with a colon would be one.
    let word = text.split_whitespace().next()?;
    let (path, rest) = word.split_once(':')?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    let is_path = path.contains('.') && !path.contains(['(', '<', '"']);
    let line = digits.parse().ok().filter(|line| *line > 0)?;
    is_path.then(|| (path.to_owned(), line))
}

/// Reads all files of a plan.
pub fn read(workspace: &Path, plan: &ReportPlan) -> Vec<Report> {
    let failed = |problem: String| {
        let mut report = Report::new(plan.kind, &plan.paths.join(", "));
        report.problems.push(problem);
        vec![report]
    };
    let found = match collect(workspace, &plan.paths) {
        Ok(found) => found,
        Err(e) => return failed(e.to_string()),
    };
    let root = match Folder::open(workspace) {
        Ok(root) => root,
        Err(e) => return failed(format!("the workspace can't be read: {e}")),
    };
    let mut reports = Vec::new();
    for pattern in &found.unmatched {
        let mut report = Report::new(plan.kind, pattern);
        report.problems.push(format!("no file matches `{pattern}`"));
        reports.push(report);
    }
    for skipped in &found.skipped {
        let mut report = Report::new(plan.kind, &skipped.path);
        report.problems.push(skipped.to_string());
        reports.push(report);
    }
    let (mut bytes, mut cases) = (MAX_ALL_BYTES, MAX_CASES);
    for (number, file) in found.files.iter().enumerate() {
        let mut report = Report::new(plan.kind, &file.path);
        if number >= MAX_FILES || cases == 0 {
            let limit = format!("{MAX_FILES} files and {MAX_CASES} tests");
            report.problem(format_args!(
                "is left out with all after it: {limit} are read"
            ));
            reports.push(report);
            break;
        }
        match read_file(&root, &file.path, bytes.min(MAX_BYTES)) {
            Ok(text) => {
                bytes -= text.len() as u64;
                report = parse(plan.kind, &file.path, &text);
                make_relative(&mut report, workspace);
                if report.tests.len() > cases {
                    report.tests.truncate(cases);
                    report.problem("has more tests than are read; the others are left out");
                }
                cases -= report.tests.len();
            }
            Err(problem) => report.problem(problem),
        }
        reports.push(report);
    }
    reports
}

fn read_file(root: &Folder, path: &str, most: u64) -> Result<Vec<u8>, String> {
    let file = root.file_at(Path::new(path));
    let file = file.map_err(|e| format!("can't be read: {e}"))?;
    let mut bytes = Vec::new();
    let read = file.take(most + 1).read_to_end(&mut bytes);
    read.map_err(|e| format!("can't be read: {e}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {}; it is not read", size(most)));
    }
    Ok(bytes)
}

/// Understands one file's bytes. Never fails: what is not understood is in the report's problems.
pub fn parse(kind: ReportKind, path: &str, bytes: &[u8]) -> Report {
    match kind {
        ReportKind::Junit => junit::parse(path, bytes),
        ReportKind::Tap => tap::parse(path, bytes),
        ReportKind::Lcov => lcov::parse(path, bytes),
        ReportKind::Cobertura => cobertura::parse(path, bytes),
    }
}

/// Paths of source files below the workspace become relative to it.
fn make_relative(report: &mut Report, workspace: &Path) {
    let Some(workspace) = workspace.to_str() else {
        return;
    };
    let relative = |path: &mut String| {
        let rest = path
            .strip_prefix(workspace)
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some(rest) = rest {
            *path = rest.to_owned();
        }
    };
    report
        .tests
        .iter_mut()
        .filter_map(|t| t.file.as_mut())
        .for_each(relative);
    let files = report.coverage.iter_mut().flat_map(|c| &mut c.files);
    files.for_each(|f| relative(&mut f.path));
}

/// The line of a step's log to which a failed test links: the first that has the test's name and
/// says that it failed. One that names its suite, too, is better than one that doesn't.
pub fn log_line<L: AsRef<str>>(
    case: &TestCase,
    lines: impl IntoIterator<Item = L>,
) -> Option<usize> {
    let name = case.name.trim();
    if name.is_empty() {
        return None;
    }
    let parts = case.suite.rsplit(['.', ':', '/', '>', '\\', ' ']);
    let suite = parts.map(str::trim).find(|part| !part.is_empty());
    let mut first = None;
    for (number, line) in lines.into_iter().enumerate() {
        let line = without_escapes(line.as_ref());
        let Some(rest) = without_name(&line, name) else {
            continue;
        };
        if !says_failed(&rest) {
            continue;
        }
        match suite {
            Some(suite) if !rest.contains(suite) => first = first.or(Some(number)),
            _ => return Some(number),
        }
    }
    first
}

/// The line without the test's name, if that stands in it as a whole word: the name itself may
/// contain `error`.
fn without_name(line: &str, name: &str) -> Option<String> {
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).find_map(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + name.len()..]);
        let joined = (before.ends_with(in_word) && name.starts_with(in_word))
            || (after.starts_with(in_word) && name.ends_with(in_word));
        (!joined).then(|| format!("{before} {after}"))
    })
}

fn says_failed(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "FAIL", "fail", "Fail", "not ok", "ERROR", "Error", "error", "✖", "✕", "✗",
    ];
    WORDS.iter().any(|word| text.contains(word))
}

/// Without the sequences that colour a terminal: runners colour the middle of names.
fn without_escapes(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            text.push(c);
        } else if chars.next() == Some('[') {
            // Parameters, up to the letter that says what they are of.
            let _ = chars.find(|c| ('@'..='~').contains(c));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_as_they_are_written() {
        assert_eq!(seconds("0.012"), Some(Duration::from_millis(12)));
        assert_eq!(seconds("1,234.5"), Some(Duration::from_millis(1_234_500)));
        assert_eq!(seconds("1e-3"), Some(Duration::from_millis(1)));
        for none in ["", "x", "-1", "NaN", "inf", "1e300"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn places_in_what_tests_say() {
        let at = |text| place(text).map(|(f, l)| format!("{f}:{l}"));
        let rust = "thread 'a' (12) panicked at src/lib.rs:10:5:\nassertion failed";
        assert_eq!(at(rust).as_deref(), Some("src/lib.rs:10"));
        let python =
            "def test():\n>   assert 1\n\nhelper.py:3: \n_ _ _\ntests/test_a.py:12: AssertionError";
        assert_eq!(at(python).as_deref(), Some("tests/test_a.py:12"));
        let perl = "  Failed test 'x'\n  at t/a.t line 5.\n";
        assert_eq!(at(perl).as_deref(), Some("t/a.t:5"));
        let node = "Error: x\n    at node:internal/a:1:2\n    at f (file:///w/a.test.js:7:3)";
        assert_eq!(at(node).as_deref(), Some("/w/a.test.js:7"));
        assert_eq!(at("at 12:30 all failed"), None);
    }

    #[test]
    fn the_line_of_the_log() {
        let case = |suite: &str, name: &str| TestCase::new(suite, name);
        let nextest = [
            "    Starting 2 tests",
            "        PASS [   0.005s] app tests::adds_more",
            "        \u{1b}[31;1mFAIL\u{1b}[0m [   0.005s] \u{1b}[35;1mapp\u{1b}[0m \u{1b}[36mtests\u{1b}[0m::\u{1b}[34;1madds\u{1b}[0m",
        ];
        assert_eq!(log_line(&case("app", "tests::adds"), nextest), Some(2));
        assert_eq!(log_line(&case("app", "tests::add"), nextest), None);
        let pytest = [
            "tests/test_b.py::test_error PASSED",
            "FAILED tests/test_b.py::test_x - assert 1 == 2",
            "FAILED tests/test_a.py::test_x - assert 1 == 2",
        ];
        assert_eq!(log_line(&case("tests.test_a", "test_x"), pytest), Some(2));
        assert_eq!(log_line(&case("other", "test_x"), pytest), Some(1));
        assert_eq!(log_line(&case("tests.test_b", "test_error"), pytest), None);
        assert_eq!(
            log_line(&case("", "second"), ["ok 1 - first", "not ok 2 - second"]),
            Some(1)
        );
        assert_eq!(log_line(&case("", ""), ["not ok 2 - second"]), None);
    }
}
