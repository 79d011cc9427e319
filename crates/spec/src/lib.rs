//! The build spec: text in, plan or every diagnostic out. Pure: no files, no network, no clock.
//!
//! ```
//! let source = "steps:\n  - cargo test\n";
//! let loaded = windlass_spec::load("windlass.yml", source.as_bytes());
//! assert_eq!(loaded.plan.unwrap().jobs[0].steps[0].name, "cargo test");
//! ```
//!
//! | I look for | it is in |
//! | --- | --- |
//! | what a key means, and its tests | `keys/<key>.rs`, and the tables in `keys.rs` |
//! | what a key is made of | `key.rs`; values that several share in `value.rs` |
//! | from bytes to the tree | `load.rs`, `yaml.rs`, `toml.rs`, `node.rs`, `limits.rs` |
//! | from the tree to the spec | `key.rs` (every map), `draft.rs` (what keys mean together), `spec.rs` |
//! | the graph of jobs; the plan for an event | `spec/graph.rs`, `spec/plan.rs` |
//! | conditions, `${{ name }}`, parameters | `expression.rs`, `template.rs`, `params.rs` |
//! | problems and their codes | `codes.rs`, `problems.rs`, `suggest.rs` (did you mean) |
//! | showing them | [`render`]; to programs: [`formats`] |
//! | schema and reference page | `schema.rs`, `reference.rs`: both from the tables |
//! | a first spec for a repository | [`detect`] |
//! | build descriptions of other systems | [`import`] |

pub mod codes;
pub mod detect;
mod draft;
mod expression;
pub mod formats;
pub mod import;
pub mod include;
mod key;
mod keys;
pub mod layout;
mod limits;
mod load;
mod node;
pub mod params;
mod problems;
mod reference;
pub mod render;
pub mod schedules;
mod schema;
pub mod spec;
mod suggest;
mod template;
mod toml;
mod value;
mod yaml;

pub use include::{Include, Included, includes};
pub use load::{FILE_NAMES, Loaded, Read, load, load_in, load_with, read, read_with};
pub use reference::reference;
pub use schema::schema;
pub use spec::Spec;
pub use windlass_model::diagnostic::{Diagnostic, Severity};
pub use windlass_model::plan::Plan;
