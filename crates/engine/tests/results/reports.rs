//! Reports that real tools wrote, that are broken, and that are any bytes.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use windlass_engine::results::report::TestResult::{Error, Failed, Passed, Skipped};
use windlass_engine::results::report::{self, Report, TestCase, TestResult, log_line};
use windlass_model::plan::{ReportKind, ReportPlan};

use super::{workspace, write};

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/results")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn parsed(kind: ReportKind, name: &str) -> Report {
    report::parse(kind, name, text(name).as_bytes())
}

/// A report without problems, and its tests.
fn tests(kind: ReportKind, name: &str) -> Vec<TestCase> {
    let report = parsed(kind, name);
    assert_eq!(report.problems, [""; 0], "{name}");
    report.tests
}

fn short(tests: &[TestCase]) -> Vec<(&str, &str, TestResult)> {
    tests
        .iter()
        .map(|t| (t.suite.as_str(), t.name.as_str(), t.result))
        .collect()
}

fn named<'a>(tests: &'a [TestCase], name: &str) -> &'a TestCase {
    tests
        .iter()
        .find(|t| t.name == name)
        .unwrap_or_else(|| panic!("{name} is not in {tests:#?}"))
}

fn message(test: &TestCase) -> &str {
    test.message.as_deref().unwrap_or_default()
}

fn output(test: &TestCase) -> &str {
    test.output.as_deref().unwrap_or_default()
}

fn place(test: &TestCase) -> (&str, u32) {
    (
        test.file.as_deref().unwrap_or_default(),
        test.line.unwrap_or_default(),
    )
}

/// The text of the line of a log to which a test links.
fn linked(test: &TestCase, log: &str) -> String {
    let log = text(log);
    let line = log_line(test, log.lines()).expect("a line");
    log.lines().nth(line).unwrap().to_owned()
}

#[test]
fn cargo_nextest() {
    let tests = tests(ReportKind::Junit, "nextest.xml");
    assert_eq!(
        short(&tests),
        [
            ("calc", "tests::adds", Passed),
            ("calc", "tests::fails", Failed),
            ("calc", "tests::flaky", Passed)
        ]
    );
    assert!(tests[0].duration.is_some() && tests[0].retries == 0);
    assert!(tests[2].flaky());
    let fails = &tests[1];
    assert_eq!((fails.retries, fails.flaky()), (1, false));
    assert!(message(fails).contains("panicked at src/lib.rs:12:9"));
    assert_eq!(place(fails), ("src/lib.rs", 12));
    assert!(
        output(fails).contains("some <output> & colour"),
        "{}",
        output(fails)
    );
    assert!(output(fails).contains("a <b> & c"));
    assert!(linked(fails, "nextest.log").contains("TRY 1 FAIL"));
}

#[test]
fn pytest() {
    let tests = tests(ReportKind::Junit, "pytest.xml");
    assert_eq!(tests.len(), 8);
    let fails = named(&tests, "test_fails");
    assert_eq!(
        (fails.suite.as_str(), fails.result),
        ("tests.test_calc", Failed)
    );
    assert_eq!(
        message(fails),
        "AssertionError: a <b> & c\nassert 2.0 == 3\n +  where 2.0 = div(4, 2)"
    );
    assert_eq!(place(fails), ("tests/test_calc.py", 13));
    assert_eq!(fails.duration, Some(Duration::from_millis(3)));
    let error = named(&tests, "test_error");
    assert_eq!(error.result, Error);
    assert_eq!(place(error), ("tests/test_calc.py", 18));
    let skipped = named(&tests, "test_skipped");
    assert_eq!((skipped.result, message(skipped)), (Skipped, "not today"));
    assert_eq!(named(&tests, "test_known").result, Skipped);
    assert_eq!(named(&tests, "test_many[2]").result, Passed);
    assert!(linked(fails, "pytest.log").starts_with("FAILED tests/test_calc.py::test_fails"));
}

#[test]
fn ctest() {
    let tests = tests(ReportKind::Junit, "ctest.xml");
    assert_eq!(
        short(&tests),
        [
            ("", "good", Passed),
            ("", "bad", Failed),
            ("", "skipped", Skipped),
            ("", "off", Skipped)
        ]
    );
    assert_eq!(output(&tests[1]), "<wrong> & bad");
    assert!(linked(&tests[1], "ctest.log").contains("***Failed"));
}

