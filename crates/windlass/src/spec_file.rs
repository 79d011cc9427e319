//! Finding the build spec in the root of a workspace.

use std::path::Path;

use windlass_engine::checkout::{CheckoutError, read_root_file};

use crate::report::{EXIT_SPEC, Problem};

/// The names, the first that is there wins.
pub(crate) const NAMES: &[&str] = &["windlass.yml", "windlass.yaml", "windlass.toml"];

/// A spec is read by people; a larger one is a mistake or an attack.
const MAX_BYTES: u64 = 256 * 1024;

/// The spec's name and text. Only a regular file counts: a symlink in a stranger's repository may
/// point anywhere on this machine.
pub(crate) fn read(workspace: &Path) -> Result<Option<(String, Vec<u8>)>, CheckoutError> {
    read_root_file(workspace, NAMES, MAX_BYTES)
}

/// The problem when there is none.
pub(crate) fn missing() -> Problem {
    Problem::new("there is no windlass.yml in the repository's root")
        .hint("run `windlass init` in a checkout: it writes a first one; commit it")
        .code(EXIT_SPEC)
}
