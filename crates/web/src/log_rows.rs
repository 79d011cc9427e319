//! A step's log as rows of HTML: what the log page and the live stream show. Everything here
//! blocks: call it from `spawn_blocking`.

use std::ops::Range;
use std::path::Path;

use serde::Serialize;
use windlass_logs::blocks::blocks;
use windlass_logs::{
    BlockLine, Group, LogReader, Note, NoteKind, Renderer, Result, RowMeta, Search, group, strip,
};

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
    /// It is the last one and may still grow, or be drawn over.
    pub(crate) partial: bool,
    /// It goes on with the line of the row before it.
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) continues: bool,
    /// Bytes (or characters, where it was drawn over) at its end that are not shown.
    #[serde(skip_serializing_if = "is_zero")]
    pub(crate) cut: u64,
    /// It begins or ends a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<Group>,
    /// Where a search matches in its text: begin and end in UTF-16 units, as browsers count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) spans: Vec<(usize, usize)>,
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

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) rows: Vec<Row>,
    /// From this number on (1 for the first) the rows are these, whatever was there before.
    pub(crate) first: u64,
    /// The last row that was looked at, from 1: numbers up to it that no row bears were drawn over.
    pub(crate) last: u64,
}

/// A block of rows that were drawn over, as it was rendered last.
struct Drawn {
    rows: Range<u64>,
    /// Bytes of the log at that time, if the block may change with them.
    len: u64,
    /// The state before it.
    before: Renderer,
    lines: Vec<BlockLine>,
}

/// A log that is read on row by row.
pub(crate) struct Rows {
    pub(crate) reader: LogReader,
    /// In the state before row `next`; before row `drawn.rows.end`, if that is further.
    renderer: Renderer,
    /// The number of the next row, from 0.
    next: u64,
    drawn: Option<Drawn>,
    /// Every row as it was printed, whatever was drawn over it later.
    raw: bool,
    search: Option<Search>,
}

impl Rows {
    pub(crate) fn open(folder: &Path, step: u32) -> Result<Self> {
        Ok(Self {
            reader: LogReader::open(folder, step)?,
            renderer: Renderer::new(),
            next: 0,
            drawn: None,
            raw: false,
            search: None,
        })
    }

    /// Shows every row, also those that were drawn over.
    pub(crate) fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Marks what a search finds in the rows.
    pub(crate) fn marking(mut self, search: Option<Search>) -> Self {
        self.search = search;
        self
    }

    /// Goes to row `row` (from 0), with the colours that hold there.
    pub(crate) fn seek(&mut self, row: u64) -> Result<()> {
        self.drawn = None;
        self.renderer = self.state_before(row)?;
        self.next = row;
        Ok(())
    }

    /// The number of the next row, from 0.
    pub(crate) fn next_row(&self) -> u64 {
        self.next
    }

    /// What holds before the next row; `None` where it may be drawn over.
    pub(crate) fn state(&self) -> Option<&Renderer> {
        self.drawn.is_none().then_some(&self.renderer)
    }

    /// Passes rows that were rendered by somebody else, from the same state.
    pub(crate) fn pass(&mut self, to: u64, after: Renderer) {
        (self.next, self.renderer) = (to, after);
    }

    fn state_before(&mut self, row: u64) -> Result<Renderer> {
        let first = row.saturating_sub(LOOK_BACK_ROWS);
        let before = self.reader.row_range(first, (row - first) as usize)?;
        let mut taken = 0;
        let far = before.iter().rev().take_while(|meta| {
            taken += meta.len;
            taken <= LOOK_BACK_BYTES
        });
        let begin = before.len() - far.count();
        let mut renderer = Renderer::new();
        let bytes = self.bytes(&before[begin..])?;
        for piece in pieces(&before[begin..], &bytes) {
            renderer.skip(piece.1);
        }
        Ok(renderer)
    }

    /// The next rows: at most `count`, and about `max_bytes` of what is shown. Rows that may still
    /// change (the last one, or those that a program draws over) are given, but not passed.
    ///
    /// With `whole`, rows before the next one are given again where they were drawn over.
    pub(crate) fn read(&mut self, count: usize, max_bytes: usize, whole: bool) -> Result<Batch> {
        let start = self.next;
        let mut metas = self.reader.row_range(start, count)?;
        let mut shown = 0;
        let fitting = metas.iter().take_while(|meta| {
            let fits = shown == 0 || shown < max_bytes;
            shown += shown_len(meta);
            fits
        });
        metas.truncate(fitting.count());
        let end = metas.last().map_or(start, |row| row.number + 1);
        let mut batch = Batch {
            first: start + 1,
            last: end,
            rows: Vec::with_capacity(metas.len()),
        };
        let blocks = if self.raw {
            Vec::new()
        } else {
            blocks(&mut self.reader, start..end)?
        };
        let mut rest = metas.as_slice();
        for block in blocks {
            let (before, behind) =
                rest.split_at(rest.partition_point(|row| row.number < block.start));
            self.plain(before, &mut batch.rows)?;
            rest = &behind[behind.partition_point(|row| row.number < block.end)..];
            self.block(&block, start..end, whole, &mut batch)?;
        }
        self.plain(rest, &mut batch.rows)?;
        Ok(batch)
    }

