//! From bytes to documents: one file may hold several, each a tree with the lines of the file.

use std::ops::Range;

use windlass_model::diagnostic::{Diagnostic, Severity};

use super::ImportError;
use super::notes::Notes;
use crate::codes;
use crate::node::{Entry, Node};
use crate::problems::{Language, Problems};
use crate::{limits, yaml};

/// One YAML document.
#[derive(Debug)]
pub(super) struct Document {
    /// What is in it.
    pub(super) root: Node,
    /// The text up to its end; what stands before it are empty lines, so that lines agree.
    text: String,
    line_starts: Vec<usize>,
    diagnostics: Vec<Diagnostic>,
}

impl Document {
    /// The 1-based line of a place.
    pub(super) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts
            .partition_point(|start| *start <= span.start)
            .max(1)
    }

    /// The line of a key.
    pub(super) fn line_of(&self, entry: &Entry) -> usize {
        self.line(&entry.key_span)
    }

    /// Whether the value was written with this tag, `!reference` for example.
    pub(super) fn has_tag(&self, node: &Node, tag: &str) -> bool {
        let before = self.text.get(..node.span.start).unwrap_or_default();
        let at = self.text.get(node.span.start..).unwrap_or_default();
        before.trim_end().ends_with(tag) || at.starts_with(tag)
    }

    /// Whether a word stands anywhere.
    pub(super) fn mentions(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    /// What the YAML reader did not like but could pass over.
    pub(super) fn report(&self, comments: &mut Vec<String>, notes: &mut Notes) {
        for d in &self.diagnostics {
            let shown = self.text.get(d.span.clone()).unwrap_or_default();
            if d.code == codes::TAG.code && shown.trim() == "!reference" {
                continue;
            }
            notes.lost(
                comments,
                d.line,
                "yaml",
                format!("{}: {}", d.message, d.label),
            );
        }
    }
}

/// After these the rest of the file is missing.
const FATAL: [&str; 5] = ["E0110", "E0111", "E0112", "E0117", "E0118"];

/// Reads all documents that have something in them.
pub(super) fn documents(path: &str, source: &[u8]) -> Result<Vec<Document>, ImportError> {
    let unreadable = |diagnostics: Vec<Diagnostic>| ImportError::Unreadable {
        file: path.to_owned(),
        diagnostics,
    };
    let text = match std::str::from_utf8(source) {
        Ok(text) if source.len() <= limits::SOURCE && !text.contains('\0') => text,
        // The spec's own reader says what is wrong with the file as a whole.
        _ => return Err(unreadable(crate::read("windlass.yml", source).diagnostics)),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    for text in split(text) {
        let mut problems = Problems::new(text.as_bytes(), Language::Yaml);
        let root = yaml::read(&text, &mut problems);
        let diagnostics = problems.into_diagnostics();
        if let Some(fatal) = diagnostics
            .iter()
            .find(|d| d.severity == Severity::Error && FATAL.contains(&d.code.as_str()))
        {
            return Err(unreadable(vec![fatal.clone()]));
        }
        let Some(root) = root.filter(|root| !root.is_nothing()) else {
            continue;
        };
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        documents.push(Document {
            root,
            text,
            line_starts,
            diagnostics,
        });
    }
    Ok(documents)
}

/// The documents, each below as many empty lines as stand above it in the file.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut above = 0;
    for line in text.split_inclusive('\n') {
        above += 1;
        let bare = line.trim_end();
        if bare == "---" || bare == "..." {
            parts.push("\n".repeat(above));
            continue;
        }
        if let Some(part) = parts.last_mut() {
            // A directive has a meaning only for the parser that it was written for.
            let is_directive = line.starts_with('%') && part.trim().is_empty();
            part.push_str(if is_directive { "\n" } else { line });
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    // Each document repeats the lines above it: many of them are not a file that people wrote.
    parts.truncate(200);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_the_lines_of_the_file() {
        let documents = documents("x", b"---\na: 1\n---\n# c\nb: 2\n...\n").unwrap();
        let lines: Vec<usize> = documents.iter().map(|d| d.line(&d.root.span)).collect();
        assert_eq!(lines, [2, 5]);
    }

    #[test]
    fn a_tag_is_found_again() {
        let text = b"a: !reference [.x, script]\nb: [!reference [.y, z], 'q']\n";
        let document = &documents("x", text).unwrap()[0];
        use crate::import::tree::Tree as _;
        let a = document.root.get("a").unwrap();
        assert!(document.has_tag(a, "!reference"));
        let b = document.root.get("b").unwrap().list();
        assert!(document.has_tag(b[0], "!reference"));
        assert!(!document.has_tag(b[1], "!reference"));
    }
}
