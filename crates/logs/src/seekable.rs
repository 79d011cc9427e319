//! The zstd seekable format 0.1.0: independent frames, and behind them a table of their sizes in a
//! skippable frame. Every zstd tool decodes such a file; ours jumps to any byte by decoding one
//! frame.
//!
//! Written here instead of using the crate `zeekstd` (0.6.3, also on zstd-safe 8): it is a hundred
//! lines, needs no further dependency, hands out a decoded frame without copying it, and refuses a
//! table that does not fit the file. The speed of the two was not compared. A test has `zeekstd`
//! read what is written here, and the other way round.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, LogError, Result};

/// Bytes of content per frame.
pub const FRAME: usize = 256 * 1024;
const LEVEL: i32 = 3;
const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const FOOTER_MAGIC: u32 = 0x8F92_EAB1;
const FOOTER: usize = 9;
/// No frame of a file that we read may be larger: it is decoded in memory.
const MAX_FRAME: u32 = 16 * 1024 * 1024;
const CHECKSUMS: u8 = 0x80;

/// Compresses everything from `from` to `to` and appends the seek table. Says how many bytes went
/// in and came out.
///
/// # Errors
/// What `from` and `to` say.
pub fn compress(mut from: &mut dyn Read, to: &mut dyn Write) -> io::Result<(u64, u64)> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let mut content = Vec::with_capacity(FRAME);
    let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(FRAME));
    let (mut table, mut frames) = (Vec::new(), 0u32);
    let (mut read, mut written) = (0u64, 0u64);
    loop {
        content.clear();
        Read::take(&mut from, FRAME as u64).read_to_end(&mut content)?;
        if content.is_empty() {
            break;
        }
        frame.clear();
        compressor.compress_to_buffer(&content, &mut frame)?;
        to.write_all(&frame)?;
        // Both are below 2^20.
        table.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        table.extend_from_slice(&(content.len() as u32).to_le_bytes());
        frames += 1;
        read += content.len() as u64;
        written += frame.len() as u64;
    }
    let size = u32::try_from(table.len() + FOOTER).map_err(io::Error::other)?;
    let mut end = Vec::with_capacity(table.len() + 8 + FOOTER);
    end.extend_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    end.extend_from_slice(&size.to_le_bytes());
    end.append(&mut table);
    end.extend_from_slice(&frames.to_le_bytes());
    end.push(0);
    end.extend_from_slice(&FOOTER_MAGIC.to_le_bytes());
    to.write_all(&end)?;
    Ok((read, written + end.len() as u64))
}

/// Reads any place of a seekable file; holds one decoded frame.
pub struct SeekableReader {
    file: File,
    path: PathBuf,
    /// Per frame: its first byte in the file and in the content; one more for the end.
    starts: Vec<(u64, u64)>,
    /// Made when it is needed: it takes some 150 kB.
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    compressed: Vec<u8>,
    content: Vec<u8>,
    /// The frame in `content`.
    current: Option<usize>,
}

impl std::fmt::Debug for SeekableReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeekableReader")
            .field("path", &self.path)
            .field("frames", &(self.starts.len() - 1))
            .finish_non_exhaustive()
    }
}

impl SeekableReader {
    /// Reads the seek table. `path` is for messages.
    ///
    /// # Errors
    /// I/O; [`LogError::Damaged`] if the table is not one, or does not fit the file.
    pub fn new(file: File, path: &Path) -> Result<Self> {
        let size = file.metadata().doing("read", path)?.len();
        Ok(Self {
            starts: read_table(&file, size, path)?,
            decompressor: None,
            file,
            path: path.to_owned(),
            compressed: Vec::new(),
            content: Vec::new(),
            current: None,
        })
    }

    /// Bytes of content.
    pub fn len(&self) -> u64 {
        self.starts.last().map_or(0, |(_, content)| *content)
    }

    /// Whether there is no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The decoded content from `offset` to the end of its frame; empty at or behind the end.
    ///
    /// # Errors
    /// I/O; [`LogError::Damaged`] if the frame does not decode to what the table says.
    pub fn frame_from(&mut self, offset: u64) -> Result<&[u8]> {
        if offset >= self.len() {
            return Ok(&[]);
        }
        let index = self.starts.partition_point(|(_, c)| *c <= offset) - 1;
        if self.current != Some(index) {
            self.current = None;
            self.decode(index)?;
            self.current = Some(index);
        }
        // A frame is at most MAX_FRAME long.
        Ok(&self.content[(offset - self.starts[index].1) as usize..])
    }

    /// Gives back the memory that reading took, half a megabyte and more. What is read next is decoded
    /// again.
    pub fn release(&mut self) {
        self.current = None;
        self.decompressor = None;
        self.compressed = Vec::new();
        self.content = Vec::new();
    }

    fn decode(&mut self, index: usize) -> Result<()> {
        let ((from, begin), (to, end)) = (self.starts[index], self.starts[index + 1]);
        self.compressed.resize((to - from) as usize, 0);
        self.file
            .read_exact_at(&mut self.compressed, from)
            .doing("read", &self.path)?;
        let expected = (end - begin) as usize;
        self.content.clear();
        self.content.reserve(expected);
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            empty => empty.insert(zstd::bulk::Decompressor::new().doing("decompress", &self.path)?),
        };
        let decoded = decompressor
            .decompress_to_buffer(&self.compressed, &mut self.content)
            .map_err(|e| LogError::damaged(&self.path, format!("frame {index}: {e}")))?;
        if decoded != expected {
            let reason = format!("frame {index} holds {decoded} bytes instead of {expected}");
            return Err(LogError::damaged(&self.path, reason));
        }
        Ok(())
    }
}

