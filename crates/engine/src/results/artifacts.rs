//! Spec key `artifacts`: files of a job that are kept for people and for other jobs.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use windlass_model::plan::ArtifactPlan;

use super::beneath::{Folder, split};
use super::collect::{CollectError, Collected, Found, collect, skip};
use super::{Skipped, file_name, size};

/// Why nothing was kept. `Display` says what happened, [`ArtifactError::hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The artifact's name can't be a folder's.
    #[error("an artifact can't be called {name:?}")]
    Name {
        /// As the plan has it.
        name: String,
    },
    /// Nothing was found, and the plan says that something must be.
    #[error("no file matches {patterns}")]
    NothingMatches {
        /// The patterns, for people.
        patterns: String,
        /// What is there instead.
        near: String,
    },
    /// More bytes than allowed.
    #[error("artifact `{name}` has {} in {files} files, and the limit is {}", size(*bytes), size(*limit))]
    TooLarge {
        /// The artifact.
        name: String,
        /// What it has.
        bytes: u64,
        /// What it may have.
        limit: u64,
        /// How many files.
        files: usize,
        /// The biggest ones, biggest first.
        biggest: Vec<Found>,
    },
    /// The files could not be found.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// What is in the way in the other job's workspace.
    #[error("can't put {path:?} into the workspace: {error}")]
    PutBack {
        /// The file.
        path: String,
        /// What is in the way.
        error: io::Error,
    },
    /// Our own disk.
    #[error("{action} {path}: {error}")]
    Io {
        /// What was done.
        action: &'static str,
        /// With which file of ours.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

impl ArtifactError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            action,
            path: path.to_owned(),
            error,
        }
    }

    /// What the reader can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Name { .. } => "Give it a name of at most 200 characters.".into(),
            Self::NothingMatches { near, .. } => format!(
                "{near} Patterns are relative to the workspace. `required: false` lets the job go \
                 on without files."
            ),
            Self::TooLarge { biggest, .. } => {
                let files = biggest
                    .iter()
                    .map(|f| format!("{:?} ({})", f.path, size(f.bytes)));
                let files = files.collect::<Vec<_>>().join(", ");
                format!("The biggest: {files}. Take out what nobody needs with a `!` pattern.")
            }
            Self::Collect(_) => "Change the patterns in `artifacts`.".into(),
            Self::PutBack { .. } => {
                "The job's checkout has something else at this path. Remove it there, or keep the \
                 artifact from another folder."
                    .into()
            }
            Self::Io { .. } => "Check the disk of the machine that keeps the artifacts.".into(),
        }
    }
}

/// An artifact that is on our disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The plan's name for it.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// Its files, sorted by path. Empty if nothing matched and nothing had to.
    pub files: Vec<KeptFile>,
    /// What matched and was left alone.
    pub skipped: Vec<Skipped>,
    /// What people should know: patterns that match nothing, files that changed while copied.
    pub warnings: Vec<String>,
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFile {
    /// Relative to the workspace, and to the artifact's folder.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Of its bytes, in hexadecimal.
    pub sha256: String,
    /// Whether it is a program.
    pub executable: bool,
}

/// The folder of an artifact below `into`. `None` if the name can't be one.
pub fn folder(into: &Path, name: &str) -> Option<PathBuf> {
    Some(into.join(file_name(name)?))
}

