//! `windlass fmt`: one layout for all specs, comments kept.
//!
//! The layout is changed line by line, never by printing a tree, so whatever a line holds (comments,
//! anchors, quotes) stays as it was written. Afterwards both texts are read: if they don't mean the
//! same, or a comment is gone, nothing is changed and that is told.

mod toml;
mod yaml;

use crate::include::Included;
use crate::load;
use crate::node::{Entry, Node, Scalar, Style, Value};
use crate::problems::{Language, Problems};

/// Why a file was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// It can't be read; `windlass check` says more.
    #[error("{0}")]
    Broken(String),
    /// We would have changed what it means. That is a mistake of ours.
    #[error("the layout can't be changed without changing what the file means")]
    WouldChange,
}

/// The text in the usual layout.
///
/// # Errors
/// When the file has errors of its syntax, and when we can't do it.
pub fn layout(file_name: &str, source: &[u8]) -> Result<String, LayoutError> {
    let language = Language::of(file_name);
    let before = tree(language, source)?;
    let text = std::str::from_utf8(source)
        .map_err(|_| LayoutError::Broken("the file is not UTF-8".to_owned()))?;
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    // The places of the tree are those of this text.
    let tree_of_text = tree(language, text.as_bytes())?;
    let made = match language {
        Language::Yaml => yaml::layout(&text, tree_of_text.as_ref()),
        Language::Toml => toml::layout(&text).ok_or(LayoutError::WouldChange)?,
    };
    let after = tree(language, made.as_bytes()).map_err(|_| LayoutError::WouldChange)?;
    let same = match (&before, &after) {
        (Some(before), Some(after)) => same(before, after),
        (None, None) => true,
        _ => false,
    };
    if !same || comments(&text) != comments(&made) {
        return Err(LayoutError::WouldChange);
    }
    Ok(made)
}

fn tree(language: Language, source: &[u8]) -> Result<Option<Node>, LayoutError> {
    let mut problems = Problems::new(source, language);
    let node = load::tree(source, &mut problems);
    match problems
        .into_diagnostics()
        .into_iter()
        .find(|d| d.code.starts_with('E'))
    {
        Some(d) => Err(LayoutError::Broken(format!(
            "line {}: {}",
            d.line, d.message
        ))),
        None => Ok(node),
    }
}

/// Whether two trees say the same, wherever it stands.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::Scalar(a), Value::Scalar(b)) => a == b,
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let entry = |(a, b): (&Entry, &Entry)| a.key == b.key && same(&a.value, &b.value);
            a.len() == b.len() && a.iter().zip(b).all(entry)
        }
        _ => false,
    }
}

/// The words behind every `#`, also of those that are no comments: all must be there afterwards.
fn comments(text: &str) -> Vec<&str> {
    let mut comments: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('#')?.1.trim()))
        .collect();
    comments.sort_unstable();
    comments
}

/// Calls back with every scalar and its place, and with every key as a scalar.
fn each_scalar(node: &Node, visit: &mut dyn FnMut(&Node, &Scalar)) {
    match &node.value {
        Value::Scalar(scalar) => visit(node, scalar),
        Value::List(items) => items.iter().for_each(|item| each_scalar(item, visit)),
        Value::Map(entries) => {
            for entry in entries {
                let key = Node::scalar(entry.key_span.clone(), entry.key.as_str(), Style::Plain);
                if let Value::Scalar(scalar) = &key.value {
                    visit(&key, scalar);
                }
                each_scalar(&entry.value, visit);
            }
        }
    }
}

