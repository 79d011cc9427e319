//! What a repository's root tells about how to build it, and a first spec from that.
//!
//! Pure: the caller lists the root and reads the files that [`is_telling`] names. The suggestions
//! are the commands that a person would type first; nothing is suggested that can't work, such as
//! `npm ci` without a lock file.

mod go;
mod make;
mod node;
mod python;
mod rust;

/// A file in the repository's root. A folder has a name that ends in `/`, and no contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootFile<'a> {
    /// Its name: `Cargo.toml`, `tests/`.
    pub name: &'a str,
    /// What is in it; read lossily will do, and only [`is_telling`] files are looked at.
    pub contents: &'a str,
}

/// A kind of project, the surest sign first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Cargo.
    Rust,
    /// Go modules.
    Go,
    /// npm, pnpm or yarn.
    Node,
    /// pip, in a virtual environment.
    Python,
    /// A Makefile with a target `test` or `check`.
    Make,
}

impl Kind {
    /// What people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Go => "Go",
            Self::Node => "Node.js",
            Self::Python => "Python",
            Self::Make => "Make",
        }
    }
}

/// One way to build this repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What kind of project it seems to be.
    pub kind: Kind,
    /// The file that tells: `Cargo.toml`.
    pub because: String,
    /// What to run, in order.
    pub steps: Vec<SuggestedStep>,
    /// What a person should know about them, one sentence each.
    pub notes: Vec<String>,
}

/// A step of a suggestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuggestedStep {
    /// What people call it.
    pub name: String,
    /// What is run.
    pub script: String,
}

/// Whether the contents of a root file of this name are looked at; others need not be read.
pub fn is_telling(name: &str) -> bool {
    let exact = [
        "Cargo.toml",
        "package.json",
        "yarn.lock",
        "pyproject.toml",
        "setup.py",
        "setup.cfg",
        "tox.ini",
    ];
    exact.contains(&name)
        || make::NAMES.contains(&name)
        || (name.starts_with("requirements") && name.ends_with(".txt"))
}

/// Looks at the root's files; the surest suggestion first.
pub fn detect(files: &[RootFile<'_>]) -> Vec<Suggestion> {
    let root = Root(files);
    let look = [rust::look, go::look, node::look, python::look, make::look];
    look.into_iter().filter_map(|look| look(&root)).collect()
}

/// A commented `windlass.yml` for these suggestions; a skeleton to fill in if there are none.
///
/// A Makefile mostly calls the tools of the other kinds, so beside one of them it is a comment.
pub fn first_spec(suggestions: &[Suggestion]) -> String {
    let languages: Vec<&Suggestion> = suggestions
        .iter()
        .filter(|suggestion| suggestion.kind != Kind::Make)
        .collect();
    let make = suggestions
        .iter()
        .find(|suggestion| suggestion.kind == Kind::Make);
    let chosen = match (languages.is_empty(), make) {
        (true, Some(make)) => vec![make],
        _ => languages,
    };
    let mut spec = "\
# What Windlass does for each build. The steps run in order, in the root of the
# repository; the first that fails ends the build. All keys are explained in
# docs/spec/reference.md of Windlass.

"
    .to_owned();
    if chosen.is_empty() {
        spec.push_str(SKELETON);
    } else {
        spec.push_str("steps:\n");
        let several = chosen.len() > 1;
        for (index, suggestion) in chosen.iter().enumerate() {
            if index > 0 {
                spec.push('\n');
            }
            section(&mut spec, suggestion, several);
        }
        if let (Some(make), false) = (make, chosen.iter().any(|one| one.kind == Kind::Make)) {
            spec.push_str(&format!("\n  # There is a {} too:\n", make.because));
            for step in &make.steps {
                spec.push_str(&format!("  # - {}\n", step.script));
            }
        }
    }
    spec.push_str(FURTHER);
    spec
}

const SKELETON: &str = "\
# Nothing in the root says how to build this repository. Replace the step below
# by the commands that you would type: one per item, or several below `run: |`.
steps:
  - name: Build
    run: |
      echo \"put your build commands into windlass.yml\"
";

const FURTHER: &str = "
# More, if you need it:
#
# timeout: 20m                # for the whole build; 1h if it isn't said
# env:
#   LOG_LEVEL: debug          # a variable for all steps
# secrets: [REGISTRY_TOKEN]   # kept on the server, given as variables
";

fn section(spec: &mut String, suggestion: &Suggestion, several: bool) {
    let title = suggestion.kind.title();
    spec.push_str(&format!(
        "  # {title}: there is a {}.\n",
        suggestion.because
    ));
    for note in &suggestion.notes {
        spec.push_str(&format!("  # {note}\n"));
    }
    for step in &suggestion.steps {
        // Two kinds both have a step "Test": names tell them apart.
        let name = if several {
            format!("{title}: {}", step.name)
        } else {
            step.name.clone()
        };
        spec.push_str(&format!(
            "  - name: {}\n    run: {}\n",
            quoted(&name),
            quoted(&step.script)
        ));
    }
}

/// A YAML scalar: plain where that reads the same, a block where it has lines, else in quotes.
fn quoted(text: &str) -> String {
    if text.contains('\n') {
        let lines: Vec<String> = text.lines().map(|line| format!("      {line}")).collect();
        return format!("|\n{}", lines.join("\n"));
    }
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/');
    if starts_well && !text.contains(": ") && !text.contains(" #") && !text.ends_with([':', ' ']) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// The root's files, to ask questions of.
struct Root<'f>(&'f [RootFile<'f>]);

impl<'f> Root<'f> {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|file| file.name == name)
    }

    fn contents(&self, name: &str) -> Option<&'f str> {
        self.0
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.contents)
    }

    /// The first of these names that is there.
    fn first(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.has(name))
    }
}

