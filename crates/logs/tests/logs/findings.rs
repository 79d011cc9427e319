//! Findings: formats of tools that can't be run here, hostile logs, and the files beside a log.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use windlass_logs::findings::{self, Baseline, Finder, Findings, Severity};
use windlass_logs::{LogReader, Recorder, seal};
use windlass_shim::journal::{Encoder, Record, StepEnded, StepResult, Stream};

fn found(log: &[u8]) -> Findings {
    let mut finder = Finder::default();
    finder.push(log);
    finder.finish(true)
}

/// Tool, place, message of the first failure.
fn first(log: &str) -> (String, String, String) {
    let found = found(log.as_bytes());
    let first = found
        .first()
        .unwrap_or_else(|| panic!("nothing found in {log}"));
    (
        first.tool.clone(),
        first.place().unwrap_or_default(),
        first.message.clone(),
    )
}

#[test]
fn formats_of_tools_that_are_not_here() {
    for (log, tool, place, message) in [
        (
            "[INFO] BUILD FAILURE\n[ERROR] COMPILATION ERROR : \n[ERROR] /w/src/main/java/App.java:[12,5] cannot find symbol\n[ERROR]   symbol: class X\n[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin\n",
            "maven",
            "/w/src/main/java/App.java:12:5",
            "cannot find symbol",
        ),
        (
            "> Task :compileJava FAILED\n/w/App.java:3: error: ';' expected\n  int x\n       ^\n1 error\n\nFAILURE: Build failed with an exception.\n\n* What went wrong:\nExecution failed for task ':compileJava'.\n> Compilation failed; see the compiler error output for details.\n\nBUILD FAILED in 2s\n",
            "javac",
            "/w/App.java:3",
            "';' expected",
        ),
        (
            "FAILURE: Build failed with an exception.\n\n* What went wrong:\nA problem occurred evaluating root project 'x'.\n> No such property: y\n\nBUILD FAILED in 2s\n",
            "gradle",
            "",
            "A problem occurred evaluating root project 'x'.",
        ),
        (
            "  Determining projects to restore...\n/w/Program.cs(5,13): error CS0103: The name 'x' does not exist in the current context [/w/app.csproj]\n\nBuild FAILED.\n    1 Error(s)\n",
            "msbuild",
            "/w/Program.cs:5:13",
            "The name 'x' does not exist in the current context",
        ),
        (
            "MSBUILD : error MSB1003: Specify a project or solution file.\n",
            "msbuild",
            "MSBUILD",
            "Specify a project or solution file.",
        ),
        (
            "#8 [4/5] RUN npm ci\n#8 0.512 npm error code EUSAGE\n#8 0.513 npm error `npm ci` can only install with an existing package-lock.json\n#8 ERROR: process \"/bin/sh -c npm ci\" did not complete successfully: exit code: 1\n------\n > [4/5] RUN npm ci:\n0.512 npm error code EUSAGE\n------\nDockerfile:4\n--------------------\nERROR: failed to solve: process \"/bin/sh -c npm ci\" did not complete successfully: exit code: 1\n",
            "npm",
            "",
            "`npm ci` can only install with an existing package-lock.json",
        ),
        (
            "Step 2/3 : RUN false\n ---> Running in 3f0c\nThe command '/bin/sh -c false' returned a non-zero code: 1\n",
            "docker",
            "",
            "The command '/bin/sh -c false' returned a non-zero code: 1",
        ),
        (
            "[ RUN      ] Sum.Adds\n/w/sum_test.cc:7: Failure\nExpected equality of these values:\n  3\n[  FAILED  ] Sum.Adds (0 ms)\n",
            "googletest",
            "/w/sum_test.cc:7",
            "Expected equality of these values:",
        ),
        (
            "> Task :compileKotlin FAILED\ne: file:///w/src/Main.kt:3:9 Unresolved reference: x\n",
            "kotlinc",
            "/w/src/Main.kt:3:9",
            "Unresolved reference: x",
        ),
        (
            "npm ERR! code ELIFECYCLE\nnpm ERR! errno 1\nnpm ERR! t@1.0.0 build: `webpack`\nnpm ERR! Exit status 1\n",
            "npm",
            "",
            "code ELIFECYCLE",
        ),
        (
            "ok so far\n::error file=app.js,line=10,col=15::Something went wrong\n##[error]Process completed with exit code 1.\n",
            "command",
            "app.js:10:15",
            "Something went wrong",
        ),
        (
            "gcc -c x.c\nx.c:3: Warning: odd\nninja: build stopped: subcommand failed.\n",
            "ninja",
            "",
            "build stopped: subcommand failed.",
        ),
    ] {
        assert_eq!(
            first(log),
            (tool.to_owned(), place.to_owned(), message.to_owned()),
            "{log}"
        );
    }
}

