//! A step's log as rows of HTML: what the log page and the live stream show. Everything here
//! blocks: call it from `spawn_blocking`.

use std::path::Path;

use serde::Serialize;
use windlass_logs::{LogReader, Note, NoteKind, Renderer, Result, RowMeta};

/// Bytes of a row that are shown; the rest is behind a link.
pub(crate) const ROW_SHOWN: usize = 16 * 1024;
/// How far back colours are looked for when a page begins in the middle of a log.
const LOOK_BACK_ROWS: u64 = 2_000;
const LOOK_BACK_BYTES: u64 = 512 * 1024;
/// A row of this length is whole without a line end: the line goes on in the next row.
const MAX_ROW: u64 = windlass_logs::folder::MAX_ROW;

/// A row, ready to be shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// Its number, 1 for the first: that of its anchor.
    pub(crate) n: u64,
    /// When it came, microseconds since 1970.
    pub(crate) t: i64,
    /// Its text, safe.
    pub(crate) html: String,
    /// It is the last one and may still grow.
    pub(crate) partial: bool,
    /// It goes on with the line of the row before it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) continues: bool,
    /// Bytes at its end that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cut: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A note, ready to be shown.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NoteView {
    /// Which of the log's notes, from 0: its anchor.
    pub(crate) k: usize,
    /// The number of the row before it; 0 before the first.
    pub(crate) after: u64,
    /// When, microseconds since 1970.
    pub(crate) t: i64,
    /// One line, not yet escaped.
    pub(crate) text: String,
    /// Output may be missing here.
    pub(crate) loss: bool,
}

impl NoteView {
    fn new(k: usize, note: &Note) -> Self {
        Self {
            k,
            after: note.row,
            t: note.time_us,
            text: note.kind.text(),
            loss: note.kind.is_loss(),
        }
    }
}

/// The notes from the `from`th on, without the step's end.
pub(crate) fn notes(reader: &LogReader, from: usize) -> Vec<NoteView> {
    let notes = reader.notes().iter().enumerate().skip(from);
    notes
        .filter(|(_, note)| !matches!(note.kind, NoteKind::Ended(_)))
        .map(|(k, note)| NoteView::new(k, note))
        .collect()
}

/// A log that is read on row by row.
pub(crate) struct Rows {
    pub(crate) reader: LogReader,
    /// In the state before row `next`.
    renderer: Renderer,
    /// The number of the next row, from 0.
    next: u64,
}

impl Rows {
    pub(crate) fn open(folder: &Path, step: u32) -> Result<Self> {
        Ok(Self {
            reader: LogReader::open(folder, step)?,
            renderer: Renderer::new(),
            next: 0,
        })
    }

    /// Goes to row `row` (from 0), with the colours that hold there.
    pub(crate) fn seek(&mut self, row: u64) -> Result<()> {
        let first = row.saturating_sub(LOOK_BACK_ROWS);
        let before = self.reader.row_range(first, (row - first) as usize)?;
        let mut taken = 0;
        let far = before.iter().rev().take_while(|meta| {
            taken += meta.len;
            taken <= LOOK_BACK_BYTES
        });
        let begin = before.len() - far.count();
        self.renderer = Renderer::new();
        let bytes = self.bytes(&before[begin..])?;
        for piece in pieces(&before[begin..], &bytes) {
            self.renderer.skip(piece.1);
        }
        self.next = row;
        Ok(())
    }

    /// The next rows: at most `count`, and about `max_bytes` of what is shown. The last row is
    /// given, but not passed, while it may still grow.
    pub(crate) fn read(&mut self, count: usize, max_bytes: usize) -> Result<Vec<Row>> {
        let mut metas = self.reader.row_range(self.next, count)?;
        let mut shown = 0;
        let fitting = metas.iter().take_while(|meta| {
            let fits = shown == 0 || shown < max_bytes;
            shown += shown_len(meta);
            fits
        });
        metas.truncate(fitting.count());
        let bytes = self.bytes(&metas)?;
        let (rows, complete) = (self.reader.rows(), self.reader.is_complete());
        let mut out = Vec::with_capacity(metas.len());
        for (meta, bytes) in pieces(&metas, &bytes) {
            let is_last = meta.number + 1 == rows;
            let may_grow = !complete && !bytes.ends_with(b"\n") && meta.len < MAX_ROW;
            let partial = is_last && may_grow;
            let shown = cut_at_char(bytes);
            let mut html = String::with_capacity(shown.len() + shown.len() / 8);
            if partial {
                self.renderer.clone().row(shown, &mut html);
            } else {
                self.renderer.row(shown, &mut html);
                if shown.len() < bytes.len() {
                    self.renderer.skip(&bytes[shown.len()..]);
                }
                self.next = meta.number + 1;
            }
            out.push(Row {
                n: meta.number + 1,
                t: meta.time_us,
                html,
                partial,
                continues: meta.flags.continues(),
                cut: (bytes.len() - shown.len()) as u64,
            });
        }
        Ok(out)
    }

    /// The offset of the next row: where to read on later.
    pub(crate) fn offset(&mut self) -> Result<u64> {
        let row = self.reader.row(self.next)?;
        Ok(row.map_or(self.reader.len(), |row| row.offset))
    }

    fn bytes(&mut self, rows: &[RowMeta]) -> Result<Vec<u8>> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(Vec::new());
        };
        // A damaged index must not make us allocate.
        let most = rows.len() as u64 * MAX_ROW;
        let len = (last.offset + last.len)
            .saturating_sub(first.offset)
            .min(most);
        let mut bytes = vec![0; len as usize];
        let read = self.reader.read_at(first.offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// How many bytes of a row are shown.
pub(crate) fn shown_len(row: &RowMeta) -> usize {
    (row.len as usize).min(ROW_SHOWN)
}

/// Each row with its bytes, out of the bytes of all.
fn pieces<'a>(
    rows: &'a [RowMeta],
    bytes: &'a [u8],
) -> impl Iterator<Item = (&'a RowMeta, &'a [u8])> {
    let base = rows.first().map_or(0, |row| row.offset);
    rows.iter().map(move |row| {
        let begin = (row.offset.saturating_sub(base) as usize).min(bytes.len());
        let end = (begin + row.len as usize).min(bytes.len());
        (row, &bytes[begin..end])
    })
}

fn cut_at_char(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= ROW_SHOWN {
        return bytes;
    }
    let back = (0..4).find(|back| bytes[ROW_SHOWN - back] & 0b1100_0000 != 0b1000_0000);
    &bytes[..ROW_SHOWN - back.unwrap_or(0)]
}
