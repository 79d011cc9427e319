//! Reading: lines become records, and whatever is wrong with them is told.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Entry, JobEnded, MAX_LINE, Malformed, Record, Stream};

/// The bytes behind escaped text, or `None` if an escape is not one of ours.
pub fn unescape(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = memchr::memchr(b'\\', text) else {
        return Some(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        out.extend_from_slice(&rest[..at]);
        let (byte, used) = match rest.get(at + 1)? {
            b'\\' => (b'\\', 2),
            b'n' => (b'\n', 2),
            b'r' => (b'\r', 2),
            b'x' => (
                hex_value(*rest.get(at + 2)?)? << 4 | hex_value(*rest.get(at + 3)?)?,
                4,
            ),
            _ => return None,
        };
        out.push(byte);
        rest = &rest[at + used..];
        next = memchr::memchr(b'\\', rest);
    }
    out.extend_from_slice(rest);
    Some(Cow::Owned(out))
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Understands one line (without its newline).
///
/// # Errors
/// [`Malformed`] if the line is not a record.
pub fn parse_line(line: &[u8]) -> Result<Entry<'_>, Malformed> {
    let bad = |reason: &str| Malformed {
        reason: reason.to_owned(),
    };
    let mut rest = line;
    let seq = number(&mut rest).ok_or_else(|| bad("no sequence number"))?;
    let time_us = number(&mut rest).ok_or_else(|| bad("no time"))?;
    let kind = word(&mut rest);
    let step = |rest: &mut &[u8]| -> Result<u32, Malformed> {
        let step = number(rest).ok_or_else(|| bad("no step"))?;
        u32::try_from(step).map_err(|_| bad("the step number is too large"))
    };
    let json = |e: serde_json::Error| Malformed {
        reason: e.to_string(),
    };
    let record = match kind {
        b"J" => Record::JobStarted(serde_json::from_slice(rest).map_err(json)?),
        b"S" => Record::StepStarted {
            step: step(&mut rest)?,
            background: word(&mut rest) == b"background",
        },
        b"O" => {
            let step = step(&mut rest)?;
            let letter = std::str::from_utf8(word(&mut rest)).unwrap_or_default();
            let stream = Stream::from_letter(letter).ok_or_else(|| bad("no stream"))?;
            let bytes = unescape(rest).ok_or_else(|| bad("an unknown escape"))?;
            Record::Output {
                step,
                stream,
                bytes,
            }
        }
        b"N" => {
            let step = step(&mut rest)?;
            let bytes = unescape(rest).ok_or_else(|| bad("an unknown escape"))?;
            Record::Note {
                step,
                text: String::from_utf8_lossy(&bytes).into_owned(),
            }
        }
        b"X" => {
            let step = step(&mut rest)?;
            Record::StepEnded {
                step,
                end: serde_json::from_slice(rest).map_err(json)?,
            }
        }
        b"E" => Record::JobEnded(serde_json::from_slice(rest).map_err(json)?),
        _ => return Err(bad("an unknown kind of record")),
    };
    let time_us = i64::try_from(time_us).map_err(|_| bad("the time is too large"))?;
    Ok(Entry {
        seq,
        time_us,
        record,
    })
}

fn word<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let found = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    found
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    std::str::from_utf8(word(rest)).ok()?.parse().ok()
}

/// Reads a journal that arrives in pieces: checks sequence and checksum, and can be put aside and
/// taken up again at a line's border.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// The beginning of a line whose end has not arrived.
    pub(super) partial: Vec<u8>,
    /// Inside a line that is longer than any of ours: nothing of it is kept.
    skipping: bool,
    position: Position,
}

/// Where a [`Decoder`] stands, at a line's border. Plain data: it may be kept in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of whole lines read so far: where to read on.
    pub offset: u64,
    /// The sequence number that must come next.
    pub next_seq: u64,
    /// CRC-32 of the bytes so far.
    pub crc32: u32,
    /// Output bytes so far.
    pub output_bytes: u64,
}

