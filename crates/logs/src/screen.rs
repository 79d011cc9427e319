//! A terminal: bytes with escape sequences -> cells with a style each. Usually one row at a time;
//! within a block of rows that are drawn over (see `crate::blocks`) also the lines above.
//!
//! Text is handled here; `vte` gets whole, well-formed escape sequences only. So nothing that a
//! program prints (an unterminated title, a torn colour) can swallow the text behind it: what is
//! no whole sequence is shown as text behind a visible escape character.
//!
//! A character is one cell, whatever its width: cursor movement over wide characters is off by
//! their extra columns.

use vte::{Params, Perform};

use self::block::Block;
use crate::render::link::{self, Link};
use crate::render::style::Style;

pub(crate) mod block;

/// No sequence is longer; what claims to be is text.
const MAX_SEQUENCE: usize = 4096;
/// How far right a row's cursor can be moved beyond its text: twice the width of the shim's
/// terminal. Bounds what `CSI 999999999 C` can cost.
const MAX_COLUMN: usize = 320;
/// Links in one row; text beyond is not linked.
pub(crate) const MAX_LINKS: usize = 1000;

/// One character, or a blank, as it stands in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) c: char,
    pub(crate) style: Style,
    /// 0, or 1 + index into the row's links.
    pub(crate) link: u16,
}

const BLANK: Cell = Cell {
    c: ' ',
    style: Style::PLAIN,
    link: 0,
};

/// A row while it is made, and what holds from row to row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Screen {
    pub(crate) cells: Vec<Cell>,
    pub(crate) links: Vec<Link>,
    pub(crate) pen: Style,
    column: usize,
    /// Cells before this one are known to be blank, so that erasing again costs nothing.
    blank_to: usize,
    /// The hyperlink that is open; holds from row to row.
    link: Option<Link>,
    /// Its number in this row, once it was used.
    link_number: u16,
    /// The beginning of a sequence or character that the next piece of the line completes.
    torn: Vec<u8>,
    /// The lines above and below, where the cursor may move to them.
    block: Option<Block>,
}

impl Screen {
    /// Whether the next row is not touched by anything before it, apart from the pen's style.
    pub(crate) fn is_simple(&self) -> bool {
        self.link.is_none() && self.torn.is_empty() && self.block.is_none()
    }