#[test]
fn jest_junit() {
    let tests = tests(ReportKind::Junit, "jest-junit.xml");
    assert_eq!(tests.len(), 4);
    let wrong = named(&tests, "div is wrong");
    assert_eq!((wrong.suite.as_str(), wrong.result), ("div", Failed));
    assert!(message(wrong).starts_with("Error: expect(received).toBe(expected)"));
    assert_eq!(place(wrong), ("/tmp/fix/jest/src/calc.test.js", 4));
    assert_eq!(named(&tests, "div later").result, Skipped);
}

#[test]
fn node() {
    let tests = tests(ReportKind::Junit, "node-junit.xml");
    assert_eq!(
        short(&tests),
        [
            ("", "adds", Passed),
            ("", "fails", Failed),
            ("", "skipped", Skipped),
            ("", "later", Skipped),
            ("outer > inner", "deep", Passed),
            ("outer > inner", "deep fails", Failed),
        ]
    );
    assert_eq!(place(&tests[1]), ("/tmp/fix/node/a.test.js", 4));
    assert_eq!(message(&tests[3]), "some day");
    assert_eq!(message(&tests[5]), "deep <wrong>");
    assert!(linked(&tests[1], "node.log").starts_with("✖ fails"));
}

#[test]
fn surefire() {
    let tests = tests(ReportKind::Junit, "surefire-after-its-schema.xml");
    let results: Vec<_> = tests.iter().map(|t| t.result).collect();
    assert_eq!(results, [Passed, Failed, Error, Passed, Skipped]);
    assert_eq!(
        message(&tests[1]),
        "a <b> & c ==> expected: <3> but was: <2>"
    );
    assert_eq!(tests[1].retries, 1);
    for part in [
        "CalcTest.java:8",
        "some <output>",
        "and an error",
        "the second trace",
    ] {
        assert!(
            output(&tests[1]).contains(part),
            "{part}: {}",
            output(&tests[1])
        );
    }
    assert!(!output(&tests[1]).contains("second attempt"));
    assert_eq!(tests[2].duration, Some(Duration::from_millis(1_000_200)));
    assert_eq!(message(&tests[2]), "java.lang.IllegalStateException");
    assert!(tests[3].flaky() && output(&tests[3]).contains("first attempt"));
}

#[test]
fn gotestsum() {
    let tests = tests(ReportKind::Junit, "gotestsum-after-its-source.xml");
    assert_eq!(
        short(&tests),
        [
            ("example.com/calc", "TestAdds", Passed),
            ("example.com/calc", "TestFails/zero_by_zero", Failed),
            ("example.com/calc", "TestLater", Skipped),
        ]
    );
    assert!(output(&tests[1]).contains("calc_test.go:12: got 2, want 3\n--- FAIL"));
}

#[test]
fn broken_junit_is_a_problem() {
    let parse = |bytes: &[u8]| report::parse(ReportKind::Junit, "j.xml", bytes);
    assert_eq!(parse(b"").problems, ["j.xml: is empty"]);
    let other = parse(b"<html><p/></html>");
    assert!(
        other.problems[0].starts_with("j.xml: is no JUnit XML"),
        "{:?}",
        other.problems
    );
    // The runner was killed in the middle of a test.
    let killed = parse(b"<testsuite name='a'>\n<testcase name='x'/>\n<testcase name='y'>");
    assert_eq!(
        short(&killed.tests),
        [("a", "x", Passed), ("a", "y", Error)]
    );
    assert!(killed.problems[0].contains("ends too early"));
    let wrong = parse(b"<testsuite>\n<testcase name='x'/>\n</testcase></testsuite>");
    assert_eq!(wrong.tests.len(), 1);
    assert!(
        wrong.problems[0].starts_with("j.xml: line 3: "),
        "{:?}",
        wrong.problems
    );
}

#[test]
fn entities_do_not_grow() {
    let bomb = "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;'>\
        <!ENTITY secret SYSTEM 'file:///etc/passwd'>]><testsuite><testcase name='&b;'>\
        <failure>&b; &secret; &lt;&#65;</failure></testcase></testsuite>";
    let report = report::parse(ReportKind::Junit, "j.xml", bomb.as_bytes());
    assert_eq!(report.tests[0].name, "&b;");
    assert_eq!(message(&report.tests[0]), "&b; &secret; <A");
}