/// Whether two specs mean the same, for tests.
#[doc(hidden)]
pub fn reads_the_same(file_name: &str, one: &str, other: &str) -> bool {
    let read = |text: &str| load::read_with(file_name, text.as_bytes(), &Included::new()).spec;
    read(one) == read(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn yaml(text: &str) -> String {
        let made = layout("windlass.yml", text.as_bytes()).unwrap();
        assert_eq!(
            layout("windlass.yml", made.as_bytes()).unwrap(),
            made,
            "not twice"
        );
        made
    }

    #[test]
    fn indentation_spaces_and_blank_lines() {
        let made = yaml(
            "\n\n# about it\nenv:\n      A:   1   # one\n      B : two\n\n\n\nsteps:\n-   make\n-   run:  x   \n    name:  \
             y\n\n    #  inner\n    env: {A:  b}\n#last\n",
        );
        assert_eq!(
            made,
            "# about it\nenv:\n  A: 1 # one\n  B: two\n\nsteps:\n  - make\n  - run: x\n    name: y\n\n    #  \
             inner\n    env: {A:  b}\n#last\n"
        );
    }

    #[test]
    fn scripts_keep_every_space_that_matters() {
        let made = yaml(
            "steps:\n- run: |\n     if x; then\n         y  \n     fi\n\n\n     # no comment of ours\n- >-\n  folded\n  text\n- \
             \"a\n   b\"\n- run: |2\n       two\n",
        );
        assert_eq!(
            made,
            "steps:\n  - run: |\n       if x; then\n           y  \n       fi\n\n\n       # no comment of ours\n  - >-\n    \
             folded\n    text\n  - \"a\n     b\"\n  - run: |2\n         two\n"
        );
    }

    #[test]
    fn deeper_structures_and_anchors() {
        let made = yaml(
            "jobs:\n    a:   &a\n        steps:\n        - x\n        - - odd\n    b:\n        <<:  *a\n        needs: [a,\n            \
             c]\n",
        );
        assert_eq!(
            made,
            "jobs:\n  a: &a\n    steps:\n      - x\n      - - odd\n  b:\n    <<: *a\n    needs: [a,\n        c]\n"
        );
    }

    #[test]
    fn toml_keeps_its_comments() {
        let text = "# top\n\n\n\nsteps=['a',  # one\n  'b']\ntimeout   =  '1m'   # long\n\n[env]\nA=1\n\n\n[[x]]  # table\nb = '''\n  \
                    c  \n'''\n";
        let made = layout("windlass.toml", text.as_bytes()).unwrap();
        assert_eq!(
            made,
            "# top\n\nsteps = ['a',  # one\n  'b']\ntimeout = '1m' # long\n\n[env]\nA = 1\n\n[[x]] # table\nb = '''\n  c  \n'''\n"
        );
        assert_eq!(layout("windlass.toml", made.as_bytes()).unwrap(), made);
    }

    #[test]
    fn what_can_not_be_read_stays() {
        let broken = layout("windlass.yml", b"steps: [a\n");
        assert!(matches!(broken, Err(LayoutError::Broken(_))), "{broken:?}");
        assert_eq!(yaml("# nothing\n"), "# nothing\n");
    }

    #[test]
    fn every_spec_of_the_tests_means_the_same_afterwards() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let (mut done, mut refused) = (0, Vec::new());
        let mut folders = vec![root.join("tests/ui"), root.join("../../examples")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.to_string_lossy().into_owned();
                if !name.ends_with(".yml") && !name.ends_with(".toml") {
                    continue;
                }
                let source = std::fs::read(&path).unwrap();
                match layout(&name, &source) {
                    Ok(made) => {
                        assert_eq!(layout(&name, made.as_bytes()).as_ref(), Ok(&made), "{name}");
                        let text = String::from_utf8(source).unwrap();
                        assert!(reads_the_same(&name, &text, &made), "{name}");
                        if name.contains("/examples/") {
                            assert_eq!(text, made, "{name}: run `windlass fmt`");
                        }
                        done += 1;
                    }
                    Err(LayoutError::Broken(_)) => {}
                    Err(LayoutError::WouldChange) => refused.push(name),
                }
            }
        }
        assert!(done > 100, "{done}");
        assert!(refused.len() < 8, "{refused:#?}");
    }

    fn node() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("x"),
            Just("a b"),
            Just("'q # q'"),
            Just("\"d\""),
            Just("{a: b,  c: d}"),
            Just("[1,   2]"),
            Just("3.10 # note"),
        ]
        .prop_map(str::to_owned)
    }

    /// A map with any indentation, as somebody might write it.
    fn map(depth: u32) -> BoxedStrategy<Vec<String>> {
        let scalar = node().prop_map(|text| vec![format!(" {text}")]);
        let value = if depth == 0 {
            scalar.boxed()
        } else {
            let nested = (map(depth - 1), 1..5usize).prop_map(|(lines, by)| {
                let pad = " ".repeat(by);
                let nested = lines.into_iter().map(|l| format!("{pad}{l}"));
                std::iter::once(String::new()).chain(nested).collect()
            });
            let list = (
                proptest::collection::vec(map(depth - 1), 1..3),
                0..3usize,
                1..4usize,
            )
                .prop_map(|(items, by, gap)| {
                    let (pad, gap) = (" ".repeat(by), " ".repeat(gap));
                    let mut lines = vec![String::new()];
                    for item in items {
                        for (n, line) in item.into_iter().enumerate() {
                            let mark = if n == 0 { "-" } else { " " };
                            lines.push(format!("{pad}{mark}{gap}{line}"));
                        }
                    }
                    lines
                });
            prop_oneof![scalar, nested, list].boxed()
        };
        proptest::collection::vec((value, any::<bool>(), 0..3u8), 1..4)
            .prop_map(|entries| {
                let mut lines = Vec::new();
                for (n, (value, comment, blank)) in entries.into_iter().enumerate() {
                    if n > 0 {
                        lines.extend((0..blank).map(|_| String::new()));
                        if comment {
                            lines.push(format!("# about k{n}"));
                        }
                    }
                    lines.push(format!("k{n}:{}", value[0]));
                    lines.extend(value.into_iter().skip(1));
                }
                lines
            })
            .boxed()
    }

    proptest! {
        #[test]
        fn whatever_is_written_keeps_its_meaning(lines in map(3)) {
            let text = lines.join("\n") + "\n";
            let made = layout("windlass.yml", text.as_bytes());
            prop_assert!(made.is_ok(), "{text}\n{made:?}");
            let made = made.unwrap();
            prop_assert_eq!(layout("windlass.yml", made.as_bytes()).unwrap(), made.clone(), "{}", text);
            prop_assert!(!made.contains("\n\n\n") && !made.contains(" \n"));
        }
    }
}
