//! Terminal output -> safe HTML.

/// Makes HTML of rows. What a program set in one row (colours, an open hyperlink) holds in the
/// next: use one renderer from row to row. A clone is a bookmark.
///
/// The HTML of a row holds text and these elements only:
/// `<span class="...">` with the classes `fg-0`..`fg-15` and `bg-0`..`bg-15` (the terminal's own
/// colours: the page's theme), `c16`..`c255` and `b16`..`b255` (see [`palette_css`]), `t-bold`,
/// `t-dim`, `t-italic`, `t-underline`, `t-inverse`, `t-strike`, `t-mark` (a control character or an
/// invisible character, made visible); and
/// `<a href="http..." rel="noopener noreferrer nofollow" title="HOST">`.
/// Elements are closed within the row. Tabs and spaces stand as they are: use
/// `white-space: pre-wrap`.
#[derive(Debug, Clone, Default)]
pub struct Renderer {}

impl Renderer {
    /// A renderer in the state of a fresh terminal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the HTML of one row, given with or without its `\n`. A row that may still grow (the
    /// last one of a live log) is rendered with a clone, and again with the original when it is
    /// whole.
    pub fn row(&mut self, _bytes: &[u8], _html: &mut String) {
        unimplemented!()
    }

    /// Takes over the state after a row without rendering it: for a page that begins in the middle
    /// of a log.
    pub fn skip(&mut self, _bytes: &[u8]) {
        unimplemented!()
    }
}

/// The CSS of the classes `c0`..`c255` (text) and `b0`..`b255` (background).
pub fn palette_css() -> String {
    unimplemented!()
}
