//! The build spec: text in, plan or every diagnostic out. Pure: no files, no network, no clock.

pub mod detect;
pub mod render;

pub use windlass_model::diagnostic::{Diagnostic, Severity};
pub use windlass_model::plan::Plan;

/// The names that a spec may have in a repository's root, the first that exists wins.
pub const FILE_NAMES: [&str; 3] = ["windlass.yml", "windlass.yaml", "windlass.toml"];

/// What came of a spec: a plan, problems, or a plan with warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The plan; `None` exactly when one of the diagnostics is an error.
    pub plan: Option<Plan>,
    /// Everything that a person should know, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a spec. The name's ending decides the language: `.toml`, and YAML (so JSON too) else.
pub fn load(_file_name: &str, _source: &[u8]) -> Loaded {
    Loaded {
        plan: None,
        diagnostics: Vec::new(),
    }
}

/// The JSON Schema of the spec, for editors.
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}

/// The reference page in Markdown.
pub fn reference() -> String {
    String::new()
}
