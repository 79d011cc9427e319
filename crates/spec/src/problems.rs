//! Collects everything that is wrong, and turns byte offsets into lines and columns.

use std::ops::Range;

use windlass_model::diagnostic::{Diagnostic, Severity};
use windlass_model::glob;

use crate::codes::{self, Code};

/// More than this nobody reads at once, and a hostile file must not make megabytes of messages.
const MOST_PROBLEMS: usize = 100;

/// One problem before it knows its line.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    span: Range<usize>,
    message: String,
    label: String,
    help: Option<String>,
}

impl Problem {
    /// A problem; the message is a lower-case fragment without a full stop.
    pub(crate) fn new(code: Code, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            span,
            message: message.into(),
            label: String::new(),
            help: None,
        }
    }

    /// What stands under the span.
    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The language of a file: help shows how to write something in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Yaml,
    Toml,
}

/// All problems of one file.
#[derive(Debug)]
pub(crate) struct Problems<'s> {
    source: &'s [u8],
    language: Language,
    line_starts: Vec<usize>,
    list: Vec<Diagnostic>,
    cut_off: bool,
    left_out: usize,
    /// The paths that the repository has, where they are known.
    files: Option<Vec<String>>,
}

impl<'s> Problems<'s> {
    /// None yet.
    pub(crate) fn new(source: &'s [u8], language: Language) -> Self {
        let newlines = source
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(at, _)| at + 1))
            .collect();
        Self {
            source,
            language,
            line_starts,
            list: Vec::new(),
            cut_off: false,
            left_out: 0,
            files: None,
        }
    }

    /// With the paths that the repository has: patterns are held against them.
    pub(crate) fn with_files(mut self, files: Option<&[String]>) -> Self {
        self.files = files.map(<[String]>::to_vec);
        self
    }

    /// Reports a pattern that no file of the repository matches.
    pub(crate) fn expect_file(&mut self, pattern: &str, span: &Range<usize>) {
        let Some(files) = self.files.as_ref().filter(|files| !files.is_empty()) else {
            return;
        };
        if pattern.starts_with('!') || pattern.contains("${{") {
            return;
        }
        // A folder takes everything in it.
        let inside = format!("{}/**", pattern.trim_end_matches('/'));
        let Ok(matchers) = [pattern, &inside]
            .map(glob::compile)
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        if files
            .iter()
            .any(|file| matchers.iter().any(|m| m.is_match(file)))
        {
            return;
        }
        let shown = crate::node::shorten(pattern, 60);
        self.push(
            Problem::new(
                codes::GLOB_NO_FILE,
                span.clone(),
                format!("no file matches `{shown}`"),
            )
            .label("of the files that git knows here")
            .help("look at the spelling; `**/` before a name is any folder"),
        );
    }

    /// Adds one, unless the very same was added before: an alias repeats its anchor's problems.
    pub(crate) fn push(&mut self, problem: Problem) {
        let end = problem.span.end.min(self.source.len());
        let start = problem.span.start.min(end);
        let known = |d: &Diagnostic| {
            d.code == problem.code.code && d.span == (start..end) && d.message == problem.message
        };
        if self.list.iter().any(known) {
            return;
        }
        let severity = if problem.code.code.starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        };
        // A warning must not keep out the error that explains why there is no plan.
        let is_first_error = severity == Severity::Error && !self.has_errors();
        if self.list.len() >= MOST_PROBLEMS && !is_first_error {
            self.left_out += 1;
            return;
        }
        let (line, column) = self.place(start);
        self.list.push(Diagnostic {
            code: problem.code.code.to_owned(),
            severity,
            message: problem.message,
            span: start..end,
            line,
            column,
            label: problem.label,
            help: problem.help,
        });
    }

    /// A place inside of a value's text as a place in the file; the whole value if its text does
    /// not stand there as it is (escapes, folded lines).
    pub(crate) fn within(
        &self,
        value: &Range<usize>,
        text: &str,
        inside: &Range<usize>,
    ) -> Range<usize> {
        let source = self.source.get(value.clone()).unwrap_or_default();
        let found = memchr::memmem::find(source, text.as_bytes()).filter(|_| !text.is_empty());
        match found {
            Some(at) => value.start + at + inside.start..value.start + at + inside.end,
            None => value.clone(),
        }
    }

    /// What the file is written in.
    pub(crate) fn language(&self) -> Language {
        self.language
    }

    /// The rest of the file could not be read, so what seems to be missing may be there.
    pub(crate) fn cut_off(&mut self) {
        self.cut_off = true;
    }

    /// Whether the rest of the file could not be read.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Whether there can be no plan.
    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|d| d.severity == Severity::Error)
    }

    /// All, in the order of the file.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        self.list.sort_by(|a, b| {
            (a.span.start, a.span.end, &a.code).cmp(&(b.span.start, b.span.end, &b.code))
        });
        if self.left_out > 0 {
            let end = self.source.len();
            let (line, column) = self.place(end);
            self.list.push(Diagnostic {
                code: codes::TOO_MANY_PROBLEMS.code.to_owned(),
                severity: if self.has_errors() {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                message: format!("{} more problems are left out", self.left_out),
                span: end..end,
                line,
                column,
                label: String::new(),
                help: Some("mend the ones above and look again".to_owned()),
            });
        }
        self.list
    }

    /// How many lines of the file a span touches.
    pub(crate) fn lines(&self, span: &Range<usize>) -> usize {
        let line = |offset| self.line_starts.partition_point(|start| *start <= offset);
        line(span.end) - line(span.start) + 1
    }

    /// 1-based line and column in characters, as editors count them.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let before = &self.source[self.line_starts[line - 1]..offset];
        let before = before.strip_prefix("\u{feff}".as_bytes()).unwrap_or(before);
        // All bytes that begin a character: quick also for a line that is the whole file.
        let characters = before.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
        (line, characters + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let problems = Problems::new("aé\nb".as_bytes(), Language::Yaml);
        assert_eq!(problems.place(0), (1, 1));
        assert_eq!(problems.place(3), (1, 3));
        assert_eq!(problems.place(4), (2, 1));
        assert_eq!(problems.place(5), (2, 2));
    }

    #[test]
    fn a_byte_order_mark_is_not_a_column() {
        assert_eq!(
            Problems::new("\u{feff}ab".as_bytes(), Language::Yaml).place(4),
            (1, 2)
        );
    }

    #[test]
    fn the_same_problem_counts_once_and_the_list_ends() {
        let source = vec![b'x'; 500];
        let mut problems = Problems::new(&source, Language::Yaml);
        for at in (0..300).chain(0..50) {
            problems.push(Problem::new(codes::UNKNOWN_KEY, at..at + 1, "unknown"));
        }
        let all = problems.into_diagnostics();
        assert_eq!(all.len(), MOST_PROBLEMS + 1);
        assert_eq!(all[MOST_PROBLEMS].message, "200 more problems are left out");
    }
}
