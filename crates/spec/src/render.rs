//! Diagnostics as a compiler shows them, for terminals and logs without colour.
//!
//! ```text
//! error[E0130]: unknown key `stesp` in the top level
//!  --> windlass.yml:1:1
//!   |
//! 1 | stesp:
//!   | ^^^^^ did you mean `steps`?
//!   |
//!   = help: write `steps`
//! ```

use std::fmt::Write as _;

use crate::{Diagnostic, Severity};

mod width;

use width::width;

/// Columns of a source line that are shown; of a longer one, the part around the problem.
const MOST_COLUMNS: usize = 120;
/// Bytes before and behind the problem among which these columns are.
const REACH: usize = 1024;
/// Columns between two tab stops.
const TAB: usize = 4;

/// Code, message, place, the line with the span underlined, and help, for each diagnostic.
pub fn plain(source: &[u8], file_name: &str, diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for (index, diagnostic) in diagnostics.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        one(&mut text, source, file_name, diagnostic);
    }
    text
}

fn one(text: &mut String, source: &[u8], file_name: &str, diagnostic: &Diagnostic) {
    let Diagnostic {
        code,
        message,
        line,
        column,
        label,
        ..
    } = diagnostic;
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let gutter = " ".repeat(line.to_string().len());
    // Writing to a String can't fail.
    let _ = writeln!(text, "{severity}[{code}]: {}", safe(message));
    let _ = writeln!(text, "{gutter}--> {}:{line}:{column}", safe(file_name));
    if diagnostic.span.is_empty() && diagnostic.span.start == 0 {
        // The file as a whole is meant: no line to show.
        if !label.is_empty() {
            let _ = writeln!(text, "{gutter} = {}", safe(label));
        }
    } else {
        let shown = Excerpt::new(source, diagnostic.span.start, diagnostic.span.end);
        let blank = " ".repeat(shown.before);
        let carets = "^".repeat(shown.under.max(1));
        let label = if label.is_empty() {
            String::new()
        } else {
            format!(" {}", safe(label))
        };
        let _ = writeln!(text, "{gutter} |");
        let _ = writeln!(text, "{line} | {}", shown.line.trim_end());
        let _ = writeln!(text, "{gutter} | {blank}{carets}{label}");
        if diagnostic.help.is_some() {
            let _ = writeln!(text, "{gutter} |");
        }
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(text, "{gutter} = help: {}", safe(help));
    }
}

/// The line of a span, fit for a terminal, and where the span is in it, in columns.
struct Excerpt {
    line: String,
    before: usize,
    under: usize,
}

impl Excerpt {
    fn new(source: &[u8], start: usize, end: usize) -> Self {
        let start = start.min(source.len());
        let line_start = source[..start]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let newline = source[start..].iter().position(|b| *b == b'\n');
        let line_end = newline.map_or(source.len(), |at| start + at);
        let end = end.clamp(start, line_end);
        // Of a very long line only what may be shown is looked at.
        let (from, to) = (
            line_start.max(start.saturating_sub(REACH)),
            line_end.min(start + REACH),
        );
        let (far_left, far_right) = (from > line_start, to < line_end);
        let end = end.min(to);

        let mut cells = Vec::new();
        let mut column = 0;
        for part in [from..start, start..end, end..to] {
            let text = String::from_utf8_lossy(&source[part]);
            let first = cells.len();
            for c in text.chars().filter(|c| !matches!(c, '\r' | '\u{feff}')) {
                let shown = cell(c, column);
                column += shown.1;
                cells.push(shown);
            }
            // The two borders of the span, as indices of cells.
            cells.push((String::new(), 0));
            debug_assert!(cells.len() > first);
        }
        Self::cut(&cells, far_left, far_right)
    }