/// Copies what the plan names into a folder of its own below `into`. The folder is there whole or
/// not at all, whatever happens to this process; a second call replaces it.
///
/// # Errors
/// [`ArtifactError`]; then nothing is left behind.
pub fn keep(
    workspace: &Path,
    plan: &ArtifactPlan,
    into: &Path,
    limit_bytes: u64,
) -> Result<Kept, ArtifactError> {
    let name = file_name(&plan.name).ok_or_else(|| ArtifactError::Name {
        name: plan.name.clone(),
    })?;
    let found = collect(workspace, &plan.paths)?;
    if found.files.is_empty() && plan.required {
        return Err(nothing_matches(workspace, plan, &found));
    }
    check_limit(&plan.name, &found.files, limit_bytes)?;
    std::fs::create_dir_all(into).map_err(ArtifactError::io("making", into))?;
    let ours = Folder::open(into).map_err(ArtifactError::io("opening", into))?;
    let partial = OsString::from(format!(".{name}.partial"));
    ours.remove(&partial)
        .map_err(ArtifactError::io("removing", &into.join(&partial)))?;
    let copied = copy_all(workspace, plan, &found, &ours, &partial, into, limit_bytes);
    let (files, mut skipped, mut warnings) = match copied {
        Ok(copied) => copied,
        Err(e) => {
            // The first error is the one to tell.
            let _ = ours.remove(&partial);
            return Err(e);
        }
    };
    replace(&ours, &partial, &name).map_err(ArtifactError::io("renaming", &into.join(&name)))?;
    warnings.extend(
        found
            .unmatched
            .iter()
            .map(|p| format!("no file matches `{p}`")),
    );
    skipped.extend(found.skipped);
    Ok(Kept {
        name: plan.name.clone(),
        folder: into.join(name),
        files,
        skipped,
        warnings,
    })
}

/// Puts the finished folder in the place of the one before.
fn replace(ours: &Folder, partial: &OsStr, name: &str) -> io::Result<()> {
    let name = OsStr::new(name);
    let mut old = OsString::from(".");
    old.push(name);
    old.push(".old");
    ours.remove(&old)?;
    if ours.kind(name)?.is_some() {
        ours.rename(name, &old)?;
    }
    ours.rename(partial, name)?;
    ours.as_file()?.sync_all()?;
    ours.remove(&old)
}

fn check_limit(name: &str, files: &[Found], limit: u64) -> Result<(), ArtifactError> {
    let bytes = files
        .iter()
        .fold(0_u64, |sum, f| sum.saturating_add(f.bytes));
    if bytes <= limit {
        return Ok(());
    }
    let mut biggest = files.to_vec();
    biggest.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    biggest.truncate(3);
    Err(ArtifactError::TooLarge {
        name: name.to_owned(),
        bytes,
        limit,
        files: files.len(),
        biggest,
    })
}

type Copied = (Vec<KeptFile>, Vec<Skipped>, Vec<String>);

