//! Masking secrets in a stream, before anything is written.
//!
//! An Aho-Corasick automaton over all forms of all secrets ([`crate::needles`]) reads the stream
//! from three points of view at once: all bytes; the bytes that a terminal shows, without escape
//! sequences; and those without line breaks too (as `base64` wraps them at 76 columns), once
//! [`MIN_NEEDLE`] bytes of a needle have been seen before the break. What any view recognises is
//! replaced by `***`, with the escape sequences inside it; finds that overlap are one.
//!
//! Only bytes that may still become a needle are held back. What is not covered: a secret wrapped
//! within its first few bytes, or by something that inserts more than a line break (an indent, a
//! margin), and forms that no list can hold (encrypted, compressed, one letter per line).

use std::collections::{BTreeSet, VecDeque};

use crate::needles::{MIN_NEEDLE, needles};

/// What stands in the log in place of a secret.
pub(crate) const MASK: &[u8] = b"***";
/// An escape sequence longer than this is taken for text.
const MAX_ESCAPE: usize = 4 * 1024;
/// Beyond the longest needle, this much is held back for escape sequences within a needle.
const MAX_HELD_ESCAPES: u64 = 16 * 1024;
/// A line break is at most CR LF; more is not a wrapped secret.
const MAX_BREAK: u8 = 2;

const ESC: u8 = 0x1b;

/// All forms of all secrets, ready to search for.
pub(crate) struct Automaton {
    root: Box<[u32; 256]>,
    states: Vec<State>,
    edges: Vec<Edge>,
    /// Bytes at which the search must look closer: beginnings of needles, and ESC.
    interesting: Box<[bool; 256]>,
    /// The first two bytes of all needles, one bit per second byte: most texts that begin like a
    /// needle are told apart by the next byte, long before the automaton has to move.
    pairs: Box<[[u64; 4]; 256]>,
    longest: usize,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Where the search goes on when no edge fits: the longest proper suffix that is a beginning.
    fail: u32,
    /// The first of this state's edges, a linked list; [`NONE`] at a leaf.
    edge: u32,
    /// How many bytes lead here.
    depth: u32,
    /// The longest needle that ends here, in bytes; 0: none.
    found: u32,
    /// This state or the nearest one along `fail` that has edges: a leaf leads nowhere.
    live: u32,
}

#[derive(Clone, Copy)]
struct Edge {
    byte: u8,
    to: u32,
    next: u32,
}

const NONE: u32 = u32::MAX;

impl Automaton {
    /// For these secrets; `None` if there is nothing to look for.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let needles = needles(secrets);
        (!needles.is_empty()).then(|| Self::of_needles(&needles))
    }

    fn of_needles(needles: &BTreeSet<Vec<u8>>) -> Self {
        let fresh = |depth| State {
            edge: NONE,
            depth,
            ..State::default()
        };
        let mut automaton = Self {
            root: Box::new([0; 256]),
            states: vec![fresh(0)],
            edges: Vec::new(),
            interesting: Box::new([false; 256]),
            pairs: Box::new([[0; 4]; 256]),
            longest: needles.iter().map(Vec::len).max().unwrap_or(0),
        };
        automaton.interesting[usize::from(ESC)] = true;
        for needle in needles {
            let mut at = 0;
            for byte in needle {
                at = match automaton.edge(at, *byte) {
                    Some(to) => to,
                    None => {
                        let to = index(automaton.states.len());
                        let depth = automaton.states[at as usize].depth + 1;
                        automaton.states.push(fresh(depth));
                        automaton.add_edge(at, *byte, to);
                        to
                    }
                };
            }
            automaton.states[at as usize].found = index(needle.len());
            automaton.interesting[usize::from(needle[0])] = true;
            let second = usize::from(needle[1]);
            automaton.pairs[usize::from(needle[0])][second / 64] |= 1 << (second % 64);
        }
        automaton.link();
        automaton
    }

    fn add_edge(&mut self, at: u32, byte: u8, to: u32) {
        if at == 0 {
            self.root[usize::from(byte)] = to;
        }
        let state = &mut self.states[at as usize];
        self.edges.push(Edge {
            byte,
            to,
            next: state.edge,
        });
        state.edge = index(self.edges.len() - 1);
    }

    /// Sets `fail`, `found` and `live`, in the order of depth.
    fn link(&mut self) {
        let mut queue = VecDeque::from([0_u32]);
        while let Some(at) = queue.pop_front() {
            let mut edge = self.states[at as usize].edge;
            while let Some(&Edge { byte, to, next }) = self.edges.get(edge as usize) {
                queue.push_back(to);
                let fail = match at {
                    0 => 0,
                    _ => self.step(self.states[at as usize].fail, byte),
                };
                let shorter = self.states[fail as usize];
                let state = &mut self.states[to as usize];
                state.fail = fail;
                state.found = state.found.max(shorter.found);
                state.live = match state.edge {
                    NONE => shorter.live,
                    _ => to,
                };
                edge = next;
            }
        }
    }

    /// How many bytes from the beginning are certainly not of interest.
    fn plain(&self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(n) = bytes[at..]
            .iter()
            .position(|b| self.interesting[usize::from(*b)])
        {
            at += n;
            let first = bytes[at];
            let Some(&second) = bytes.get(at + 1) else {
                return at;
            };
            let bit = self.pairs[usize::from(first)][usize::from(second / 64)] >> (second % 64) & 1;
            if first == ESC || second == ESC || bit == 1 {
                return at;
            }
            at += 1;
        }
        bytes.len()
    }

    fn edge(&self, at: u32, byte: u8) -> Option<u32> {
        let mut edge = self.states[at as usize].edge;
        while let Some(found) = self.edges.get(edge as usize) {
            if found.byte == byte {
                return Some(found.to);
            }
            edge = found.next;
        }
        None
    }

    fn step(&self, mut at: u32, byte: u8) -> u32 {
        while at != 0 {
            if let Some(to) = self.edge(at, byte) {
                return to;
            }
            at = self.states[at as usize].fail;
        }
        self.root[usize::from(byte)]
    }

    /// Masks a text that is complete in itself.
    pub(crate) fn mask_text(&self, text: &str) -> String {
        let mut masker = Masker::new();
        let mut out = Vec::new();
        masker.push(self, text.as_bytes(), &mut out);
        masker.finish(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

/// A state's or edge's number. Needles come from one JSON file and are far below 4 GiB.
fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE)
}