#[test]
fn other_encodings() {
    let junit = |bytes: &[u8]| {
        let report = report::parse(ReportKind::Junit, "j.xml", bytes);
        assert_eq!(report.problems, [""; 0]);
        report.tests[0].name.clone()
    };
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><testsuite><testcase name='\xe4'/></testsuite>";
    assert_eq!(junit(latin), "ä");
    assert_eq!(
        junit(b"<testsuite><testcase name='a\xff'/></testsuite>"),
        "a\u{fffd}"
    );
    assert_eq!(
        junit(b"\xef\xbb\xbf<testsuite><testcase name='a'/></testsuite>"),
        "a"
    );
    let text = "<testsuite><testcase name='ü'/></testsuite>";
    let wide: Vec<u8> = std::iter::once(0xfeff)
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(junit(&wide), "ü");
}

#[test]
fn there_are_limits() {
    let mut many = String::from("<testsuite>");
    many.push_str(&"<testcase/>".repeat(report::MAX_CASES + 1));
    many.push_str("</testsuite>");
    let report = report::parse(ReportKind::Junit, "j.xml", many.as_bytes());
    assert_eq!(report.tests.len(), report::MAX_CASES);
    assert!(report.problems[0].contains("more than 200000 tests"));
    let deep = "<testsuite name='n'>".repeat(100_000) + "<testcase name='x'/>";
    let report = report::parse(ReportKind::Junit, "j.xml", deep.as_bytes());
    assert_eq!(report.tests[0].suite, ["n"; 8].join(" > "));
    let long = format!(
        "<testsuite><testcase><failure>{}</failure></testcase></testsuite>",
        "ä".repeat(1 << 20)
    );
    let report = report::parse(ReportKind::Junit, "j.xml", long.as_bytes());
    assert!(message(&report.tests[0]).len() < 17 * 1024);
}

#[test]
fn perl_tap() {
    let tests = tests(ReportKind::Tap, "perl.tap");
    assert_eq!(
        short(&tests),
        [
            ("", "adds", Passed),
            ("", "fails", Failed),
            ("", "test 3", Skipped),
            ("", "known", Skipped),
            ("inner", "one", Passed),
            ("inner", "two", Failed),
            ("good", "deep \\#1", Passed),
            ("good > deeper", "bottom", Passed),
        ]
    );
    assert!(
        message(&tests[1]).contains("got: '2'"),
        "{}",
        message(&tests[1])
    );
    assert_eq!(place(&tests[1]), ("t/a.t", 3));
    assert_eq!(message(&tests[2]), "not today");
    assert!(message(&tests[3]).starts_with("TODO some day"));
    assert!(!message(&tests[5]).contains("Looks like"));
    assert_eq!(linked(&tests[1], "prove.log"), "#   Failed test 'fails'");
}

#[test]
fn perl_tap_that_stops() {
    let skipped = tests(ReportKind::Tap, "perl-skip-all.tap");
    assert_eq!(short(&skipped), [("", "all tests", Skipped)]);
    assert_eq!(message(&skipped[0]), "no database here");
    let bail = tests(ReportKind::Tap, "perl-bail-out.tap");
    assert_eq!(
        short(&bail),
        [("", "first", Passed), ("", "Bail out!", Error)]
    );
    assert_eq!(message(&bail[1]), "the server is gone");
}

#[test]
fn node_tap() {
    let tests = tests(ReportKind::Tap, "node.tap");
    assert_eq!(
        short(&tests),
        [
            ("", "adds", Passed),
            ("", "fails", Failed),
            ("", "skipped", Skipped),
            ("", "later", Skipped),
            ("outer > inner", "deep", Passed),
            ("outer > inner", "deep fails", Failed),
        ]
    );
    assert_eq!(tests[0].duration, Some(Duration::from_nanos(1_295_861)));
    assert_eq!(
        message(&tests[1]),
        "Expected values to be strictly equal:\n\n2 !== 3"
    );
    assert_eq!(place(&tests[1]), ("/tmp/fix/node/a.test.js", 4));
    assert_eq!(message(&tests[5]), "deep <wrong>");
}

#[test]
fn tap_14() {
    let tests = tests(ReportKind::Tap, "tap14-after-the-specification.tap");
    let expected = [
        ("", "plain", Passed),
        ("", "with a block", Failed),
        ("", "escaped # SKIP is a name", Passed),
        ("", "unfinished", Skipped),
        ("", "left out", Skipped),
        ("inner", "one", Passed),
        ("inner", "two", Failed),
        ("", "test 7", Passed),
    ];
    assert_eq!(short(&tests), expected);
    assert_eq!(
        (message(&tests[1]), place(&tests[1])),
        ("First line invalid", ("src/parse.c", 142))
    );
    assert_eq!(message(&tests[6]), "over\ntwo lines");
}

