//! What the YAML parser can't read, said in words that help.

use std::ops::Range;

use granit_parser::{ErrorKind, ScanError};

use crate::codes;
use crate::limits;
use crate::node::shorten;
use crate::problems::{Problem, Problems};

/// Reports the parser's error. `flow` is where the innermost `[` or `{` that is open begins.
pub(super) fn report(
    source: &str,
    error: &ScanError,
    flow: Option<usize>,
    problems: &mut Problems<'_>,
) {
    let at = error
        .marker()
        .byte_offset()
        .unwrap_or(source.len())
        .min(source.len());
    let line = Line::around(source, at);
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => too_deep(character(source, at), problems),
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            problems.push(unclosed(source, at, error.kind()));
        }
        ErrorKind::TabInPlainScalar
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabNotAllowed
            if tabs(source, &line, problems) => {}
        _ if line.tab().is_some() && tabs(source, &line, problems) => {}
        kind => problems.push(match flow {
            Some(start) if start < line.start => {
                let open = if source[start..].starts_with('[') {
                    '['
                } else {
                    '{'
                };
                unclosed(source, start, &ErrorKind::UnclosedFlowCollection { open })
            }
            _ => other(source, at, &line, kind),
        }),
    }
}

/// Reports collections in collections in collections.
pub(super) fn too_deep(span: Range<usize>, problems: &mut Problems<'_>) {
    problems.push(
        Problem::new(codes::TOO_DEEP, span, "maps and lists are nested too deep")
            .label(format!("at most {} levels", limits::DEPTH)),
    );
}

/// The line at a place, and where it begins.
struct Line<'s> {
    start: usize,
    text: &'s str,
}

