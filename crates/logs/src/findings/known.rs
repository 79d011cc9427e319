//! Lines that a passing run printed: a compact set of hashes, kept beside its sealed log, against
//! which a failing run is compared. What no passing run ever printed is new.
//!
//! A line is normalised before it is hashed, so that what differs from run to run anyway counts as
//! the same: numbers, durations, times, hashes, addresses, UUIDs, names of temporary files.
//!
//! A set holds at most [`MAX_HASHES`]. Of a log with more different lines the smallest hashes are
//! kept: a fair sample (a bottom-k sketch), and of a line with a greater hash nothing is said.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Doing as _, LogError, Result};
use crate::folder;

use super::rows::{Rows, visible};

/// Different lines that one set holds: 2 MiB on the disk.
pub const MAX_HASHES: usize = 256 * 1024;

/// Names the format and the way of normalising: a set made in another way knows nothing.
const MAGIC: [u8; 8] = *b"WLKNOWN1";
/// Hashes that were just seen: saves most of the sorting.
const RECENT: usize = 1 << 14;

/// The lines of one passing run.
#[derive(Debug, Clone)]
pub struct Sketch {
    /// Sorted, without doubles.
    hashes: Vec<u64>,
    /// Hashes above it were left out.
    limit: u64,
    /// For the upper 16 bits: where in `hashes` those begin.
    index: Vec<u32>,
}

impl Sketch {
    fn new(hashes: Vec<u64>, limit: u64) -> Self {
        let mut index = Vec::with_capacity((1 << 16) + 1);
        let mut at = 0;
        for upper in 0..=1_u64 << 16 {
            while at < hashes.len() && hashes[at] >> 48 < upper {
                at += 1;
            }
            index.push(at as u32);
        }
        Self {
            hashes,
            limit,
            index,
        }
    }

    /// Different lines in it.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether the run printed nothing.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Whether the run printed such a line; `None`: nobody knows any more.
    fn has(&self, hash: u64) -> Option<bool> {
        if hash > self.limit {
            return None;
        }
        let upper = (hash >> 48) as usize;
        let bucket = self.index[upper] as usize..self.index[upper + 1] as usize;
        Some(self.hashes[bucket].contains(&hash))
    }

    /// Reads a set; `None` if there is none, or one that a different release wrote.
    ///
    /// # Errors
    /// I/O.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        match fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Ok(meta) if meta.len() > (MAX_HASHES as u64 + 8) * 8 => return Ok(None),
            checked => checked.doing("read", path)?,
        };
        let bytes = fs::read(path).doing("read", path)?;
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let body = bytes.strip_prefix(&MAGIC)?;
        let (words, torn) = body.as_chunks::<8>();
        let (limit, hashes) = words.split_first()?;
        if !torn.is_empty() || hashes.len() > MAX_HASHES {
            return None;
        }
        let hashes: Vec<u64> = hashes.iter().map(|w| u64::from_le_bytes(*w)).collect();
        hashes
            .is_sorted()
            .then(|| Self::new(hashes, u64::from_le_bytes(*limit)))
    }

    /// Writes the set, in one step.
    ///
    /// # Errors
    /// I/O.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut bytes = Vec::with_capacity((self.hashes.len() + 2) * 8);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.limit.to_le_bytes());
        for hash in &self.hashes {
            bytes.extend_from_slice(&hash.to_le_bytes());
        }
        folder::replace(path, &bytes, false)
    }
}

/// What passing runs printed, to compare a log with.
#[derive(Debug, Clone, Default)]
pub struct Known {
    sketches: Vec<Sketch>,
    names: Vec<String>,
}

impl Known {
    /// Adds a run, with its name for people: `build 41`.
    pub fn add(&mut self, name: impl Into<String>, sketch: Sketch) {
        self.sketches.push(sketch);
        self.names.push(name.into());
    }

    /// The names of the runs.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether none of the runs printed a line with this hash; `None`: nobody knows.
    pub(super) fn is_new(&self, hash: u64) -> Option<bool> {
        let mut known = (!self.sketches.is_empty()).then_some(false);
        for sketch in &self.sketches {
            match sketch.has(hash) {
                Some(true) => return Some(false),
                Some(false) => {}
                None => known = None,
            }
        }
        known.map(|known| !known)
    }
}

