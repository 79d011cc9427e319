//! The log of a service: what the engine kept of a container becomes a log like a step's, with a number of its own
//! (see `windlass_model::plan::FIRST_SERVICE_LOG`), so that whoever reads, seals, indexes, copies and removes logs
//! needs to know nothing of services.

use std::path::Path;

use jiff::Timestamp;

use crate::error::Result;
use crate::folder::{self, IndexRow, MAX_ROW, RowFlags, StepFile, Stream, step_path};

/// Writes a log from lines that begin with the engine's time stamps, in the place of one that was there. To be done
/// before the folder is sealed, and when no recorder has it; done again after a crash, it does the same.
///
/// # Errors
/// I/O.
pub fn write(dir: &Path, number: u32, text: &[u8]) -> Result<()> {
    let (mut log, mut index) = (Vec::with_capacity(text.len()), Vec::new());
    let mut time_us = 0;
    for line in text.split_inclusive(|b| *b == b'\n') {
        let (stamp, rest) = stamped(line);
        // A line without a time belongs to the one before; and time never goes back within a log.
        time_us = stamp.map_or(time_us, |stamp| stamp.max(time_us));
        for (piece, bytes) in rest.chunks(MAX_ROW as usize).enumerate() {
            let row = IndexRow {
                offset: log.len() as u64,
                stream: Stream::Merged,
                flags: RowFlags::continuing(piece > 0),
                time_us,
            };
            index.extend(row.to_bytes());
            log.extend_from_slice(bytes);
        }
    }
    // The index is always at least as far as the log.
    for (file, bytes) in [(StepFile::Index, &index), (StepFile::Log, &log)] {
        folder::replace(&step_path(dir, number, file), bytes, false)?;
    }
    Ok(())
}

/// The engine's time stamp at the begin of a line, in microseconds since 1970, and the rest.
pub fn stamped(line: &[u8]) -> (Option<i64>, &[u8]) {
    let is_end = |b: &u8| b.is_ascii_whitespace();
    let end = line.iter().position(is_end).unwrap_or(line.len());
    let stamp = std::str::from_utf8(&line[..end]).ok();
    match stamp.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => {
            // An empty line has its end right behind the stamp.
            let space = usize::from(line.get(end) == Some(&b' '));
            (
                Some(time.as_microsecond()),
                line.get(end + space..).unwrap_or_default(),
            )
        }
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogReader;

    #[test]
    fn a_line_s_time_is_taken_off() {
        let (time, rest) = stamped(b"2026-11-27T22:45:46.442332123Z up and running");
        assert_eq!(time, Some(1_795_819_546_442_332));
        assert_eq!(rest, b"up and running");
        assert_eq!(stamped(b"no time here"), (None, &b"no time here"[..]));
        assert_eq!(stamped(b"2026-11-27T22:45:46.442332123Z").1, b"");
        assert_eq!(stamped(b"2026-11-27T22:45:46.442332123Z \n").1, b"\n");
        assert_eq!(stamped(b"2026-11-27T22:45:46.442332123Z\n").1, b"\n");
    }

    #[test]
    fn what_the_engine_kept_becomes_a_log_that_is_sealed_like_a_step_s() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(MAX_ROW as usize + 7);
        let text = format!(
            "2026-11-27T22:45:46.000001Z one\nand more\n2026-11-27T22:45:45Z back\n2026-11-27T22:45:47Z {long}\n"
        );
        let plain = format!("one\nand more\nback\n{long}\n");
        for _ in 0..2 {
            write(dir.path(), 10_000, text.as_bytes()).unwrap();
        }
        let sealed = crate::seal(dir.path()).unwrap();
        assert_eq!(sealed.len(), 1);
        assert_eq!(sealed[0].step, 10_000);
        assert_eq!(sealed[0].meta.bytes, plain.len() as u64);
        let mut reader = LogReader::open(dir.path(), 10_000).unwrap();
        let mut bytes = Vec::new();
        reader.copy_to(0..u64::MAX, &mut bytes).unwrap();
        assert!(bytes == plain.as_bytes());
        let rows = reader.row_range(0, 10).unwrap();
        let times: Vec<i64> = rows
            .iter()
            .map(|row| row.time_us - 1_795_819_546_000_000)
            .collect();
        assert_eq!(times, [1, 1, 1, 1_000_000, 1_000_000]);
        assert!(rows[4].flags.continues() && !rows[3].flags.continues());
    }

    #[test]
    fn a_service_that_printed_nothing_has_an_empty_log() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 10_000, b"").unwrap();
        assert_eq!(crate::seal(dir.path()).unwrap()[0].meta.bytes, 0);
    }
}
