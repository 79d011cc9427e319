//! Coverage as `lcov` traces, which geninfo, llvm-cov, c8, jest, coverage.py and others write.

use std::collections::BTreeMap;

use windlass_model::plan::ReportKind;

use super::cobertura::Lines;
use super::report::Report;
use super::xml::decode;

/// Understands a file.
pub fn parse(path: &str, bytes: &[u8]) -> Report {
    let text = decode(bytes);
    let mut report = Report::new(ReportKind::Lcov, path);
    let mut files: BTreeMap<String, Lines> = BTreeMap::new();
    let mut open: Option<(String, Lines)> = None;
    let mut lines = 0;
    for (number, line) in text.lines().enumerate() {
        lines = number + 1;
        let line = line.trim();
        if line == "end_of_record" {
            match open.take() {
                Some((name, lines)) => files.entry(name).or_default().merge(lines),
                None => report.problem(format_args!("line {}: an end of nothing", number + 1)),
            }
            continue;
        }
        let Some((key, value)) = line.split_once(':') else {
            if !line.is_empty() && !line.starts_with('#') {
                report.problem(format_args!("line {}: is no record of lcov", number + 1));
            }
            continue;
        };
        if key == "SF" {
            if let Some((name, lines)) = open.replace((value.to_owned(), Lines::default())) {
                let what = format!("line {}: the record of {name} has no end", number + 1);
                report.problem(what);
                files.entry(name).or_default().merge(lines);
            }
            continue;
        }
        if let Some((_, lines)) = &mut open
            && record(lines, key, value).is_none()
        {
            let what = format!("line {}: `{}` is not understood", number + 1, shown(line));
            report.problem(what);
        }
    }
    if let Some((name, record)) = open.take() {
        report.problem(format_args!(
            "line {lines}: the record of {name} has no end"
        ));
        files.entry(name).or_default().merge(record);
    }
    if files.is_empty() {
        report.problem("has no record of lcov (`SF:` … `end_of_record`)");
    } else {
        report.coverage = Some(Lines::sum(files));
    }
    report
}

/// One line of a file's record. `None` if it is not understood.
fn record(lines: &mut Lines, key: &str, value: &str) -> Option<()> {
    match key {
        "DA" => {
            let mut parts = value.split(',');
            let line = parts.next()?.trim().parse().ok()?;
            let hits: i128 = parts.next()?.trim().parse().ok()?;
            // gcc has counted below zero; a line that was not counted has not run.
            lines.hit(line, u64::try_from(hits.max(0)).unwrap_or(u64::MAX));
        }
        "LF" => lines.total = Some(value.trim().parse().ok()?),
        "LH" => lines.covered = Some(value.trim().parse().ok()?),
        // Functions, branches, versions, and what later releases will have.
        _ => {}
    }
    Some(())
}

fn shown(line: &str) -> String {
    line.chars().take(60).collect()
}
