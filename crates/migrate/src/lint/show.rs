//! Findings for people and for programs.

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity as Level};
use serde_json::{Value, json};

use super::{Finding, Report, Severity, Source, Span};

/// Line and column of a place, both from 1; columns in characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |n| n + 1);
    (line, before[start..].chars().count() + 1)
}

fn region(text: &str, span: Span) -> ((usize, usize), (usize, usize)) {
    (place(text, span.start), place(text, span.end))
}

fn name<'a>(files: &[Source<'a>], file: usize) -> &'a str {
    files.get(file).map_or("", |f| f.name)
}

fn text<'a>(files: &[Source<'a>], file: usize) -> &'a str {
    files.get(file).map_or("", |f| f.text)
}

/// How the text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// With colours and lines, for terminals.
    Colour,
    /// Without colours, for logs.
    Plain,
}

/// What miette asks of a diagnostic.
#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Finding,
    source: NamedSource<String>,
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(self.finding.rule.id))
    }

    fn severity(&self) -> Option<Level> {
        Some(match self.finding.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warning,
            Severity::Note => Level::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        let help = self.finding.help.as_ref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = (!self.finding.label.is_empty()).then(|| self.finding.label.clone());
        let Span { start, end } = self.finding.span;
        let span = LabeledSpan::new(label, start, end - start);
        Some(Box::new(std::iter::once(span)))
    }
}

/// The first lines of a long place, so that a page of SQL isn't printed for a word.
const LINES: usize = 6;

/// A longer line, in bytes, isn't printed.
const LONGEST_LINE: usize = 2000;

/// The length of the longest of the lines that a place is in.
fn longest_line(text: &str, span: Span) -> usize {
    let start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
    let end = text[span.end..]
        .find('\n')
        .map_or(text.len(), |n| span.end + n);
    text[start..end]
        .split('\n')
        .map(str::len)
        .max()
        .unwrap_or(0)
}

fn shortened(text: &str, span: Span) -> Span {
    let inside = text.get(span.start..span.end).unwrap_or_default();
    let cut = inside.match_indices('\n').nth(LINES - 1).map(|(at, _)| at);
    Span {
        start: span.start,
        end: cut.map_or(span.end, |cut| span.start + cut),
    }
}

/// What a terminal would take for a command is shown, not obeyed.
fn harmless(text: &str) -> String {
    let plain = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    // As many bytes as before, so that places stay right.
    if text.chars().any(|c| plain(c) != c) {
        text.chars()
            .map(|c| {
                if plain(c) != c {
                    "?".repeat(c.len_utf8())
                } else {
                    c.to_string()
                }
            })
            .collect()
    } else {
        text.to_owned()
    }
}

