//! Terminal output -> plain text, as a person would see it.

use std::fmt::Write as _;

use crate::render::quick;
use crate::screen::{Screen, Shown, shown};

/// Makes plain text of rows: no escape sequences, overwritten text gone, control and invisible
/// characters made visible, invalid UTF-8 as U+FFFD. The text is safe to print on a terminal.
#[derive(Debug, Clone, Default)]
pub struct Stripper {
    screen: Screen,
}

impl Stripper {
    /// For a log's first row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the text of one row; with a `\n` if the row has one.
    pub fn row(&mut self, bytes: &[u8], text: &mut String) {
        if self.screen.is_simple() && quick::text(&mut self.screen.pen, bytes, text) {
            if bytes.ends_with(b"\n") {
                text.push('\n');
            }
            return;
        }
        self.screen.row(bytes);
        for cell in &self.screen.cells {
            match shown(cell.c) {
                Shown::Plain => text.push(cell.c),
                Shown::Picture(picture) => text.push(picture),
                Shown::Number => {
                    // Writing to a String can't fail.
                    let _ = write!(text, "<U+{:04X}>", cell.c as u32);
                }
            }
        }
        if bytes.ends_with(b"\n") {
            text.push('\n');
        }
    }
}

/// The plain text of any number of lines.
pub fn strip(bytes: &[u8]) -> String {
    let mut stripper = Stripper::new();
    let mut text = String::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        stripper.row(line, &mut text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_sees_remains() {
        assert_eq!(
            strip(b"\x1b[1;31merror\x1b[0m: no\r\n10%\r100%\n\x1b]8;;http://a\x07link\x1b]8;;\x07"),
            "error: no\n100%\nlink"
        );
        assert_eq!(
            strip("a\0\u{202e}\u{e4}".as_bytes()),
            "a\u{2400}<U+202E>\u{e4}"
        );
        assert_eq!(strip(b""), "");
        assert_eq!(strip(b"\n\n"), "\n\n");
        assert_eq!(strip(b"\xff\x1b]0;x"), "\u{fffd}");
    }
}
