//! The journal: the one ordered stream that a shim writes, and everybody else reads.
//!
//! It is text, one record per line, valid UTF-8, at most [`MAX_LINE`] bytes per line (a container
//! engine's log driver mangles anything else). Output is byte-exact after decoding.
//!
//! ```text
//! <sequence> <microseconds since 1970> <kind> <rest>\n
//!
//! 0 1764000000000000 J {"version":1,"attempt":"a17","pid":812,"limits":"cgroup v1: memory, pids"}
//! 1 1764000000000100 S 0
//! 2 1764000000000900 O 0 m hello\n\x1b[1mworld\x1b[0m\xff
//! 3 1764000000001000 N 0 2 processes were left running and were stopped
//! 4 1764000000001100 X 0 {"result":"exited","code":0,...}
//! 5 1764000000001200 E {"records":5,"output_bytes":20,"crc32":12345}
//! ```
//!
//! The sequence starts at 0 and has no holes; times never go back. In output, `\` is written `\\`,
//! newline `\n`, carriage return `\r`, and every other control character (except tab and ESC) and
//! every byte that is not valid UTF-8 as `\xHH`. The last record counts the records before it and
//! holds the CRC-32 of all bytes before its line: whoever has read everything can prove it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The longest line, with its newline. Docker's log drivers split at 16 KiB.
pub const MAX_LINE: usize = 16 * 1024;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// stdout and stderr in one pipe, or a terminal.
    Merged,
    /// stdout alone.
    Stdout,
    /// stderr alone.
    Stderr,
}

impl Stream {
    /// The letter on the wire.
    pub fn letter(self) -> char {
        match self {
            Self::Merged => 'm',
            Self::Stdout => 'o',
            Self::Stderr => 'e',
        }
    }

    fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "m" => Some(Self::Merged),
            "o" => Some(Self::Stdout),
            "e" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// The first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStarted {
    /// The journal's format: 1.
    pub version: u32,
    /// The attempt's id, from the order.
    pub attempt: String,
    /// The shim's process id, for people who look around on the machine.
    pub pid: u32,
    /// What enforces the limits, or why nothing does; for people.
    pub limits: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// By itself.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// By a signal that we did not send.
    Signaled {
        /// As in signal(7).
        signal: i32,
    },
    /// By the kernel, because the memory limit was reached.
    OutOfMemory {
        /// The order's limit.
        limit_bytes: Option<u64>,
    },
    /// By the step's own time limit.
    StepTimeout,
    /// By the job's time limit.
    JobTimeout,
    /// By a `cancel` on the control FIFO.
    Cancelled,
    /// It never ran: the program could not be started.
    NotStarted {
        /// The system's words.
        reason: String,
    },
    /// It never ran, because an earlier step failed or the job was stopped.
    Skipped,
}

/// A step's last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnded {
    /// How.
    #[serde(flatten)]
    pub result: StepResult,
    /// Output bytes of this step, decoded and masked: what its log must hold.
    pub output_bytes: u64,
    /// From the start of the program to its end, by a clock that does not jump.
    pub duration_us: u64,
    /// Processes that the step left behind and that we stopped.
    pub leftovers: u32,
}

/// The last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnded {
    /// Records before this one: its own sequence number.
    pub records: u64,
    /// Output bytes of all steps.
    pub output_bytes: u64,
    /// CRC-32 (IEEE) of all bytes of the journal before this line.
    pub crc32: u32,
}

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// `J`
    JobStarted(JobStarted),
    /// `S`
    StepStarted {
        /// Index into the order's steps.
        step: u32,
    },
    /// `O`
    Output {
        /// Index into the order's steps.
        step: u32,
        /// Where the bytes came from.
        stream: Stream,
        /// The bytes, as the program wrote them, secrets masked.
        bytes: Cow<'a, [u8]>,
    },
    /// `N`: the shim's own words about a step.
    Note {
        /// Index into the order's steps.
        step: u32,
        /// One line for people.
        text: String,
    },
    /// `X`
    StepEnded {
        /// Index into the order's steps.
        step: u32,
        /// How.
        end: StepEnded,
    },
    /// `E`
    JobEnded(JobEnded),
}