/// Makes the set of a log, in constant memory.
#[derive(Debug)]
pub struct Learner {
    rows: Rows,
    hashes: Vec<u64>,
    limit: u64,
    recent: Vec<u64>,
    scratch: (Vec<u8>, Normal),
}

impl Default for Learner {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            hashes: Vec::new(),
            limit: u64::MAX,
            recent: vec![0; RECENT],
            scratch: Default::default(),
        }
    }
}

impl Learner {
    /// The next bytes of the log.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rows = std::mem::take(&mut self.rows);
        rows.push(bytes, |_, row| self.row(row));
        self.rows = rows;
    }

    /// The set of all that came.
    pub fn finish(mut self) -> Sketch {
        let mut rows = std::mem::take(&mut self.rows);
        rows.finish(|_, row| self.row(row));
        self.compact();
        Sketch::new(self.hashes, self.limit)
    }

    fn row(&mut self, row: &[u8]) {
        let text = visible(row, &mut self.scratch.0);
        let Some(hash) = line_hash(text, &mut self.scratch.1) else {
            return;
        };
        let recent = &mut self.recent[hash as usize % RECENT];
        if hash > self.limit || *recent == hash {
            return;
        }
        *recent = hash;
        self.hashes.push(hash);
        if self.hashes.len() >= 2 * MAX_HASHES {
            self.compact();
        }
    }

    fn compact(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        if self.hashes.len() > MAX_HASHES {
            self.hashes.truncate(MAX_HASHES);
            self.limit = self.hashes[MAX_HASHES - 1];
        }
    }
}

impl io::Write for Learner {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Learns from a whole log.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub(super) fn learn_from(reader: &mut crate::LogReader) -> Result<Sketch> {
    let mut learner = Learner::default();
    match reader.copy_to(0..u64::MAX, &mut learner) {
        Ok(_) | Err(LogError::Output(_)) => Ok(learner.finish()),
        Err(error) => Err(error),
    }
}

/// The hash of a line after normalising; `None` for a blank one.
pub(super) fn line_hash(text: &[u8], scratch: &mut Normal) -> Option<u64> {
    normalise(text, scratch);
    (scratch.len > 0).then(|| hash(scratch.as_slice()))
}

const ALNUM: u8 = 1;
const DIGIT: u8 = 2;
const HEX: u8 = 4;
const SPACE: u8 = 8;

/// What each byte is.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        if byte.is_ascii_digit() {
            class[b] = ALNUM | DIGIT | HEX;
        } else if byte.is_ascii_hexdigit() {
            class[b] = ALNUM | HEX;
        } else if byte.is_ascii_alphabetic() {
            class[b] = ALNUM;
        } else if byte.is_ascii_whitespace() {
            class[b] = SPACE;
        }
        b += 1;
    }
    class
};

/// Room for a normalised line; a power of two, so that no place in it needs a check. A line is never
/// longer than what is looked at of a row.
const ROOM: usize = 8192;

/// A line while it is normalised.
#[derive(Debug)]
pub(super) struct Normal {
    /// Some more, for what is written eight bytes at a time.
    bytes: Box<[u8; ROOM + 8]>,
    len: usize,
}

impl Default for Normal {
    fn default() -> Self {
        Self {
            bytes: Box::new([0; ROOM + 8]),
            len: 0,
        }
    }
}

impl Normal {
    #[inline]
    fn push(&mut self, byte: u8) {
        self.bytes[self.len % ROOM] = byte;
        self.len += 1;
    }

    fn extend(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len.min(ROOM)]
    }

    #[inline]
    fn ends_with(&self, end: &[u8]) -> bool {
        self.as_slice().ends_with(end)
    }

    #[inline]
    fn ends_with_blank(&self) -> bool {
        self.len == 0 || self.bytes[(self.len - 1) % ROOM] == b' '
    }
}