fn copy_all(
    workspace: &Path,
    plan: &ArtifactPlan,
    found: &Collected,
    ours: &Folder,
    partial: &OsStr,
    into: &Path,
    limit: u64,
) -> Result<Copied, ArtifactError> {
    let from = Folder::open(workspace).map_err(ArtifactError::io("opening", workspace))?;
    let here = into.join(partial);
    let to = ours
        .make(Path::new(partial))
        .map_err(ArtifactError::io("making", &here))?;
    let (mut files, mut skipped, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    let mut folders = vec![PathBuf::new()];
    let mut sum = 0_u64;
    for file in &found.files {
        let path = Path::new(&file.path);
        let source = match from.file_at(path) {
            Ok(source) => source,
            // It was there a moment ago.
            Err(e) => {
                skip(&mut skipped, &file.path, format!("can't be read: {e}"));
                continue;
            }
        };
        let copied = copy(&source, &to, path).map_err(ArtifactError::io("writing", &here))?;
        sum = sum.saturating_add(copied.bytes);
        if sum > limit {
            let grown = Found {
                path: file.path.clone(),
                bytes: sum,
            };
            check_limit(&plan.name, &[grown], limit)?;
        }
        if let Some(warning) = copied.warning {
            warnings.push(format!("{:?} {warning}", file.path));
        }
        for folder in path.ancestors().skip(1) {
            if folders.last().is_none_or(|last| !last.starts_with(folder)) {
                folders.push(folder.to_owned());
            }
        }
        files.push(KeptFile {
            path: file.path.clone(),
            bytes: copied.bytes,
            sha256: copied.sha256,
            executable: copied.executable,
        });
    }
    folders.sort();
    folders.dedup();
    for folder in folders {
        let synced = to.down(&folder).and_then(|f| f.as_file()?.sync_all());
        synced.map_err(ArtifactError::io("syncing", &here))?;
    }
    if files.is_empty() && plan.required {
        return Err(nothing_matches(workspace, plan, found));
    }
    Ok((files, skipped, warnings))
}

struct Copy {
    bytes: u64,
    sha256: String,
    executable: bool,
    warning: Option<String>,
}

/// Copies as many bytes as the file has now: one that grows all the time has an end, too.
fn copy(source: &File, to: &Folder, path: &Path) -> io::Result<Copy> {
    let meta = source.metadata()?;
    let executable = meta.permissions().mode() & 0o111 != 0;
    let (folder, name) = split(path)?;
    let mut target = to.make(folder)?.create(name, 0o600)?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut buffer = vec![0; 128 * 1024];
    let mut limited = source.take(meta.len());
    loop {
        let read = match limited.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    let now = source.metadata()?.len();
    let warning = (now != meta.len() || bytes != meta.len())
        .then(|| format!("changed while it was copied; what is kept are the first {bytes} bytes"));
    target.set_permissions(Permissions::from_mode(if executable {
        0o755
    } else {
        0o644
    }))?;
    // Tools such as make go by it.
    if let Ok(modified) = meta.modified() {
        target.set_modified(modified)?;
    }
    target.sync_all()?;
    Ok(Copy {
        bytes,
        sha256: hex::encode(hash.finalize()),
        executable,
        warning,
    })
}

fn nothing_matches(workspace: &Path, plan: &ArtifactPlan, found: &Collected) -> ArtifactError {
    let texts: Vec<_> = plan.paths.iter().map(|p| format!("`{p}`")).collect();
    let near = match found.skipped.first() {
        Some(skipped) => format!("There is something, but {skipped}."),
        None => near(workspace, &plan.paths),
    };
    ArtifactError::NothingMatches {
        patterns: texts.join(", "),
        near,
    }
}

/// A sentence about what is near the place where the patterns look.
fn near(workspace: &Path, patterns: &[String]) -> String {
    let Some(pattern) = patterns.iter().find(|p| !p.starts_with('!')) else {
        return "There is no file left.".into();
    };
    if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
        return format!("`{pattern}` leads out of the workspace.");
    }
    let pattern = pattern.trim_start_matches("./").trim_end_matches('/');
    let others = others_of_its_kind(workspace, pattern);
    let is_wild = |part: &str| part.contains(['*', '?', '[', '{', '\\']);
    let fixed: PathBuf = pattern
        .split('/')
        .take_while(|part| !is_wild(part))
        .collect();
    let wild = pattern.split('/').any(is_wild);
    let folder = if wild {
        Some(fixed.as_path())
    } else {
        fixed.parent()
    };
    let folder = folder.filter(|f| !f.as_os_str().is_empty());
    let there = Folder::open(workspace).and_then(|root| match folder {
        Some(folder) => root.down(folder),
        None => Ok(root),
    });
    let named = folder.map_or("the workspace".into(), |f| {
        format!("the folder `{}`", f.display())
    });
    let state = match there.map(|folder| names_in(&folder)) {
        Err(_) => format!("There is no such thing as {named}."),
        Ok(names) if names.is_empty() => sentence(&format!("{named} exists but is empty.")),
        Ok(names) => sentence(&format!("{named} has {}.", names.join(", "))),
    };
    format!("{state}{others}")
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// The first few names, for people.
fn names_in(folder: &Folder) -> Vec<String> {
    let mut names = Vec::new();
    // What can't be listed has no names.
    let _ = folder.each(|name, _| {
        names.push(format!("`{}`", name.to_string_lossy().escape_debug()));
        names.len() < 1000
    });
    names.sort();
    let more = names.len().saturating_sub(5);
    names.truncate(5);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names
}

/// Where files with the pattern's ending are.
fn others_of_its_kind(workspace: &Path, pattern: &str) -> String {
    let Some(ending) = Path::new(pattern).extension().and_then(OsStr::to_str) else {
        return String::new();
    };
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !ending.chars().all(plain) {
        return String::new();
    }
    let Ok(found) = collect(workspace, &[format!("**/*.{ending}")]) else {
        return String::new();
    };
    let mut folders: Vec<_> = found
        .files
        .iter()
        .map(|f| {
            let folder = Path::new(&f.path).parent().unwrap_or(Path::new(""));
            match folder.as_os_str().is_empty() {
                true => "the workspace's root".to_owned(),
                false => format!("`{}`", folder.display()),
            }
        })
        .collect();
    folders.dedup();
    folders.truncate(3);
    match folders.is_empty() {
        true => String::new(),
        false => format!(
            " Files that end in `.{ending}` are in {}.",
            folders.join(", ")
        ),
    }
}

/// Puts an artifact's files into another job's workspace, at the paths from which they came. A file
/// that is there is replaced; a link on the way is not followed but an error. What came from the
/// root's `.git` stays out: git would run what stands there.
///
/// # Errors
/// [`ArtifactError::PutBack`] when something else is in the way; then some files may be there.
pub fn put_back(kept: &Path, workspace: &Path) -> Result<Vec<String>, ArtifactError> {
    let found = collect(kept, &["**"])?;
    let from = Folder::open(kept).map_err(ArtifactError::io("opening", kept))?;
    let to = Folder::open(workspace).map_err(ArtifactError::io("opening", workspace))?;
    let mut paths = Vec::new();
    for file in found.files {
        let source = from
            .file_at(Path::new(&file.path))
            .map_err(ArtifactError::io("reading", &kept.join(&file.path)))?;
        put_one(&source, &to, Path::new(&file.path)).map_err(|error| ArtifactError::PutBack {
            path: file.path.clone(),
            error,
        })?;
        paths.push(file.path);
    }
    Ok(paths)
}

fn put_one(mut source: &File, to: &Folder, path: &Path) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let folder = to.make(folder)?;
    folder.remove_file(name)?;
    let meta = source.metadata()?;
    let mut target = folder.create(name, 0o600)?;
    io::copy(&mut source, &mut target)?;
    target.set_permissions(Permissions::from_mode(meta.permissions().mode() & 0o755))?;
    target.set_modified(meta.modified()?)
}

/// Writes an artifact's folder as `.tar.gz`: the same bytes for the same files.
///
/// # Errors
/// When a file can't be read, or the writer fails.
pub fn archive(folder: &Path, writer: impl Write) -> Result<(), ArtifactError> {
    let found = collect(folder, &["**", ".git/**"])?;
    let write = || -> io::Result<()> {
        let from = Folder::open(folder)?;
        // No time and no name in the head, which would differ from call to call.
        let gzip = GzBuilder::new()
            .mtime(0)
            .write(writer, Compression::default());
        let mut tar = tar::Builder::new(gzip);
        for file in &found.files {
            let path = Path::new(&file.path);
            append(&mut tar, &from.file_at(path)?, path)?;
        }
        tar.into_inner()?.finish()?.flush()
    };
    write().map_err(ArtifactError::io("packing", folder))
}

fn append<W: Write>(tar: &mut tar::Builder<W>, file: &File, path: &Path) -> io::Result<()> {
    let meta = file.metadata()?;
    let mut header = tar::Header::new_gnu();
    header.set_size(meta.len());
    header.set_mode(meta.permissions().mode() & 0o755);
    // Who it belongs to over here is nobody's business.
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(super::cache::seconds(meta.modified()?));
    header.set_entry_type(tar::EntryType::Regular);
    let mut exact = Exact {
        inner: file.take(meta.len()),
        path,
    };
    tar.append_data(&mut header, path, &mut exact)
}

/// A reader of as many bytes as were announced: one less would spoil everything after it.
pub(crate) struct Exact<'a, R> {
    pub(crate) inner: io::Take<R>,
    pub(crate) path: &'a Path,
}

impl<R: Read> Read for Exact<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && self.inner.limit() > 0 && !buffer.is_empty() {
            let path = self.path.display();
            return Err(io::Error::other(format!(
                "{path} became shorter while it was read"
            )));
        }
        Ok(read)
    }
}
