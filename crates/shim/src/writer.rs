//! The journal on its way to the disk: nothing is lost when the disk is full.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use windlass_shim::journal::{Encoder, Record, Stream};

/// What brings the journal to its readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// The file in the attempt's folder.
    File,
    /// Standard output, which the engine of this container keeps.
    Stdout,
}

/// The journal file and what still has to be written to it.
///
/// What is recorded waits in memory until [`Writer::flush`] has brought it to the file. While the
/// disk is full, the caller stops reading output, so that this memory does not grow and the
/// program waits in its own write.
pub(crate) struct Writer {
    file: File,
    carrier: Carrier,
    encoder: Encoder,
    pending: Vec<u8>,
    written: usize,
}

impl Writer {
    /// Makes the journal.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one; anything else that the system says.
    pub(crate) fn create(path: &Path, carrier: Carrier) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o644)
            .open(path)?;
        let file = match carrier {
            Carrier::File => file,
            // A copy that steps don't inherit.
            Carrier::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        Ok(Self {
            file,
            carrier,
            encoder: Encoder::new(),
            pending: Vec::new(),
            written: 0,
        })
    }

    /// Records something other than output.
    pub(crate) fn record(&mut self, record: &Record<'_>) {
        self.encoder.encode(now_us(), record, &mut self.pending);
    }

    /// Records output bytes.
    pub(crate) fn output(&mut self, step: u32, stream: Stream, bytes: &[u8]) {
        let now = now_us();
        self.encoder
            .output(now, step, stream, bytes, &mut self.pending);
    }

    /// Writes what it can, and says whether that was all: `false` means that the disk is full and
    /// that one should try again later.
    ///
    /// # Errors
    /// The file can't be written, now or later.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.pending.len() {
            match nix::unistd::write(self.file.as_fd(), &self.pending[self.written..]) {
                Ok(n) => self.written += n,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EAGAIN) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        self.pending.clear();
        self.written = 0;
        Ok(true)
    }

    /// Brings the file's contents to the disk itself, for the case that the machine dies.
    /// A file system that can't is no reason to fail the job.
    pub(crate) fn sync(&self) {
        if self.carrier == Carrier::Stdout {
            return;
        }
        if let Err(e) = self.file.sync_data() {
            eprintln!("windlass-shim: the journal was written but not synced: {e}");
        }
    }
}

/// Microseconds since 1970 by the wall clock.
fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
}
