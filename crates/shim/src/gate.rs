//! The limit of a step's output: the head is written as it comes, and of the rest the last part, when the step is
//! over. Where something is left out, a note says how much.
//!
//! The shim does it and not whoever reads its journal, so that a step that prints without end fills no disk on its
//! way: not the journal's, not a Docker daemon's log.

use std::collections::VecDeque;

use windlass_shim::journal::{Record, Stream};
use windlass_shim::order::OutputLimit;

use crate::writer::Writer;

/// What of a step's output goes to the journal.
pub(crate) struct Gate {
    limit: Option<OutputLimit>,
    /// Bytes of the head that may still come.
    left: u64,
    is_over: bool,
    /// The newest bytes beyond the head.
    tail: VecDeque<(Stream, Vec<u8>)>,
    tail_bytes: u64,
    written: u64,
    dropped_bytes: u64,
    dropped_lines: u64,
}

impl Gate {
    pub(crate) fn new(limit: Option<OutputLimit>) -> Self {
        let head = |limit: OutputLimit| limit.bytes.saturating_sub(limit.tail_bytes);
        Self {
            limit,
            left: limit.map_or(u64::MAX, head),
            is_over: false,
            tail: VecDeque::new(),
            tail_bytes: 0,
            written: 0,
            dropped_bytes: 0,
            dropped_lines: 0,
        }
    }

    /// Bytes given to the journal so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that were left out.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped_bytes
    }

    /// Takes output.
    pub(crate) fn take(&mut self, step: u32, stream: Stream, bytes: &[u8], journal: &mut Writer) {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX);
        if bytes.len() <= fits && !self.is_over {
            self.left -= bytes.len() as u64;
            self.written += bytes.len() as u64;
            journal.output(step, stream, bytes);
            return;
        }
        let Some(limit) = self.limit else { return };
        // The head ends with a line, if it can: less than fits, never more.
        let mut cut = 0;
        if !std::mem::replace(&mut self.is_over, true) {
            cut = memchr::memrchr(b'\n', &bytes[..fits]).map_or(fits, |at| at + 1);
            journal.output(step, stream, &bytes[..cut]);
            self.written += cut as u64;
            self.left = 0;
            let text = format!(
                "this step's output has reached its limit of {}: the rest is left out here, and of it the last {} \
                 follow when the step is over",
                size(limit.bytes),
                size(limit.tail_bytes)
            );
            journal.record(&Record::Note { step, text });
        }
        self.hold(stream, &bytes[cut..], limit.tail_bytes);
    }

    fn hold(&mut self, stream: Stream, bytes: &[u8], most: u64) {
        self.tail_bytes += bytes.len() as u64;
        self.tail.push_back((stream, bytes.to_vec()));
        while let Some((_, first)) = self.tail.front_mut() {
            let excess = self.tail_bytes.saturating_sub(most);
            if excess < first.len() as u64 {
                break;
            }
            self.tail_bytes -= first.len() as u64;
            self.dropped_bytes += first.len() as u64;
            self.dropped_lines += lines(first);
            self.tail.pop_front();
        }
    }

    /// The step is over: what was held follows.
    pub(crate) fn finish(&mut self, step: u32, journal: &mut Writer) {
        let Some(limit) = self.limit.filter(|_| self.tail_bytes > 0) else {
            return;
        };
        let mut tail = std::mem::take(&mut self.tail);
        if self.dropped_bytes > 0 || self.tail_bytes > limit.tail_bytes {
            // It begins with a line.
            if let Some((_, first)) = tail.front_mut() {
                let excess = self.tail_bytes.saturating_sub(limit.tail_bytes);
                let from = usize::try_from(excess)
                    .unwrap_or(usize::MAX)
                    .min(first.len());
                let cut = memchr::memchr(b'\n', &first[from..]).map_or(from, |at| from + at + 1);
                self.dropped_bytes += cut as u64;
                self.dropped_lines += lines(&first[..cut]);
                first.drain(..cut);
            }
            let text = format!(
                "{} of output ({} lines) were left out here: a step's output has at most {}",
                size(self.dropped_bytes),
                self.dropped_lines,
                size(limit.bytes)
            );
            journal.record(&Record::Note { step, text });
        } else {
            let text = "nothing was left out after all".to_owned();
            journal.record(&Record::Note { step, text });
        }
        for (stream, bytes) in tail {
            self.written += bytes.len() as u64;
            journal.output(step, stream, &bytes);
        }
        self.tail_bytes = 0;
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// `1.5 MiB`
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    match unit {
        "bytes" => format!("{bytes} bytes"),
        _ => format!("{value:.1} {unit}"),
    }
}
