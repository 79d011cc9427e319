//! Diagnostics as a compiler shows them, for terminals and logs without colour.

use crate::Diagnostic;

/// Code, message, place, the line with the span underlined, and help, for each diagnostic.
pub fn plain(_source: &[u8], _file_name: &str, _diagnostics: &[Diagnostic]) -> String {
    String::new()
}