/// As a compiler shows them. `folder` is put before names.
pub fn text_report(files: &[Source<'_>], report: &Report, style: Style, folder: &str) -> String {
    let theme = match style {
        Style::Colour => GraphicalTheme::unicode(),
        Style::Plain => GraphicalTheme::unicode_nocolor(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_links(false)
        .with_context_lines(1);
    let mut shown = String::new();
    for finding in &report.findings {
        let source = text(files, finding.file);
        let name = format!("{folder}{}", name(files, finding.file));
        let mut finding = finding.clone();
        finding.span = shortened(source, finding.span);
        let diagnostic = Shown {
            finding: &finding,
            source: NamedSource::new(harmless(&name), harmless(source)),
        };
        let long = longest_line(source, finding.span) > LONGEST_LINE;
        if long || handler.render_report(&mut shown, &diagnostic).is_err() {
            // A place that can't be drawn is still told.
            let (line, column) = place(source, finding.span.start);
            shown.push_str(&format!(
                "{}[{}]: {} ({name}:{line}:{column})\n",
                finding.severity, finding.rule.id, finding.message
            ));
        }
        shown.push('\n');
    }
    shown
}

/// In a sentence: what was read and what was found.
pub fn summary(report: &Report) -> String {
    let some = |n: usize, word: &str| match n {
        1 => format!("1 {word}"),
        n => format!("{n} {word}s"),
    };
    let read = format!(
        "{} in {}",
        some(report.statements, "statement"),
        some(report.files, "file")
    );
    let allowed = match report.allowed.len() {
        0 => String::new(),
        n => format!(", {n} allowed"),
    };
    if report.findings.is_empty() {
        return format!("{read}: nothing to complain of{allowed}");
    }
    let found: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter(|s| report.count(*s) > 0)
        .map(|s| some(report.count(s), s.word()))
        .collect();
    format!("{read}: {}{allowed}", found.join(", "))
}

fn as_json(files: &[Source<'_>], finding: &Finding, folder: &str) -> Value {
    let source = text(files, finding.file);
    let ((line, column), (end_line, end_column)) = region(source, finding.span);
    json!({
        "rule": finding.rule.id,
        "severity": finding.severity.word(),
        "file": format!("{folder}{}", name(files, finding.file)),
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
        "message": finding.message,
        "label": finding.label,
        "help": finding.help,
    })
}

/// `{"dialect", "files", "statements", "findings": [...], "allowed": [...]}`; lines and columns
/// from 1, columns in characters.
pub fn json_report(files: &[Source<'_>], report: &Report, folder: &str) -> Value {
    let allowed: Vec<Value> = report
        .allowed
        .iter()
        .map(|allowed| {
            let mut value = as_json(files, &allowed.finding, folder);
            value["reason"] = json!(allowed.reason);
            value["allowed_in_line"] = json!(allowed.line);
            value
        })
        .collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|f| as_json(files, f, folder))
        .collect();
    let (tables, columns, indexes) = report.schema;
    json!({
        "dialect": report.dialect.word(),
        "files": report.files,
        "statements": report.statements,
        "schema": { "tables": tables, "columns": columns, "indexes": indexes },
        "findings": findings,
        "allowed": allowed,
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// A path as a relative URI reference (RFC 3986): what isn't plain is written in percent.
fn uri(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'/');
    path.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

/// A SARIF 2.1.0 log (OASIS), which code scanners and editors read. Allowed findings are in it as
/// suppressed results.
pub fn sarif_report(files: &[Source<'_>], report: &Report, folder: &str, version: &str) -> Value {
    let everything = || {
        report
            .findings
            .iter()
            .chain(report.allowed.iter().map(|a| &a.finding))
    };
    let mut used: Vec<&str> = everything().map(|f| f.rule.id).collect();
    used.sort_unstable();
    used.dedup();
    let described = used.iter().filter_map(|id| super::rules::find(id));
    let described: Vec<Value> = described
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.title },
                "fullDescription": { "text": rule.why },
                "defaultConfiguration": { "level": level(rule.severity), "enabled": rule.on },
                "properties": { "tags": ["migrations", rule.class.title()] },
            })
        })
        .collect();
    let result = |finding: &Finding| {
        let source = text(files, finding.file);
        let ((line, column), (end_line, end_column)) = region(source, finding.span);
        let words = match &finding.help {
            Some(help) => format!("{}. {help}", finding.message),
            None => finding.message.clone(),
        };
        json!({
            "ruleId": finding.rule.id,
            "ruleIndex": used.iter().position(|id| *id == finding.rule.id),
            "level": level(finding.severity),
            "message": { "text": words },
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": { "uri": uri(&format!("{folder}{}", name(files, finding.file))) },
                    "region": {
                        "startLine": line,
                        "startColumn": column,
                        "endLine": end_line,
                        "endColumn": end_column,
                    },
                },
            }],
        })
    };
    let mut results: Vec<Value> = report.findings.iter().map(result).collect();
    results.extend(report.allowed.iter().map(|allowed| {
        let mut value = result(&allowed.finding);
        value["suppressions"] = json!([{ "kind": "inSource", "justification": allowed.reason }]);
        value
    }));
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "windlass migrate lint",
                "semanticVersion": version,
                "rules": described,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// GitHub's workflow commands, one a line (its documentation, "Workflow commands for GitHub
/// Actions").
pub fn github_report(files: &[Source<'_>], report: &Report, folder: &str) -> String {
    let data = |text: &str| {
        text.replace('%', "%25")
            .replace('\r', "%0D")
            .replace('\n', "%0A")
    };
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut shown = String::new();
    for finding in &report.findings {
        let source = text(files, finding.file);
        let ((line, column), (end_line, end_column)) = region(source, finding.span);
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let help = finding
            .help
            .as_ref()
            .map(|h| format!("\n{h}"))
            .unwrap_or_default();
        shown.push_str(&format!(
            "::{command} file={},line={line},endLine={end_line},col={column},endColumn={end_column},title={}::{}\n",
            property(&format!("{folder}{}", name(files, finding.file))),
            property(finding.rule.id),
            data(&format!("{}{help}", finding.message)),
        ));
    }
    shown
}
