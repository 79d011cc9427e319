//! The matrix: versions of a language, lines of variables, jobs that are added and taken out.

use std::collections::BTreeSet;

use super::super::pipeline::{Matrix, Vars, is_variable, legal_name};
use super::super::tree::Tree as _;
use crate::limits;
use crate::node::{Entry, Node};

/// Keys of which each value is a job of its own.
pub(super) const VERSIONS: [&str; 20] = [
    "python",
    "node_js",
    "rust",
    "go",
    "rvm",
    "ruby",
    "php",
    "jdk",
    "perl",
    "julia",
    "elixir",
    "otp_release",
    "scala",
    "dart",
    "ghc",
    "compiler",
    "gemfile",
    "arch",
    "os",
    "d",
];

/// Keys of an added job that only choose values.
pub(super) fn is_choice(key: &str) -> bool {
    VERSIONS.contains(&key)
        || matches!(
            key,
            "env" | "dist" | "sudo" | "language" | "osx_image" | "name"
        )
}

/// `A=1 B="x y"` as variables.
pub(super) fn variables(text: &str) -> Vars {
    let mut vars = Vars::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut chars = text.chars();
    let add = |word: &mut String, vars: &mut Vars| {
        if let Some((name, value)) = word.split_once('=')
            && is_variable(name)
            && !vars.iter().any(|(known, _)| known == name)
        {
            vars.push((name.to_owned(), value.to_owned()));
        }
        word.clear();
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.extend(chars.next()),
            (None, c) if c.is_whitespace() => add(&mut word, &mut vars),
            (_, '\0') => {}
            (_, c) => word.push(c),
        }
    }
    add(&mut word, &mut vars);
    vars
}

/// Variables of `env`: those of all jobs, and those of which each line is a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Env {
    pub(super) global: Vars,
    pub(super) lines: Vec<Vars>,
    /// Encrypted values.
    pub(super) secure: usize,
}

/// Reads `env` in any of its shapes.
pub(super) fn env(node: &Node) -> Env {
    let mut env = Env::default();
    let inner = ["global", "jobs", "matrix"];
    if node
        .entries()
        .iter()
        .any(|entry| inner.contains(&entry.key.as_str()))
    {
        for entry in node.entries() {
            let items = one_by_one(&entry.value, &mut env.secure);
            if entry.key == "global" {
                env.global.extend(items.into_iter().flatten());
            } else {
                env.lines.extend(items);
            }
        }
    } else {
        env.lines = one_by_one(node, &mut env.secure);
    }
    env.lines.retain(|line| !line.is_empty());
    env
}

fn one_by_one(node: &Node, secure: &mut usize) -> Vec<Vars> {
    let mut all = Vec::new();
    for item in node.list().into_iter().take(limits::ITEMS) {
        if item.get("secure").is_some() {
            *secure += 1;
            continue;
        }
        let mut vars: Vars = item.text().map(variables).unwrap_or_default();
        for entry in item.entries() {
            match entry.value.get("secure") {
                Some(_) => *secure += 1,
                None if is_variable(&entry.key) => {
                    let value = entry.value.text().unwrap_or_default().replace('\0', "");
                    vars.push((entry.key.clone(), value));
                }
                None => {}
            }
        }
        all.push(vars);
    }
    all
}

/// Whether a machine of ours can run it.
pub(super) fn is_linux(os: &str) -> bool {
    matches!(os, "linux" | "linux-ppc64le" | "")
}

/// The axes that keys of the file make.
pub(super) struct Axes(Vec<Vec<Vars>>);

impl Axes {
    /// From the whole file's keys. Systems that we have no machines for are given back.
    pub(super) fn of(root: &Node, env: &Env) -> (Self, Vec<String>) {
        let mut axes = Vec::new();
        let mut gone = Vec::new();
        for entry in root.entries() {
            let key = entry.key.as_str();
            if key == "os" {
                let texts = entry.value.texts();
                gone.extend(texts.into_iter().filter(|os| !is_linux(os)));
                continue;
            }
            if !VERSIONS.contains(&key) {
                continue;
            }
            let mut seen = BTreeSet::new();
            let values: Vec<Vars> = entry
                .value
                .texts()
                .into_iter()
                .map(|value| value.replace('\0', ""))
                .filter(|value| seen.insert(value.clone()))
                .map(|value| vec![(legal_name(key), value)])
                .collect();
            if !values.is_empty() {
                axes.push(values);
            }
        }
        if !env.lines.is_empty() {
            axes.push(env.lines.clone());
        }
        (Self(axes), gone)
    }

