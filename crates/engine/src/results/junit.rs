//! JUnit's XML. There is no standard; this reads what cargo-nextest, pytest, surefire, jest-junit,
//! gotestsum, ctest and node's own runner write.

use windlass_model::plan::ReportKind;

use super::report::{Report, TestCase, TestResult, seconds};
use super::xml::{Document, Element, Node, cut, decode};

/// So many suites around a test make the name of its suite; only a hostile file has more.
const MAX_NAMED_SUITES: usize = 8;

/// Understands a file.
pub fn parse(path: &str, bytes: &[u8]) -> Report {
    let text = decode(bytes);
    let mut reading = Reading {
        report: Report::new(ReportKind::Junit, path),
        suites: Vec::new(),
        case: None,
        inside: Vec::new(),
        seen: false,
    };
    let mut document = Document::new(&text);
    loop {
        match document.next() {
            Ok(Some(node)) => {
                if !reading.node(node) {
                    return reading.report;
                }
            }
            Ok(None) => break,
            Err(e) => {
                reading
                    .report
                    .problem(format_args!("{e}; what stands before it is read"));
                reading.unfinished();
                return reading.report;
            }
        }
    }
    if !reading.inside.is_empty() {
        let what = "ends too early: the program that wrote it may have been killed";
        reading.report.problem(what);
        reading.unfinished();
    } else if !reading.seen {
        let what = match text.trim().is_empty() {
            true => "is empty",
            false => "is no JUnit XML: it has neither `testsuites` nor `testsuite`",
        };
        reading.report.problem(what);
    }
    reading.report
}

struct Reading {
    report: Report,
    /// The suites that are open: names and files.
    suites: Vec<(String, Option<String>)>,
    /// The test that is open.
    case: Option<Case>,
    /// All elements that are open.
    inside: Vec<String>,
    seen: bool,
}

#[derive(Debug)]
struct Case {
    test: TestCase,
    /// How deep its element is.
    depth: usize,
    /// The text of the failure, error or skip.
    detail: String,
    output: String,
    /// Attempts that failed.
    failures: u32,
    /// It is known to fail (node's `todo`): a failure is none.
    todo: bool,
}

impl Reading {
    /// `false` when nothing more is to be read.
    fn node(&mut self, node: Node) -> bool {
        match node {
            Node::Open(element) => {
                let name = element.name.clone();
                self.open(element);
                self.inside.push(name);
            }
            Node::Close(name) => {
                self.inside.pop();
                return self.close(&name);
            }
            Node::Text(text) => self.text(&text),
        }
        true
    }

    fn open(&mut self, mut element: Element) {
        match element.name.as_str() {
            "testsuites" => self.seen = true,
            "testsuite" => {
                self.seen = true;
                let name = element.take("name").unwrap_or_default();
                let file = element.take_filled("file");
                self.suites.push((cut(name, 1024), file));
            }
            "testcase" if self.case.is_none() => self.open_case(element),
            _ => self.open_detail(element),
        }
    }

    fn open_case(&mut self, mut element: Element) {
        self.seen = true;
        let class = element.take_filled("classname");
        let name = element.take("name").unwrap_or_default();
        // node's runner writes this word for every test; ctest and jest-junit repeat the name.
        let class = class.filter(|class| class != "test" && *class != name);
        let suite = class.unwrap_or_else(|| self.suite());
        let mut test = TestCase::new(suite, name);
        test.duration = element.take("time").and_then(|t| seconds(&t));
        let own = element.take_filled("file");
        // A line without a file of its own counts in the suite's.
        test.line = element.number("line").or_else(|| element.number("lineno"));
        test.file = own.or_else(|| self.suites.iter().rev().find_map(|s| s.1.clone()));
        // ctest has a word for it here and an empty element inside, or not.
        match element.take("status").as_deref() {
            Some("disabled" | "notrun" | "skipped") => test.result = TestResult::Skipped,
            Some("fail" | "failed") => test.result = TestResult::Failed,
            _ => {}
        }
        if element.take("result").as_deref() == Some("skipped") {
            test.result = TestResult::Skipped;
        }
        self.case = Some(Case {
            test,
            depth: self.inside.len(),
            detail: String::new(),
            output: String::new(),
            failures: 0,
            todo: false,
        });
    }

