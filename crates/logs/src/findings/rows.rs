//! Bytes -> rows, numbered as the index numbers them, and the part of a row that is looked at.

use memchr::{memchr, memrchr};

use crate::folder::MAX_ROW;

/// No more bytes of a row are looked at.
const INSPECTED: usize = 4096;

/// Cuts a log into rows.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The begin of a row whose end has not come; less than [`MAX_ROW`] bytes.
    pending: Vec<u8>,
    /// The row goes on with the line of the row before.
    continues: bool,
    /// Rows that were given out.
    pub(super) count: u64,
}

impl Rows {
    /// Gives each row that `bytes` completes to `row`, with its number from 1; continuations of
    /// long lines are counted and left out.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut row: impl FnMut(u64, &[u8])) {
        while !bytes.is_empty() {
            let room = MAX_ROW as usize - self.pending.len();
            let near = &bytes[..bytes.len().min(room)];
            let (len, is_line) = match memchr(b'\n', near) {
                Some(at) => (at + 1, true),
                None => (near.len(), false),
            };
            if !is_line && len < room {
                self.pending.extend_from_slice(near);
                return;
            }
            let (head, rest) = bytes.split_at(len);
            bytes = rest;
            self.count += 1;
            if !self.continues {
                if self.pending.is_empty() {
                    row(self.count, head);
                } else {
                    self.pending.extend_from_slice(head);
                    row(self.count, &self.pending);
                }
            }
            self.pending.clear();
            self.continues = !is_line;
        }
    }

    /// The last row, if the log does not end with a line end.
    pub(super) fn finish(&mut self, row: impl FnOnce(u64, &[u8])) {
        if self.pending.is_empty() {
            return;
        }
        self.count += 1;
        if !self.continues {
            row(self.count, &self.pending);
        }
        self.pending.clear();
    }
}

/// What a person sees of a row, about: without escape sequences, without what a carriage return
/// overwrote, without the time stamps that runners and builders put in front.
pub(super) fn visible<'a>(row: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let mut text = row.strip_suffix(b"\n").unwrap_or(row);
    while let Some(rest) = text.strip_suffix(b"\r") {
        text = rest;
    }
    if let Some(at) = memrchr(b'\r', text) {
        text = &text[at + 1..];
    }
    text = &text[..text.len().min(INSPECTED)];
    if memchr(0x1b, text).is_some() {
        without_escapes(text, scratch);
        text = scratch;
    }
    without_stamp(text)
}

fn without_escapes(mut text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    while let Some(at) = memchr(0x1b, text) {
        out.extend_from_slice(&text[..at]);
        let rest = &text[at + 1..];
        let len = match rest.first() {
            Some(b'[') => rest[1..]
                .iter()
                .position(|b| (0x40..=0x7e).contains(b))
                .map(|end| end + 2),
            // A title or a link; an unterminated one hides nothing.
            Some(b']') => rest
                .iter()
                .position(|b| matches!(b, 0x07 | 0x1b))
                .map(|end| match rest[end] {
                    0x1b if rest.get(end + 1) == Some(&b'\\') => end + 2,
                    0x1b => end,
                    _ => end + 1,
                }),
            Some(_) => Some(1),
            None => None,
        };
        text = rest.get(len.unwrap_or(0)..).unwrap_or_default();
    }
    out.extend_from_slice(text);
}

/// `#12 3.456 ` of BuildKit, `2026-11-28T00:47:04.8090000Z ` of runners.
fn without_stamp(text: &[u8]) -> &[u8] {
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    match text.first() {
        Some(b'#') => {
            let step = digits(&text[1..]);
            let Some(rest) = text.get(1 + step..).and_then(|t| t.strip_prefix(b" ")) else {
                return text;
            };
            let whole = digits(rest);
            let Some(part) = rest.get(whole..).and_then(|t| t.strip_prefix(b".")) else {
                return text;
            };
            let after = part.get(digits(part)..).and_then(|t| t.strip_prefix(b" "));
            match after {
                Some(after) if step > 0 && whole > 0 => after,
                _ => text,
            }
        }
        Some(b'0'..=b'9') if text.len() > 21 && text[10] == b'T' && text[4] == b'-' => {
            let is_stamp = |b: &u8| b.is_ascii_digit() || b"-:.TZ+".contains(b);
            let len = text.iter().take_while(|b| is_stamp(b)).count();
            match text.get(len) {
                Some(b' ') if (20..=35).contains(&len) => &text[len + 1..],
                _ => text,
            }
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pieces: &[&[u8]]) -> Vec<(u64, Vec<u8>)> {
        let mut rows = Rows::default();
        let mut out = Vec::new();
        for piece in pieces {
            rows.push(piece, |n, row| out.push((n, row.to_vec())));
        }
        rows.finish(|n, row| out.push((n, row.to_vec())));
        out
    }

    #[test]
    fn rows_are_numbered_as_the_index_does() {
        assert_eq!(
            rows(&[b"a\nb", b"c\n\n", b"d"]),
            [
                (1, b"a\n".to_vec()),
                (2, b"bc\n".to_vec()),
                (3, b"\n".to_vec()),
                (4, b"d".to_vec())
            ]
        );
        let long = vec![b'x'; MAX_ROW as usize * 2 + 5];
        let found = rows(&[&long[..7], &long[7..], b"\nnext\n"]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0, found[0].1.len()), (1, MAX_ROW as usize));
        assert_eq!(found[1], (4, b"next\n".to_vec()));
        // A line end that is the row's last byte.
        let mut exact = vec![b'x'; MAX_ROW as usize - 1];
        exact.extend_from_slice(b"\ny");
        assert_eq!(rows(&[&exact]).last().unwrap(), &(2, b"y".to_vec()));
    }

    #[test]
    fn only_what_is_seen_is_looked_at() {
        let seen = |row: &[u8]| String::from_utf8(visible(row, &mut Vec::new()).to_vec()).unwrap();
        assert_eq!(seen(b"\x1b[1;31merror\x1b[0m: no\r\n"), "error: no");
        assert_eq!(seen(b" 10%\r 100%\r\x1b[Kerror: late\n"), "error: late");
        assert_eq!(
            seen(b"\x1b]8;;http://a\x1b\\link\x1b]8;;\x07 end"),
            "link end"
        );
        assert_eq!(
            seen(b"\x1b]0;never ends, error: x"),
            "]0;never ends, error: x"
        );
        assert_eq!(seen(b"#12 3.456 npm error x\n"), "npm error x");
        assert_eq!(seen(b"#12 DONE 0.1s\n"), "#12 DONE 0.1s");
        assert_eq!(
            seen(b"2026-11-28T00:47:04.8090000Z ##[error]x"),
            "##[error]x"
        );
        assert_eq!(seen(b"\x1b["), "[");
        assert_eq!(seen(b"\x1b"), "");
        assert_eq!(seen(&vec![b'x'; 9000]).len(), INSPECTED);
    }
}
