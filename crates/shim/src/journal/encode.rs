//! Writing: records become lines.

use serde::Serialize;

use super::{JobEnded, MAX_LINE, Record, Stream};

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
            Record::StepStarted { step, background } => {
                let beside = if *background { " background" } else { "" };
                self.line(now_us, out, |out| {
                    write_fmt(out, format_args!("S {step}{beside}"));
                });
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
pub(super) const PLAIN: [bool; 256] = {
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
pub(super) fn plain_run(bytes: &[u8]) -> usize {
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