#[test]
fn a_word_that_many_print_claims_no_tool() {
    for (log, tool) in [
        ("FAIL  count.sh says 2 words, there are 9\n", "words"),
        ("FAIL: nothing\nFAIL check 3\n", "words"),
        ("  ✕ the door is open\n", "words"),
        ("FAIL ./sum.test.js\n", "jest"),
        (" FAIL  src/a.spec.ts > adds > three\n", "jest"),
        ("FAIL web src/a.test.tsx (5.1 s)\n", "jest"),
        ("    ✕ adds three (2 ms)\n", "jest"),
        ("     × adds three 2ms\n", "jest"),
    ] {
        let found = found(log.as_bytes());
        let tools: Vec<&str> = found.findings.iter().map(|f| f.tool.as_str()).collect();
        assert_eq!(tools, [tool], "{log}");
    }
    let found = found(b"FAIL  count.sh says 2 words\n");
    assert_eq!(
        found.first().unwrap().why,
        "its words speak of an error; the last line before the exit"
    );
}

#[test]
fn a_finding_has_all_rows_that_belong_to_it() {
    let log = "   Compiling x\nerror[E0308]: mismatched types\n --> src/main.rs:9:24\n  |\n9 |     let x: String = 1;\n  |                     ^\n\nwarning: unused\n --> src/main.rs:1:1\n";
    let found = found(log.as_bytes());
    let first = found.first().unwrap();
    assert_eq!((first.line, first.begin, first.end), (2, 2, 6));
    assert_eq!(first.code.as_deref(), Some("E0308"));
    assert_eq!(first.quote(), "src/main.rs:9:24: mismatched types");
    assert_eq!((found.errors, found.warnings), (1, 1));
    assert_eq!(found.findings[1].severity, Severity::Warning);
}

#[test]
fn messages_are_plain_text_whatever_a_program_prints() {
    let log = b"a.c:1:2: error: \x1b[31mred\x1b[0m \x1b]8;;javascript:x\x07link\x1b]8;;\x07 \xe2\x80\xaeevil\xff\x00\n";
    let found = found(log);
    let message = &found.first().unwrap().message;
    assert_eq!(message, "red link <U+202E>evil\u{fffd}\u{2400}");
    assert!(!message.chars().any(char::is_control));
    let long = format!("error: {}\n", "x".repeat(100_000));
    let found = self::found(long.as_bytes());
    assert!(found.findings[0].message.chars().count() <= findings::MAX_TEXT);
    assert_eq!(found.rows, 2, "the row's second piece counts");
}

#[test]
fn logs_that_want_to_do_harm_are_read_to_their_end_in_bounds() {
    // Everything that wakes a matcher, in every row, with what makes backtracking engines hang.
    let row = "error: warning: FAIL panic: E   Traceback (most recent call last) npm ERR! code E a.go:1: \
               a.js *** [ undefined reference to Assertion `"
        .repeat(20);
    let mut log = String::new();
    for n in 0..2_000 {
        log.push_str(&format!("{n}{row}\n"));
    }
    for _ in 0..3_000 {
        log.push_str("a.c:1:1: error: the same\nTraceback (most recent call last):\n");
    }
    log.push_str(&"\x1b[".repeat(50_000));
    log.push_str(&"::error::".repeat(50_000));
    let found = found(log.as_bytes());
    assert!(found.findings.len() <= 1_500, "{}", found.findings.len());
    assert!(found.errors >= 3_000);
    let json = serde_json::to_vec(&found).unwrap();
    assert!(json.len() < 4 << 20, "{}", json.len());
}

