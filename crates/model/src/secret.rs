//! A value that must not be seen.

use std::fmt;

/// A password, token or key. `Debug` prints `***`; there is no `Display` and no `Serialize`, so it
/// can't slip into a log line, a page or a JSON document by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Name what you do with it at the place of the call.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