/// One point of view on the stream.
#[derive(Clone, Default)]
struct View {
    state: u32,
    /// Where in the stream the bytes are that led to `state`.
    places: VecDeque<u64>,
}

impl View {
    /// Takes the byte at `place`. Returns where a needle begins that ends with it.
    fn feed(&mut self, automaton: &Automaton, byte: u8, place: u64) -> Option<u64> {
        self.state = automaton.step(self.state, byte);
        if self.state == 0 {
            self.places.clear();
            return None;
        }
        let state = automaton.states[self.state as usize];
        self.places.push_back(place);
        self.keep(state.depth as usize);
        let mut begin = None;
        if state.found > 0 {
            begin = self
                .places
                .get(self.places.len() - state.found as usize)
                .copied();
        }
        if state.live != self.state {
            self.state = state.live;
            self.keep(automaton.states[self.state as usize].depth as usize);
        }
        begin
    }

    fn keep(&mut self, depth: usize) {
        self.places.drain(..self.places.len() - depth);
    }

    fn reset(&mut self) {
        self.state = 0;
        self.places.clear();
    }
}

/// Masks one stream. Memory: the longest needle and about 20 KiB.
#[derive(Default)]
pub(crate) struct Masker {
    /// Bytes that are held back; they begin at `held_from` within the vector and at `released` in
    /// the stream.
    held: Vec<u8>,
    held_from: usize,
    released: u64,
    raw: View,
    visible: View,
    unwrapped: View,
    /// The views differ. As long as they don't, only `raw` is kept.
    apart: bool,
    parser: Escapes,
    line_break: u8,
    /// Ranges to mask that may still grow, in order, apart from each other.
    finds: VecDeque<(u64, u64)>,
}

