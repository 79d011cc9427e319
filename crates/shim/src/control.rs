//! What reaches the shim from outside while it works: the control FIFO, signals, the job's clock.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use windlass_shim::order::CANCEL;

/// Longer control lines are nonsense; this bounds the memory for them.
const MAX_COMMAND: usize = 256;

/// Why the whole job has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked for it.
    Cancelled,
    /// The job's time is over.
    JobTimeout,
}

/// Blocks the signals that [`Control`] reads. Must come before anything that may cause one.
///
/// SIGCHLD is one of them only to wake whoever sleeps in [`Control::wait`].
/// SIGHUP is blocked and never acted upon: the terminal of whoever started the server does not
/// matter to a job. SIGPIPE is ignored by Rust's own start-up.
///
/// # Errors
/// What the system says.
pub(crate) fn open_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
    ] {
        mask.add(signal);
    }
    mask.thread_block()?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    Ok(SignalFd::with_flags(&mask, flags)?)
}

/// Makes the control FIFO. Open for reading and writing, so that it never ends when a writer
/// closes it.
///
/// # Errors
/// What the system says.
pub(crate) fn open_fifo(path: &Path) -> io::Result<File> {
    match nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e.into()),
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// The ears of the shim.
pub(crate) struct Control {
    fifo: Option<File>,
    signals: SignalFd,
    command: Vec<u8>,
    deadline: Option<Instant>,
    stop: Option<Stop>,
}

impl Control {
    /// Listens to `signals` and, if there is one, the FIFO.
    pub(crate) fn new(signals: SignalFd, fifo: Option<File>) -> Self {
        Self {
            fifo,
            signals,
            command: Vec::new(),
            deadline: None,
            stop: None,
        }
    }

    /// Sets the end of the job's time.
    pub(crate) fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Why the job has to stop, if it has to. The first cause stays.
    pub(crate) fn stop(&mut self) -> Option<Stop> {
        if self.stop.is_none() && self.deadline.is_some_and(|d| d <= Instant::now()) {
            self.stop = Some(Stop::JobTimeout);
        }
        self.stop
    }

    /// Sleeps until one of `outputs` can be read, something arrives from outside, the job's time
    /// is over, or `until` is reached. Returns for each output whether it can be read (or ended).
    ///
    /// # Errors
    /// The system can't poll: nothing sensible is left to do.
    pub(crate) fn wait(
        &mut self,
        outputs: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<Vec<bool>> {
        // Once the job has to stop, its time no longer wakes anybody: without this question, a
        // time that ends during a grace period would make every sleep end at once.
        let stopping = self.stop().is_some();
        let deadline = self.deadline.filter(|_| !stopping);
        let until = [until, deadline].into_iter().flatten().min();
        let mut fds = Vec::with_capacity(outputs.len() + 2);
        fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
        if let Some(fifo) = &self.fifo {
            fds.push(PollFd::new(fifo.as_fd(), PollFlags::POLLIN));
        }
        let own = fds.len();
        fds.extend(outputs.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
        match poll(&mut fds, until.map_or(PollTimeout::NONE, timeout)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(vec![false; outputs.len()]),
            Err(e) => return Err(e.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        if ready[0] {
            self.read_signals();
        }
        if ready[..own].len() > 1 && ready[1] {
            self.read_fifo();
        }
        Ok(ready[own..].to_vec())
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if let Ok(libc::SIGTERM | libc::SIGINT) = i32::try_from(info.ssi_signo) {
                self.cancel();
            }
        }
    }

    fn read_fifo(&mut self) {
        let mut buffer = [0; MAX_COMMAND];
        while let Some(n) = self.fifo.as_mut().and_then(|f| f.read(&mut buffer).ok()) {
            if n == 0 {
                return;
            }
            for byte in &buffer[..n] {
                if *byte == b'\n' {
                    if self.command == CANCEL.as_bytes() {
                        self.cancel();
                    }
                    self.command.clear();
                } else if self.command.len() < MAX_COMMAND {
                    self.command.push(*byte);
                }
            }
        }
    }

    fn cancel(&mut self) {
        self.stop.get_or_insert(Stop::Cancelled);
    }
}

/// Whole milliseconds, rounded up, so that nobody wakes just before the time.
fn timeout(until: Instant) -> PollTimeout {
    let left = until.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    let most = Duration::from_millis(i32::MAX as u64);
    PollTimeout::try_from(left.min(most)).unwrap_or(PollTimeout::MAX)
}