fn read_table(file: &File, size: u64, path: &Path) -> Result<Vec<(u64, u64)>> {
    let bad = |reason: &str| LogError::damaged(path, format!("no seek table: {reason}"));
    let mut footer = [0; FOOTER];
    let footer_at = size
        .checked_sub(FOOTER as u64)
        .ok_or_else(|| bad("the file is too short"))?;
    file.read_exact_at(&mut footer, footer_at)
        .doing("read", path)?;
    if word(&footer, 5) != FOOTER_MAGIC {
        return Err(bad("its mark is missing"));
    }
    let entry = if footer[4] & CHECKSUMS == 0 { 8 } else { 12 };
    let bytes = u64::from(word(&footer, 0)) * entry;
    // The table must lie in the file, so a forged count can't make us allocate more than that.
    let head_at = footer_at
        .checked_sub(bytes + 8)
        .ok_or_else(|| bad("it is longer than the file"))?;
    let mut table = vec![0; (bytes + 8) as usize];
    file.read_exact_at(&mut table, head_at)
        .doing("read", path)?;
    if word(&table, 0) != SKIPPABLE_MAGIC || u64::from(word(&table, 4)) != bytes + FOOTER as u64 {
        return Err(bad("its head is wrong"));
    }
    let mut starts = vec![(0, 0)];
    let (mut at, mut content) = (0u64, 0u64);
    for entry in table[8..].chunks_exact(entry as usize) {
        let (packed, unpacked) = (word(entry, 0), word(entry, 4));
        if unpacked > MAX_FRAME {
            return Err(bad("a frame is too large"));
        }
        at += u64::from(packed);
        content += u64::from(unpacked);
        if at > head_at {
            return Err(bad("its frames are longer than the file"));
        }
        starts.push((at, content));
    }
    if at != head_at {
        return Err(bad("its frames are shorter than the file"));
    }
    Ok(starts)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (read, written) = compress(&mut &*content, &mut out).unwrap();
        assert_eq!((read, written), (content.len() as u64, out.len() as u64));
        out
    }

    fn open(bytes: &[u8]) -> Result<SeekableReader> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        SeekableReader::new(file, Path::new("0.log.zst"))
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * i / 1000) as u8).collect()
    }

    #[test]
    fn every_place_of_every_size_comes_back() {
        for len in [0, 1, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 17] {
            let content = content(len);
            let mut reader = open(&sealed(&content)).unwrap();
            assert_eq!(reader.len(), len as u64);
            let mut back = Vec::new();
            while back.len() < len {
                let piece = reader.frame_from(back.len() as u64).unwrap();
                assert!(!piece.is_empty());
                back.extend_from_slice(piece);
            }
            assert_eq!(back, content);
            reader.release();
            assert!(reader.frame_from(len as u64 + 5).unwrap().is_empty());
            if len > FRAME {
                assert_eq!(reader.frame_from(7).unwrap()[0], content[7]);
            }
        }
    }

    #[test]
    fn another_implementation_of_the_format_reads_ours_and_we_read_its() {
        use std::io::{Seek as _, SeekFrom};

        let content = content(3 * FRAME + 17);
        let ours = std::io::Cursor::new(sealed(&content));
        let mut theirs = zeekstd::Decoder::new(ours).unwrap();
        let from = FRAME + 100;
        theirs.seek(SeekFrom::Start(from as u64)).unwrap();
        let mut tail = Vec::new();
        theirs.read_to_end(&mut tail).unwrap();
        assert!(tail == content[from..]);

        let mut file = Vec::new();
        let mut encoder = zeekstd::Encoder::new(&mut file).unwrap();
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap();
        let mut reader = open(&file).unwrap();
        assert_eq!(reader.len(), content.len() as u64);
        assert_eq!(reader.frame_from(from as u64).unwrap()[0], content[from]);
    }

    #[test]
    fn forged_tables_are_refused_and_forged_frames_are_noticed() {
        let good = sealed(&content(2 * FRAME));
        let end = good.len();
        let changed = |at: usize, value: &[u8]| {
            let mut bad = good.clone();
            bad[at..at + value.len()].copy_from_slice(value);
            bad
        };
        // The count of frames, the size of the skippable frame, a frame's two sizes, the mark.
        for (at, value) in [
            (end - 9, &[0xff; 4][..]),
            (end - 9, &[1, 0, 0, 0]),
            (end - 9 - 16 - 4, &[0; 4]),
            (end - 9 - 16, &[0xff; 4]),
            (end - 9 - 12, &[0xff; 4]),
            (end - 4, &[0; 4]),
        ] {
            let result = open(&changed(at, value));
            assert!(matches!(result, Err(LogError::Damaged { .. })), "{at}");
        }
        for short in [0, 5, 9, 20] {
            assert!(open(&good[end - short..]).is_err());
        }
        let mut reader = open(&changed(end - 9 - 12, &[1, 0, 0, 0])).unwrap();
        assert!(matches!(
            reader.frame_from(0),
            Err(LogError::Damaged { .. })
        ));
        let mut reader = open(&changed(0, &[0; 4])).unwrap();
        assert!(matches!(
            reader.frame_from(0),
            Err(LogError::Damaged { .. })
        ));
    }
}