/// Writes `text` with `#` for whatever differs between two runs of the same thing.
///
/// The same as [`token`] after token, which a test proves; but most of a line stays as it is, and is
/// taken over eight bytes at a time.
fn normalise(text: &[u8], out: &mut Normal) {
    out.len = 0;
    let text = &text[..text.len().min(ROOM)];
    let mut at = 0;
    // Names of temporary files are rare, and have rules of their own.
    let bulk = memchr::memmem::find(text, b"tmp").is_none();
    while at < text.len() {
        if bulk && !(text[at] == b' ' && out.ends_with_blank()) {
            let event = copy_to_event(text, at, out);
            if event == text.len() {
                break;
            }
            let back = text[at..event].iter().rev();
            let word = back.take_while(|b| CLASS[usize::from(**b)] & ALNUM != 0);
            let word = word.count();
            out.len -= word;
            at = event - word;
        }
        // A number may swallow what is around it, and letters behind it may be part of it.
        while at < text.len() {
            at = token(text, at, out);
            let next = text.get(at + 1).map_or(0, |b| CLASS[usize::from(*b)]);
            let goes_on = next & DIGIT != 0
                || out.ends_with(b"#-")
                || out.ends_with(b"#") && text.get(at) == Some(&b'-');
            if bulk && !goes_on {
                break;
            }
        }
    }
    if out.len > 0 && out.ends_with_blank() {
        out.len -= 1;
    }
}

/// Copies `text` from `at` up to the first byte that may not stay as it is: a digit, a `#`, a control
/// character, a blank behind a blank. Says where that is; the end of `text` if there is none.
fn copy_to_event(text: &[u8], at: usize, out: &mut Normal) -> usize {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    const HIGH: u64 = all(0x80);
    const LOW: u64 = all(0x7f);
    // The high bit of each byte that is at most `most`, or not: no sum of two bytes reaches the next.
    let at_most =
        |word: u64, most: u8| !((word & LOW).wrapping_add(all(0x7f - most)) | word) & HIGH;
    let mut at = at;
    let mut after_blank = 0;
    loop {
        let rest = &text[at..];
        // What pads the end stays as it is, so the end is the event.
        let mut bytes = [b'x'; 8];
        let len = rest.len().min(8);
        match rest.first_chunk::<8>() {
            Some(whole) => bytes = *whole,
            None => bytes[..len].copy_from_slice(rest),
        }
        let word = u64::from_le_bytes(bytes);
        let blanks = at_most(word ^ all(b' '), 0);
        let events = at_most(word ^ all(b'0'), 9)
            | at_most(word ^ all(b'#'), 0)
            | at_most(word, 0x1f)
            | blanks & (blanks << 8 | after_blank);
        after_blank = blanks >> 56;
        let free = (events.trailing_zeros() as usize / 8).min(len);
        out.bytes[out.len % ROOM..][..8].copy_from_slice(&bytes);
        out.len += free;
        at += free;
        if free < 8 {
            return at;
        }
    }
}

/// Takes over what begins at `at`: a word, or one other byte. Says where the next one begins.
fn token(text: &[u8], at: usize, out: &mut Normal) -> usize {
    let (begin, byte) = (at, text[at]);
    let class = CLASS[usize::from(byte)];
    let mut at = at + 1;
    if class & ALNUM != 0 {
        let (mut any, mut all, kept) = (class, class, out.len);
        out.push(byte);
        while let Some(&byte) = text.get(at) {
            let class = CLASS[usize::from(byte)];
            if class & ALNUM == 0 {
                break;
            }
            any |= class;
            all &= class;
            out.push(byte);
            at += 1;
        }
        // Nearly all words stay as they are, and most of the others are plain numbers.
        if all & DIGIT != 0 {
            out.len = kept;
            number(out);
        } else if any & DIGIT != 0 || all & HEX != 0 || at - begin >= 9 {
            out.len = kept;
            odd_word(&text[begin..at], any & DIGIT != 0, all & HEX != 0, out);
        }
        return at;
    }
    if class & SPACE != 0 {
        if !out.ends_with_blank() {
            out.push(b' ');
        }
        return at;
    }
    out.push(byte);
    let random = match byte {
        b'/' => at > 1 && text[at - 2] == b'p' && out.ends_with(b"/tmp/"),
        b'.' => out.ends_with(b"tmp."),
        _ => false,
    };
    if random {
        let is_name = |b: &u8| !b.is_ascii_whitespace() && !b"/:;,'\"`()<>[]".contains(b);
        let len = text[at..].iter().take_while(|b| is_name(b)).count();
        if len > 0 {
            out.push(b'#');
            at += len;
        }
    }
    at
}

