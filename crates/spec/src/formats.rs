//! Problems for programs: JSON, SARIF 2.1.0, and GitHub's workflow commands.

use serde_json::{Value, json};
use windlass_model::{Diagnostic, Severity};

use crate::codes;

/// All problems as JSON: `{"file": …, "problems": […]}`; lines and columns from 1, in characters.
pub fn json(file: &str, source: &[u8], diagnostics: &[Diagnostic]) -> String {
    let problems: Vec<Value> = diagnostics
        .iter()
        .map(|d| {
            let (end_line, end_column) = end(source, d);
            json!({
                "code": d.code,
                "severity": d.severity,
                "message": d.message,
                "line": d.line,
                "column": d.column,
                "end_line": end_line,
                "end_column": end_column,
                "label": d.label,
                "help": d.help,
            })
        })
        .collect();
    pretty(&json!({ "file": file, "problems": problems }))
}

/// All problems as a SARIF 2.1.0 log, which code scanners and editors read
/// (OASIS, "Static Analysis Results Interchange Format", 2.1.0).
pub fn sarif(file: &str, source: &[u8], diagnostics: &[Diagnostic]) -> String {
    let mut used: Vec<&str> = diagnostics.iter().map(|d| d.code.as_str()).collect();
    used.sort_unstable();
    used.dedup();
    let rules: Vec<Value> = codes::ALL
        .iter()
        .filter(|code| used.contains(&code.code))
        .map(|code| {
            json!({
                "id": code.code,
                "shortDescription": { "text": code.title },
                "fullDescription": { "text": code.explanation },
                "help": { "text": format!("windlass explain {}", code.code) },
            })
        })
        .collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|d| {
            let (end_line, end_column) = end(source, d);
            json!({
                "ruleId": d.code,
                "ruleIndex": used.iter().position(|code| *code == d.code),
                "level": level(d.severity),
                "message": { "text": words(d) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(file) },
                        "region": {
                            "startLine": d.line.max(1),
                            "startColumn": d.column.max(1),
                            "endLine": end_line.max(1),
                            "endColumn": end_column.max(1),
                        },
                    },
                }],
            })
        })
        .collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "windlass", "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

/// One workflow command per problem, from which GitHub makes annotations (GitHub Docs, "Workflow
/// commands for GitHub Actions").
pub fn github(file: &str, source: &[u8], diagnostics: &[Diagnostic]) -> String {
    let property = |text: &str| escaped(text).replace(':', "%3A").replace(',', "%2C");
    let command = |d: &Diagnostic| {
        let (end_line, end_column) = end(source, d);
        format!(
            "::{} file={},line={},col={},endLine={end_line},endColumn={end_column},title={}::{}\n",
            level(d.severity),
            property(file),
            d.line,
            d.column,
            property(&d.code),
            escaped(&words(d)),
        )
    };
    diagnostics.iter().map(command).collect()
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Message, label and help in one text.
fn words(d: &Diagnostic) -> String {
    let mut words = d.message.clone();
    if !d.label.is_empty() {
        words.push_str(&format!(" ({})", d.label));
    }
    if let Some(help) = &d.help {
        words.push_str(&format!("; {help}"));
    }
    words
}

/// A path as the relative reference that it is in a URI.
fn uri(file: &str) -> String {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'-' | b'_' | b'~');
    file.bytes()
        .map(|b| {
            if legal(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// Where a problem ends: the line and the column after its last character.
fn end(source: &[u8], d: &Diagnostic) -> (usize, usize) {
    let inside = source.get(d.span.clone()).unwrap_or_default();
    let text = String::from_utf8_lossy(inside);
    match text.rsplit_once('\n') {
        Some((_, last)) => (
            d.line + text.matches('\n').count(),
            last.chars().count() + 1,
        ),
        None => (d.line, d.column + text.chars().count()),
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "steps:\n  - run: make\n    tiemout: 5m\nwhen: branch\n";

    fn diagnostics() -> Vec<Diagnostic> {
        crate::read("a b.yml", SOURCE.as_bytes()).diagnostics
    }

    #[test]
    fn json_has_places() {
        let value: Value =
            serde_json::from_str(&json("a b.yml", SOURCE.as_bytes(), &diagnostics())).unwrap();
        let first = &value["problems"][0];
        assert_eq!(first["code"], "E0130");
        assert_eq!(
            (first["line"].as_u64(), first["end_column"].as_u64()),
            (Some(3), Some(12))
        );
    }

    #[test]
    fn sarif_has_a_rule_for_each_result() {
        let value: Value =
            serde_json::from_str(&sarif("a b.yml", SOURCE.as_bytes(), &diagnostics())).unwrap();
        let run = &value["runs"][0];
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        let results = run["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        for result in results {
            let index = result["ruleIndex"].as_u64().unwrap() as usize;
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
        let place = &results[0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yml");
        assert_eq!(place["region"]["startLine"], 3);
    }

    #[test]
    fn github_s_commands_are_one_line_each() {
        let text = github("a,b:c.yml", SOURCE.as_bytes(), &diagnostics());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("::error file=a%2Cb%3Ac.yml,line=3,col=5,"),
            "{}",
            lines[0]
        );
        assert!(lines[0].contains("title=E0130::unknown key"));
        assert_eq!(escaped("100%\n"), "100%25%0A");
    }
}
