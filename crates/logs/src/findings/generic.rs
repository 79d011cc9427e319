//! Words that speak of errors where no tool's format says so, and what only looks like it.

use std::sync::LazyLock;

use regex::bytes::{RegexSet, RegexSetBuilder};

use super::Severity;

/// One of these is in every row that this file may find something in.
pub(super) const TRIGGERS: &[&str] = &[
    "error",
    "Error",
    "ERROR",
    "fail",
    "Fail",
    "FAIL",
    "fatal",
    "Fatal",
    "FATAL",
    "panic",
    "PANIC",
    "xception",
    "CRITICAL",
    "SEVERE",
    "WARN",
    "arning: ",
    "annot ",
    "can't ",
    "Can't ",
    "ould not ",
    "couldn't ",
    "nable to ",
    "denied",
    "refused",
    "timed out",
    "imeout",
    "No such file",
    "core dumped",
    "egmentation fault",
    "Killed",
    "Aborted",
    "out of memory",
    "Out of memory",
    "OutOfMemory",
    "No space left",
    "Bus error",
    "not found",
];

/// How sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sure {
    /// It says so.
    Yes,
    /// The words are there. It counts only if nothing better does.
    Perhaps,
}

/// Not what it seems to be.
const INNOCENT: usize = 0;
/// It says that something went wrong.
const ERROR: usize = 1;
/// It says that something may go wrong.
const WARNING: usize = 2;
/// The words are there.
const SPOKEN: usize = 3;

/// One automaton for all four: a row is read once.
static WORDS: LazyLock<RegexSet> = LazyLock::new(|| {
    RegexSetBuilder::new([
        r#"
        # Nothing happened.
        (?i:\b(?:0|no|zero|without|any|if|on|ignor(?:e|es|ed|ing)|expect(?:s|ed)?|handl(?:e|es|ed|ing)
            |report(?:s|ed|ing)?|returns?|rais(?:e|es|ed|ing)|shows?|prints?|catch(?:es)?|throws?|tests?
            |allow(?:s|ed)?|fix(?:es|ed)?|avoid(?:s|ed)?|prevent(?:s|ed)?)
          \s+(?:an?\s+|the\s+|any\s+|fatal\s+|new\s+|more\s+|such\s+|\x22)*
          (?:errors?|failures?|exceptions?|warnings?|fail(?:ed|s)?|panics?)\b)
        | (?i:\b(?:errors?|failures?|failed|fails|fatal|exceptions?|panics?)\x22?(?:\s+\w+)?\s*[:=]\s*(?:0|none|false|null|nil)\b)
        # Of what is spoken, not what happened.
        | (?i:\berror(?:s)?[\ _-](?:handl|messag|code|page|log|report|type|path|case|rate|budget|class|recover|tracking|boundar|correct))
        # Tests that passed.
        | ^\s*(?:ok\b|PASS\b|---\ PASS|===\ (?:RUN|CONT|PAUSE|NAME)|\[\s*(?:OK|RUN|PASSED)\s*\]|\xE2\x9C[\x93\x94\x85]|\xE2\x88\x9A)
        | \.\.\.\ ?ok$ | \bPASSED\b | \.\s+Passed\s+
        # Names: crates, packages, targets, files.
        | ^\s*(?:Compiling|Downloaded|Downloading|Checking|Fresh|Adding|Updating|Locking|Unpacking|Selecting|Setting\ up|Preparing|Get:\d|Installing|Building|Linking|Looking\ for|--\ |\[\s*\d+%\]|added|Collecting|Using\ cached|Successfully)
        # A command that is shown before it is run, and a test that begins.
        | ^(?:\+{1,4}|\$|>)\ | ^\s+Start\s+\d+:
        | ^\s*(?://|\#\ |\*\ )
        # A level below.
        | ^\W{0,2}(?:DEBUG|TRACE|INFO|debug|trace|info)\b | \blevel=(?:info|debug|trace)\b
        "#,
        r#"
        # error: ..., x: fatal error: ..., Parse error near line 2: ...
        ^\W{0,3}(?:[\w./@+-]+:\ ){0,3}
          (?i:(?:[a-z]+\ ){0,2}(?:error|fatal|critical|panic))(?:\[[\w-]+\])?(?:\ [\w-]+){0,3}?:\ \S
        # A level in front, perhaps behind a time.
        | ^(?:\[?[\dTZ:.,/+\ -]+\]?\s*)?[\[(<|]?(?:ERROR|FATAL|CRITICAL|SEVERE|PANIC|EMERG|ALERT)[\])>|]?(?:[\ :|-]|$)
        | \blevel=(?:error|fatal|critical|panic)\b
        | \x22level\x22:\s?\x22(?:error|fatal|critical|panic)\x22
        # TypeError: ..., java.io.IOException: ...
        | ^(?:Uncaught\ |Unhandled\ |Caused\ by:\ )?(?:[\w$]+[.:]{1,2})*[A-Z][\w$]*(?:Error|Exception)(?:\ \[\w+\])?:\ \S
        # The system's words behind a program's name.
        | ^[\w./+-]+:\ .*:\ (?:No\ such\ file\ or\ directory|[Pp]ermission\ denied|Connection\ refused
            |Address\ already\ in\ use|Operation\ not\ permitted|Read-only\ file\ system|Is\ a\ directory
            |Not\ a\ directory|File\ exists|Disk\ quota\ exceeded)\.?$
        | No\ space\ left\ on\ device
        # Crashes.
        | \b(?:[Ss]egmentation\ fault|core\ dumped|Bus\ error|Illegal\ instruction|OutOfMemoryError|stack\ smashing\ detected|double\ free)\b
        | ^(?:\S+:\ )?(?:line\ \d+:\ +\d+\ )?(?:Killed|Aborted)\b
        | ^(?:\S+:\ )?[Oo]ut\ of\ memory\b
        "#,
        r"^\W{0,3}(?:[\w./@+-]+:\ ){0,3}(?i:warning):\ \S | ^[\[(<|]?(?:WARN|WARNING)[\])>|]?[\ :|-]",
        r#"
        (?i:(?:^|[\s\x22'(\[:])(?:failed|failure|fails|cannot|can't|could\ not|couldn't|unable\ to|fatal
            |denied|refused|timed\ out|timeout|error|errors|panicked|not\ found)(?:[\s:!,)\]]|\.?$|\.\s))
        "#,
    ])
    .unicode(false)
    .ignore_whitespace(true)
    .size_limit(1 << 23)
    .dfa_size_limit(1 << 23)
    .build()
    .expect("fixed expressions")
});