fn odd_word(word: &[u8], has_digit: bool, is_hex: bool, out: &mut Normal) {
    let after_number = is_hex && out.ends_with(b"#-");
    if !has_digit {
        // The letters of a UUID, the random name of a temporary file.
        if after_number && word.len() == 4 {
            number(out);
        } else if word.len() >= 9 && word.starts_with(b"tmp") {
            out.extend(b"tmp#");
        } else {
            out.extend(word);
        }
        return;
    }
    let leading = word.iter().take_while(|b| b.is_ascii_digit()).count();
    let is_hash = is_hex && (word.len() >= 7 || after_number);
    let is_address = word.len() > 2 && word[0] == b'0' && matches!(word[1], b'x' | b'X');
    let unit = &word[leading..];
    let with_unit = leading > 0 && unit.len() <= 3 && !unit.iter().any(u8::is_ascii_digit);
    if is_hash || is_address || with_unit || word.len() >= 20 {
        return number(out);
    }
    if word.starts_with(b"tmp") {
        out.extend(b"tmp#");
        return;
    }
    let mut in_number = false;
    for byte in word {
        let digit = byte.is_ascii_digit();
        if !digit {
            out.push(*byte);
        } else if !in_number {
            out.push(b'#');
        }
        in_number = digit;
    }
}

/// One `#` for a number and those that it is part of: 1.2.3, 12:30:01, 1 m 30 s.
fn number(out: &mut Normal) {
    if let [.., b'#', b'.' | b':' | b',' | b'-' | b'/' | b'+' | b' '] = out.as_slice() {
        out.len -= 1;
    } else {
        out.push(b'#');
    }
}