impl Masker {
    /// At the beginning of a stream.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Takes the stream's next bytes and appends what is sure to `out`.
    pub(crate) fn push(&mut self, automaton: &Automaton, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.is_idle() {
                let plain = automaton.plain(bytes);
                out.extend_from_slice(&bytes[..plain]);
                self.released += plain as u64;
                bytes = &bytes[plain..];
            }
            // Byte by byte until nothing is of interest again.
            let mut taken = 0;
            for byte in bytes {
                taken += 1;
                self.take(automaton, *byte);
                self.release(automaton, out);
                if self.is_idle() {
                    break;
                }
            }
            bytes = &bytes[taken..];
        }
    }

    /// The stream has ended: what was held back is no secret.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.raw.reset();
        self.visible.reset();
        self.unwrapped.reset();
        let end = self.end();
        self.release_until(end, out);
    }

    fn is_idle(&self) -> bool {
        self.held_from == self.held.len()
            && self.raw.state == 0
            && !self.apart
            && self.parser == Escapes::Text
    }

    /// The place behind the last byte.
    fn end(&self) -> u64 {
        self.released + (self.held.len() - self.held_from) as u64
    }

    fn take(&mut self, automaton: &Automaton, byte: u8) {
        let place = self.end();
        self.held.push(byte);
        let shown = self.parser.feed(byte);
        let is_break = byte == b'\n' || byte == b'\r';
        if !self.apart && self.raw.state != 0 && (!shown || is_break) {
            self.apart = true;
            self.visible.clone_from(&self.raw);
            self.unwrapped.clone_from(&self.raw);
        }

        let mut found = self.raw.feed(automaton, byte, place);
        if !self.apart {
            if !shown {
                // The other views stand at the root, and this byte does not move them.
                self.apart = self.raw.state != 0;
            }
        } else if shown {
            let seen = self.visible.feed(automaton, byte, place);
            found = [found, seen].into_iter().flatten().min();
            if is_break && self.line_break < MAX_BREAK && self.unwrapped.places.len() >= MIN_NEEDLE
            {
                self.line_break += 1;
            } else {
                self.line_break = 0;
                let seen = self.unwrapped.feed(automaton, byte, place);
                found = [found, seen].into_iter().flatten().min();
            }
        }
        if let Some(begin) = found {
            self.add_find(begin, place + 1);
        }
        if self.apart {
            let alike = |view: &View| {
                view.state == self.raw.state && view.places.front() == self.raw.places.front()
            };
            if alike(&self.visible) && alike(&self.unwrapped) {
                self.apart = false;
                self.visible.reset();
                self.unwrapped.reset();
            }
        }
    }

    fn add_find(&mut self, mut begin: u64, end: u64) {
        while let Some(&(last_begin, last_end)) = self.finds.back() {
            if last_end <= begin {
                break;
            }
            begin = begin.min(last_begin);
            self.finds.pop_back();
        }
        self.finds.push_back((begin, end));
    }

    /// Appends what no view may need any more.
    fn release(&mut self, automaton: &Automaton, out: &mut Vec<u8>) {
        let begins = [&self.raw, &self.visible, &self.unwrapped];
        let first = begins.iter().filter_map(|view| view.places.front()).min();
        let mut until = first.copied().unwrap_or(self.end());
        if self.end() - until > automaton.longest as u64 + MAX_HELD_ESCAPES {
            // Endless escape sequences within something that begins like a secret.
            self.visible.reset();
            self.unwrapped.reset();
            until = self.raw.places.front().copied().unwrap_or(self.end());
        }
        self.release_until(until, out);
    }

    fn release_until(&mut self, until: u64, out: &mut Vec<u8>) {
        while let Some(&(begin, end)) = self.finds.front() {
            if end > until {
                break;
            }
            self.emit(begin, out);
            out.extend_from_slice(MASK);
            self.drop_held(end);
            self.finds.pop_front();
        }
        let begin = self.finds.front().map_or(until, |f| f.0.min(until));
        self.emit(begin, out);
    }

    fn emit(&mut self, until: u64, out: &mut Vec<u8>) {
        let n = until.saturating_sub(self.released) as usize;
        out.extend_from_slice(&self.held[self.held_from..self.held_from + n]);
        self.drop_held(self.released + n as u64);
    }

    fn drop_held(&mut self, until: u64) {
        self.held_from += until.saturating_sub(self.released) as usize;
        self.released = self.released.max(until);
        // Moving the rest to the front only now and then keeps this linear.
        if self.held_from == self.held.len() {
            self.held.clear();
            self.held_from = 0;
        } else if self.held_from > self.held.len() / 2 && self.held_from > 4096 {
            self.held.drain(..self.held_from);
            self.held_from = 0;
        }
    }
}

/// Where in an escape sequence (ECMA-48 and xterm's) the stream stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Escapes {
    /// Not in one.
    #[default]
    Text,
    /// After ESC.
    Escape(usize),
    /// After ESC and an intermediate byte, as in `ESC ( B`.
    Intermediate(usize),
    /// After `ESC [`.
    Csi(usize),
    /// After `ESC ]` (ended by BEL or ESC \), or `ESC P`, `X`, `^`, `_` (ended by ESC \).
    Str(usize, bool),
}

impl Escapes {
    /// Takes a byte and says whether a terminal would show it (or move by it).
    fn feed(&mut self, byte: u8) -> bool {
        let (next, shown) = match (*self, byte) {
            (Self::Text, ESC) => (Self::Escape(1), false),
            (Self::Text, _) => (Self::Text, true),
            (Self::Escape(n) | Self::Intermediate(n) | Self::Csi(n) | Self::Str(n, _), _)
                if n >= MAX_ESCAPE =>
            {
                (Self::Text, true)
            }
            (Self::Escape(_) | Self::Intermediate(_) | Self::Csi(_) | Self::Str(..), ESC) => {
                // A new sequence, or the first half of ESC \, which ends as one.
                (Self::Escape(1), false)
            }
            (Self::Escape(n), b'[') => (Self::Csi(n + 1), false),
            (Self::Escape(n), b']') => (Self::Str(n + 1, true), false),
            (Self::Escape(n), b'P' | b'X' | b'^' | b'_') => (Self::Str(n + 1, false), false),
            (Self::Escape(n) | Self::Intermediate(n), 0x20..=0x2f) => {
                (Self::Intermediate(n + 1), false)
            }
            (Self::Escape(_) | Self::Intermediate(_), 0x30..=0x7e) => (Self::Text, false),
            (Self::Csi(n), 0x20..=0x3f) => (Self::Csi(n + 1), false),
            (Self::Csi(_), 0x40..=0x7e) => (Self::Text, false),
            (Self::Str(_, true), 0x07) => (Self::Text, false),
            // A line end within: the sequence was never ended.
            (Self::Str(..), b'\n') => (Self::Text, true),
            (Self::Str(n, bell), _) => (Self::Str(n + 1, bell), false),
            // Not a sequence after all.
            (Self::Escape(_) | Self::Intermediate(_) | Self::Csi(_), _) => (Self::Text, true),
        };
        *self = next;
        shown
    }
}

#[cfg(test)]
mod tests;
