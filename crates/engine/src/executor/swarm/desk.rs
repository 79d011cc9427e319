//! The server's side of what a shim on a node asks for (`windlass_shim::remote`), without HTTP: it works
//! on the attempt's folder alone, so a restart of the server changes nothing, and an attempt whose folder
//! is gone is over for every shim that still asks.
//!
//! | file in the attempt's `shim/` | what it is |
//! | --- | --- |
//! | `token` | SHA-256 of the token that proves a shim's right, in hex |
//! | `runner` | the word of the one shim that has the attempt |
//! | `journal` | as far as it was shipped |
//! | `stop` | somebody wants the job to stop |
//! | `end` | the shim's words, if the journal will have no end |
//! | `results` | what the job leaves behind is here |
//! | `results.tar` | as far as it came through Docker's log |
//! | `carried` | the shim got its files from the managers: it need not ask here for anything |

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest as _, Sha256};
use windlass_model::AttemptId;
use windlass_shim::archive::{self, Item, Owner};
use windlass_shim::journal::{Record, parse_line};
use windlass_shim::order::{JOURNAL_FILE, ORDER_FILE, Order};

use super::super::ExecutorError;
use super::super::process::{self, ProcessExecutor, remove_tree};

const TOKEN: &str = "token";
const RUNNER: &str = "runner";
const STOP: &str = "stop";
const END: &str = "end";
const RESULTS: &str = "results";
const RESULTS_ARCHIVE: &str = "results.tar";
const CARRIED: &str = "carried";

/// The longest runner's word and the longest last words that are kept.
const WORDS: usize = 2000;

/// Knows every attempt's folder.
#[derive(Debug, Clone)]
pub struct Desk {
    local: ProcessExecutor,
    /// When the shim of an attempt asked for anything last. What was before this process began is not known.
    heard: Arc<Mutex<HashMap<AttemptId, Instant>>>,
}

/// Why a shim gets nothing.
#[derive(Debug)]
pub enum Refusal {
    /// The token is wrong.
    Denied,
    /// Another shim has the attempt.
    Taken,
    /// The attempt is over, or was never here.
    Gone,
    /// What it brings can't be taken, now or later.
    Useless,
    /// The disk, mostly.
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The folder was removed while we looked.
            ErrorKind::NotFound => Self::Gone,
            _ => Self::Io(error),
        }
    }
}

impl Desk {
    pub(super) fn new(local: ProcessExecutor) -> Self {
        Self {
            local,
            heard: Arc::default(),
        }
    }