/// The examples of <https://testanything.org/tap-version-14-specification.html>, by what they say.
#[test]
fn what_the_tap_specification_demands() {
    let tap = |text: &str| report::parse(ReportKind::Tap, "t", text.as_bytes());
    let any_order = tap("TAP version 14\n1..3\nok 2\nok 3\nok 1\n");
    assert_eq!((any_order.tests.len(), any_order.problems.len()), (3, 0));
    let beyond = tap("1..3\nok 2\nok 4\nok 1\n");
    assert_eq!(
        beyond.problems,
        ["t: line 1: test 4 is beyond the 3 that were planned"]
    );
    let fewer = tap("1..6\nnot ok\nok\nnot ok\nok\nok\n");
    assert_eq!(fewer.problems, ["t: line 1: 6 tests were planned, 5 ran"]);
    let no_plan = tap("ok\n");
    assert!(
        no_plan.problems[0].contains("no plan"),
        "{:?}",
        no_plan.problems
    );
    assert!(tap("hello\n").problems[0].contains("no line of TAP"));
    let why = tap("1..0 # WWW::Mechanize not installed\n");
    assert_eq!(message(&why.tests[0]), "WWW::Mechanize not installed");
    let directives = tap(
        "1..4\nok 1 - a # Skipped: only on windows\nok 2 b: https://x/p.html#skip is a url\n\
        ok 3 - #SkIp case\nnot ok 4 - later # todo\n",
    );
    let results: Vec<_> = directives.tests.iter().map(|t| t.result).collect();
    assert_eq!(results, [Skipped, Passed, Skipped, Skipped]);
    assert_eq!(message(&directives.tests[0]), "only on windows");
    let open = tap("1..2\nnot ok 1 - a\n  ---\n  message: x\nok 2\n");
    assert_eq!(open.tests.len(), 2);
    assert_eq!(open.problems, ["t: line 3: this block has no end (`...`)"]);
}

#[test]
fn coverage_of_real_tools() {
    let of = |kind, name| {
        let report = parsed(kind, name);
        assert_eq!(report.problems, [""; 0], "{name}");
        let coverage = report.coverage.unwrap();
        assert_eq!(coverage.files.len(), 1);
        let file = coverage.files[0].clone();
        (
            coverage.lines_covered,
            coverage.lines_total,
            file.path,
            file.lines,
        )
    };
    let python = vec![(1, 1), (2, 1), (5, 1), (6, 0)];
    assert_eq!(
        of(ReportKind::Lcov, "coverage-py.info"),
        (3, 4, "calc.py".into(), python.clone())
    );
    assert_eq!(
        of(ReportKind::Cobertura, "coverage-py.xml"),
        (3, 4, "/tmp/fix/py/calc.py".into(), python)
    );
    let script = vec![(2, 2), (3, 0), (5, 2), (7, 1)];
    assert_eq!(
        of(ReportKind::Lcov, "jest-lcov.info"),
        (3, 4, "src/calc.js".into(), script.clone())
    );
    let jest = of(ReportKind::Cobertura, "jest-cobertura.xml");
    assert_eq!(jest, (3, 4, "/tmp/fix/jest/src/calc.js".into(), script));
    let gcc = of(ReportKind::Lcov, "lcov-gcc.info");
    assert_eq!((gcc.0, gcc.1, gcc.2.as_str()), (6, 8, "/tmp/fix/c/a.c"));
}

#[test]
fn coverage_is_put_together() {
    let report = parsed(ReportKind::Cobertura, "cobertura-made-by-hand.xml");
    let coverage = report.coverage.unwrap();
    assert_eq!((coverage.lines_covered, coverage.lines_total), (2, 4));
    assert_eq!(coverage.files[0].lines, [(1, 5), (2, 1), (9, 0)]);
    assert_eq!(
        (
            coverage.files[1].path.as_str(),
            coverage.files[1].lines_total
        ),
        ("src/b.c", 1)
    );
    // Two test programs, a negative count, sums only, and lines that are none.
    let lcov = "SF:a\nDA:1,1\nDA:2,-3\nend_of_record\nSF:a\nDA:2,4\nDA:x\nend_of_record\n\
        SF:b\nLF:10\nLH:3\nend_of_record\nrubbish\nSF:c\n";
    let report = report::parse(ReportKind::Lcov, "l", lcov.as_bytes());
    let coverage = report.coverage.unwrap();
    assert_eq!(coverage.files[0].lines, [(1, 1), (2, 4)]);
    assert_eq!((coverage.lines_covered, coverage.lines_total), (5, 12));
    let expected = [
        "l: line 7: `DA:x` is not understood",
        "l: line 13: is no record of lcov",
        "l: line 14: the record of c has no end",
    ];
    assert_eq!(report.problems, expected);
    let none = report::parse(ReportKind::Cobertura, "c", b"<testsuite/>");
    assert!(none.coverage.is_none() && none.problems[0].contains("is no Cobertura XML"));
}

