//! How much a finding looks like the reason of the failure, and which one is the first.
//!
//! The score is a sum:
//!
//! | what | points |
//! | --- | --- |
//! | an error, a warning, a notice | 100, 40, 20 |
//! | a workflow command says it | 35 |
//! | it has a tool's format | 30, or what the matcher says |
//! | it only follows from a failure, adds failures up or repeats one | -35 to -60 |
//! | only its words say it | 0 |
//! | perhaps its words say it | -30 |
//! | no passing run printed the line | 25 |
//! | a passing run printed it, too | -70 |
//! | it is among the last 50 rows | 5 |
//!
//! The **first failure** is the earliest error whose score is at most [`MARGIN`] below that of the
//! best error. Where there is no error, it is the earliest of the best warnings, or else of the
//! best notices.

use super::{Finding, Severity};

/// Points for a tool's format.
pub(super) const MATCHER: i32 = 30;
/// Points for a workflow command.
pub(super) const COMMAND: i32 = 35;
/// Points where the words are there, but say nothing clear.
pub(super) const PERHAPS: i32 = -30;
/// So far below the best error may the first failure be.
const MARGIN: i32 = 20;
/// So many rows before the end count as near.
const NEAR: u64 = 50;

/// The score, and its reasons in words. `against` are the runs that it was compared with.
pub(super) fn score(
    severity: Severity,
    weight: i32,
    tool: &str,
    new: Option<bool>,
    rows_to_end: u64,
    against: &[String],
) -> (i32, String) {
    let mut score = match severity {
        Severity::Error => 100,
        Severity::Warning => 40,
        Severity::Notice => 20,
    } + weight;
    let mut why = match (tool, weight) {
        ("command", _) => "a workflow command reports it".to_owned(),
        ("words", PERHAPS) => "its words may speak of a failure".to_owned(),
        ("words", _) => format!("its words speak of {}", article(severity)),
        (_, weight) if weight < 0 => format!("{tool} sums up or repeats a failure"),
        _ => format!("{tool} reports {}", article(severity)),
    };
    match (new, against) {
        (Some(true), [one, ..]) => {
            score += 25;
            why.push_str(&format!("; new: {one} did not print it"));
        }
        (Some(false), [one, ..]) => {
            score -= 70;
            why.push_str(&format!(
                "; a passing run ({one} or one before) printed it, too"
            ));
        }
        _ => {}
    }
    if rows_to_end < NEAR {
        score += 5;
        why.push_str(&match rows_to_end {
            0 => "; the last line before the exit".to_owned(),
            1 => "; 1 line before the last".to_owned(),
            n => format!("; {n} lines before the last"),
        });
    }
    (score, why)
}

fn article(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "an error",
        Severity::Warning => "a warning",
        Severity::Notice => "a notice",
    }
}

/// Which of the findings, which stand in the order of their rows, to read first.
pub(super) fn first(findings: &[Finding]) -> Option<usize> {
    for (severity, margin) in [
        (Severity::Error, MARGIN),
        (Severity::Warning, 0),
        (Severity::Notice, 0),
    ] {
        let of = || findings.iter().filter(|f| f.severity == severity);
        let Some(best) = of().map(|f| f.score).max() else {
            continue;
        };
        return findings
            .iter()
            .position(|f| f.severity == severity && f.score >= best - margin);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: u64, severity: Severity, score: i32) -> Finding {
        Finding {
            line,
            begin: line,
            end: line,
            severity,
            tool: String::new(),
            message: String::new(),
            file: None,
            file_line: None,
            column: None,
            code: None,
            new: None,
            score,
            why: String::new(),
        }
    }

    fn first_of(of: &[(Severity, i32)]) -> Option<usize> {
        let findings: Vec<Finding> = of
            .iter()
            .enumerate()
            .map(|(i, (severity, score))| finding(i as u64 + 1, *severity, *score))
            .collect();
        first(&findings)
    }

    #[test]
    fn the_earliest_error_that_is_about_as_good_as_the_best() {
        use Severity::{Error, Notice, Warning};
        assert_eq!(first_of(&[]), None);
        assert_eq!(
            first_of(&[(Error, 70), (Error, 130), (Error, 130)]),
            Some(1)
        );
        assert_eq!(first_of(&[(Error, 110), (Error, 130)]), Some(0));
        assert_eq!(first_of(&[(Error, 109), (Error, 130)]), Some(1));
        assert_eq!(first_of(&[(Warning, 95), (Error, 10)]), Some(1));
        assert_eq!(
            first_of(&[(Notice, 50), (Warning, 40), (Warning, 70)]),
            Some(2)
        );
        assert_eq!(first_of(&[(Notice, 50), (Notice, 50)]), Some(0));
    }

    #[test]
    fn the_score_is_the_table() {
        let runs = ["build 4".to_owned()];
        let table = [
            (Severity::Error, MATCHER, "gcc", None, 900, 130),
            (Severity::Error, MATCHER, "gcc", Some(true), 0, 160),
            (Severity::Error, MATCHER, "gcc", Some(false), 900, 60),
            (Severity::Error, -60, "make", None, 0, 45),
            (Severity::Warning, MATCHER, "gcc", None, 900, 70),
            (Severity::Notice, COMMAND, "command", None, 900, 55),
            (Severity::Error, PERHAPS, "words", None, 49, 75),
        ];
        for (severity, weight, tool, new, to_end, expected) in table {
            let (found, why) = score(severity, weight, tool, new, to_end, &runs);
            assert_eq!(found, expected, "{why}");
        }
        let (_, why) = score(Severity::Error, MATCHER, "gcc", Some(true), 3, &runs);
        assert_eq!(
            why,
            "gcc reports an error; new: build 4 did not print it; 3 lines before the last"
        );
    }
}