    /// Whether there is any.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is more than one combination.
    pub(super) fn is_many(&self) -> bool {
        self.0.iter().any(|values| values.len() > 1)
    }

    /// The first value of each: what an added job has where it says nothing.
    pub(super) fn first(&self) -> Vars {
        let firsts = self.0.iter().filter_map(|values| values.first());
        firsts.flatten().cloned().collect()
    }

    /// All combinations without those that are taken out.
    pub(super) fn cells(&self, exclude: &[Vars]) -> Vec<Vars> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut cells: Vec<Vars> = vec![Vars::new()];
        for values in &self.0 {
            let longer = cells.iter().flat_map(|cell| {
                values.iter().map(move |value| {
                    let new = value
                        .iter()
                        .filter(|(name, _)| !cell.iter().any(|(n, _)| n == name));
                    cell.iter().chain(new).cloned().collect::<Vars>()
                })
            });
            cells = longer.take(limits::CELLS).collect();
        }
        cells.retain(|cell| !exclude.iter().any(|out| takes(out, cell)));
        cells
    }

    /// Axes where every value stands for itself.
    fn simple(&self) -> Option<Vec<(String, Vec<String>)>> {
        let mut axes: Vec<(String, Vec<String>)> = Vec::new();
        for values in &self.0 {
            let (name, _) = values.first()?.first()?;
            let same = values
                .iter()
                .all(|value| matches!(&value[..], [(n, _)] if n == name));
            let legal =
                legal_name(name) == *name && !matches!(name.as_str(), "include" | "exclude");
            if !same || !legal || axes.iter().any(|(known, _)| known == name) {
                return None;
            }
            let mut seen = BTreeSet::new();
            let list = values.iter().flatten().map(|(_, value)| value.clone());
            axes.push((
                name.clone(),
                list.filter(|value| seen.insert(value.clone())).collect(),
            ));
        }
        Some(axes)
    }

    /// The matrix of these cells: short where all combinations of the axes are in it.
    pub(super) fn matrix(&self, cells: Vec<Vars>, added: Vec<Vars>) -> Matrix {
        let whole = self.cells(&[]).len() == cells.len();
        match self.simple() {
            Some(axes) if whole && !cells.is_empty() => Matrix {
                axes,
                include: added,
                exclude: Vec::new(),
            },
            _ => Matrix {
                include: cells
                    .into_iter()
                    .chain(added)
                    .map(legal)
                    .take(limits::CELLS)
                    .collect(),
                ..Matrix::default()
            },
        }
    }
}

/// Names of axes are words.
fn legal(cell: Vars) -> Vars {
    let mut out = Vars::new();
    for (name, value) in cell {
        let name = legal_name(&name);
        if !out.iter().any(|(known, _)| *known == name) {
            out.push((name, value));
        }
    }
    out
}

/// Whether all values of one are in the other.
pub(super) fn takes(one: &Vars, cell: &Vars) -> bool {
    !one.is_empty() && one.iter().all(|pair| cell.contains(pair))
}

/// The values that an entry of `include`, `exclude` or `allow_failures` names.
pub(super) fn values(entries: &[Entry]) -> Vars {
    let mut vars = Vars::new();
    for entry in entries {
        let key = entry.key.as_str();
        if key == "env" {
            let env = env(&entry.value);
            vars.extend(env.lines.into_iter().flatten());
            vars.extend(env.global);
        } else if VERSIONS.contains(&key) && key != "os" {
            let value = entry.value.text().unwrap_or_default().replace('\0', "");
            vars.push((legal_name(key), value));
        }
    }
    vars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_variables() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            variables("A=1 B=\"x y\" C='z'"),
            [pair("A", "1"), pair("B", "x y"), pair("C", "z")]
        );
        assert_eq!(variables("A=a=b  1B=c D"), [pair("A", "a=b")]);
        assert_eq!(variables("A='open"), [pair("A", "open")]);
    }
}