fn step(name: &str, script: impl Into<String>) -> SuggestedStep {
    SuggestedStep {
        name: name.to_owned(),
        script: script.into(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::value::testing::job;

    /// The scripts of the spec for a root with these files, which must have no problems.
    pub(super) fn scripts(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<RootFile<'_>> = files
            .iter()
            .map(|(name, contents)| RootFile { name, contents })
            .collect();
        let spec = first_spec(&detect(&files));
        job(&spec)
            .steps
            .into_iter()
            .map(|step| step.script)
            .collect()
    }

    #[test]
    fn without_any_sign_there_is_a_skeleton() {
        let scripts = scripts(&[("README.md", "")]);
        assert_eq!(
            scripts,
            ["echo \"put your build commands into windlass.yml\"\n"]
        );
    }

    #[test]
    fn what_is_suggested_as_a_comment_is_valid_too() {
        let spec = first_spec(&[]).replace("\n# timeout", "\ntimeout");
        let spec = spec
            .replace("\n# env:", "\nenv:")
            .replace("\n#   LOG", "\n  LOG");
        let job = job(&spec.replace("\n# secrets", "\nsecrets"));
        assert_eq!(job.env["LOG_LEVEL"], "debug");
        assert_eq!(job.secrets, ["REGISTRY_TOKEN"]);
    }

    #[test]
    fn a_makefile_beside_a_language_is_a_comment() {
        let files = [("Cargo.toml", ""), ("Makefile", "test:\n\tcargo test\n")];
        assert_eq!(scripts(&files), ["cargo build", "cargo test"]);
    }

    /// Every file that is looked at, in every variant, in every combination of kinds.
    #[test]
    fn every_combination_is_a_spec_without_problems() {
        let package = r#"{"scripts": {"build": "x", "test": "y"}}"#;
        let variants: [&[&[(&str, &str)]]; 5] = [
            &[
                &[],
                &[("Cargo.toml", "[package]")],
                &[("Cargo.toml", "[workspace]"), ("Cargo.lock", "")],
            ],
            &[&[], &[("go.mod", "module x")]],
            &[
                &[],
                &[("package.json", package)],
                &[("package.json", package), ("package-lock.json", "")],
                &[("package.json", "{}"), ("pnpm-lock.yaml", "")],
                &[("package.json", "broken"), ("yarn.lock", "__metadata:")],
            ],
            &[
                &[],
                &[("requirements.txt", "pytest")],
                &[(
                    "pyproject.toml",
                    "[project]\noptional-dependencies.test = ['pytest']",
                )],
                &[
                    ("setup.py", ""),
                    ("requirements-dev.txt", ""),
                    ("tests/", ""),
                ],
                &[("tox.ini", "[testenv]\ncommands = true")],
            ],
            &[
                &[],
                &[("Makefile", "build:\ntest:\ncheck:\n")],
                &[("Makefile", "x = 1")],
            ],
        ];
        let mut count = 0;
        for rust in variants[0] {
            for go in variants[1] {
                for node in variants[2] {
                    for python in variants[3] {
                        for make in variants[4] {
                            let files = [*rust, *go, *node, *python, *make].concat();
                            assert!(!scripts(&files).is_empty());
                            count += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(count, 450);
    }

    #[test]
    fn scalars_read_back_as_they_were() {
        for text in [
            "a", "a: b", "a #b", "'x'", "[x]", "a:", "- a", "it's", "!x", "a 'b'", "a\nb",
        ] {
            let spec = format!("steps:\n  - run: {}\n", quoted(text));
            assert_eq!(job(&spec).steps[0].script.trim_end(), text);
        }
    }
}
