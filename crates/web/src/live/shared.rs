//! Parts of a growing log that were rendered for one follower and are the same for all others: two
//! hundred people who watch one step cost little more than one.
//!
//! A log that somebody follows has a shelf with the newest of its blocks, as the messages that were
//! sent. It lives as long as somebody follows the log. A block is [`BLOCK_ROWS`] rows that begin at a
//! multiple of that, and nothing of it may change any more.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use windlass_logs::Renderer;

/// Rows of a block.
pub(crate) const BLOCK_ROWS: u64 = 500;
/// Blocks on one shelf ...
const MOST_BLOCKS: usize = 16;
/// ... and bytes of their messages.
const MOST_BYTES: usize = 4 << 20;

/// A block as it is sent.
#[derive(Debug)]
pub(crate) struct Block {
    /// The number of its first row, from 0.
    pub(crate) first: u64,
    /// What held before it: colours, an open link.
    pub(crate) before: Renderer,
    /// What holds behind it.
    pub(crate) after: Renderer,
    /// The log's offset behind it.
    pub(crate) end: u64,
    /// The whole message.
    pub(crate) message: Bytes,
}

/// The newest blocks of one log.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<VecDeque<Arc<Block>>>);

/// By the folder of the attempt's logs and the step.
type Shelves = HashMap<(PathBuf, u32), Weak<Shelf>>;

static SHELVES: LazyLock<Mutex<Shelves>> = LazyLock::new(Mutex::default);

/// The shelf of a step's log, for as long as somebody holds it.
pub(crate) fn shelf(folder: &Path, step: u32) -> Arc<Shelf> {
    let mut shelves = lock(&SHELVES);
    let key = (folder.to_owned(), step);
    if let Some(shelf) = shelves.get(&key).and_then(Weak::upgrade) {
        return shelf;
    }
    shelves.retain(|_, shelf| shelf.strong_count() > 0);
    let shelf = Arc::new(Shelf::default());
    shelves.insert(key, Arc::downgrade(&shelf));
    shelf
}

impl Shelf {
    /// The block that begins at row `first`, if it is there and was rendered in the same state.
    pub(crate) fn find(&self, first: u64, before: &Renderer) -> Option<Arc<Block>> {
        let blocks = lock(&self.0);
        let mut fitting = blocks.iter().rev().filter(|block| block.first == first);
        fitting
            .find(|block| block.before.is_as(before))
            .map(Arc::clone)
    }

    /// Puts a block there, and takes the oldest ones away.
    pub(crate) fn put(&self, block: Block) {
        let mut blocks = lock(&self.0);
        blocks.retain(|old| old.first != block.first || !old.before.is_as(&block.before));
        blocks.push_back(Arc::new(block));
        let size = |blocks: &VecDeque<Arc<Block>>| -> usize {
            blocks.iter().map(|block| block.message.len()).sum()
        };
        while blocks.len() > MOST_BLOCKS || blocks.len() > 1 && size(&blocks) > MOST_BYTES {
            blocks.pop_front();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is whole before the lock is released, so a poisoned one is as good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: u64, before: Renderer, len: usize) -> Block {
        Block {
            first,
            before,
            after: Renderer::new(),
            end: 0,
            message: vec![b'x'; len].into(),
        }
    }

    #[test]
    fn a_shelf_is_shared_as_long_as_somebody_holds_it() {
        let folder = Path::new("/shelves/a1");
        let one = shelf(folder, 0);
        one.put(block(500, Renderer::new(), 10));
        assert!(shelf(folder, 0).find(500, &Renderer::new()).is_some());
        assert!(shelf(folder, 1).find(500, &Renderer::new()).is_none());
        assert!(one.find(0, &Renderer::new()).is_none());
        drop(one);
        assert!(shelf(folder, 0).find(500, &Renderer::new()).is_none());
        let key = (folder.to_owned(), 1);
        assert!(!lock(&SHELVES).contains_key(&key), "it stays for ever");
    }

    #[test]
    fn what_was_rendered_in_another_state_does_not_fit() {
        let shelf = Shelf::default();
        let mut red = Renderer::new();
        red.skip(b"\x1b[31mred\n");
        shelf.put(block(0, red.clone(), 10));
        assert!(shelf.find(0, &Renderer::new()).is_none());
        assert!(shelf.find(0, &red).is_some());
        let mut linked = red.clone();
        linked.skip(b"\x1b]8;;https://a.example\x07x\n");
        assert!(shelf.find(0, &linked).is_none());
    }

    #[test]
    fn a_shelf_holds_little() {
        let shelf = Shelf::default();
        for n in 0..100 {
            shelf.put(block(n * BLOCK_ROWS, Renderer::new(), 10));
        }
        assert_eq!(lock(&shelf.0).len(), MOST_BLOCKS);
        for n in 100..110 {
            shelf.put(block(n * BLOCK_ROWS, Renderer::new(), MOST_BYTES / 3));
        }
        assert_eq!(lock(&shelf.0).len(), 3);
        shelf.put(block(0, Renderer::new(), 2 * MOST_BYTES));
        assert_eq!(lock(&shelf.0).len(), 1);
    }
}