    /// Rows of which nothing is drawn over.
    fn plain(&mut self, metas: &[RowMeta], out: &mut Vec<Row>) -> Result<()> {
        let bytes = self.bytes(metas)?;
        for (meta, bytes) in pieces(metas, &bytes) {
            let partial = self.may_grow(meta, bytes);
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
                html,
                partial,
                cut: (bytes.len() - shown.len()) as u64,
                ..self.row(meta, shown)
            });
        }
        Ok(())
    }

    /// Rows of which some are drawn over by others.
    fn block(
        &mut self,
        block: &Range<u64>,
        window: Range<u64>,
        whole: bool,
        batch: &mut Batch,
    ) -> Result<()> {
        let complete = self.reader.is_complete();
        // It reaches to the end of a log that grows: it may change.
        let open = !complete && block.end == self.reader.rows();
        let len = if open { self.reader.len() } else { 0 };
        let metas = self
            .reader
            .row_range(block.start, (block.end - block.start) as usize)?;
        let bytes = self.bytes(&metas)?;
        let known = self.drawn.take().filter(|d| d.rows.start == block.start);
        // Lines that are as they were need not be told again.
        let (drawn, same) = match known {
            Some(drawn) if drawn.rows == *block && drawn.len == len => {
                let same = drawn.lines.len();
                (drawn, same)
            }
            known => {
                let (before, old) = match known {
                    Some(drawn) => (drawn.before, drawn.lines),
                    None if self.next == block.start => (self.renderer.clone(), Vec::new()),
                    None => (self.state_before(block.start)?, Vec::new()),
                };
                self.renderer = before.clone();
                let rows = pieces(&metas, &bytes).map(|(_, bytes)| bytes);
                let lines = self.renderer.block(block.start, rows, ROW_SHOWN);
                let same = old.iter().zip(&lines).take_while(|(a, b)| a == b);
                let same = same.count();
                let drawn = Drawn {
                    rows: block.clone(),
                    len,
                    before,
                    lines,
                };
                (drawn, same)
            }
        };
        // A window is given what is in it; who follows is given all that has changed.
        let (lines, shown) = if whole {
            batch.last = batch.last.max(block.end);
            let told = same.checked_sub(1).map(|last| drawn.lines[last].number + 2);
            let told = told.unwrap_or(block.start + 1);
            batch.first = if block.start <= window.start {
                told
            } else {
                batch.first.min(told)
            };
            (&drawn.lines[same..], block.clone())
        } else {
            (&drawn.lines[..], window.clone())
        };
        for line in lines {
            if !shown.contains(&line.number) {
                continue;
            }
            let Some(meta) = metas.get((line.number - block.start) as usize) else {
                continue;
            };
            let row = self.row(meta, bytes_of(meta, &metas, &bytes));
            batch.rows.push(Row {
                html: line.html.clone(),
                partial: open,
                cut: line.cut as u64,
                continues: false,
                ..row
            });
        }
        let to = block.end.min(shown.end);
        self.next = if open && to == block.end {
            block.start
        } else {
            to
        };
        if self.next < block.end {
            self.drawn = Some(drawn);
        }
        Ok(())
    }

    /// What is known of a row but for its HTML.
    fn row(&mut self, meta: &RowMeta, bytes: &[u8]) -> Row {
        Row {
            n: meta.number + 1,
            t: meta.time_us,
            html: String::new(),
            partial: false,
            continues: meta.flags.continues(),
            cut: 0,
            group: (!meta.flags.continues()).then(|| group(bytes)).flatten(),
            spans: match &mut self.search {
                Some(search) => spans(search, bytes).1,
                None => Vec::new(),
            },
        }
    }

    fn may_grow(&self, meta: &RowMeta, bytes: &[u8]) -> bool {
        let is_last = meta.number + 1 == self.reader.rows();
        is_last && !self.reader.is_complete() && !bytes.ends_with(b"\n") && meta.len < MAX_ROW
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

/// The text of a row as it is shown, and where a search matches in it, in UTF-16 units.
pub(crate) fn spans(search: &mut Search, bytes: &[u8]) -> (String, Vec<(usize, usize)>) {
    let mut text = strip(bytes);
    if text.ends_with('\n') {
        text.pop();
    }
    let found = search.spans(text.as_bytes());
    let units = |to: usize| {
        let to = text.floor_char_boundary(to);
        text[..to].encode_utf16().count()
    };
    let spans = found.iter().map(|(a, b)| (units(*a), units(*b))).collect();
    (text, spans)
}

/// How many bytes of a row are shown.
pub(crate) fn shown_len(row: &RowMeta) -> usize {
    (row.len as usize).min(ROW_SHOWN)
}

/// One row's bytes out of the bytes of all.
fn bytes_of<'a>(row: &RowMeta, rows: &[RowMeta], bytes: &'a [u8]) -> &'a [u8] {
    let base = rows.first().map_or(0, |row| row.offset);
    let begin = (row.offset.saturating_sub(base) as usize).min(bytes.len());
    let end = (begin + shown_len(row)).min(bytes.len());
    &bytes[begin..end]
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
