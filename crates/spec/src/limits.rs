//! How large a spec may be. Generous for people, and small enough that no file hurts the server.

/// Bytes of the file.
pub(crate) const SOURCE: usize = 256 * 1024;
/// Maps and lists in each other.
pub(crate) const DEPTH: usize = 32;
/// Values, with all aliases filled in.
pub(crate) const NODES: usize = 20_000;
/// Bytes of text in all values, with all aliases filled in.
pub(crate) const EXPANDED: usize = 1024 * 1024;
/// Steps of a job.
pub(crate) const STEPS: usize = 500;
/// Bytes of a script or of a variable with its name: Linux takes 128 KiB in one argument.
pub(crate) const TEXT: usize = 120 * 1024;
/// Characters of a name.
pub(crate) const NAME: usize = 100;
/// Words of an interpreter; each of them is repeated in every step.
pub(crate) const SHELL_WORDS: usize = 32;
/// Bytes of one of these words.
pub(crate) const SHELL_WORD: usize = 1024;
/// Jobs in a file.
pub(crate) const JOBS: usize = 500;
/// Jobs of a plan, with all cells of all matrices.
pub(crate) const CELLS: usize = 10_000;
/// Items of a list such as `needs` or `artifacts`.
pub(crate) const ITEMS: usize = 200;
/// Characters of a name that stands in expressions.
pub(crate) const WORD: usize = 60;
