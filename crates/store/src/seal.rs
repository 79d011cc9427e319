//! Encryption at rest for secrets in the database: AES-256-GCM (ring) under a key that lives in a
//! file of its own beside the database, mode 0600. A copy of the database alone reveals nothing.
//!
//! Each value is bound to its place (table, row, column) as associated data, so that a sealed value
//! moved to another row does not open.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use windlass_model::Secret;

use crate::StoreError;

const KEY_BYTES: usize = 32;

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| StoreError::corrupt("a name", "the system has no random numbers"))?;
    Ok(bytes)
}

/// Seals and opens values with the data folder's key.
pub(crate) struct Sealer {
    key: LessSafeKey,
    key_file: PathBuf,
}

impl Sealer {
    /// Reads the key file, or makes it if there is none.
    pub(crate) fn open(key_file: &Path) -> Result<Self, StoreError> {
        let file = |doing| {
            move |source| StoreError::File {
                doing,
                path: key_file.to_path_buf(),
                source,
            }
        };
        let bytes = match std::fs::read(key_file) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                create_key(key_file).map_err(file("create"))?;
                // Read back: another process may have been first.
                std::fs::read(key_file).map_err(file("read"))?
            }
            Err(e) => return Err(file("read")(e)),
        };
        let unbound = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            StoreError::corrupt(
                &format!("the key file {}", key_file.display()),
                format!("it has {} bytes instead of {KEY_BYTES}", bytes.len()),
            )
        })?;
        Ok(Self {
            key: LessSafeKey::new(unbound),
            key_file: key_file.to_path_buf(),
        })
    }

    /// Nonce, ciphertext and tag in one value.
    pub(crate) fn seal(&self, place: &str, value: &Secret) -> Result<Vec<u8>, StoreError> {
        let failed = |_| StoreError::corrupt(place, "the system has no random numbers");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = value.expose().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed,
            )
            .map_err(failed)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// The value behind [`Sealer::seal`] for the same place.
    pub(crate) fn open_value(&self, place: &str, sealed: &[u8]) -> Result<Secret, StoreError> {
        let wrong = || StoreError::WrongKey {
            what: place.to_owned(),
            key_file: self.key_file.clone(),
        };
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or_else(wrong)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| wrong())?;
        let mut rest = rest.to_vec();
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut rest)
            .map_err(|_| wrong())?;
        let text = std::str::from_utf8(plain).map_err(|e| StoreError::corrupt(place, e))?;
        Ok(Secret::new(text))
    }
}

/// Makes the key under another name and links it into place, so that a crash leaves no half key
/// and two processes agree on one.
fn create_key(path: &Path) -> std::io::Result<()> {
    let mut random = [0; KEY_BYTES + 8];
    SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| std::io::Error::other("the system has no random numbers"))?;
    let (key, random) = random.split_at(KEY_BYTES);
    // A name that nobody else makes at the same moment.
    let temporary = path.with_extension(format!("{}.tmp", hex::encode(random)));
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(key)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    match linked {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_value_opens_only_in_its_place_and_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        let sealer = Sealer::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = sealer
            .seal("repos/1/webhook_secret", &Secret::new("hush hush"))
            .unwrap();
        assert!(!sealed.windows(4).any(|w| w == b"hush"));

        let again = Sealer::open(&path).unwrap();
        let opened = again.open_value("repos/1/webhook_secret", &sealed).unwrap();
        assert_eq!(opened.expose(), "hush hush");
        assert!(again.open_value("repos/2/webhook_secret", &sealed).is_err());

        let other = Sealer::open(&dir.path().join("other.key")).unwrap();
        let error = other
            .open_value("repos/1/webhook_secret", &sealed)
            .unwrap_err();
        assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
        assert!(sealer.open_value("x", b"short").is_err());
    }
}