    /// Puts the cells together, leaving out what is too far from the span. A cell without text
    /// and width is a border: the first before the span, the second behind it.
    fn cut(cells: &[(String, usize)], far_left: bool, far_right: bool) -> Self {
        let border = |(text, width): &(String, usize)| text.is_empty() && *width == 0;
        let mut borders = cells.iter().enumerate().filter(|(_, cell)| border(cell));
        let first = borders.next().map_or(0, |(index, _)| index);
        let second = borders.next().map_or(first, |(index, _)| index);
        let columns = |cells: &[(String, usize)]| cells.iter().map(|cell| cell.1).sum::<usize>();

        let (mut from, mut to) = (0, cells.len());
        if columns(cells) > MOST_COLUMNS {
            let mut room = MOST_COLUMNS / 3;
            from = first;
            while from > 0 && cells[from - 1].1 <= room {
                from -= 1;
                room -= cells[from].1;
            }
            room = MOST_COLUMNS - columns(&cells[from..first]);
            to = first;
            while to < cells.len() && cells[to].1 <= room {
                room -= cells[to].1;
                to += 1;
            }
        }
        let left = if from > 0 || far_left { "…" } else { "" };
        let right = if to < cells.len() || far_right {
            "…"
        } else {
            ""
        };
        let text: String = cells[from..to].iter().map(|cell| cell.0.as_str()).collect();
        Self {
            line: format!("{left}{text}{right}"),
            before: left.chars().count() + columns(&cells[from..first]),
            under: columns(&cells[first..second.clamp(first, to.max(first))]),
        }
    }
}

/// What is shown for a character, and how many columns that takes.
fn cell(c: char, column: usize) -> (String, usize) {
    match c {
        '\t' => {
            let columns = TAB - column % TAB;
            (" ".repeat(columns), columns)
        }
        c if is_unsafe(c) => ("\u{fffd}".to_owned(), 1),
        c => (c.to_string(), width(c)),
    }
}

/// What would act on the terminal, or show the text in another order than it has.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn safe(text: &str) -> String {
    text.chars()
        .map(|c| if is_unsafe(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn underlined(source: &str, part: &str) -> Vec<String> {
        let start = source.find(part).unwrap();
        let shown = Excerpt::new(source.as_bytes(), start, start + part.len());
        vec![
            shown.line,
            " ".repeat(shown.before) + &"^".repeat(shown.under),
        ]
    }

    #[test]
    fn carets_stand_under_what_is_meant() {
        assert_eq!(underlined("a: bad", "bad"), ["a: bad", "   ^^^"]);
        assert_eq!(underlined("é: bad\nx", "bad"), ["é: bad", "   ^^^"]);
        assert_eq!(underlined("日本: bad", "bad"), ["日本: bad", "      ^^^"]);
        assert_eq!(underlined("a: 日本", "日本"), ["a: 日本", "   ^^^^"]);
        assert_eq!(underlined("a\tbad", "bad"), ["a   bad", "    ^^^"]);
        assert_eq!(
            underlined("e\u{301}: bad", "bad"),
            ["e\u{301}: bad", "   ^^^"]
        );
    }

    #[test]
    fn only_the_first_line_is_underlined() {
        assert_eq!(underlined("a: x\r\n  y", "x\r\n  y"), ["a: x", "   ^"]);
    }

    #[test]
    fn nothing_acts_on_the_terminal() {
        assert_eq!(
            underlined("a: \u{1b}[31mbad", "bad")[0],
            "a: \u{fffd}[31mbad"
        );
        assert_eq!(underlined("a: \u{202e}bad", "bad")[1], "    ^^^");
    }

    #[test]
    fn of_a_long_line_the_part_around_is_shown() {
        let source = format!("{}bad{}", "x".repeat(1000), "y".repeat(1000));
        let [line, carets] = underlined(&source, "bad").try_into().unwrap();
        assert_eq!(line.chars().count(), MOST_COLUMNS + 2);
        let at = line.find("bad").unwrap();
        assert_eq!(carets.trim_end().len(), line[..at].chars().count() + 3);
    }

    #[test]
    fn any_span_and_any_bytes_will_do() {
        let source = b"a\xff\xfeb\nc";
        for start in 0..12 {
            for end in 0..12 {
                Excerpt::new(source, start, end);
            }
        }
    }
}
