//! From a step's order to a program that can be executed, and words for when it can't.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use windlass_shim::order::{ATTEMPT_VARIABLE, Order, OutputMode, Secrets, StepOrder};

use crate::spawn::{Failure, Program, Stage};

/// Where programs are looked for when the order has no `PATH`, as execvp(3) does.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// What a terminal is called when the order does not say.
const TERMINAL: &str = "xterm-256color";

/// The whole environment of a step: later sources win, and the attempt's mark always does.
fn environment<'a>(
    order: &'a Order,
    secrets: &'a Secrets,
    step: &'a StepOrder,
) -> BTreeMap<&'a str, &'a str> {
    let mut env = BTreeMap::new();
    if order.inherit_env {
        env.extend(
            own_environment()
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str())),
        );
    }
    if step.output == OutputMode::Tty {
        env.insert("TERM", TERMINAL);
    }
    for source in [&order.env, &secrets.env, &step.env] {
        env.extend(source.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    }
    env.insert(ATTEMPT_VARIABLE, order.attempt.as_str());
    env
}

/// The shim's own variables; those that aren't UTF-8 are left out, as an order couldn't hold them.
fn own_environment() -> &'static [(String, String)] {
    static OWN: OnceLock<Vec<(String, String)>> = OnceLock::new();
    OWN.get_or_init(|| {
        std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect()
    })
}

/// Finds the step's program and makes everything that executing it needs.
///
/// # Errors
/// Why it can't be executed, for people.
pub(crate) fn prepare(
    order: &Order,
    secrets: &Secrets,
    step: &StepOrder,
) -> Result<Program, String> {
    let env = environment(order, secrets, step);
    let Some(name) = step.argv.first().filter(|name| !name.is_empty()) else {
        return Err("the order names no program for this step".to_owned());
    };
    // A missing workspace would otherwise look like a missing program.
    if let Err(e) = fs::metadata(&order.workspace) {
        return Err(workspace_words(&order.workspace, io_errno(&e)));
    }
    let folder = folder(&order.workspace, step.workdir.as_deref())?;
    let path = if name.contains('/') {
        PathBuf::from(name)
    } else {
        let folders = env.get("PATH").copied().unwrap_or(DEFAULT_PATH);
        look_up(name, folders, &folder)?
    };
    let entries = env.iter().map(|(k, v)| format!("{k}={v}"));
    Ok(Program {
        path: c_string(path.into_os_string().into_vec(), "the program's path")?,
        argv: c_strings(step.argv.iter().cloned(), "an argument")?,
        env: c_strings(entries, "a variable")?,
        cwd: c_string(folder.as_os_str().as_bytes().to_vec(), "the folder's path")?,
    })
}

/// The folder in which the step runs. Links may not lead out of the workspace: the order says
/// "below it", and whoever wrote the order relies on that.
fn folder(workspace: &Path, workdir: Option<&Path>) -> Result<PathBuf, String> {
    let Some(workdir) = workdir else {
        return Ok(workspace.to_owned());
    };
    let words = |e: std::io::Error| {
        format!(
            "the step's workdir {}: {}",
            workdir.display(),
            io_errno(&e).desc()
        )
    };
    let root = fs::canonicalize(workspace).map_err(words)?;
    let folder = fs::canonicalize(root.join(workdir)).map_err(words)?;
    if !folder.starts_with(&root) {
        return Err(format!(
            "the step's workdir {} leads out of the workspace",
            workdir.display()
        ));
    }
    if !folder.is_dir() {
        return Err(format!(
            "the step's workdir {} is not a folder",
            workdir.display()
        ));
    }
    Ok(folder)
}

fn c_string(bytes: Vec<u8>, what: &str) -> Result<CString, String> {
    CString::new(bytes).map_err(|_| format!("{what} holds a NUL byte"))
}

fn c_strings(strings: impl Iterator<Item = String>, what: &str) -> Result<Vec<CString>, String> {
    strings.map(|s| c_string(s.into_bytes(), what)).collect()
}

/// The first executable file of this name in `folders`, as execvp(3) looks for it.
fn look_up(name: &str, folders: &str, workspace: &Path) -> Result<PathBuf, String> {
    let mut forbidden = None;
    for folder in folders.split(':') {
        // An empty entry means the current folder.
        let path = workspace.join(folder).join(name);
        if !path.is_file() {
            continue;
        }
        match access(&path, AccessFlags::X_OK) {
            Ok(()) => return Ok(path),
            Err(e) => forbidden = forbidden.or(Some((path, e))),
        }
    }
    Err(match forbidden {
        Some((path, e)) => format!("{}: {}", path.display(), e.desc()),
        None => format!("{name}: no such program in PATH ({folders})"),
    })
}

fn io_errno(e: &std::io::Error) -> Errno {
    e.raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

fn workspace_words(workspace: &Path, errno: Errno) -> String {
    format!("the workspace {}: {}", workspace.display(), errno.desc())
}

/// Words for a program that did not start.
pub(crate) fn failure_words(failure: Failure, program: &Program, workspace: &Path) -> String {
    let words = failure.errno.desc();
    match failure.stage {
        Stage::Fork => format!("no process could be made: {words}"),
        Stage::Wiring => format!("the process could not be connected: {words}"),
        Stage::Workspace => workspace_words(workspace, failure.errno),
        Stage::Exec => {
            let path = Path::new(OsStr::from_bytes(program.path.as_bytes()));
            let file = workspace.join(path);
            let path = path.display();
            if matches!(
                failure.errno,
                Errno::ENOENT | Errno::EACCES | Errno::ENOTDIR
            ) && let Some(interpreter) = missing_interpreter(&file)
            {
                return format!("{path}: its interpreter {interpreter}: {words}");
            }
            match failure.errno {
                Errno::ENOENT if file.exists() => {
                    format!("{path}: the file is there, but not the loader that it needs: {words}")
                }
                Errno::ENOEXEC => {
                    format!("{path}: {words} (not a program for this machine, or no #! line)")
                }
                _ => format!("{path}: {words}"),
            }
        }
    }
}

/// The interpreter in a script's first line, if it is what can't be executed.
fn missing_interpreter(file: &Path) -> Option<String> {
    let mut head = Vec::new();
    fs::File::open(file)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let interpreter = line.trim_start().split([' ', '\t']).next()?;
    if access(interpreter, AccessFlags::X_OK).is_ok() {
        return None;
    }
    Some(match interpreter.strip_suffix('\r') {
        Some(name) => format!("{name} (with a carriage return: the file has Windows line ends)"),
        None => interpreter.to_owned(),
    })
}