proptest! {
    #[test]
    fn the_pieces_in_which_a_log_comes_do_not_matter(
        lines in prop::collection::vec("[a-z :./\\x1b\\r\\[\\]0-9]{0,30}|error: [a-z]{1,9}|a\\.c:[0-9]{1,3}:1: error: no", 0..30),
        piece in 1_usize..40,
    ) {
        let log = lines.join("\n");
        let whole = found(log.as_bytes());
        let mut finder = Finder::default();
        for piece in log.as_bytes().chunks(piece) {
            finder.push(piece);
        }
        prop_assert_eq!(whole, finder.finish(true));
    }
}

/// Records a step of an attempt and seals its log.
fn record(dir: &Path, log: &[u8], code: i32) {
    let mut recorder = Recorder::open(dir).unwrap();
    let mut encoder = Encoder::new();
    let mut journal = Vec::new();
    let background = false;
    encoder.encode(
        1,
        &Record::StepStarted {
            step: 0,
            background,
        },
        &mut journal,
    );
    for piece in log.chunks(60_000) {
        encoder.output(2, 0, Stream::Merged, piece, &mut journal);
    }
    let end = StepEnded {
        result: StepResult::Exited { code },
        output_bytes: log.len() as u64,
        left_out_bytes: 0,
        duration_us: 1,
        leftovers: 0,
    };
    encoder.encode(3, &Record::StepEnded { step: 0, end }, &mut journal);
    recorder.push(&journal).unwrap();
    drop(recorder);
}

#[test]
fn a_failing_log_is_compared_with_those_that_passed() {
    let root = tempfile::tempdir().unwrap();
    let (good, bad) = (root.path().join("a1"), root.path().join("a2"));
    let noise = "ERROR: can't reach the cache (0.12s)\n".repeat(3);
    record(&good, format!("{noise}started 17\n").as_bytes(), 0);
    findings::learn(&good, 0).unwrap();
    let long = "-".repeat(150_000);
    let log = format!("{noise}started 18\n{long}\nERROR: no such table: users\n\nbye\n");
    record(&bad, log.as_bytes(), 1);
    let baseline = Baseline {
        dir: good.clone(),
        step: 0,
        name: "build 1".to_owned(),
    };
    assert_eq!(findings::read(&bad, 0).unwrap(), None);
    let found = findings::find(&bad, 0, std::slice::from_ref(&baseline)).unwrap();
    assert_eq!(findings::read(&bad, 0).unwrap().as_ref(), Some(&found));
    let first = found.first().unwrap();
    // Three rows for the long line: the numbers are those of the log's page.
    assert_eq!((first.line, first.new), (8, Some(true)));
    let mut reader = LogReader::open(&bad, 0).unwrap();
    assert_eq!(found.rows, reader.rows());
    let row = reader.row(first.line - 1).unwrap().unwrap();
    let mut bytes = Vec::new();
    reader.row_bytes(&row, &mut bytes).unwrap();
    assert_eq!(bytes, b"ERROR: no such table: users\n");
    assert!(
        found
            .excerpt
            .iter()
            .any(|line| line.n == 8 && line.text == "ERROR: no such table: users")
    );
    assert_eq!(found.last_words.last().unwrap().text, "bye");
    let novelty = found.novelty.as_ref().unwrap();
    // The rows between are the rest of the long line, and a blank one.
    assert_eq!((novelty.rows, &novelty.ranges), (3, &vec![(5, 10)]));
    assert_eq!(
        found
            .findings
            .iter()
            .filter(|f| f.new == Some(false))
            .count(),
        3
    );

    // Sealed, it is the same; and so it is when the file is gone, or another release's.
    seal(&bad).unwrap();
    fs::write(bad.join("0.findings.json"), "{\"version\": 0}").unwrap();
    assert_eq!(findings::read(&bad, 0).unwrap(), None);
    assert_eq!(findings::find(&bad, 0, &[baseline]).unwrap(), found);
    // A run that taught nothing is none.
    let none = Baseline {
        dir: root.path().join("a9"),
        step: 0,
        name: "build 9".to_owned(),
    };
    assert_eq!(findings::find(&bad, 0, &[none]).unwrap().novelty, None);
    // What passed has no failure, whatever it says.
    assert_eq!(findings::find(&good, 0, &[]).unwrap().first, None);
}
