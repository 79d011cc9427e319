//! A shim on another machine: fetches what the attempt begins with from the server, runs the steps in
//! a process of their own (`windlass-shim run`, which writes the journal to a file as everywhere), and
//! ships that file to the server while it grows. The file is the spool: a server that is away for hours
//! gets every byte when it is back, from the offset that it names. One that can't be reached finds them in the
//! container's log meanwhile.

mod aloud;
mod server;

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use windlass_shim::archive::{self, Item, Owner};
use windlass_shim::order::{CANCEL, CONTROL_FILE, JOURNAL_FILE, SECRETS_FILE};
use windlass_shim::remote::{Assignment, CARRIED, MOST, ROOT};

use self::aloud::{Aloud, death, present};
use self::server::{Refused, Server};

/// Whether the steps' program lives is asked this often; news of the journal wake us at once.
const LOOK: Duration = Duration::from_millis(50);

/// The pause after a request for orders failed.
const ORDERS_PAUSE: Duration = Duration::from_secs(1);

/// Does the whole attempt; the program's exit code.
pub(crate) fn ship(assignment: &Path) -> i32 {
    match attempt(assignment) {
        Ok(()) => 0,
        Err(why) => {
            // The server finds it in the log of the service.
            eprintln!("windlass-shim: {why}");
            crate::EXIT_BROKEN
        }
    }
}

fn attempt(path: &Path) -> Result<(), String> {
    // Before there is a second thread: all of them block what only one of them reads.
    let signals = crate::control::open_signals().map_err(|e| format!("no signals: {e}"))?;
    // The image's set-user-id programs shall make nobody root. Swarm itself has no option for it.
    nix::sys::prctl::set_no_new_privs().map_err(|e| format!("no_new_privs: {e}"))?;
    let text = fs::read(path).map_err(|e| {
        format!(
            "{} can't be read ({e}): the image runs as a user who is not root, and Windlass could not \
             know it; write it into the spec, as `user: NAME`",
            path.display()
        )
    })?;
    let assignment: Assignment = serde_json::from_slice(&text).map_err(|e| {
        let (line, column) = (e.line(), e.column());
        format!("the assignment can't be understood (line {line}, column {column})")
    })?;
    let server = Server::new(&assignment)?;
    let user = match &assignment.user {
        Some(user) => Some(User::find(user)?),
        None => None,
    };
    let root = Path::new(ROOT);
    make_folders(root, user.as_ref())?;
    let owner = user.as_ref().map(|user| user.owner);
    match assignment.carried {
        0 => server.files(|archive| archive::unpack_for(archive, root, owner))?,
        parts => carried(parts)
            .and_then(|archive| archive::unpack_for(archive, root, owner))
            .map_err(|e| format!("could not unpack the workspace: {e}"))?,
    }

    let shim = root.join("shim");
    let secrets = serde_json::to_vec(&assignment.secrets).unwrap_or_default();
    let secrets_file = shim.join(SECRETS_FILE);
    private(&secrets_file, &secrets)
        .and_then(|()| give(&secrets_file, owner))
        .map_err(|e| format!("could not write {}: {e}", secrets_file.display()))?;
    let inotify = watch(&shim);
    let child = run(&shim, user.as_ref()).map_err(|e| format!("could not run the steps: {e}"))?;
    let pid = child.id();
    let (status, dismissed) = (OnceLock::new(), AtomicBool::new(false));
    let (control, journal) = (shim.join(CONTROL_FILE), shim.join(JOURNAL_FILE));
    std::thread::scope(|scope| {
        let (server, control) = (&server, &control);
        let (status, dismissed) = (&status, &dismissed);
        scope.spawn(move || pass_signals_on(&signals, control, dismissed));
        scope.spawn(move || pass_orders_on(server, control));
        scope.spawn(move || await_end(child, status));
        let aloud = Aloud {
            server,
            journal: &journal,
            status,
            results: results(&assignment.bring),
            dismissed,
        };
        scope.spawn(move || aloud.speak());
        let done = follow(server, &journal, inotify.as_ref(), status)
            .and_then(|status| finish(server, status, &assignment.bring));
        // The other threads wait for things that will not come: the process ends with this one.
        if let Err(why) = &done {
            eprintln!("windlass-shim: {why}");
            if let (None, Ok(pid)) = (status.get(), i32::try_from(pid)) {
                let kill = nix::sys::signal::Signal::SIGKILL;
                nix::sys::signal::kill(Pid::from_raw(pid), kill).unwrap_or_default();
            }
        }
        std::process::exit(if done.is_ok() { 0 } else { crate::EXIT_BROKEN })
    })
}

/// What the attempt begins with, from the parts that came with the container.
fn carried(parts: usize) -> io::Result<Box<dyn Read>> {
    let mut whole: Box<dyn Read> = Box::new(io::empty());
    for number in 0..parts {
        whole = Box::new(whole.chain(File::open(format!("{CARRIED}.{number}"))?));
    }
    Ok(whole)
}

fn await_end(mut child: Child, status: &OnceLock<ExitStatus>) {
    match child.wait() {
        Ok(ended) => drop(status.set(ended)),
        // It can't be: nobody else waits for it.
        Err(error) => eprintln!("windlass-shim: could not wait for the steps' program: {error}"),
    }
}

/// Who runs the steps.
struct User {
    owner: Owner,
    home: Option<String>,
}

