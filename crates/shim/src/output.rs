//! A step's output on its way from its pipes or terminal through the mask to the journal.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{self, OutputFlags, SetArg};
use windlass_shim::journal::Stream;
use windlass_shim::order::{OutputLimit, OutputMode};

use crate::gate::Gate;
use crate::mask::{Automaton, Masker};
use crate::writer::Writer;

/// How much is read at once: what a pipe holds.
const READ: usize = 64 * 1024;
/// The terminal's size.
const COLUMNS: u16 = 160;
const ROWS: u16 = 100;

/// The shim's ends of a step's output.
pub(crate) struct Output<'a> {
    channels: Vec<Channel>,
    /// The program's end of a terminal, kept open by the shim. Without it, a program that has
    /// sent its output elsewhere would seem to have ended it, and closing our end then would hang
    /// up on it (SIGHUP).
    terminal: Option<OwnedFd>,
    automaton: Option<&'a Automaton>,
    buffer: Vec<u8>,
    masked: Vec<u8>,
    gate: Gate,
    /// The text that is awaited, until it was seen.
    awaited: Option<Vec<u8>>,
}

struct Channel {
    fd: OwnedFd,
    stream: Stream,
    masker: Masker,
    /// The last bytes, in which an awaited text may begin.
    tail: Vec<u8>,
}

/// The program's ends. To be dropped once the program runs, or the output never ends.
pub(crate) struct ProgramEnds {
    /// `/dev/null`.
    pub(crate) stdin: File,
    /// A pipe or terminal.
    pub(crate) stdout: OwnedFd,
    /// The same one unless the streams are separate.
    pub(crate) stderr: OwnedFd,
    /// Whether it is a terminal.
    pub(crate) terminal: bool,
}

impl<'a> Output<'a> {
    /// Makes the pipes or the terminal that `mode` asks for.
    ///
    /// # Errors
    /// The system has no descriptor, pipe or terminal left.
    pub(crate) fn open(
        mode: OutputMode,
        limit: Option<OutputLimit>,
        automaton: Option<&'a Automaton>,
    ) -> io::Result<(Self, ProgramEnds)> {
        let stdin = File::open("/dev/null")?;
        let mut kept = None;
        let mut channels = Vec::new();
        let mut pipe = |stream| {
            let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
            channels.push(Channel::new(read, stream)?);
            io::Result::Ok(write)
        };
        let (stdout, stderr) = match mode {
            OutputMode::Merged => {
                let write = pipe(Stream::Merged)?;
                (write.try_clone()?, write)
            }
            OutputMode::Separate => (pipe(Stream::Stdout)?, pipe(Stream::Stderr)?),
            OutputMode::Tty => {
                let (ours, theirs) = terminal()?;
                channels.push(Channel::new(ours, Stream::Merged)?);
                kept = Some(theirs.try_clone()?);
                (theirs.try_clone()?, theirs)
            }
        };
        let output = Self {
            channels,
            terminal: kept,
            automaton,
            buffer: vec![0; READ],
            masked: Vec::new(),
            gate: Gate::new(limit),
            awaited: None,
        };
        let ends = ProgramEnds {
            stdin,
            stdout,
            stderr,
            terminal: mode == OutputMode::Tty,
        };
        Ok((output, ends))
    }

    /// What to poll: the channels that have not ended.
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.channels.iter().map(|c| c.fd.as_fd()).collect()
    }

    /// Whether all channels have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.channels.is_empty()
    }

    /// Looks for `text` from now on.
    pub(crate) fn look_for(&mut self, text: &str) {
        self.awaited = Some(text.as_bytes().to_vec());
    }

    /// Whether what was looked for came.
    pub(crate) fn was_found(&self) -> bool {
        self.awaited.is_none()
    }

    /// Bytes given to the journal so far.
    pub(crate) fn written(&self) -> u64 {
        self.gate.written()
    }

    /// Bytes that were left out because there were too many.
    pub(crate) fn left_out(&self) -> u64 {
        self.gate.dropped()
    }

    /// Reads once from each channel that is `ready` (in the order of [`Output::fds`]).
    pub(crate) fn read(&mut self, ready: &[bool], step: u32, journal: &mut Writer) {
        let mut ready = ready.iter();
        let mut channels = std::mem::take(&mut self.channels);
        channels.retain_mut(|channel| {
            if !ready.next().copied().unwrap_or(false) {
                return true;
            }
            match nix::unistd::read(channel.fd.as_fd(), &mut self.buffer) {
                Ok(n) if n > 0 => {
                    // Unmasked, because the mask holds back what may be a secret's beginning:
                    // perhaps the very last bytes that come before somebody uses the program.
                    if let Some(text) = &self.awaited
                        && channel.contains(text, &self.buffer[..n])
                    {
                        self.awaited = None;
                    }
                    let bytes = &self.buffer[..n];
                    channel.pass(self.automaton, bytes, &mut self.masked, |stream, bytes| {
                        self.gate.take(step, stream, bytes, journal);
                    });
                    true
                }
                Err(Errno::EINTR | Errno::EAGAIN) => true,
                // The end; of a terminal it is an EIO.
                _ => {
                    channel.finish(&mut self.masked, |stream, bytes| {
                        self.gate.take(step, stream, bytes, journal);
                    });
                    false
                }
            }
        });
        self.channels = channels;
        if self.channels.is_empty() {
            self.gate.finish(step, journal);
        }
    }

    /// Lets a terminal end once all its users are gone.
    pub(crate) fn release_terminal(&mut self) {
        self.terminal = None;
    }

    /// Closes what is still open.
    pub(crate) fn close(&mut self, step: u32, journal: &mut Writer) {
        for mut channel in self.channels.drain(..) {
            channel.finish(&mut self.masked, |stream, bytes| {
                self.gate.take(step, stream, bytes, journal);
            });
        }
        self.gate.finish(step, journal);
    }
}

impl Channel {
    fn new(fd: OwnedFd, stream: Stream) -> io::Result<Self> {
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self {
            fd,
            stream,
            masker: Masker::new(),
            tail: Vec::new(),
        })
    }

    /// Whether `text` is in what came so far and `bytes`, which must hold its end.
    fn contains(&mut self, text: &[u8], bytes: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let found = memchr::memmem::find(&self.tail, text).is_some();
        let begin = self.tail.len().saturating_sub(text.len());
        self.tail.drain(..begin);
        found
    }

    fn pass(
        &mut self,
        automaton: Option<&Automaton>,
        bytes: &[u8],
        masked: &mut Vec<u8>,
        take: impl FnOnce(Stream, &[u8]),
    ) {
        match automaton {
            None => take(self.stream, bytes),
            Some(automaton) => {
                masked.clear();
                self.masker.push(automaton, bytes, masked);
                take(self.stream, masked);
            }
        }
    }

    fn finish(&mut self, masked: &mut Vec<u8>, take: impl FnOnce(Stream, &[u8])) {
        masked.clear();
        self.masker.finish(masked);
        take(self.stream, masked);
    }
}

/// A terminal that leaves `\n` as it is: our end and the program's.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let size = Winsize {
        ws_row: ROWS,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pair = openpty(&size, None)?;
    for fd in [&pair.master, &pair.slave] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    let mut settings = termios::tcgetattr(&pair.slave)?;
    settings
        .output_flags
        .remove(OutputFlags::OPOST | OutputFlags::ONLCR);
    termios::tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
    Ok((pair.master, pair.slave))
}
