//! The second way home: while the server can't be reached, everything that it has not got is printed as
//! frames on the container's standard output, where it finds them through the managers (ADR 0011).
//!
//! The first way is tried all the time; both may bring the same bytes, and offsets tell.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use windlass_shim::archive::{self, Item, Owner};
use windlass_shim::frame::{Frame, MOST, Said};

use super::server::Server;

/// How often it is looked whether there is something to print.
const LOOK: Duration = Duration::from_millis(200);

/// The archive of what the job leaves behind may have this many bytes on this way: an engine's log is
/// no place for more.
const RESULTS_LIMIT: u64 = 64 << 20;

/// What there is to tell.
pub(super) struct Aloud<'a> {
    pub(super) server: &'a Server,
    pub(super) journal: &'a Path,
    /// How the program that runs the steps ended, once it has.
    pub(super) status: &'a OnceLock<ExitStatus>,
    pub(super) results: Vec<Item>,
    /// Swarm wants the container gone.
    pub(super) dismissed: &'a AtomicBool,
}

impl Aloud<'_> {
    /// Prints whatever has to be, until the process ends.
    pub(super) fn speak(&self) {
        let mut told = 0;
        let mut told_end = false;
        loop {
            std::thread::sleep(LOOK);
            if !self.server.is_away() {
                continue;
            }
            if told_end {
                if self.dismissed.load(Ordering::Relaxed) {
                    // All is told, and nobody waits for this container any more.
                    std::process::exit(crate::EXIT_BROKEN);
                }
                continue;
            }
            // Asked before the journal is read: what comes after its end is nothing.
            let status = self.status.get();
            // Whoever reads the engine's log finds what is printed at any time.
            told = told.max(self.server.acknowledged());
            let mut out = io::stdout().lock();
            let printed = self.journal(&mut told, &mut out);
            let printed = match (printed, status) {
                (Ok(true), Some(status)) => {
                    told_end = true;
                    self.end(*status, &mut out)
                }
                (printed, _) => printed.map(drop),
            };
            if let Err(error) = printed.and_then(|()| out.flush()) {
                eprintln!("windlass-shim: could not print what the server has to know: {error}");
            }
        }
    }

    /// Prints the journal from there on; whether all of it, as far as it is written now.
    fn journal(&self, told: &mut u64, out: &mut impl Write) -> io::Result<bool> {
        let mut file = match File::open(self.journal) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(*told))?;
        let mut bytes = Vec::with_capacity(MOST);
        while self.server.is_away() {
            bytes.clear();
            (&mut file).take(MOST as u64).read_to_end(&mut bytes)?;
            if bytes.is_empty() {
                return Ok(true);
            }
            print(Said::Journal(*told, bytes.as_slice().into()), out)?;
            *told += bytes.len() as u64;
        }
        Ok(false)
    }

    fn end(&self, status: ExitStatus, out: &mut impl Write) -> io::Result<()> {
        if let Some(why) = death(status) {
            print(Said::Died(why), out)?;
        }
        if self.results.is_empty() {
            return Ok(());
        }
        let mut frames = Frames {
            out: &mut *out,
            sent: 0,
            pending: Vec::with_capacity(MOST),
        };
        let items = present(&self.results);
        let packed =
            archive::pack(&items, Owner::default(), &mut frames).and_then(|()| frames.cut());
        let length = frames.sent;
        match packed {
            Ok(()) => print(Said::ResultsEnd(length), out),
            Err(error) => print(
                Said::Died(format!(
                    "what it leaves behind could not be handed over through the engine's log: {error}"
                )),
                out,
            ),
        }
    }
}

/// Those that are there.
pub(super) fn present(items: &[Item]) -> Vec<Item> {
    let is_there =
        |item: &&Item| !matches!(item, Item::Tree(_, path) if path.symlink_metadata().is_err());
    items.iter().filter(is_there).cloned().collect()
}

/// Why the program that runs the steps left a journal without an end; `None` if it did not.
pub(super) fn death(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    Some(match status.signal() {
        Some(9) => "the program that runs the steps was killed (signal 9): was the container's memory used up \
                    (`limits.memory`)?"
            .to_owned(),
        Some(signal) => format!("the program that runs the steps was ended by signal {signal}"),
        None => format!("the program that runs the steps failed ({status})"),
    })
}

fn print(said: Said<'_>, out: &mut impl Write) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = now.unwrap_or_default().as_secs();
    out.write_all(Frame { seconds, said }.line().as_bytes())
}

/// An archive on its way into frames.
struct Frames<W> {
    out: W,
    sent: u64,
    pending: Vec<u8>,
}

impl<W: Write> Frames<W> {
    fn cut(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        print(
            Said::Results(self.sent, self.pending.as_slice().into()),
            &mut self.out,
        )?;
        self.sent += self.pending.len() as u64;
        self.pending.clear();
        if self.sent > RESULTS_LIMIT {
            return Err(io::Error::other(format!(
                "it has more than {} MiB",
                RESULTS_LIMIT >> 20
            )));
        }
        Ok(())
    }
}

impl<W: Write> Write for Frames<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(MOST - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        if self.pending.len() == MOST {
            self.cut()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