/// What the words of a row say.
pub(super) fn judge(row: &[u8]) -> Option<(Severity, Sure)> {
    let said = WORDS.matches(row);
    let error = said.matched(ERROR);
    if !error && said.matched(WARNING) {
        return Some((Severity::Warning, Sure::Yes));
    }
    if (!error && !said.matched(SPOKEN)) || said.matched(INNOCENT) {
        return None;
    }
    let sure = if error { Sure::Yes } else { Sure::Perhaps };
    Some((Severity::Error, sure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_errors() {
        for row in [
            "error: something broke",
            "rsync error: some files could not be transferred (code 23) at main.c(1338)",
            "rsync: error: no connection",
            "tool: fatal error: no input files",
            "ERROR something broke",
            "[ERROR] something broke",
            "2026-11-28 00:47:04,809 ERROR something broke",
            "2026-11-28T00:47:04Z level=error msg=\"no\"",
            "{\"level\":\"error\",\"msg\":\"no\"}",
            "TypeError: x is not a function",
            "java.io.IOException: no",
            "Parse error near line 2: no such table: user",
            "cp: cannot stat 'x': No such file or directory",
            "run.sh: line 3: 17 Killed                 ./big",
            "Segmentation fault (core dumped)",
            "psql: error: connection to server failed",
            "write: No space left on device",
        ] {
            assert_eq!(
                judge(row.as_bytes()),
                Some((Severity::Error, Sure::Yes)),
                "{row}"
            );
        }
        assert_eq!(
            judge(b"npm: warning: old"),
            Some((Severity::Warning, Sure::Yes))
        );
        for row in [
            "the upload failed",
            "Cannot find it",
            "could not connect: x",
        ] {
            assert_eq!(
                judge(row.as_bytes()),
                Some((Severity::Error, Sure::Perhaps)),
                "{row}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_one() {
        for row in [
            "0 errors, 0 warnings",
            "No errors found",
            "errors: 0",
            "error count: 0",
            "failed=0 skipped=2",
            "error handling is on",
            "gcc -Werror -Wall -c errors.c",
            "ok   errors.go",
            "compiling errors.go",
            "   Compiling thiserror v2.0.21",
            "test error_is_shown ... ok",
            "+ echo error: x",
            "-- Looking for error.h - not found",
            "INFO the last request failed",
            "catches an error: yes",
            "see docs/error.md",
            "--- PASS: TestError (0.00s)",
            "stop on error: yes",
            "Unpacking libgpg-error0 (1.46-1) ...",
        ] {
            assert_eq!(judge(row.as_bytes()), None, "{row}");
        }
    }
}
