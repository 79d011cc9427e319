//! What a shim that can't reach its server prints on its standard output, which the container engine keeps:
//! the second way home for the journal and the results (ADR 0011).
//!
//! A frame is one line, short enough that no log driver splits it (they do at 16 KiB):
//!
//! | line | meaning |
//! | --- | --- |
//! | `windlass J SECONDS OFFSET BASE64` | bytes of the journal from this offset on |
//! | `windlass R SECONDS OFFSET BASE64` | bytes of the archive of what the job leaves behind |
//! | `windlass E SECONDS LENGTH -` | that archive has this many bytes, and is whole |
//! | `windlass D SECONDS 0 BASE64` | the program that runs the steps is dead, and why: no end will come |
//!
//! The offset makes frames safe to read twice, in pieces and beside the first way. `SECONDS` is the node's
//! clock (Unix time) when the frame was printed: a reader asks the engine for what is younger, and
//! trusts only offsets.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most bytes that one frame carries.
pub const MOST: usize = 12_000;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said<'a> {
    /// Bytes of the journal from an offset on.
    Journal(u64, Cow<'a, [u8]>),
    /// Bytes of the results' archive from an offset on.
    Results(u64, Cow<'a, [u8]>),
    /// The results' archive has this many bytes.
    ResultsEnd(u64),
    /// The journal has no end, and why.
    Died(String),
}

/// One line of a container's output that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When it was printed, in seconds of Unix time, by the clock of the node.
    pub seconds: u64,
    /// What it says.
    pub said: Said<'a>,
}

impl Frame<'_> {
    /// The frame as a line, with its end. At most [`MOST`] bytes fit.
    pub fn line(&self) -> String {
        let (kind, number, bytes): (_, _, &[u8]) = match &self.said {
            Said::Journal(at, bytes) => ('J', *at, bytes),
            Said::Results(at, bytes) => ('R', *at, bytes),
            Said::ResultsEnd(length) => ('E', *length, &[]),
            Said::Died(why) => ('D', 0, why.as_bytes()),
        };
        debug_assert!(bytes.len() <= MOST, "{} bytes", bytes.len());
        let coded = match bytes {
            [] => "-".to_owned(),
            bytes => STANDARD.encode(bytes),
        };
        format!("windlass {kind} {} {number} {coded}\n", self.seconds)
    }

    /// The frame of a line; `None` for any other line, and for one that was cut off.
    pub fn parse(line: &[u8]) -> Option<Frame<'static>> {
        let line = std::str::from_utf8(line).ok()?.trim_ascii_end();
        let mut words = line.split(' ');
        let ("windlass", kind) = (words.next()?, words.next()?) else {
            return None;
        };
        let seconds = words.next()?.parse().ok()?;
        let number = words.next()?.parse().ok()?;
        let bytes = match (words.next()?, words.next()) {
            ("-", None) => Vec::new(),
            (coded, None) => STANDARD.decode(coded).ok()?,
            _ => return None,
        };
        let said = match kind {
            "J" => Said::Journal(number, bytes.into()),
            "R" => Said::Results(number, bytes.into()),
            "E" => Said::ResultsEnd(number),
            "D" => Said::Died(String::from_utf8(bytes).ok()?),
            _ => return None,
        };
        Some(Frame { seconds, said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said() -> impl Strategy<Value = Said<'static>> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..MOST);
        prop_oneof![
            (any::<u64>(), bytes()).prop_map(|(at, b)| Said::Journal(at, b.into())),
            (any::<u64>(), bytes()).prop_map(|(at, b)| Said::Results(at, b.into())),
            any::<u64>().prop_map(Said::ResultsEnd),
            ".{0,200}".prop_map(Said::Died),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(seconds: u64, said in said()) {
            let frame = Frame { seconds, said };
            let line = frame.line();
            // Docker's drivers split at 16 KiB.
            prop_assert!(line.len() < 16 * 1024);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert_eq!(Frame::parse(line.as_bytes()), Some(frame));
        }

        #[test]
        fn nothing_else_is_taken_for_a_frame(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(frame) = Frame::parse(&line) {
                prop_assert!(line.starts_with(b"windlass "), "{frame:?}");
            }
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_no_frame() {
        let said = Said::Journal(7, b"abcdefg"[..].into());
        let line = Frame { seconds: 1, said }.line();
        for length in 0..line.len() - 1 {
            let cut = Frame::parse(&line.as_bytes()[..length]);
            // What base64 allows to be shorter would be a lie about what was sent.
            if let Some(Frame { said, .. }) = cut {
                let Said::Journal(7, bytes) = said else {
                    panic!("{said:?}");
                };
                assert!(b"abcdefg".starts_with(&bytes[..]), "{bytes:?}");
            }
        }
        assert_eq!(Frame::parse(b"windlass-shim: the server is away"), None);
        assert_eq!(Frame::parse(b"windlass J 1 2"), None);
        assert_eq!(Frame::parse(b"windlass J 1 2 !!!!"), None);
        assert_eq!(Frame::parse(b"windlass X 1 2 -"), None);
    }
}
