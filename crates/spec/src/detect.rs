//! What a repository's root tells about how to build it, and a first spec from that.

/// A file in the repository's root. A folder has a name that ends in `/`, and no contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootFile<'a> {
    /// Its name, `Cargo.toml`.
    pub name: &'a str,
    /// What is in it; lossy text will do.
    pub contents: &'a str,
}

/// A kind of project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Cargo.
    Rust,
    /// npm, pnpm or yarn.
    Node,
    /// pip, in a virtual environment.
    Python,
    /// Go modules.
    Go,
    /// A Makefile with a target `test` or `check`.
    Make,
}

/// One way to build this repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What kind of project it seems to be.
    pub kind: Kind,
    /// Why we think so: "there is a Cargo.toml".
    pub because: String,
    /// What to run: name and script.
    pub steps: Vec<(String, String)>,
}

/// Looks at the root's files; the surest suggestion first.
pub fn detect(_files: &[RootFile<'_>]) -> Vec<Suggestion> {
    Vec::new()
}

/// A commented `windlass.yml` for these suggestions; a skeleton to fill in when there are none.
pub fn first_spec(_suggestions: &[Suggestion]) -> String {
    String::new()
}