#[test]
fn files_of_a_workspace() {
    let ws = workspace(&[]);
    let xml = |name: &str| {
        format!(
            "<testsuite><testcase name='{name}' file='{}/src/a.py'/></testsuite>",
            ws.path().display()
        )
    };
    write(ws.path(), "b/junit.xml", xml("b"));
    write(ws.path(), "a/junit.xml", xml("a"));
    write(ws.path(), "c/junit.xml", "<broken");
    std::fs::create_dir(ws.path().join("d")).unwrap();
    symlink("/etc/passwd", ws.path().join("d/junit.xml")).unwrap();
    nix::unistd::mkfifo(&ws.path().join("junit.xml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(ws.path().join("e")).unwrap();
    let huge = std::fs::File::create(ws.path().join("e/junit.xml")).unwrap();
    huge.set_len(report::MAX_BYTES + 1).unwrap();
    let plan = ReportPlan {
        kind: ReportKind::Junit,
        paths: vec!["**/junit.xml".into(), "none.xml".into()],
    };
    let reports = report::read(ws.path(), &plan);
    let paths: Vec<_> = reports.iter().map(|r| r.path.as_str()).collect();
    let expected = [
        "none.xml",
        "d/junit.xml",
        "junit.xml",
        "a/junit.xml",
        "b/junit.xml",
        "c/junit.xml",
        "e/junit.xml",
    ];
    assert_eq!(paths, expected);
    assert_eq!(reports[0].problems, ["no file matches `none.xml`"]);
    assert!(reports[1].problems[0].contains("symbolic link"));
    assert!(reports[2].problems[0].contains("pipe"));
    assert_eq!(reports[3].tests[0].file.as_deref(), Some("src/a.py"));
    assert!(
        reports[5].problems[0].starts_with("c/junit.xml: line 1: "),
        "{:?}",
        reports[5]
    );
    assert_eq!(
        reports[6].problems,
        ["e/junit.xml: is larger than 64 MiB; it is not read"]
    );
}

/// Pieces from which files are made that look like reports.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("<testsuites>"),
        Just("<testsuite name='a'>"),
        Just("</testsuite>"),
        Just("<testcase name='x' time='1'>"),
        Just("</testcase>"),
        Just("<failure message='&lt;'>"),
        Just("</failure>"),
        Just("<skipped/>"),
        Just("<![CDATA[x"),
        Just("]]>"),
        Just("<system-out>"),
        Just("&#x1;&b;&"),
        Just("<coverage lines-valid='1' lines-covered='9'>"),
        Just("<class filename='f'>"),
        Just("<line number='1' hits='1e99'/>"),
        Just("<!DOCTYPE x ["),
        Just("ok 1 - x\n"),
        Just("    not ok 99999999999999999999\n"),
        Just("1..3\n"),
        Just("  ---\n"),
        Just("  ...\n"),
        Just("1..0 # SKIP ä\n"),
        Just("            ok # TOD\n"),
        Just("Bail out!\n"),
        Just("# Subtest\n"),
        Just("message: |\n"),
        Just(" message: \"\n"),
        Just("SF:a\n"),
        Just("DA:1,18446744073709551616\n"),
        Just("DA:,\n"),
        Just("LF:9\n"),
        Just("LH:10\n"),
        Just("end_of_record\n"),
        Just("\u{e4}\n"),
        Just("\u{feff}"),
        Just("panicked at a.rs:0:\n"),
        Just("not ok\n"),
    ];
    let any = proptest::collection::vec(any::<u8>(), 0..8);
    let piece = prop_oneof![8 => piece.prop_map(|p| p.as_bytes().to_vec()), 1 => any];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_understood_or_a_problem(bytes in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..300)]) {
        for kind in ReportKind::ALL {
            let report = report::parse(kind, "any", &bytes);
            if report.tests.is_empty() && report.coverage.is_none() && kind != ReportKind::Junit && kind != ReportKind::Tap {
                prop_assert!(!report.problems.is_empty());
            }
            for test in &report.tests {
                let _ = log_line(test, ["not ok x", "\u{1b}[1", "\u{1b}"]);
            }
            if let Some(coverage) = report.coverage {
                prop_assert!(coverage.lines_covered <= coverage.lines_total);
            }
        }
    }
}
