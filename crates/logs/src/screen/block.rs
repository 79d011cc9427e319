//! Lines that a program draws over: progress bars that move the cursor up, write again, and come
//! back down (docker pull, npm, cargo with several bars, pytest plug-ins).
//!
//! A block is a run of rows of the log that is given to one screen. What comes out are the lines
//! as they stand in the end, each under the number of a row:
//!
//! - A line bears the number of the last row that *ended* on it: a search hit, a finding or a link
//!   to a row leads to where its text is seen.
//! - Where that would put numbers out of order, it bears the number of the row that made the line.
//! - A line that no row ended on or made (a cursor was sent there) is shown with the line below it.
//! - Numbers that no line bears are of rows that were drawn over. They keep their place in the log:
//!   nothing that is linked ever moves.
//!
//! Clearing the whole screen (`CSI 2 J`, `CSI 3 J`, `ESC c`) begins a new one below: a log forgets
//! nothing.

use super::{BLANK, Cell, Screen};
use crate::render::link::Link;

/// Lines of the screen, as of the shim's terminal: no cursor moves further up.
pub(crate) const SCREEN_LINES: usize = 100;
/// A cursor that is sent to a place makes no more lines than this in one block.
const MAX_MADE: usize = 5_000;

/// The lines of a block, but for the cells of the one that the cursor is in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    lines: Vec<Line>,
    /// The line that the cursor is in.
    at: usize,
    /// The first line of the newest screen.
    screen: usize,
    /// Line and column that were saved.
    saved: Option<(usize, usize)>,
    /// The row that is being read.
    number: u64,
    /// Lines that no row's end made.
    made: usize,
    /// Whether the cursor is where the next row begins.
    fresh: bool,
}

/// One line of the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line {
    pub(crate) cells: Vec<Cell>,
    pub(crate) links: Vec<Link>,
    blank_to: usize,
    /// The row that made it.
    first: u64,
    /// The last row that ended on it.
    last: u64,
}

impl Line {
    fn new(number: u64) -> Self {
        Self {
            first: number,
            last: number,
            ..Self::default()
        }
    }

    fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| *cell == BLANK)
    }
}

impl Screen {
    /// From here on rows belong to one block; the next one has this number.
    pub(crate) fn begin_block(&mut self, number: u64) {
        self.cells.clear();
        self.links.clear();
        (self.column, self.blank_to, self.link_number) = (0, 0, 0);
        self.block = Some(Block {
            lines: vec![Line::new(number)],
            number,
            fresh: true,
            ..Block::default()
        });
    }

    /// Ends the block: its lines, each with its number, or with `None` if it belongs to the next.
    pub(crate) fn end_block(&mut self) -> Vec<(Option<u64>, Line)> {
        let Some(mut block) = self.block.take() else {
            return Vec::new();
        };
        let (cells, links) = (&mut self.cells, &mut self.links);
        let current = &mut block.lines[block.at];
        std::mem::swap(&mut current.cells, cells);
        std::mem::swap(&mut current.links, links);
        let last_row = block.number.saturating_sub(1);
        // What lies below the cursor and is blank is empty screen, and not a line.
        let keep = block.at + usize::from(!block.fresh);
        while block.lines.len() > keep && block.lines.last().is_some_and(Line::is_blank) {
            block.lines.pop();
        }
        let mut next = last_row + 1;
        let mut numbered = Vec::with_capacity(block.lines.len());
        for line in block.lines.into_iter().rev() {
            let number = [line.last, line.first].into_iter().find(|n| *n < next);
            next = number.unwrap_or(next);
            numbered.push((number, line));
        }
        numbered.reverse();
        numbered
    }

    /// What the end of a row, or of a piece of it, means for the lines of a block.
    pub(super) fn end_of_row(&mut self, whole: bool) {
        let Some(block) = &mut self.block else {
            return;
        };
        block.lines[block.at].last = block.number;
        block.number += 1;
        block.fresh = whole;
        if whole {
            let to = block.at + 1;
            if to == block.lines.len() {
                block.lines.push(Line::new(block.number));
            }
            self.go(to);
            self.column = 0;
        }
    }