impl<'s> Line<'s> {
    fn around(source: &'s str, at: usize) -> Self {
        // The parser stops before or behind the character that it can't read; both are fine here.
        let at = (0..=at)
            .rev()
            .find(|i| source.is_char_boundary(*i))
            .unwrap_or(0);
        let start = source[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let end = source[at..]
            .find('\n')
            .map_or(source.len(), |newline| at + newline);
        Self {
            start,
            text: &source[start..end],
        }
    }

    /// The first tab of the indentation.
    fn tab(&self) -> Option<usize> {
        let blank = self.text.len() - self.text.trim_start_matches([' ', '\t']).len();
        self.text[..blank].find('\t')
    }
}

fn character(source: &str, at: usize) -> Range<usize> {
    let end = (at + 1..=source.len()).find(|i| source.is_char_boundary(*i));
    at..end.unwrap_or(source.len())
}

/// All lines from here on that begin with a tab: a person wants to mend them in one go. `false`
/// if there is none.
fn tabs(source: &str, line: &Line<'_>, problems: &mut Problems<'_>) -> bool {
    let mut start = line.start;
    let mut lines = Vec::new();
    for text in source[line.start..].split_inclusive('\n') {
        if let Some(tab) = (Line { start, text }).tab() {
            lines.push(start + tab);
        }
        start += text.len();
    }
    let Some(first) = lines.first() else {
        return false;
    };
    let mut help = "put spaces there, two for each level".to_owned();
    if lines.len() > 1 {
        let more = lines[1..]
            .iter()
            .take(8)
            .map(|at| problems.place(*at).0.to_string());
        let more: Vec<String> = more.collect();
        let and_so_on = if lines.len() > 9 { ", …" } else { "" };
        help = format!("{help}; also on line {}{and_so_on}", more.join(", "));
    }
    let end = source[*first..]
        .find(|c| c != '\t')
        .map_or(source.len(), |width| first + width);
    problems.push(
        Problem::new(codes::TAB, *first..end, "a tab in the indentation")
            .label("YAML indents with spaces only")
            .help(help),
    );
    true
}

fn unclosed(source: &str, at: usize, kind: &ErrorKind) -> Problem {
    let open = match kind {
        ErrorKind::UnclosedFlowCollection { open } => Some(*open),
        ErrorKind::UnexpectedEofFlowSequence => Some('['),
        ErrorKind::UnexpectedEofFlowMapping | ErrorKind::UnexpectedEofImplicitFlowMapping => {
            Some('{')
        }
        _ => None,
    };
    let (what, open, close) = match open {
        Some('[') => ("list", Some('['), ']'),
        Some(_) => ("map", Some('{'), '}'),
        None => {
            let quote = source[at..]
                .chars()
                .next()
                .filter(|c| matches!(c, '"' | '\''));
            ("text", quote, quote.unwrap_or('"'))
        }
    };
    let begins_here = source[at..].chars().next() == open && open.is_some();
    let mut help = format!("put `{close}` where the {what} ends");
    if open == Some('[') || open == Some('{') {
        help.push_str(", or put a command that begins like this in quotes");
    }
    let label = if begins_here {
        "it begins here"
    } else {
        "the end comes before the closing mark"
    };
    Problem::new(
        codes::UNCLOSED,
        character(source, at),
        format!("this {what} is not closed"),
    )
    .label(label)
    .help(help)
}

/// The line above, if it looks like a key without its colon, or without the space behind it.
fn key_without_colon(source: &str, line: &Line<'_>) -> Option<Problem> {
    let above = Line::around(source, line.start.checked_sub(1)?);
    let text = above.text.trim();
    let indent = |text: &str| text.len() - text.trim_start().len();
    let is_key = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && indent(above.text) == indent(line.text)
        && !text.contains(": ")
        && !text.ends_with(':');
    if !is_key {
        return None;
    }
    let start = above.start + indent(above.text);
    let (key, value) = text.split_once([':', ' ', '='])?;
    let written = format!("{}: {}", shorten(key, 30), shorten(value, 40));
    let message = "a key needs a colon and a space";
    let problem = Problem::new(codes::YAML_SYNTAX, start..start + text.len(), message)
        .label("there is no `: ` in this line");
    Some(problem.help(format!("write `{written}`")))
}

fn other(source: &str, at: usize, line: &Line<'_>, kind: &ErrorKind) -> Problem {
    let span = character(source, at);
    let problem = |message: &str| Problem::new(codes::YAML_SYNTAX, span.clone(), message);
    match kind {
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::InvalidColonPlacement
        | ErrorKind::MappingKeyNotAllowed
            if line.text.matches(": ").count() + usize::from(line.text.ends_with(':')) > 1 =>
        {
            problem("a second `: ` in one line")
                .label("YAML takes what stands before it for a key")
                .help("put the whole value in quotes, or write `|` and the text on the next line")
        }
        ErrorKind::MappingValueNotAllowed
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::InvalidSimpleKey => {
            if let Some(above) = key_without_colon(source, line) {
                return above;
            }
            let before = &source[line.start..at.max(line.start)];
            if before.trim_end().ends_with([']', '}']) {
                return problem("the text goes on after its closing bracket")
                    .label("expected the end of the line")
                    .help("put the whole text in quotes, if the bracket belongs to it");
            }
            let shown = shorten(line.text, 40);
            problem("this line doesn't fit to the lines above")
                .label(format!("found `{shown}`"))
                .help(
                    "indent it as the lines that it belongs to; a key ends with a colon and a \
                     space, an item of a list begins with a dash and a space",
                )
        }
        ErrorKind::UnexpectedCharacter { character } => problem(&format!(
            "a text can't begin with `{}`",
            character.escape_debug()
        ))
        .label("YAML keeps this character for itself")
        .help("put the whole text in quotes"),
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            problem("the text goes on after its closing quote")
                .label("expected the end of the line")
                .help(
                    "put the whole text in quotes, the other kind than the ones inside, or write \
                     `|` and the text on the next line",
                )
        }
        ErrorKind::UnknownQuotedScalarEscape => problem("an unknown escape in double quotes")
            .label("`\\` begins an escape such as `\\n` here")
            .help("write `\\\\` for one backslash, or use single quotes"),
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::ExpectedFlowMappingSeparator => {
            problem("a comma or the closing bracket is missing")
                .label("expected `,`, `]` or `}`")
                .help("put a command that begins with `[` or `{` in quotes")
        }
        kind => problem(&kind.to_string().to_lowercase())
            .label("can't be read from here on")
            .help("put the whole text in quotes if it is meant as it stands"),
    }
}