    /// Whether what holds from row to row is the same; never within a block.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.block.is_none()
            && other.block.is_none()
            && (self.pen, &self.link, &self.torn) == (other.pen, &other.link, &other.torn)
    }

    /// Makes the cells of a row.
    pub(crate) fn row(&mut self, bytes: &[u8]) {
        if self.block.is_none() {
            self.cells.clear();
            self.links.clear();
            (self.column, self.blank_to, self.link_number) = (0, 0, 0);
        }
        let joined;
        let mut rest = bytes;
        if !self.torn.is_empty() {
            let mut torn = std::mem::take(&mut self.torn);
            torn.extend_from_slice(bytes);
            joined = torn;
            rest = &joined;
        }
        let (whole, body) = match rest.strip_suffix(b"\n") {
            Some(body) => (true, body),
            None => (false, rest),
        };
        rest = body;
        // A new parser costs nothing; between sequences it has no state.
        let mut parser = None;
        while !rest.is_empty() {
            let text = memchr::memchr(0x1b, rest).unwrap_or(rest.len());
            if text > 0 {
                let last = !whole && text == rest.len();
                self.text(&rest[..text], last);
                rest = &rest[text..];
                continue;
            }
            match sequence(rest) {
                Sequence::Whole(len) => {
                    let parser = parser.get_or_insert_with(vte::Parser::<1024>::default);
                    parser.advance(self, &rest[..len]);
                    rest = &rest[len..];
                }
                Sequence::Torn if !whole => {
                    self.torn.extend_from_slice(rest);
                    rest = &[];
                }
                Sequence::Torn | Sequence::No => {
                    self.put('\x1b');
                    rest = &rest[1..];
                }
            }
        }
        self.end_of_row(whole);
    }

    fn text(&mut self, text: &[u8], may_be_torn: bool) {
        let mut chunks = text.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for c in chunk.valid().chars() {
                match c {
                    '\r' => self.column = 0,
                    '\u{8}' => self.column = self.column.saturating_sub(1),
                    _ => self.put(c),
                }
            }
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if may_be_torn && chunks.peek().is_none() && is_torn_character(invalid) {
                self.torn.extend_from_slice(invalid);
            } else {
                self.put(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    fn put(&mut self, c: char) {
        let cell = Cell {
            c,
            style: self.pen,
            link: self.used_link(),
        };
        if self.column < self.cells.len() {
            self.cells[self.column] = cell;
            self.blank_to = self.blank_to.min(self.column);
        } else {
            self.cells.resize(self.column, BLANK);
            self.cells.push(cell);
        }
        self.column += 1;
    }

    fn used_link(&mut self) -> u16 {
        if self.link_number == 0
            && let Some(link) = &self.link
        {
            let link = link.clone();
            self.link_number = add_link(&mut self.links, link);
        }
        self.link_number
    }

    fn move_to(&mut self, column: usize) {
        self.column = column.min(self.cells.len().max(MAX_COLUMN));
    }

    fn erase(&mut self, how: u16) {
        match how {
            0 => {
                self.cells.truncate(self.column);
                self.blank_to = self.blank_to.min(self.column);
            }
            1 => {
                let end = (self.column + 1).min(self.cells.len());
                if self.blank_to < end {
                    self.cells[self.blank_to..end].fill(BLANK);
                    self.blank_to = end;
                }
            }
            2 => {
                self.cells.clear();
                self.blank_to = 0;
                // Else every erasing of a long row could make us fill it with blanks again.
                self.column = self.column.min(MAX_COLUMN);
            }
            _ => {}
        }
    }
}

/// The number of a new link of a line; 0 if there are too many.
pub(crate) fn add_link(links: &mut Vec<Link>, link: Link) -> u16 {
    if links.len() >= MAX_LINKS {
        return 0;
    }
    links.push(link);
    links.len() as u16
}

impl Perform for Screen {
    fn csi_dispatch(&mut self, params: &Params, private: &[u8], _ignore: bool, action: char) {
        if !private.is_empty() {
            return;
        }
        let first = params.iter().next().and_then(|p| p.first().copied());
        let count = usize::from(first.unwrap_or(0).max(1));
        match action {
            'm' => self.pen.apply(params.iter()),
            'C' | 'a' => self.move_to(self.column.saturating_add(count)),
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.move_to(count - 1),
            'K' => self.erase(first.unwrap_or(0)),
            _ if self.block.is_some() => {
                let second = params.iter().nth(1).and_then(|p| p.first().copied());
                self.move_between_lines(action, count, first.unwrap_or(0), second);
            }
            _ => {}
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _ignore: bool, byte: u8) {
        if !intermediates.is_empty() {
            return;
        }
        // A full reset: colours and an open link end, too.
        if byte == b'c' {
            self.pen = Style::PLAIN;
            self.link = None;
            self.link_number = 0;
        }
        if self.block.is_some() {
            self.escape_between_lines(byte);
        }
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _bell_terminated: bool) {
        let [b"8", _, url @ ..] = params else {
            return;
        };
        // vte splits at every semicolon, also within the address.
        self.link = link::parse(&url.join(&b';'));
        self.link_number = 0;
    }
}

/// What begins with an ESC.
#[derive(Debug, PartialEq, Eq)]
enum Sequence {
    /// A whole sequence of so many bytes.
    Whole(usize),
    /// Its end may be in the next piece of the line.
    Torn,
    /// No sequence that we know.
    No,
}

/// The length of the whole sequence that begins here; 0 if there is none.
pub(crate) fn sequence_len(bytes: &[u8]) -> usize {
    match sequence(bytes) {
        Sequence::Whole(len) => len,
        Sequence::Torn | Sequence::No => 0,
    }
}

fn sequence(bytes: &[u8]) -> Sequence {
    let window = &bytes[..bytes.len().min(MAX_SEQUENCE)];
    // At the end of what we look at: either the line goes on, or the sequence is too long.
    let open = if bytes.len() < MAX_SEQUENCE {
        Sequence::Torn
    } else {
        Sequence::No
    };
    let Some(kind) = window.get(1) else {
        return open;
    };
    match kind {
        b'[' => {
            let rest = &window[2..];
            let params = run(rest, 0x30..=0x3f);
            let middle = params + run(&rest[params..], 0x20..=0x2f);
            match rest.get(middle) {
                None => open,
                Some(0x40..=0x7e) => Sequence::Whole(2 + middle + 1),
                Some(_) => Sequence::No,
            }
        }
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let end = window[2..]
                .iter()
                .position(|b| matches!(b, 0x07 | 0x18 | 0x1a | 0x1b));
            let Some(end) = end.map(|end| end + 2) else {
                return open;
            };
            match (window[end], window.get(end + 1)) {
                (0x07, _) if *kind == b']' => Sequence::Whole(end + 1),
                (0x1b, Some(b'\\')) => Sequence::Whole(end + 2),
                (0x1b, None) => open,
                _ => Sequence::No,
            }
        }
        0x20..=0x2f => {
            let middle = 1 + run(&window[1..], 0x20..=0x2f);
            match window.get(middle) {
                None => open,
                Some(0x30..=0x7e) => Sequence::Whole(middle + 1),
                Some(_) => Sequence::No,
            }
        }
        0x30..=0x7e => Sequence::Whole(2),
        _ => Sequence::No,
    }
}

fn run(bytes: &[u8], of: std::ops::RangeInclusive<u8>) -> usize {
    bytes
        .iter()
        .position(|b| !of.contains(b))
        .unwrap_or(bytes.len())
}

fn is_torn_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

/// How a character must be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Plain,
    /// By this picture.
    Picture(char),
    /// By its number, because it can't be seen or changes how others look.
    Number,
}

/// Decides how a character is shown. Joiners and variation selectors stay: scripts and emoji need
/// them, and they can't hide or reorder anything.
pub(crate) fn shown(c: char) -> Shown {
    match c {
        '\t' | ' '..='~' => Shown::Plain,
        '\0'..='\x1f' => {
            Shown::Picture(char::from_u32(0x2400 + c as u32).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        '\x7f' => Shown::Picture('\u{2421}'),
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Shown::Number,
        _ => Shown::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_sequences_are_sequences() {
        for (bytes, expected) in [
            (&b"\x1b[1;31mred"[..], Sequence::Whole(7)),
            (b"\x1b[?25l", Sequence::Whole(6)),
            (b"\x1b[1;3", Sequence::Torn),
            (b"\x1b[1\x07m", Sequence::No),
            (b"\x1b[\xffm", Sequence::No),
            (b"\x1b]0;title\x07x", Sequence::Whole(10)),
            (b"\x1b]0;title\x1b\\x", Sequence::Whole(11)),
            (b"\x1b]0;title", Sequence::Torn),
            (b"\x1b]0;title\x1b[0m", Sequence::No),
            (b"\x1bPq\x1b\\", Sequence::Whole(5)),
            (b"\x1b(B", Sequence::Whole(3)),
            (b"\x1bc", Sequence::Whole(2)),
            (b"\x1b", Sequence::Torn),
            (b"\x1b\x1b", Sequence::No),
        ] {
            assert_eq!(sequence(bytes), expected, "{:?}", bytes.escape_ascii());
        }
        assert_eq!(
            sequence(&[&b"\x1b]0;"[..], &[b'a'; 5000]].concat()),
            Sequence::No
        );
    }
}