impl User {
    /// By the image's own lists.
    fn find(user: &str) -> Result<Self, String> {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let passwd = read("/etc/passwd");
        let owner = archive::owner(user, &passwd, &read("/etc/group"))
            .map_err(|why| format!("could not run as the user {user:?}: {why}"))?;
        let line = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields.get(2).and_then(|id| id.parse().ok()) == Some(owner.uid));
        let home = line.and_then(|fields| fields.get(5).map(|&home| home.to_owned()));
        Ok(Self { owner, home })
    }
}

fn make_folders(root: &Path, user: Option<&User>) -> Result<(), String> {
    let made = || -> io::Result<()> {
        fs::create_dir_all(root)?;
        for (name, mode) in [("shim", 0o700), ("home", 0o755), ("tmp", 0o1777)] {
            let path = root.join(name);
            fs::create_dir_all(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            give(&path, user.map(|user| user.owner))?;
        }
        Ok(())
    };
    made().map_err(|e| {
        format!(
            "could not make {} ({e}): does the image run as a user who is not root? Then write it into \
             the spec, as `user: NAME`",
            root.display()
        )
    })
}

fn give(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let id = |id| u32::try_from(id).map_err(io::Error::other);
    std::os::unix::fs::lchown(path, Some(id(owner.uid)?), Some(id(owner.gid)?))
}

fn private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}

fn watch(shim: &Path) -> Option<Inotify> {
    // Each user has only so many of them; looking again and again is the second way.
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    inotify.add_watch(shim, AddWatchFlags::IN_MODIFY).ok()?;
    Some(inotify)
}

/// Starts the program that runs the steps: this one, with another verb.
fn run(shim: &Path, user: Option<&User>) -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg("run").arg(shim).stdin(Stdio::null());
    if let Some(user) = user {
        let id = |id| u32::try_from(id).map_err(io::Error::other);
        command.gid(id(user.owner.gid)?).uid(id(user.owner.uid)?);
        if let Some(home) = &user.home {
            command.env("HOME", home);
        }
    }
    command.spawn()
}

/// TERM from outside (a node that is drained, a daemon that stops) ends the steps in their tidy way.
fn pass_signals_on(signals: &SignalFd, control: &Path, dismissed: &AtomicBool) {
    loop {
        let mut fds = [PollFd::new(
            std::os::fd::AsFd::as_fd(signals),
            PollFlags::POLLIN,
        )];
        poll(&mut fds, PollTimeout::NONE).unwrap_or_default();
        while let Ok(Some(info)) = signals.read_signal() {
            if let Ok(libc::SIGTERM | libc::SIGINT) = i32::try_from(info.ssi_signo) {
                dismissed.store(true, Ordering::Relaxed);
                cancel(control);
            }
        }
    }
}

fn pass_orders_on(server: &Server, control: &Path) {
    loop {
        match server.orders() {
            Ok(order) if order.trim() == CANCEL => {
                cancel(control);
                return;
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(ORDERS_PAUSE),
        }
    }
}

fn cancel(control: &Path) {
    use std::os::unix::fs::OpenOptionsExt as _;
    // The FIFO appears when the steps' program begins, and has no reader when that is over.
    for _ in 0..100 {
        let opened = File::options()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(control);
        if let Ok(mut fifo) = opened
            && fifo.write_all(format!("{CANCEL}\n").as_bytes()).is_ok()
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ships the journal until the steps' program is dead and the server has all of it.
fn follow(
    server: &Server,
    path: &Path,
    inotify: Option<&Inotify>,
    status: &OnceLock<ExitStatus>,
) -> Result<ExitStatus, Refused> {
    let mut journal = None;
    let mut bytes = Vec::new();
    // What the server has. It is asked even if there is nothing to send: a server that was restored
    // from a copy may have less than it once said.
    let mut have = 0;
    loop {
        // Asked before the journal is read: what comes after its end is nothing.
        let ended = status.get();
        if journal.is_none() {
            journal = File::open(path).ok();
        }
        bytes.clear();
        if let Some(file) = &mut journal {
            file.seek(SeekFrom::Start(have))
                .and_then(|_| file.take(MOST as u64).read_to_end(&mut bytes))
                .map_err(|e| Refused(format!("could not read the journal: {e}")))?;
        }
        if !bytes.is_empty() {
            have = server.journal(have, &bytes)?;
        } else if let Some(status) = ended {
            return Ok(*status);
        } else {
            sleep(inotify);
        }
    }
}

fn sleep(inotify: Option<&Inotify>) {
    let Some(inotify) = inotify else {
        std::thread::sleep(LOOK);
        return;
    };
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(inotify),
        PollFlags::POLLIN,
    )];
    let wait = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    // An error or a signal only means that we look again.
    poll(&mut fds, wait).unwrap_or_default();
    inotify.read_events().unwrap_or_default();
}

/// After the last step: tells if there is no end, and brings what was asked for.
fn finish(server: &Server, status: ExitStatus, bring: &[String]) -> Result<(), Refused> {
    if let Some(why) = death(status) {
        server.ended(&why)?;
    }
    if bring.is_empty() {
        return Ok(());
    }
    server.results(&present(&results(bring)))
}

/// What is asked for.
fn results(bring: &[String]) -> Vec<Item> {
    let path = |name| PathBuf::from(ROOT).join(name);
    bring
        .iter()
        .map(|name| Item::Tree(name.clone(), path(name)))
        .collect()
}
