//! The files beside a step's log that hold what was found. Both can be removed at any time: they
//! are made again from the log.
//!
//! | file | what it is |
//! | --- | --- |
//! | `<step>.findings.json` | a [`Findings`]: written when a step has failed, or when somebody asks |
//! | `<step>.lines` | a [`Sketch`]: the lines that a passing step printed |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Finder, Findings, Known, Line, Sketch, finder, known};
use crate::error::{Doing as _, LogError, Result};
use crate::folder;
use crate::reader::LogReader;
use crate::strip::Stripper;

/// The format of `<step>.findings.json`; one of another version is made again.
pub(super) const VERSION: u32 = 1;
/// No log is read for longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows before the first failure that are shown.
const BEFORE: u64 = 4;
/// Rows of an excerpt.
const EXCERPT: u64 = 16;
/// The last rows that are shown.
const LAST_WORDS: usize = 12;
/// So many rows are looked at for those.
const LAST_ROWS: usize = 200;
/// Characters of a row that are shown.
const SHOWN: usize = 300;

/// A passing run to compare with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The folder with its logs.
    pub dir: PathBuf,
    /// The step's number in that folder.
    pub step: u32,
    /// Its name for people: `build 41`.
    pub name: String,
}

fn findings_path(dir: &Path, step: u32) -> PathBuf {
    dir.join(format!("{step}.findings.json"))
}

fn lines_path(dir: &Path, step: u32) -> PathBuf {
    dir.join(format!("{step}.lines"))
}

/// What was found in a step's log before; `None` if nobody has looked, or an older release did.
///
/// # Errors
/// I/O.
pub fn read(dir: &Path, step: u32) -> Result<Option<Findings>> {
    let path = findings_path(dir, step);
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.doing("read", &path)?,
    };
    let found: Option<Findings> = serde_json::from_slice(&bytes).ok();
    Ok(found.filter(|found| found.version == VERSION))
}

/// Reads the whole log of a step that has ended, compares it with those of `baselines` that were
/// learnt, and keeps what it finds beside the log. Takes constant memory, and at most a minute.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub fn find(dir: &Path, step: u32, baselines: &[Baseline]) -> Result<Findings> {
    let mut known = Known::default();
    for baseline in baselines {
        if let Some(sketch) = Sketch::load(&lines_path(&baseline.dir, baseline.step))? {
            known.add(&baseline.name, sketch);
        }
    }
    finder::warm_up();
    let mut reader = LogReader::open(dir, step)?;
    let mut finder = Finder::new(known).until(Instant::now() + PATIENCE);
    match reader.copy_to(0..u64::MAX, &mut finder) {
        // Given up: what was found up to there counts.
        Ok(_) | Err(LogError::Output(_)) => {}
        Err(error) => return Err(error),
    }
    let failed = reader.end().is_none_or(|end| !end.outcome.is_success());
    let mut found = finder.finish(failed);
    if let Some(first) = found.first() {
        let (from, to) = excerpt(first.line, first.begin, first.end);
        found.excerpt = lines(&mut reader, from, (to - from + 1) as usize, false)?;
    }
    let from = (reader.rows() + 1).saturating_sub(LAST_ROWS as u64).max(1);
    let mut last = lines(&mut reader, from, LAST_ROWS, true)?;
    found.last_words = last.split_off(last.len().saturating_sub(LAST_WORDS));
    if dir.is_dir() {
        let path = findings_path(dir, step);
        let json =
            serde_json::to_vec(&found).map_err(|e| LogError::damaged(&path, e.to_string()))?;
        folder::replace(&path, &json, false)?;
    }
    Ok(found)
}

/// Keeps the lines that a passing step printed, for later failing ones.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub fn learn(dir: &Path, step: u32) -> Result<()> {
    let path = lines_path(dir, step);
    if path.exists() {
        return Ok(());
    }
    let mut reader = LogReader::open(dir, step)?;
    known::learn_from(&mut reader)?.save(&path)
}

/// The rows to show of a finding in `begin..=end` whose best row is `line`.
fn excerpt(line: u64, begin: u64, end: u64) -> (u64, u64) {
    let from = if line - begin < EXCERPT / 2 {
        begin
    } else {
        line - EXCERPT / 2
    };
    let from = from.saturating_sub(BEFORE).max(1);
    let to = (end + 2).min(from + EXCERPT - 1).max(line);
    (from, to)
}

/// Rows as plain text, from row `from` on, counted from 1.
fn lines(reader: &mut LogReader, from: u64, count: usize, only_full: bool) -> Result<Vec<Line>> {
    let mut stripper = Stripper::new();
    let mut bytes = Vec::new();
    let mut lines = Vec::new();
    for row in reader.row_range(from - 1, count)? {
        reader.row_bytes(&row, &mut bytes)?;
        let mut text = String::new();
        stripper.row(&bytes, &mut text);
        let text = text.trim_end();
        if only_full && text.is_empty() {
            continue;
        }
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        lines.push(Line {
            n: row.number + 1,
            text: shown,
        });
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_holds_the_line_and_what_belongs_to_it() {
        assert_eq!(excerpt(1, 1, 1), (1, 3));
        assert_eq!(excerpt(10, 10, 12), (6, 14));
        assert_eq!(excerpt(10, 10, 400), (6, 21));
        // A trace of 300 rows, whose last row says what it was.
        assert_eq!(excerpt(310, 10, 310), (298, 312));
    }
}
