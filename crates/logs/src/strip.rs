//! Terminal output -> plain text, as a person would see it.

/// Makes plain text of rows: no escape sequences, overwritten text gone, control and invisible
/// characters made visible, invalid UTF-8 as U+FFFD.
#[derive(Debug, Clone, Default)]
pub struct Stripper {}

impl Stripper {
    /// For a log's first row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the text of one row; with a `\n` if the row has one.
    pub fn row(&mut self, _bytes: &[u8], _text: &mut String) {
        unimplemented!()
    }
}

/// The plain text of any number of lines.
pub fn strip(_bytes: &[u8]) -> String {
    unimplemented!()
}