/// What is wrong with the carrier, in the order of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Records are missing between these sequence numbers.
    Gap {
        /// The number that should have come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// A line can't be read.
    Malformed(Malformed),
    /// The last record's counts or checksum do not fit what was read.
    Checksum {
        /// What differs, for people.
        reason: String,
    },
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(
                    f,
                    "records {expected} to {} of the journal are missing",
                    found - 1
                )
            }
            Self::Malformed(m) => m.fmt(f),
            Self::Checksum { reason } => write!(f, "the journal's end does not fit: {reason}"),
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::at(Position::default())
    }
}

impl Decoder {
    /// A decoder that goes on at `position`; the next byte it is given must be the one at
    /// `position.offset`.
    pub fn at(position: Position) -> Self {
        Self {
            partial: Vec::new(),
            skipping: false,
            position,
        }
    }

    /// Where it stands: after the last whole line.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Takes the next bytes and calls `each` for every whole line, in order. Records that were
    /// already seen (a carrier that sends again) are skipped.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Result<Entry<'_>, Damage>, Position),
    ) {
        if self.skipping {
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.skipping = end == bytes.len() && bytes.last() != Some(&b'\n');
            self.position.offset += end as u64;
            bytes = &bytes[end..];
        }
        if !self.partial.is_empty() {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes, &mut each);
                return;
            };
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            self.line(&line, &mut each);
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.line(line, &mut each);
            bytes = rest;
        }
        self.keep(bytes, &mut each);
    }

    /// Keeps the beginning of a line, but only of one that can be ours: a damaged carrier must not
    /// fill the memory.
    fn keep(&mut self, bytes: &[u8], each: &mut impl FnMut(Result<Entry<'_>, Damage>, Position)) {
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > MAX_LINE {
            self.position.offset += self.partial.len() as u64;
            self.partial = Vec::new();
            self.skipping = true;
            let reason = format!("a line of more than {MAX_LINE} bytes");
            each(Err(Damage::Malformed(Malformed { reason })), self.position);
        }
    }

    fn line(&mut self, line: &[u8], each: &mut impl FnMut(Result<Entry<'_>, Damage>, Position)) {
        let before = self.position;
        let mut crc = crc32fast::Hasher::new_with_initial(before.crc32);
        crc.update(line);
        crc.update(b"\n");
        self.position.offset += line.len() as u64 + 1;
        self.position.crc32 = crc.finalize();
        let entry = match parse_line(line) {
            Ok(entry) => entry,
            Err(malformed) => {
                each(Err(Damage::Malformed(malformed)), self.position);
                return;
            }
        };
        if entry.seq < before.next_seq {
            // Sent again by the carrier: the writer's checksum does not count it twice.
            self.position.crc32 = before.crc32;
            return;
        }
        self.position.next_seq = entry.seq + 1;
        if entry.seq > before.next_seq {
            let gap = Damage::Gap {
                expected: before.next_seq,
                found: entry.seq,
            };
            each(Err(gap), self.position);
        }
        match &entry.record {
            Record::Output { bytes, .. } => self.position.output_bytes += bytes.len() as u64,
            Record::JobEnded(end) => {
                if let Some(reason) = end_mismatch(end, before) {
                    each(Err(Damage::Checksum { reason }), self.position);
                }
            }
            _ => {}
        }
        each(Ok(entry), self.position);
    }
}

fn end_mismatch(end: &JobEnded, read: Position) -> Option<String> {
    if end.records != read.next_seq {
        Some(format!(
            "{} records were written, {} were read",
            end.records, read.next_seq
        ))
    } else if end.output_bytes != read.output_bytes {
        Some(format!(
            "{} bytes of output were written, {} were read",
            end.output_bytes, read.output_bytes
        ))
    } else if end.crc32 != read.crc32 {
        Some(format!(
            "checksum {:08x} was written, {:08x} was read",
            end.crc32, read.crc32
        ))
    } else {
        None
    }
}
