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
//! | the zstd seekable format itself | [`seekable`] |
//! | terminal output -> safe HTML; the colours' CSS | [`render`] |
//! | terminal output -> plain text | [`mod@strip`] |
//! | escape sequences, overwriting within a row | `screen` |
//! | what a copy elsewhere is made of; a log that comes back from one | [`copy`] |
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

pub mod copy;
pub mod error;
pub mod folder;
pub mod hub;
pub mod note;
pub mod reader;
pub mod recorder;
pub mod render;
mod screen;
pub mod seal;
pub mod seekable;
pub mod strip;

pub use error::{LogError, Result};
pub use folder::{RowFlags, RowMeta, Stream};
pub use hub::Hub;
pub use note::{Note, NoteKind, StepEnd};
pub use reader::LogReader;
pub use recorder::{LogEvent, Recorder, RecorderLimits};
pub use render::{Renderer, palette_css};
pub use seal::{LogMeta, SealedStep, seal};
pub use strip::{Stripper, strip};