    /// Cursor movements and erasing beyond the line.
    pub(super) fn move_between_lines(
        &mut self,
        action: char,
        count: usize,
        first: u16,
        second: Option<u16>,
    ) {
        let Some(block) = &mut self.block else {
            return;
        };
        let bottom = block.lines.len() - 1;
        let up = block.at.saturating_sub(count).max(block.top());
        let down = block.at.saturating_add(count).min(bottom);
        match action {
            'A' | 'k' => self.go(up),
            'B' | 'e' => self.go(down),
            'E' => {
                self.go(down);
                self.column = 0;
            }
            'F' => {
                self.go(up);
                self.column = 0;
            }
            'H' | 'f' | 'd' => {
                let to = block.top() + usize::from(first.max(1)).min(SCREEN_LINES) - 1;
                let to = block.reach(to);
                self.go(to);
                if action != 'd' {
                    self.move_to(usize::from(second.unwrap_or(1).max(1)) - 1);
                }
            }
            'J' => self.erase_lines(first),
            's' => block.saved = Some((block.at, self.column)),
            'u' => self.restore(),
            _ => {}
        }
    }

    /// The same as two-byte sequences.
    pub(super) fn escape_between_lines(&mut self, byte: u8) {
        let Some(block) = &mut self.block else {
            return;
        };
        let at = block.at;
        match byte {
            b'M' => {
                let to = at.saturating_sub(1).max(block.top());
                self.go(to);
            }
            b'D' | b'E' => {
                let to = block.reach(at + 1);
                self.go(to);
                if byte == b'E' {
                    self.column = 0;
                }
            }
            b'7' => block.saved = Some((at, self.column)),
            b'8' => self.restore(),
            b'c' => {
                self.erase_lines(2);
                self.column = 0;
            }
            _ => {}
        }
    }

    fn restore(&mut self) {
        let saved = self.block.as_ref().and_then(|block| {
            let (line, column) = block.saved?;
            Some((line.max(block.top()), column))
        });
        if let Some((line, column)) = saved {
            self.go(line);
            self.move_to(column);
        }
    }

    fn erase_lines(&mut self, how: u16) {
        let Some(block) = &mut self.block else {
            return;
        };
        let (at, top) = (block.at, block.top());
        match how {
            0 => {
                block.lines[at + 1..].iter_mut().for_each(Line::clear);
                self.erase(0);
            }
            1 => {
                block.lines[top..at].iter_mut().for_each(Line::clear);
                self.erase(1);
            }
            2 | 3 => {
                let bottom = block.lines.len() - 1;
                let cells = if bottom == at {
                    &self.cells
                } else {
                    &block.lines[bottom].cells
                };
                let fresh = cells.is_empty();
                let to = if fresh {
                    bottom
                } else {
                    block.reach(bottom + 1)
                };
                block.screen = to;
                let column = self.column;
                self.go(to);
                self.move_to(column);
            }
            _ => {}
        }
    }

    /// Moves the cursor to a line that is there.
    fn go(&mut self, to: usize) {
        let Some(block) = &mut self.block else {
            return;
        };
        if to == block.at || to >= block.lines.len() {
            return;
        }
        for line in [block.at, to] {
            let line = &mut block.lines[line];
            std::mem::swap(&mut line.cells, &mut self.cells);
            std::mem::swap(&mut line.links, &mut self.links);
            std::mem::swap(&mut line.blank_to, &mut self.blank_to);
        }
        block.at = to;
        self.link_number = 0;
    }
}

impl Line {
    fn clear(&mut self) {
        self.cells.clear();
        self.links.clear();
        self.blank_to = 0;
    }
}

impl Block {
    /// The highest line that the cursor reaches.
    fn top(&self) -> usize {
        self.screen
            .max(self.lines.len().saturating_sub(SCREEN_LINES))
    }

    /// A line below, made if it is not there.
    fn reach(&mut self, line: usize) -> usize {
        while self.lines.len() <= line && self.made < MAX_MADE {
            self.lines.push(Line::new(self.number));
            self.made += 1;
        }
        line.min(self.lines.len() - 1)
    }
}
