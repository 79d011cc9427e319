//! Starting a program and collecting the dead: the only unsafe code of Windlass.
//!
//! nix marks `fork` unsafe because the child of a program with threads may only use
//! async-signal-safe calls. The shim has one thread; the child keeps to such calls all the same:
//! everything that needs memory is made before the fork.
//!
//! Between the shim and each program stands a *keeper*: a fork of the shim that adopts whatever the
//! program leaves behind, and does nothing but wait. So "the tree of this step" is exactly "what
//! descends from its keeper", however many steps run at a time, and a keeper that has ended proves
//! that nothing of its step is left.

#![expect(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::unistd::{ForkResult, Pid};

/// What to execute; everything is ready for `execve`.
pub(crate) struct Program {
    /// The file, absolute or relative to `cwd`.
    pub(crate) path: CString,
    /// The arguments, with the program's name first.
    pub(crate) argv: Vec<CString>,
    /// The whole environment, `NAME=value`.
    pub(crate) env: Vec<CString>,
    /// The folder in which it starts.
    pub(crate) cwd: CString,
}

/// What a program is connected to.
pub(crate) struct Wiring<'a> {
    /// File descriptor 0.
    pub(crate) stdin: BorrowedFd<'a>,
    /// File descriptor 1.
    pub(crate) stdout: BorrowedFd<'a>,
    /// File descriptor 2.
    pub(crate) stderr: BorrowedFd<'a>,
    /// Whether stdout is a terminal, to become the controlling one.
    pub(crate) terminal: bool,
    /// `cgroup.procs` files, open for writing: the program joins them before it runs.
    pub(crate) cgroups: &'a [OwnedFd],
}

/// What the child was doing when a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Making the process or its pipes.
    Fork,
    /// Making its session, descriptors or terminal.
    Wiring,
    /// Entering the workspace.
    Workspace,
    /// `execve`.
    Exec,
}

/// Why a program does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Where it stopped.
    pub(crate) stage: Stage,
    /// The system's reason.
    pub(crate) errno: Errno,
}

/// A program that runs.
pub(crate) struct Spawned {
    /// Its keeper's process id.
    pub(crate) keeper: Pid,
    /// What the keeper tells, see [`read_news`]. Never blocks.
    pub(crate) news: OwnedFd,
    /// Why a cgroup could not be joined; the program runs without its limits.
    pub(crate) unlimited: Option<Errno>,
}

/// The letters that the child sends before an errno.
const FORK: u8 = b'f';
const WIRING: u8 = b'w';
const CGROUP: u8 = b'g';
const WORKSPACE: u8 = b'd';
const EXEC: u8 = b'x';

/// Starts `program` under a keeper, in a session of its own, with all signals as a program expects
/// them, and tied to the shim's life. Returns when it runs (or can't).
pub(crate) fn spawn(program: &Program, wiring: &Wiring<'_>) -> Result<Spawned, Failure> {
    let fork_failed = |errno| Failure {
        stage: Stage::Fork,
        errno,
    };
    // Closed by a successful exec: the end of this pipe means "it runs".
    let (news, tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(fork_failed)?;
    let (keeper_news, keeper_tell) = nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(fork_failed)?;
    fcntl(&keeper_news, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(fork_failed)?;
    let argv = pointers(&program.argv);
    let env = pointers(&program.env);
    let parent = nix::unistd::getpid();

    // SAFETY: the process has one thread, and the child calls nothing but `keep`, which makes
    // system calls only and never returns.
    let keeper = match unsafe { nix::unistd::fork() }.map_err(fork_failed)? {
        ForkResult::Child => {
            let tell = (tell.as_raw_fd(), keeper_tell.as_raw_fd());
            keep(program, wiring, &argv, &env, parent, tell)
        }
        ForkResult::Parent { child } => child,
    };
    drop(tell);
    drop(keeper_tell);

    let mut unlimited = None;
    loop {
        // Five bytes are written at once and a pipe never tears so few.
        let mut message = [0; 5];
        match nix::unistd::read(news.as_fd(), &mut message) {
            Err(Errno::EINTR) => {}
            Ok(5) => {
                let errno = Errno::from_raw(i32::from_ne_bytes([
                    message[1], message[2], message[3], message[4],
                ]));
                let stage = match message[0] {
                    CGROUP => {
                        unlimited = Some(errno);
                        continue;
                    }
                    FORK => Stage::Fork,
                    WORKSPACE => Stage::Workspace,
                    EXEC => Stage::Exec,
                    _ => Stage::Wiring,
                };
                // Both end by themselves; whoever reaps next sees no stranger.
                wait_for(keeper);
                return Err(Failure { stage, errno });
            }
            _ => {
                return Ok(Spawned {
                    keeper,
                    news: keeper_news,
                    unlimited,
                });
            }
        }
    }
}

/// Null-terminated, as `execve` wants them; valid as long as `strings`.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    let mut pointers: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
    pointers.push(std::ptr::null());
    pointers
}

/// The keeper's life. Only system calls, no memory is taken.
fn keep(
    program: &Program,
    wiring: &Wiring<'_>,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    parent: Pid,
    (tell, keeper_tell): (RawFd, RawFd),
) -> ! {
    const ON: libc::c_ulong = 1;
    // SAFETY: plain system calls on numbers and on memory of this function. The signals that the
    // shim has blocked stay so: nothing but SIGKILL ends a keeper before its last child.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        if libc::getppid() != parent.as_raw() {
            libc::_exit(127);
        }
        libc::prctl(libc::PR_SET_NAME, c"windlass-keeper".as_ptr());
        if libc::prctl(libc::PR_SET_CHILD_SUBREAPER, ON) < 0 {
            give_up(tell, FORK);
        }
        let own = nix::unistd::getpid();
        let leader = libc::fork();
        if leader < 0 {
            give_up(tell, FORK);
        }
        if leader == 0 {
            child(program, wiring, argv, env, own, tell);
        }
        // Whatever it held open would seem to be in use by the step.
        libc::dup2(keeper_tell, 0);
        if libc::syscall(libc::SYS_close_range, 1, u32::MAX, 0) < 0 {
            // Before Linux 5.9.
            for fd in 1..1024 {
                libc::close(fd);
            }
        }
        loop {
            let mut status = 0;
            let pid = libc::waitpid(-1, &raw mut status, 0);
            if pid == leader {
                let news = status.to_ne_bytes();
                libc::write(0, news.as_ptr().cast(), news.len());
            } else if pid < 0 && Errno::last() != Errno::EINTR {
                libc::_exit(0);
            }
        }
    }
}

