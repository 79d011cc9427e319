//! Reading a journal file while its shim writes it: woken by inotify, and by a slow tick where the
//! system has no inotify left.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use windlass_shim::order::JOURNAL_FILE;

use crate::executor::{ExecutorError, Followed, Follower};

/// How much is read at once: the memory that following a job of any size takes.
const CHUNK: usize = 256 * 1024;

/// Even with inotify, look at least this often: whether the shim lives is not a file event.
const TICK: Duration = Duration::from_millis(100);

/// Without inotify, look this often.
const POLL: Duration = Duration::from_millis(20);

/// Whether the shim lives.
type Lives = Box<dyn Fn() -> Result<bool, ExecutorError> + Send>;

pub(in crate::executor) struct JournalFile {
    lives: Lives,
    path: PathBuf,
    file: File,
    inotify: Option<Inotify>,
}

impl JournalFile {
    /// Of the attempt whose shim has this folder.
    pub(in crate::executor) fn open(
        dir: &Path,
        from_offset: u64,
        lives: Lives,
    ) -> Result<Self, ExecutorError> {
        let path = dir.join(JOURNAL_FILE);
        let mut file = File::open(&path).map_err(super::file("open", &path))?;
        file.seek(SeekFrom::Start(from_offset))
            .map_err(super::file("read", &path))?;
        // Each user has only so many inotify instances; polling is the second way.
        let inotify = Inotify::init()
            .and_then(|i| {
                i.watches().add(&path, WatchMask::MODIFY)?;
                Ok(i)
            })
            .ok();
        Ok(Self {
            lives,
            path,
            file,
            inotify,
        })
    }

    fn take(&mut self, buf: &mut Vec<u8>) -> Result<usize, ExecutorError> {
        (&mut self.file)
            .take(CHUNK as u64)
            .read_to_end(buf)
            .map_err(super::file("read", &self.path))
    }

    fn sleep(&mut self, wait: Duration) {
        let Some(inotify) = &mut self.inotify else {
            std::thread::sleep(wait.min(POLL));
            return;
        };
        let ms = u16::try_from(wait.min(TICK).as_millis()).unwrap_or(u16::MAX);
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        // An error or a signal only means that we look again.
        let ready = poll(&mut fds, PollTimeout::from(ms)).unwrap_or(0);
        if ready > 0 {
            let mut events = [0; 4096];
            inotify
                .read_events(&mut events)
                .map(drop)
                .unwrap_or_default();
        }
    }
}

impl Follower for JournalFile {
    fn read(&mut self, buf: &mut Vec<u8>, wait: Duration) -> Result<Followed, ExecutorError> {
        let deadline = Instant::now() + wait;
        loop {
            if self.take(buf)? > 0 {
                return Ok(Followed::Bytes);
            }
            if !(self.lives)()? {
                // It may have written between our look and its end.
                return Ok(if self.take(buf)? > 0 {
                    Followed::Bytes
                } else {
                    Followed::Gone
                });
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Followed::Quiet);
            }
            self.sleep(deadline - now);
        }
    }
}