/// A record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 0, 1, 2, ... without holes.
    pub seq: u64,
    /// Microseconds since 1970-01-01 UTC, never going back within a journal.
    pub time_us: i64,
    /// What happened.
    pub record: Record<'a>,
}

/// A line that is not a journal record: a damaged carrier, never a person's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What was expected.
    pub reason: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "damaged journal line: {}", self.reason)
    }
}

impl std::error::Error for Malformed {}

/// Makes journal lines. Owns sequence, clock order, counts and checksum; does no I/O.
#[derive(Debug, Clone)]
pub struct Encoder {
    seq: u64,
    last_us: i64,
    output_bytes: u64,
    crc: crc32fast::Hasher,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Encoder {
    /// An encoder for a new journal.
    pub fn new() -> Self {
        Self {
            seq: 0,
            last_us: 0,
            output_bytes: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Appends the lines for `record` at wall time `now_us` to `out`: one line, or several for
    /// output that does not fit in one. Of [`Record::JobEnded`] the contents are ignored and
    /// replaced by this encoder's own counts.
    pub fn encode(&mut self, now_us: i64, record: &Record<'_>, out: &mut Vec<u8>) {
        match record {
            Record::JobStarted(start) => self.json_line(now_us, "J", start, out),
            Record::StepStarted { step } => {
                self.line(now_us, out, |out| write_fmt(out, format_args!("S {step}")));
            }
            Record::Output {
                step,
                stream,
                bytes,
            } => {
                self.output(now_us, *step, *stream, bytes, out);
            }
            Record::Note { step, text } => {
                let cut = cut_at_char(text, MAX_LINE / 4);
                self.line(now_us, out, |out| {
                    write_fmt(out, format_args!("N {step} "));
                    escape(cut.as_bytes(), usize::MAX, out);
                });
            }
            Record::StepEnded { step, end } => {
                self.json_line(now_us, &format!("X {step}"), end, out);
            }
            Record::JobEnded(_) => {
                let end = JobEnded {
                    records: self.seq,
                    output_bytes: self.output_bytes,
                    crc32: self.crc.clone().finalize(),
                };
                self.json_line(now_us, "E", &end, out);
            }
        }
    }

    /// [`Encoder::encode`] for output, without building a [`Record`].
    pub fn output(
        &mut self,
        now_us: i64,
        step: u32,
        stream: Stream,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
    ) {
        while !bytes.is_empty() {
            let mut taken = 0;
            self.line(now_us, out, |out| {
                write_fmt(out, format_args!("O {step} {} ", stream.letter()));
                // 64 bytes are more than any head of a line takes.
                taken = escape(bytes, MAX_LINE - 64, out);
            });
            self.output_bytes += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    fn json_line(&mut self, now_us: i64, head: &str, body: &impl Serialize, out: &mut Vec<u8>) {
        self.line(now_us, out, |out| {
            write_fmt(out, format_args!("{head} "));
            // Our own structs with string keys: serialising them to memory can't fail.
            serde_json::to_writer(out, body).unwrap_or_default();
        });
    }

    fn line(&mut self, now_us: i64, out: &mut Vec<u8>, rest: impl FnOnce(&mut Vec<u8>)) {
        let begin = out.len();
        self.last_us = self.last_us.max(now_us);
        write_fmt(out, format_args!("{} {} ", self.seq, self.last_us));
        rest(out);
        out.push(b'\n');
        self.seq += 1;
        self.crc.update(&out[begin..]);
    }
}

fn write_fmt(out: &mut Vec<u8>, args: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    // Writing to a Vec can't fail.
    out.write_fmt(args).unwrap_or_default();
}

fn cut_at_char(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Bytes that stand for themselves: everything but backslash and control characters. Tab and ESC
/// are common in output and harmless on one line.
const PLAIN: [bool; 256] = {
    let mut table = [true; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = i == b'\t' as usize || i == 0x1b;
        i += 1;
    }
    table[0x7f] = false;
    table[b'\\' as usize] = false;
    table
};

/// How many bytes from the beginning stand for themselves.
fn plain_run(bytes: &[u8]) -> usize {
    // Blocks without a branch per byte, which the compiler turns into vector instructions.
    const BLOCK: usize = 32;
    let special = |b: u8| (b < 0x20) & (b != b'\t') & (b != 0x1b) | (b == 0x7f) | (b == b'\\');
    let mut at = 0;
    while let Some(block) = bytes[at..].first_chunk::<BLOCK>() {
        if block.iter().fold(false, |any, b| any | special(*b)) {
            break;
        }
        at += BLOCK;
    }
    let rest = bytes[at..].iter().position(|b| !PLAIN[usize::from(*b)]);
    rest.map_or(bytes.len(), |n| at + n)
}

/// Escapes as many of `bytes` as fit in `room` and says how many those were.
fn escape(bytes: &[u8], room: usize, out: &mut Vec<u8>) -> usize {
    let limit = out.len().saturating_add(room);
    let mut at = 0;
    while at < bytes.len() {
        // Whatever is valid UTF-8 goes the fast way; one bad byte is written in hex.
        let window = &bytes[at..bytes.len().min(at + MAX_LINE)];
        let valid = match std::str::from_utf8(window) {
            Ok(_) => window.len(),
            Err(e) => e.valid_up_to(),
        };
        let end = at + valid;
        while at < end {
            let mut run_end = at + plain_run(&bytes[at..end]);
            let space = limit.saturating_sub(out.len());
            if run_end - at > space {
                run_end = at + space;
                // Never tear a character: its halves would not be UTF-8 on the wire.
                while run_end > at && (bytes[run_end] & 0xc0) == 0x80 {
                    run_end -= 1;
                }
                out.extend_from_slice(&bytes[at..run_end]);
                return run_end;
            }
            out.extend_from_slice(&bytes[at..run_end]);
            at = run_end;
            if at < end {
                if limit.saturating_sub(out.len()) < 4 {
                    return at;
                }
                escape_one(bytes[at], out);
                at += 1;
            }
        }
        if at < bytes.len() && valid < window.len() {
            if limit.saturating_sub(out.len()) < 4 {
                return at;
            }
            hex_escape(bytes[at], out);
            at += 1;
        }
    }
    at
}

fn escape_one(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        _ => hex_escape(byte, out),
    }
}

fn hex_escape(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

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
    partial: Vec<u8>,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn output(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Encoder::new().output(7, 3, Stream::Merged, bytes, &mut out);
        out
    }

    fn decoded(journal: &[u8], piece: usize) -> (Vec<u8>, Vec<Damage>) {
        let (mut bytes, mut damage) = (Vec::new(), Vec::new());
        let mut decoder = Decoder::default();
        for part in journal.chunks(piece) {
            decoder.push(part, |entry, _| match entry {
                Ok(Entry {
                    record: Record::Output { bytes: b, .. },
                    ..
                }) => {
                    bytes.extend_from_slice(&b);
                }
                Ok(_) => {}
                Err(d) => damage.push(d),
            });
        }
        (bytes, damage)
    }

    #[test]
    fn output_reads_well_and_escapes_what_a_line_can_not_hold() {
        let line = output(b"a\tb \x1b[1mc\\d\r\n\0\xff\xc3");
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "0 7 O 3 m a\tb \x1b[1mc\\\\d\\r\\n\\x00\\xff\\xc3\n"
        );
    }

    #[test]
    fn every_byte_at_every_place_of_a_block_is_escaped_or_plain_as_the_table_says() {
        for byte in 0..=255_u8 {
            for place in [0, 1, 31, 32, 40, 63, 64, 70] {
                let mut bytes = [b'a'; 71];
                bytes[place] = byte;
                let expected = if PLAIN[usize::from(byte)] { 71 } else { place };
                assert_eq!(plain_run(&bytes), expected, "{byte:#x} at {place}");
                assert_eq!(decoded(&output(&bytes), 9).0, bytes);
            }
        }
    }

    #[test]
    fn time_never_goes_back() {
        let mut encoder = Encoder::new();
        let mut out = Vec::new();
        encoder.encode(100, &Record::StepStarted { step: 0 }, &mut out);
        encoder.encode(50, &Record::StepStarted { step: 1 }, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "0 100 S 0\n1 100 S 1\n");
    }

    #[test]
    fn a_missing_line_is_a_gap_and_a_changed_byte_fails_the_checksum() {
        let mut encoder = Encoder::new();
        let mut lines = Vec::new();
        for (i, text) in [b"one\n", b"two\n", b"six\n"].iter().enumerate() {
            let mut line = Vec::new();
            encoder.output(i as i64, 0, Stream::Merged, *text, &mut line);
            lines.push(line);
        }
        let mut end = Vec::new();
        let nothing = JobEnded {
            records: 0,
            output_bytes: 0,
            crc32: 0,
        };
        encoder.encode(9, &Record::JobEnded(nothing), &mut end);
        lines.push(end);

        let (bytes, damage) = decoded(&lines.concat(), 5);
        assert_eq!(
            (bytes.as_slice(), damage),
            (&b"one\ntwo\nsix\n"[..], vec![])
        );

        let holed = [&lines[0], &lines[2], &lines[3]]
            .map(Vec::as_slice)
            .concat();
        let (_, damage) = decoded(&holed, 64);
        assert_eq!(
            damage[0],
            Damage::Gap {
                expected: 1,
                found: 2
            }
        );
        assert!(matches!(damage[1], Damage::Checksum { .. }));

        let mut changed = lines.concat();
        let at = changed.windows(3).position(|w| w == b"two").unwrap();
        changed[at] = b'T';
        let (bytes, damage) = decoded(&changed, 64);
        assert_eq!(bytes, b"one\nTwo\nsix\n");
        assert!(matches!(&damage[..], [Damage::Checksum { .. }]));

        // A carrier that sends a piece twice harms nothing but the checksum's offset.
        let twice = [&lines[0], &lines[0], &lines[1]]
            .map(Vec::as_slice)
            .concat();
        assert_eq!(decoded(&twice, 64).0, b"one\ntwo\n");
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_is_told_once() {
        let (mut told, mut seqs) = (Vec::new(), Vec::new());
        let mut decoder = Decoder::default();
        let mut feed = |bytes: &[u8], decoder: &mut Decoder| {
            decoder.push(bytes, |entry, _| match entry {
                Ok(entry) => seqs.push(entry.seq),
                Err(damage) => told.push(damage),
            });
        };
        feed(b"0 1 S 0\n1 2 O 0 m ", &mut decoder);
        for _ in 0..200 {
            feed(&[b'x'; 5000], &mut decoder);
            assert!(decoder.partial.capacity() < 4 * MAX_LINE);
        }
        feed(b"tail\n2 3 S 1\n", &mut decoder);
        assert_eq!(decoder.position().offset, 8 + 10 + 1_000_000 + 5 + 8);
        assert_eq!(seqs, [0, 2]);
        assert!(
            matches!(told[..], [Damage::Malformed(_), Damage::Gap { .. }]),
            "{told:?}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_survive_in_any_pieces(
            bytes in proptest::collection::vec(any::<u8>(), 0..60_000),
            piece in 1usize..5_000,
        ) {
            let journal = output(&bytes);
            prop_assert!(std::str::from_utf8(&journal).is_ok());
            for line in journal.split_inclusive(|b| *b == b'\n') {
                prop_assert!(line.len() <= MAX_LINE, "a line of {} bytes", line.len());
            }
            let (back, damage) = decoded(&journal, piece);
            prop_assert_eq!(damage, vec![]);
            prop_assert_eq!(back, bytes);
        }

        #[test]
        fn text_of_many_scripts_survives(text in "\\PC{0,9000}") {
            let journal = output(text.as_bytes());
            prop_assert_eq!(decoded(&journal, 333).0, text.as_bytes());
        }
    }
}