    /// When the attempt's shim asked for anything last, as far as this process knows.
    pub(super) fn heard(&self, attempt: &AttemptId) -> Option<Instant> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(attempt).copied()
    }

    pub(super) fn forget(&self, attempt: &AttemptId) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.remove(attempt);
    }

    /// The place of an attempt, for the shim that has its token and was the first. Blocking, as
    /// everything here.
    ///
    /// # Errors
    /// It is not for this one.
    pub fn admit(&self, attempt: &AttemptId, token: &[u8], runner: &str) -> Result<Place, Refusal> {
        let place = self.admitted(attempt, token, runner)?;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.insert(attempt.clone(), Instant::now());
        Ok(place)
    }

    fn admitted(&self, attempt: &AttemptId, token: &[u8], runner: &str) -> Result<Place, Refusal> {
        let place = Place::of(&self.local, attempt);
        let wanted = fs::read(place.at(TOKEN))?;
        // Digests of both are compared: how long that takes says nothing of the token.
        if wanted != hex::encode(Sha256::digest(token)).as_bytes() {
            return Err(Refusal::Denied);
        }
        if runner.is_empty() || runner.len() > WORDS {
            return Err(Refusal::Denied);
        }
        let path = place.at(RUNNER);
        if let Ok(known) = fs::read(&path) {
            return if known == runner.as_bytes() {
                Ok(place)
            } else {
                Err(Refusal::Taken)
            };
        }
        // In one step, so that of two that come at once one is the first.
        let own = place.at(&format!("{RUNNER}.{}", hex::encode(Sha256::digest(runner))));
        fs::write(&own, runner)?;
        let linked = fs::hard_link(&own, &path);
        fs::remove_file(&own)?;
        match linked {
            Ok(()) => Ok(place),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if fs::read(&path)? == runner.as_bytes() {
                    Ok(place)
                } else {
                    Err(Refusal::Taken)
                }
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// An attempt's folder, as its shim and the executor share it.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
    shim: PathBuf,
}

impl Place {
    pub(super) fn of(local: &ProcessExecutor, attempt: &AttemptId) -> Self {
        Self {
            folder: local.folder(attempt),
            shim: local.shim_folder(attempt),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.shim.join(name)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes ready for a shim with this token: the order, an empty journal, and nobody has it.
    pub(super) fn prepare(&self, order: &Order, token: &str) -> Result<(), ExecutorError> {
        process::create_dir(&self.shim)?;
        match fs::remove_file(self.at(CARRIED)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(process::file("remove", &self.at(CARRIED))(e));
            }
            _ => {}
        }
        process::write_private(&self.at(ORDER_FILE), &process::to_json(order))?;
        process::write_private(&self.at(JOURNAL_FILE), &[])?;
        let digest = hex::encode(Sha256::digest(token));
        process::write_private(&self.at(TOKEN), digest.as_bytes())
    }

    /// Notes that the managers hand the shim what it begins with.
    pub(super) fn set_carried(&self) -> Result<(), ExecutorError> {
        let path = self.at(CARRIED);
        fs::write(&path, "").map_err(process::file("write", &path))
    }

    /// Whether the shim may do without us.
    pub(super) fn is_carried(&self) -> bool {
        self.at(CARRIED).exists()
    }

    /// Whether a shim has asked for anything.
    pub(super) fn is_begun(&self) -> bool {
        self.at(RUNNER).exists()
    }

    pub(super) fn ask_to_stop(&self) -> Result<(), ExecutorError> {
        let path = self.at(STOP);
        match fs::write(&path, "") {
            // It was removed: there is nothing to stop.
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            written => written.map_err(process::file("write", &path)),
        }
    }

    /// Whether the job has to stop.
    pub fn is_to_stop(&self) -> bool {
        self.at(STOP).exists()
    }

    /// Whether the attempt is still here.
    pub fn is_here(&self) -> bool {
        self.at(TOKEN).exists()
    }

    /// Writes the archive of what the attempt begins with.
    ///
    /// # Errors
    /// A file can't be read, or nobody takes the archive any more.
    pub fn pack(&self, out: impl Write) -> io::Result<()> {
        let order = fs::read(self.at(ORDER_FILE))?;
        let mut items = vec![
            Item::File(format!("shim/{ORDER_FILE}"), 0o600, order),
            Item::Tree("src".to_owned(), self.folder.join("src")),
        ];
        let home = self.folder.join("home");
        if home.exists() {
            items.push(Item::Tree("home".to_owned(), home));
        }
        archive::pack(&items, Owner::default(), out)
    }

    /// Appends journal bytes that begin at this offset of the whole; how many bytes are here now. Bytes
    /// that are here already are not written again, and those behind a gap not at all.
    ///
    /// # Errors
    /// The disk.
    pub fn append(&self, at: u64, bytes: &[u8]) -> io::Result<u64> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.at(JOURNAL_FILE))?;
        // A request that the shim gave up may still be at work.
        let mut file =
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| io::Error::from(e))?;
        let have = file.seek(SeekFrom::End(0))?;
        let known = have.checked_sub(at).and_then(|n| usize::try_from(n).ok());
        let Some(fresh) = known.and_then(|known| bytes.get(known..)) else {
            return Ok(have);
        };
        if let Err(e) = file.write_all(fresh) {
            // What was written of it counts; what is cut off at a byte is sent again from there.
            return match file.seek(SeekFrom::End(0))? {
                more if more > have => Ok(more),
                _ => Err(e),
            };
        }
        if ends_the_job(fresh) {
            // The shim ends when it hears that we have it all: then this is the only copy.
            file.sync_data()?;
        }
        Ok(have + fresh.len() as u64)
    }

    /// Keeps the words of a shim whose steps' program is dead.
    ///
    /// # Errors
    /// The disk.
    pub fn set_end(&self, words: &str) -> io::Result<()> {
        let words: String = words.chars().take(WORDS).collect();
        let new = self.at("end.new");
        fs::write(&new, words)?;
        fs::rename(new, self.at(END))
    }

    /// Why the journal will have no end, if its shim has told.
    pub(super) fn end(&self) -> Option<String> {
        fs::read_to_string(self.at(END)).ok()
    }

    /// Takes what the job leaves behind; done twice, the second archive counts.
    ///
    /// # Errors
    /// The disk, or an archive that breaks off or is not one.
    pub fn take_results(&self, archive: impl Read) -> io::Result<()> {
        let new = self.folder.join("results.new");
        remove_tree(&new)?;
        archive::unpack(archive, &new)?;
        for name in ["src", "home", "tmp"] {
            let from = new.join(name);
            archive::only_folder(&from)?;
            if !from.exists() {
                continue;
            }
            let to = self.folder.join(name);
            remove_tree(&to)?;
            fs::rename(from, to)?;
        }
        remove_tree(&new)?;
        File::create(self.at(RESULTS)).map(drop)
    }

    /// Keeps bytes of an archive of results that comes in pieces. Those behind a gap are left out.
    pub(super) fn append_results(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        if self.has_results() {
            return Ok(());
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.at(RESULTS_ARCHIVE))?;
        let have = file.seek(SeekFrom::End(0))?;
        let known = have.checked_sub(at).and_then(|n| usize::try_from(n).ok());
        match known.and_then(|known| bytes.get(known..)) {
            Some(fresh) => file.write_all(fresh),
            None => Ok(()),
        }
    }

    /// Takes the results whose archive came in pieces, if all of them are here.
    pub(super) fn unpack_results(&self, length: u64) -> io::Result<()> {
        let path = self.at(RESULTS_ARCHIVE);
        if self.has_results() || fs::metadata(&path).map_or(0, |meta| meta.len()) != length {
            return Ok(());
        }
        match self.take_results(File::open(&path)?) {
            Ok(()) => fs::remove_file(path),
            Err(error) if is_passing(&error) => Err(error),
            Err(error) => self.set_end(&format!("it can't be unpacked: {error}")),
        }
    }

    pub(super) fn has_results(&self) -> bool {
        self.at(RESULTS).exists()
    }
}