    fn open_detail(&mut self, mut element: Element) {
        let Some(case) = &mut self.case else {
            return;
        };
        let result = match element.name.as_str() {
            "failure" => TestResult::Failed,
            "error" => TestResult::Error,
            "skipped" | "disabled" => TestResult::Skipped,
            "rerunFailure" | "rerunError" | "flakyFailure" | "flakyError" => {
                case.failures += 1;
                return;
            }
            _ => return,
        };
        // pytest writes two for a test that fails and whose clean-up breaks: the first counts.
        let kind = element.take_filled("type");
        if case.test.message.is_none() && case.detail.is_empty() {
            case.test.message = element.take_filled("message");
            if case.test.message.is_none() && result != TestResult::Skipped {
                let words = kind.clone().filter(|kind| kind.contains(['.', ' ']));
                case.test.message = words;
            }
        } else if !case.detail.is_empty() {
            case.detail.push('\n');
        }
        if result == TestResult::Skipped && kind.as_deref() == Some("todo") {
            case.todo = true;
        }
        if worse(result) > worse(case.test.result) {
            case.test.result = result;
        }
    }

    fn text(&mut self, text: &str) {
        let Some(case) = &mut self.case else {
            return;
        };
        // The element below the test case says what the text is; stack traces of retries are of it.
        let below = self.inside.get(case.depth + 1).map(String::as_str);
        match below {
            Some("failure" | "error" | "skipped" | "disabled") => case.detail.push_str(text),
            Some("system-out" | "system-err") => case.output.push_str(text),
            Some("flakyFailure" | "flakyError" | "rerunFailure" | "rerunError") => {
                let deep = self.inside.get(case.depth + 2).map(String::as_str);
                // Their outputs are nobody's first question, and there may be many.
                if !matches!(deep, Some("system-out" | "system-err")) {
                    case.output.push_str(text);
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, name: &str) -> bool {
        if name == "testsuite" && self.case.is_none() {
            self.suites.pop();
        }
        let Some(case) = &mut self.case else {
            return true;
        };
        if self.inside.len() == case.depth {
            return match self.case.take() {
                Some(case) => self.report.push(case.finish()),
                None => true,
            };
        }
        if self.inside.len() == case.depth + 1
            && !case.output.is_empty()
            && !case.output.ends_with('\n')
        {
            case.output.push('\n');
        }
        true
    }

    /// The test in which the file ends is told of: it may be the one that broke it.
    fn unfinished(&mut self) {
        if let Some(case) = self.case.take() {
            let mut test = case.finish();
            if test.result == TestResult::Passed {
                test.result = TestResult::Error;
                test.message = Some("the report ends in the middle of this test".into());
            }
            self.report.push(test);
        }
    }

    /// The suites that are open, by name.
    fn suite(&self) -> String {
        let names = self.suites.iter().map(|(name, _)| name.as_str());
        let names: Vec<_> = names
            // The second is ctest's.
            .filter(|name| !name.is_empty() && *name != "(empty)")
            .take(MAX_NAMED_SUITES)
            .collect();
        names.join(" > ")
    }
}

impl Case {
    fn finish(mut self) -> TestCase {
        let detail = std::mem::take(&mut self.detail);
        let output = std::mem::take(&mut self.output);
        let detail = detail.trim_matches(['\n', '\r']).trim_end();
        let test = &mut self.test;
        test.retries = self.failures;
        if self.todo {
            test.result = TestResult::Skipped;
        }
        let joined = match &test.message {
            // The message is often the first line of the detail.
            Some(_) if detail.is_empty() || output.contains(detail) => output,
            Some(_) if output.trim().is_empty() => detail.to_owned(),
            Some(_) => format!("{detail}\n\n{output}"),
            None => {
                test.message = Some(detail.to_owned());
                output
            }
        };
        test.output = Some(joined);
        self.test
    }
}

fn worse(result: TestResult) -> u8 {
    match result {
        TestResult::Passed => 0,
        TestResult::Skipped => 1,
        TestResult::Failed => 2,
        TestResult::Error => 3,
    }
}