/// The child's life between fork and exec. Only async-signal-safe calls, no memory is taken.
fn child(
    program: &Program,
    wiring: &Wiring<'_>,
    argv: &[*const libc::c_char],
    env: &[*const libc::c_char],
    parent: Pid,
    tell: RawFd,
) -> ! {
    // SAFETY: plain system calls on descriptors and null-terminated memory that the caller made
    // before the fork and that nobody else changes. `stdin`, `stdout`, `stderr` and `tell` are
    // above 2, because Rust's start-up opens 0 to 2, so that no dup2 overwrites a later one.
    unsafe {
        // The lists are borrowed for the whole call: `execve` reads them up to their null.
        libc::setsid();
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        if libc::getppid() != parent.as_raw() {
            // The keeper died before the line above: nobody would ever stop this program.
            libc::_exit(127);
        }
        for cgroup in wiring.cgroups {
            if libc::write(cgroup.as_raw_fd(), b"0\n".as_ptr().cast(), 2) < 0 {
                report(tell, CGROUP);
            }
        }
        let targets = [
            (wiring.stdin.as_raw_fd(), 0),
            (wiring.stdout.as_raw_fd(), 1),
            (wiring.stderr.as_raw_fd(), 2),
        ];
        for (from, to) in targets {
            if libc::dup2(from, to) < 0 {
                give_up(tell, WIRING);
            }
        }
        if wiring.terminal && libc::ioctl(1, libc::TIOCSCTTY, 0) < 0 {
            give_up(tell, WIRING);
        }
        // What is ignored or blocked here would stay so after exec. By the bare system call,
        // because libc refuses the signals that it keeps to itself (32, 33), and whoever started
        // us may have them ignored. Zeros are the default action, no flags and an empty mask, in
        // the kernel's layout of any architecture (at most 4 words; its mask has 64 bits).
        let default = [0_u64; 8];
        for signal in 1..=64 {
            let nowhere = std::ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                nowhere,
                size_of::<u64>(),
            );
        }
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        if libc::chdir(program.cwd.as_ptr()) < 0 {
            give_up(tell, WORKSPACE);
        }
        libc::execve(program.path.as_ptr(), argv.as_ptr(), env.as_ptr());
        give_up(tell, EXEC)
    }
}

/// Tells the parent which call failed, and why. For the child after the fork.
fn report(tell: RawFd, letter: u8) {
    let errno = Errno::last_raw().to_ne_bytes();
    let message = [letter, errno[0], errno[1], errno[2], errno[3]];
    // SAFETY: `tell` is the child's end of the pipe; the message is on the stack.
    unsafe {
        libc::write(tell, message.as_ptr().cast(), message.len());
    }
}

fn give_up(tell: RawFd, letter: u8) -> ! {
    report(tell, letter);
    // SAFETY: ends the child without running the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

/// How a process ended, exactly (nix's own type does not know real-time signals).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl End {
    fn from_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signaled(libc::WTERMSIG(status))
        } else {
            Self::Exited(libc::WEXITSTATUS(status))
        }
    }
}

/// What a keeper told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// The program that was started has ended.
    LeaderEnded(End),
    /// Nothing yet.
    None,
    /// The keeper is dead, and so is everything that it kept; unless somebody killed it.
    Over,
}

/// What came from a keeper, without waiting.
pub(crate) fn read_news(news: BorrowedFd<'_>) -> News {
    loop {
        // Four bytes are written at once and a pipe never tears so few.
        let mut status = [0; 4];
        return match nix::unistd::read(news, &mut status) {
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => News::None,
            Ok(4) => News::LeaderEnded(End::from_status(i32::from_ne_bytes(status))),
            _ => News::Over,
        };
    }
}

/// Collects all dead children, without waiting. Returns whether the shim has no child at all; it is
/// a subreaper: so there is no descendant either.
pub(crate) fn is_childless() -> bool {
    loop {
        let mut status = 0;
        // SAFETY: `status` is ours and outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            0 => return false,
            1.. => {}
            _ if Errno::last() == Errno::EINTR => {}
            _ => return true,
        }
    }
}

/// Collects a child that is about to end.
pub(crate) fn wait_for(pid: Pid) {
    let mut status = 0;
    // SAFETY: `status` is ours and outlives the call.
    while unsafe { libc::waitpid(pid.as_raw(), &raw mut status, 0) } < 0
        && Errno::last() == Errno::EINTR
    {}
}
