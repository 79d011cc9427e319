//! Coverage as Cobertura's XML, which coverage.py, gcovr, cargo-llvm-cov, jest and others write.

use std::collections::BTreeMap;

use windlass_model::plan::ReportKind;

use super::report::{Coverage, FileCoverage, Report};
use super::xml::{Document, Node, decode};

/// Understands a file.
pub fn parse(path: &str, bytes: &[u8]) -> Report {
    let text = decode(bytes);
    let mut report = Report::new(ReportKind::Cobertura, path);
    let mut reading = Reading::default();
    let mut document = Document::new(&text);
    loop {
        match document.next() {
            Ok(Some(node)) => reading.node(node),
            Ok(None) => break,
            Err(e) => {
                report.problem(format_args!("{e}; what stands before it is read"));
                break;
            }
        }
    }
    if !reading.seen {
        let what = match text.trim().is_empty() {
            true => "is empty",
            false => "is no Cobertura XML: it has no `coverage`",
        };
        report.problem(what);
        return report;
    }
    if reading.depth > 0 && report.problems.is_empty() {
        report.problem("ends too early: the program that wrote it may have been killed");
    }
    let whole = report.problems.is_empty();
    let mut coverage = Lines::sum(reading.files);
    // The report's own sums count: it may leave out what it doesn't show. But a sum must be one.
    if let (Some(covered), Some(total)) = (reading.covered, reading.total)
        && covered <= total
        && whole
    {
        (coverage.lines_covered, coverage.lines_total) = (covered, total);
    }
    report.coverage = Some(coverage);
    report
}

#[derive(Default)]
struct Reading {
    files: BTreeMap<String, Lines>,
    /// The file of the class that is open.
    file: Option<String>,
    /// The text of a `source`.
    source: Option<String>,
    sources: Vec<String>,
    covered: Option<u64>,
    total: Option<u64>,
    seen: bool,
    /// Inside `methods`, whose lines the class tells again: but some tools tell others there.
    methods: bool,
    depth: usize,
}

impl Reading {
    fn node(&mut self, node: Node) {
        match node {
            Node::Open(mut element) => {
                self.depth += 1;
                match element.name.as_str() {
                    "coverage" => {
                        self.seen = true;
                        self.covered = element.number("lines-covered");
                        self.total = element.number("lines-valid");
                    }
                    "source" => self.source = Some(String::new()),
                    "class" => {
                        let file = element
                            .take_filled("filename")
                            .map(|f| self.below_source(f));
                        if let Some(file) = &file {
                            self.files.entry(file.clone()).or_default();
                        }
                        self.file = file;
                    }
                    "methods" => self.methods = true,
                    "line" if !self.methods => {
                        let (number, hits) =
                            (element.number("number"), element.number::<f64>("hits"));
                        let file = self.file.as_ref().and_then(|f| self.files.get_mut(f));
                        if let (Some(file), Some(number), Some(hits)) = (file, number, hits) {
                            #[expect(
                                clippy::cast_possible_truncation,
                                clippy::cast_sign_loss,
                                reason = "a float becomes the nearest number that there is"
                            )]
                            file.hit(number, hits as u64);
                        }
                    }
                    _ => {}
                }
            }
            Node::Close(name) => {
                self.depth -= 1;
                match name.as_str() {
                    "class" => self.file = None,
                    "methods" => self.methods = false,
                    "source" => self.sources.extend(self.source.take()),
                    _ => {}
                }
            }
            Node::Text(text) => {
                if let Some(source) = &mut self.source {
                    source.push_str(&text);
                }
            }
        }
    }

    /// With one source folder, paths are relative to it.
    fn below_source(&self, file: String) -> String {
        match self.sources.as_slice() {
            [source] if !file.starts_with('/') && !matches!(source.trim(), "" | ".") => {
                format!("{}/{file}", source.trim().trim_end_matches('/'))
            }
            _ => file,
        }
    }
}

/// The lines of one source file, as they are found.
#[derive(Debug, Default)]
pub(super) struct Lines {
    hits: BTreeMap<u32, u64>,
    /// Sums, for a report that has no lines.
    pub(super) covered: Option<u64>,
    pub(super) total: Option<u64>,
}

impl Lines {
    /// A line ran so often; reports tell some lines twice.
    pub(super) fn hit(&mut self, line: u32, hits: u64) {
        let known = self.hits.entry(line).or_default();
        *known = (*known).max(hits);
    }

    /// Another record of the same file: another test program's.
    pub(super) fn merge(&mut self, other: Self) {
        for (line, hits) in other.hits {
            let known = self.hits.entry(line).or_default();
            *known = known.saturating_add(hits);
        }
        self.covered = self.covered.max(other.covered);
        self.total = self.total.max(other.total);
    }

    pub(super) fn sum(files: BTreeMap<String, Self>) -> Coverage {
        let mut coverage = Coverage::default();
        for (path, lines) in files {
            let file = lines.finish(path);
            coverage.lines_covered = coverage.lines_covered.saturating_add(file.lines_covered);
            coverage.lines_total = coverage.lines_total.saturating_add(file.lines_total);
            coverage.files.push(file);
        }
        coverage
    }

    fn finish(self, path: String) -> FileCoverage {
        let lines: Vec<_> = self.hits.into_iter().collect();
        let covered = lines.iter().filter(|(_, hits)| *hits > 0).count() as u64;
        let (lines_covered, lines_total) = match (lines.is_empty(), self.covered, self.total) {
            (true, Some(covered), Some(total)) => (covered.min(total), total),
            _ => (covered, lines.len() as u64),
        };
        FileCoverage {
            path,
            lines_covered,
            lines_total,
            lines,
        }
    }
}