/// Whether results that could not be taken may be taken another time.
pub fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{NotFound, QuotaExceeded, StorageFull, UnexpectedEof};
    [NotFound, QuotaExceeded, StorageFull, UnexpectedEof].contains(&error.kind())
}

/// Whether the last line is the record that ends a journal.
fn ends_the_job(bytes: &[u8]) -> bool {
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return false;
    };
    let line = lines.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    parse_line(line).is_ok_and(|entry| matches!(entry.record, Record::JobEnded(_)))
}

/// A token that nobody guesses.
pub(super) fn new_token() -> Result<String, ExecutorError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0_u8; 24];
    File::open(path)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(process::file("read", path))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desk(dir: &Path) -> (Desk, AttemptId) {
        let local = ProcessExecutor::new(dir.to_path_buf(), PathBuf::new(), Vec::new());
        (Desk::new(local), "a1".parse().unwrap())
    }

    fn order() -> Order {
        Order {
            version: 1,
            attempt: "a1".to_owned(),
            workspace: "/windlass/src".into(),
            env: Default::default(),
            output: None,
            inherit_env: true,
            timeout_ms: None,
            grace_ms: 1000,
            limits: Default::default(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn only_the_first_shim_with_the_token_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, attempt) = desk(dir.path());
        assert!(matches!(
            desk.admit(&attempt, b"secret", "one"),
            Err(Refusal::Gone)
        ));
        let place = Place::of(&desk.local, &attempt);
        place.prepare(&order(), "secret").unwrap();
        assert!(!place.is_begun());
        assert!(matches!(
            desk.admit(&attempt, b"other", "one"),
            Err(Refusal::Denied)
        ));
        assert!(!place.is_begun());
        desk.admit(&attempt, b"secret", "one").unwrap();
        desk.admit(&attempt, b"secret", "one").unwrap();
        assert!(matches!(
            desk.admit(&attempt, b"secret", "two"),
            Err(Refusal::Taken)
        ));
        // The attempt is over: its folder is removed.
        remove_tree(&desk.local.folder(&attempt)).unwrap();
        assert!(matches!(
            desk.admit(&attempt, b"secret", "one"),
            Err(Refusal::Gone)
        ));
    }

    #[test]
    fn of_many_shims_at_once_one_is_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, attempt) = desk(dir.path());
        Place::of(&desk.local, &attempt)
            .prepare(&order(), "secret")
            .unwrap();
        let admitted = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..16)
                .map(|n| {
                    let (desk, attempt) = (&desk, &attempt);
                    scope.spawn(move || desk.admit(attempt, b"secret", &format!("r{n}")).is_ok())
                })
                .collect();
            tries
                .into_iter()
                .filter(|_| true)
                .map(|t| t.join().unwrap())
                .filter(|ok| *ok)
                .count()
        });
        assert_eq!(admitted, 1);
    }

    #[test]
    fn bytes_are_appended_once_and_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, attempt) = desk(dir.path());
        let place = Place::of(&desk.local, &attempt);
        place.prepare(&order(), "secret").unwrap();
        assert_eq!(place.append(0, b"abc").unwrap(), 3);
        // Sent again, because the answer was lost.
        assert_eq!(place.append(0, b"abc").unwrap(), 3);
        assert_eq!(place.append(1, b"bcdef").unwrap(), 6);
        // A gap: nothing is written, and the answer says from where to send.
        assert_eq!(place.append(9, b"xyz").unwrap(), 6);
        assert_eq!(fs::read(place.at(JOURNAL_FILE)).unwrap(), b"abcdef");
    }

    #[test]
    fn results_come_in_pieces_too() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, attempt) = desk(dir.path());
        let place = Place::of(&desk.local, &attempt);
        place.prepare(&order(), "secret").unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("a"), "1").unwrap();
        let mut whole = Vec::new();
        let item = Item::Tree("src".to_owned(), inside);
        archive::pack(&[item], Owner::default(), &mut whole).unwrap();
        let (left, right) = whole.split_at(700);
        place.append_results(700, right).unwrap();
        place.append_results(0, left).unwrap();
        place.append_results(0, left).unwrap();
        let length = whole.len() as u64;
        place.unpack_results(length).unwrap();
        assert!(!place.has_results(), "a piece is missing");
        place.append_results(600, &whole[600..]).unwrap();
        place.unpack_results(length).unwrap();
        assert!(place.has_results());
        let a = desk.local.folder(&attempt).join("src/a");
        assert_eq!(fs::read_to_string(a).unwrap(), "1");
        // Read again, as the log of a service is.
        place.append_results(0, &whole).unwrap();
        place.unpack_results(length).unwrap();
        assert!(!place.at(RESULTS_ARCHIVE).exists());
    }

    #[test]
    fn results_can_not_lead_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (desk, attempt) = desk(dir.path());
        let place = Place::of(&desk.local, &attempt);
        place.prepare(&order(), "secret").unwrap();
        let inside = dir.path().join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("a"), "1").unwrap();
        let packed = |items: &[Item]| {
            let mut bytes = Vec::new();
            archive::pack(items, Owner::default(), &mut bytes).unwrap();
            bytes
        };
        let good = packed(&[Item::Tree("src".to_owned(), inside.clone())]);
        // Cut off between two entries, as by a shim that was killed.
        assert!(place.take_results(&good[..good.len() - 1024]).is_err());
        assert!(!place.has_results());
        place.take_results(&good[..]).unwrap();
        assert!(place.has_results());
        let src = desk.local.folder(&attempt).join("src");
        assert_eq!(fs::read_to_string(src.join("a")).unwrap(), "1");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let evil = packed(&[Item::Tree("src".to_owned(), link)]);
        place.take_results(&evil[..]).unwrap();
        assert!(src.symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_dir(&src).unwrap().count(), 0);
    }
}
