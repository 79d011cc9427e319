//! From a shim's journal to what a person reads: log files with an index, reading, sealing,
//! terminal output as HTML, and the wake-up calls for live viewers.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | the folder of an attempt: file names, index rows | [`folder`] |
//! | journal bytes -> files and events; recovery after a crash | [`recorder`] |
//! | what the shim or the recorder said between two lines; gaps | [`note`] |
//! | reading a log, live or sealed, by offset or by row | [`reader`] |
//! | compression after the end; the log's figures and checksum | [`mod@seal`] |
//! | rows that are drawn over by later ones: progress bars | [`blocks`], `screen/block` |
//! | searching a log with a regular expression | [`search`] |
//! | where groups (folds) of lines begin and end | [`mod@group`] |
//! | the zstd seekable format itself | [`seekable`] |
//! | terminal output -> safe HTML; the colours' CSS | [`render`] |
//! | terminal output -> plain text | [`mod@strip`] |
//! | escape sequences, overwriting within a row | `screen` |
//! | the words of a log for an index, and questions to it | [`words`] |
//! | what went wrong, first: findings, and what is new | [`findings`] |
//! | where a text stands in a whole log | [`grep`] |
//! | what a copy elsewhere is made of; a log that comes back from one | [`copy`] |
//! | what a service printed, made a log like a step's | [`service`] |
//! | waking live viewers | [`hub`] |
//! | what can go wrong; "the disk is full" | [`error`] |
//!
//! Everything here blocks (plain files): asynchronous callers use `spawn_blocking`.
//!
//! ```text
//! journal bytes -> Recorder::push -> <step>.log, .idx, .notes -> events -> store -> Hub::bump
//!                                          |
//!                     LogReader <----------+---- seal -> <step>.log.zst, .idx.zst, .json
//!                         |
//!                      Renderer -> HTML
//! ```

pub mod blocks;
pub mod copy;
pub mod error;
pub mod findings;
pub mod folder;
pub mod grep;
pub mod group;
pub mod hub;
pub mod note;
pub mod reader;
pub mod recorder;
pub mod render;
mod screen;
pub mod seal;
pub mod search;
pub mod seekable;
pub mod service;
pub mod strip;
pub mod words;

pub use error::{LogError, Result};
pub use folder::{RowFlags, RowMeta, Stream};
pub use group::{Fold, FoldKind, Folds, Group, group};
pub use hub::Hub;
pub use note::{Note, NoteKind, StepEnd};
pub use reader::LogReader;
pub use recorder::{LogEvent, Recorder, RecorderLimits};
pub use render::{BlockLine, Renderer, palette_css};
pub use seal::{LogMeta, SealedStep, seal};
pub use search::{Hit, Search, SearchError, SearchOptions};
pub use strip::{Stripper, strip};
