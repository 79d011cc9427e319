//! From the bytes of a file to a plan: checks the file as a whole, picks the language, lowers.

use std::collections::BTreeMap;

use windlass_model::diagnostic::Diagnostic;
use windlass_model::plan::Plan;
use windlass_model::{Event, Facts, Revision, Trigger};

use crate::codes;
use crate::include::Included;
use crate::keys;
use crate::limits;
use crate::node::{Node, Value};
use crate::problems::{Language, Problem, Problems};
use crate::spec::Spec;
use crate::toml;
use crate::value;
use crate::yaml;

/// The names that a spec may have in a repository's root; the first that exists counts.
pub const FILE_NAMES: [&str; 3] = ["windlass.yml", "windlass.yaml", "windlass.toml"];

/// What came of a file: a spec, a spec with warnings, or problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The spec; `None` exactly when one of the diagnostics is an error.
    pub spec: Option<Spec>,
    /// Everything that a person should know, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// What came of a spec for a build by hand: a plan, a plan with warnings, or problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The plan; `None` exactly when one of the diagnostics is an error.
    pub plan: Option<Plan>,
    /// Everything that a person should know, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a spec and plans a build by hand, of no branch, with all parameters at their defaults.
pub fn load(file_name: &str, source: &[u8]) -> Loaded {
    load_with(file_name, source, &Included::new())
}

/// As [`load`], with the files that the spec includes: see [`crate::includes`].
pub fn load_with(file_name: &str, source: &[u8], included: &Included) -> Loaded {
    load_in(file_name, source, included, None)
}

/// As [`load_with`], with the paths of all files in the repository: a pattern that matches none of
/// them is warned of.
pub fn load_in(
    file_name: &str,
    source: &[u8],
    included: &Included,
    files: Option<&[String]>,
) -> Loaded {
    let read = read_in(file_name, source, included, files);
    Loaded {
        plan: read.spec.map(|spec| spec.plan(&by_hand(&spec))),
        diagnostics: read.diagnostics,
    }
}

/// What is known of a build that nothing is known of.
fn by_hand(spec: &Spec) -> Facts {
    let trigger = Trigger::new(Event::Manual, Revision::zero(), "");
    let mut facts = Facts::new(trigger, "");
    facts.params = crate::params::values(spec.params(), &BTreeMap::new()).unwrap_or_default();
    facts
}

/// Reads a spec. The ending of the name decides the language: `.toml`, or else YAML, which JSON
/// is too. Any bytes will do: what can't be read is a diagnostic.
pub fn read(file_name: &str, source: &[u8]) -> Read {
    read_with(file_name, source, &Included::new())
}

/// As [`read`], with the files that the spec includes: see [`crate::includes`].
pub fn read_with(file_name: &str, source: &[u8], included: &Included) -> Read {
    read_in(file_name, source, included, None)
}

fn read_in(file_name: &str, source: &[u8], included: &Included, files: Option<&[String]>) -> Read {
    let mut problems = Problems::new(source, Language::of(file_name)).with_files(files);
    let spec = spec(source, included, &mut problems);
    let spec = spec.filter(|_| !problems.has_errors());
    Read {
        spec,
        diagnostics: problems.into_diagnostics(),
    }
}

/// The tree of a file, as far as it can be read.
pub(crate) fn tree(source: &[u8], problems: &mut Problems<'_>) -> Option<Node> {
    let text = text(source, problems)?;
    parse(text, problems)
}

fn parse(text: &str, problems: &mut Problems<'_>) -> Option<Node> {
    match problems.language() {
        Language::Toml => toml::read(text, problems),
        Language::Yaml => yaml::read(text, problems),
    }
}

fn spec(source: &[u8], included: &Included, problems: &mut Problems<'_>) -> Option<Spec> {
    let text = text(source, problems)?;
    let root = parse(text, problems).filter(|root| !root.is_nothing());
    let Some(root) = root else {
        if !problems.is_cut_off() {
            problems.push(empty(problems.language()));
        }
        return None;
    };
    let entries = top_level(&root, problems)?;
    Some(crate::spec::read(entries, included, problems))
}

/// The source as text, or what is wrong with the file as a whole.
fn text<'s>(source: &'s [u8], problems: &mut Problems<'_>) -> Option<&'s str> {
    if source.len() > limits::SOURCE {
        let message = format!("the file has {} bytes", source.len());
        problems.push(
            Problem::new(codes::TOO_LARGE, 0..0, message)
                .label(format!("a spec has at most {} (256 KiB)", limits::SOURCE))
                .help("move long scripts to files in the repository and run those"),
        );
        return None;
    }
    if source.starts_with(&[0xff, 0xfe]) || source.starts_with(&[0xfe, 0xff]) {
        problems.push(
            Problem::new(codes::NOT_UTF8, 0..2, "the file is UTF-16")
                .label("expected UTF-8")
                .help("save it as UTF-8; most editors offer this where they save"),
        );
        return None;
    }
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let start = error.valid_up_to();
            let end = error
                .error_len()
                .map_or(source.len(), |length| start + length);
            problems.push(
                Problem::new(codes::NOT_UTF8, start..end, "the file is not UTF-8")
                    .label(format!("not UTF-8: byte 0x{:02x}", source[start]))
                    .help("save it as UTF-8; most editors offer this where they save"),
            );
            return None;
        }
    };
    let nuls: Vec<usize> = text
        .bytes()
        .enumerate()
        .filter(|(_, b)| *b == 0)
        .map(|(i, _)| i)
        .collect();
    if let Some(first) = nuls.first() {
        let message = match nuls.len() {
            1 => "the file has a NUL character".to_owned(),
            count => format!("the file has {count} NUL characters"),
        };
        problems.push(
            Problem::new(codes::NUL, *first..first + 1, message)
                .label("no text has this")
                .help("take it away; perhaps the file was damaged, or is not a text at all"),
        );
        return None;
    }
    Some(text)
}

fn empty(language: Language) -> Problem {
    let example = match language {
        Language::Toml => "`steps = [\"make\"]`",
        Language::Yaml => "`steps: [make]`",
    };
    Problem::new(codes::EMPTY, 0..0, "the file is empty")
        .label("expected `steps`")
        .help(format!("write what to run, for example {example}"))
}

fn top_level<'n>(root: &'n Node, problems: &mut Problems<'_>) -> Option<&'n [crate::node::Entry]> {
    let help = match &root.value {
        Value::Map(entries) => return Some(entries),
        Value::List(_) => Some("write `steps:` above the list".to_owned()),
        Value::Scalar(_) => Some("write `steps:`, and below it `- ` and the command".to_owned()),
    };
    // A text at the top that isn't complete says nothing about what was meant.
    if !problems.is_cut_off() {
        let expected = "a map with `steps`";
        value::wrong_type(root, keys::TOP, expected, help, problems);
    }
    None
}