/// A hash that stays the same over releases and machines. Nothing but what is shown depends on it,
/// so it need not stand up to an attacker.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = FACTOR ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut mix = |word: u64| {
        state = (state ^ word).wrapping_mul(FACTOR);
        state ^= state >> 29;
    };
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    // The last steps of MurmurHash3 (public domain): every bit of the state reaches every bit.
    state ^= state >> 33;
    state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    state ^= state >> 33;
    state = state.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ state >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> String {
        let mut out = Normal::default();
        normalise(text.as_bytes(), &mut out);
        String::from_utf8(out.as_slice().to_vec()).unwrap()
    }

    #[test]
    fn what_differs_from_run_to_run_is_the_same() {
        for (one, other) in [
            ("Finished in 1.25s", "Finished in 12.5ms"),
            ("took 1m 30s", "took 59s"),
            (
                "2026-11-28 00:47:04.809 start",
                "2026-01-02 13:59:59.1 start",
            ),
            ("at 0x7ffd1a2b", "at 0x55"),
            ("commit 3549e6a1 is fine", "commit 0f3c9d22e4 is fine"),
            (
                "id 550e8400-e29b-41d4-a716-446655440000",
                "id 0c8e1f00-beef-4abc-9def-00aa11bb22cc",
            ),
            ("/tmp/pip-build-x7/a.c:3", "/tmp/cargo-installQq/a.c:9"),
            ("made tmp.aXbKqW", "made tmp.pQrStU"),
            ("/work/a17/ws/x", "/work/a18/ws/x"),
            ("thing-3413a480fe4235bf ok", "thing-fe43c8842215ca75 ok"),
            ("   3 passed", "  12 passed"),
            ("'tests::x' (14255) panicked", "'tests::x' (9) panicked"),
        ] {
            assert_eq!(normal(one), normal(other));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        /// Eight bytes at a time give the same as one token after the other.
        #[test]
        fn whole_lines_are_normalised_as_tokens_are(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(&[
                        " ", "  ", "\t", "\r", "\x0b", "#", "-", "#-", ".", ":", "/", "+", ",", "tmp", "/tmp/", "tmp.",
                        "a", "dead", "beef", "cafe", "feed1", "0x7f", "deadbeef", "word", "longerword", "0", "1", "12", "3s",
                        "550e8400-e29b-41d4-a716-446655440000", "\u{7f}", "\u{e4}", "\u{1f600}", "v1.2.3", "ms",
                    ][..]).prop_map(str::to_owned),
                    "[ -~]{0,12}",
                    "[ a-f0-9#-]{0,12}",
                ],
                0..24,
            )
        ) {
            let text = pieces.concat();
            let mut simple = Normal::default();
            let mut at = 0;
            while at < text.len() {
                at = token(text.as_bytes(), at, &mut simple);
            }
            if simple.len > 0 && simple.ends_with_blank() {
                simple.len -= 1;
            }
            let bulk = normal(&text);
            prop_assert_eq!(bulk.as_bytes(), simple.as_slice());
        }
    }

    #[test]
    fn a_line_as_long_as_there_is_room_for_is_normalised() {
        for unit in ["x", " ", "1", "x 1", "tmp.ab "] {
            let text = unit.repeat(ROOM + 9);
            assert!(normal(&text).len() <= ROOM);
        }
        assert_eq!(normal(&"x".repeat(ROOM + 9)).len(), ROOM);
    }

    #[test]
    fn what_matters_differs() {
        for (one, other) in [
            ("error: no such file", "error: no such folder"),
            ("test a ... ok", "test a ... FAILED"),
            ("exit code", "exit status"),
            ("", "x"),
        ] {
            assert_ne!(normal(one), normal(other));
        }
        assert_eq!(normal("  a  b \t"), "a b");
    }

    fn sketch(text: &str) -> Sketch {
        let mut learner = Learner::default();
        for piece in text.as_bytes().chunks(5) {
            learner.push(piece);
        }
        learner.finish()
    }

    fn hash_of(text: &str) -> u64 {
        line_hash(text.as_bytes(), &mut Normal::default()).unwrap()
    }

    #[test]
    fn a_set_knows_its_lines_on_the_disk_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.lines");
        assert!(Sketch::load(&path).unwrap().is_none());
        sketch("one\ntwo 1\n\ntwo 2\nthree").save(&path).unwrap();
        let loaded = Sketch::load(&path).unwrap().unwrap();
        assert_eq!(loaded.len(), 3);
        let mut known = Known::default();
        assert_eq!(known.is_new(hash_of("one")), None);
        known.add("build 1", loaded);
        assert_eq!(known.is_new(hash_of("two 77")), Some(false));
        assert_eq!(known.is_new(hash_of("three")), Some(false));
        assert_eq!(known.is_new(hash_of("four")), Some(true));
        known.add("build 2", sketch("four"));
        assert_eq!(known.is_new(hash_of("four")), Some(false));
        // A damaged file knows nothing, and breaks nothing.
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, &bytes).unwrap();
        assert!(Sketch::load(&path).unwrap().is_none());
        fs::write(&path, b"another format").unwrap();
        assert!(Sketch::load(&path).unwrap().is_none());
    }

    #[test]
    fn of_too_many_lines_a_fair_sample_is_kept_and_the_rest_is_not_judged() {
        let name = |i: usize| {
            let mut name = String::new();
            let mut i = i;
            for _ in 0..6 {
                name.push(char::from(b'g' + (i % 19) as u8));
                i /= 19;
            }
            name
        };
        let mut learner = Learner::default();
        let lines = MAX_HASHES * 3;
        for i in 0..lines {
            learner.push(name(i).as_bytes());
            learner.push(b"\n");
        }
        let sketch = learner.finish();
        assert_eq!(sketch.len(), MAX_HASHES);
        let mut known = Known::default();
        known.add("build 1", sketch);
        let judged = |i: usize| known.is_new(hash_of(&name(i)));
        let of: Vec<_> = (0..1000).map(judged).collect();
        assert!(
            !of.contains(&Some(true)),
            "a line that was there counts as new"
        );
        let seen = of.iter().filter(|new| **new == Some(false)).count();
        assert!(
            (200..470).contains(&seen),
            "{seen} of 1000 are in the sample"
        );
        assert!((lines..lines + 100).any(|i| judged(i) == Some(true)));
    }
}
