//! `strategy`: the matrix, with GitHub's own meaning of `include`.

use super::super::notes::Notes;
use super::super::pipeline::{Matrix, Vars, legal_name};
use super::super::source::Document;
use super::super::tree::Tree as _;
use super::expression::{Expr, Piece, parse, pieces};
use crate::limits;
use crate::node::{Entry, Node};

/// A matrix and what is around it.
#[derive(Debug, Default)]
pub(super) struct Strategy {
    pub(super) matrix: Option<Matrix>,
    /// The path below `matrix` there, and our name.
    pub(super) names: Vec<(String, String)>,
    /// It can't be told which cells there are.
    pub(super) never: bool,
    pub(super) fail_fast: Option<bool>,
    pub(super) max_parallel: Option<u32>,
}

/// Reads `strategy`.
pub(super) fn read(
    document: &Document,
    node: &Node,
    what: &str,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Strategy {
    let mut strategy = Strategy::default();
    for entry in node.entries() {
        let line = document.line_of(entry);
        let here = format!("{what}.{}", entry.key);
        match entry.key.as_str() {
            "matrix" => matrix(entry, &mut strategy, (line, &here), comments, notes),
            "fail-fast" => match entry.value.truth() {
                Some(truth) => {
                    strategy.fail_fast = Some(truth);
                    notes.exact(line, here);
                }
                None => notes.lost(comments, line, here, "only true or false can stand here"),
            },
            "max-parallel" => {
                let number = entry.value.text().and_then(|text| text.parse().ok());
                strategy.max_parallel = number.filter(|number| (1..=1000).contains(number));
                match strategy.max_parallel {
                    Some(_) => notes.exact(line, here),
                    None => notes.lost(comments, line, here, "only a number can stand here"),
                }
            }
            _ => notes.lost(comments, line, here, "there is no such key here"),
        }
    }
    strategy
}

fn matrix(
    entry: &Entry,
    strategy: &mut Strategy,
    (line, here): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    let node = &entry.value;
    let computed = |node: &Node| node.text().is_some_and(|text| text.contains("${{"));
    if node.entries().is_empty() || node.entries().iter().any(|entry| computed(&entry.value)) {
        let words =
            "a matrix is written down here, not computed; the job never runs because of this";
        notes.lost(comments, line, here, words);
        strategy.never = true;
    }
    let mut axes: Vec<(String, Vec<Vars>)> = Vec::new();
    let mut include: Vec<Vars> = Vec::new();
    let mut exclude: Vec<Vars> = Vec::new();
    for entry in node.entries() {
        match entry.key.as_str() {
            "include" | "exclude" => {
                for item in entry.value.list().into_iter().take(limits::CELLS) {
                    let cell = flat_map(item, strategy);
                    if entry.key == "include" {
                        include.push(cell);
                    } else {
                        exclude.push(cell);
                    }
                }
            }
            name => {
                let mut values: Vec<Vars> = Vec::new();
                for item in entry.value.list() {
                    let mut value = Vars::new();
                    flat(name, item, &mut value, strategy);
                    if !value.is_empty() && !values.contains(&value) {
                        values.push(value);
                    }
                }
                if !values.is_empty() {
                    axes.push((name.to_owned(), values));
                }
            }
        }
    }
    notes.exact(line, here);
    strategy.matrix = Some(joined(&axes, include, exclude));
}

/// A map's values with the names that they have here.
fn flat_map(node: &Node, strategy: &mut Strategy) -> Vars {
    let mut vars = Vars::new();
    for entry in node.entries() {
        flat(&entry.key, &entry.value, &mut vars, strategy);
    }
    vars
}

/// `{target: {os: x}}` becomes `target_os: x`: values are texts here.
fn flat(path: &str, node: &Node, vars: &mut Vars, strategy: &mut Strategy) {
    if node.entries().is_empty() {
        let text = match node.text() {
            Some(text) => text.to_owned(),
            None => node.texts().join(" "),
        };
        let name = ours(path, strategy);
        if !vars.iter().any(|(known, _)| *known == name) {
            vars.push((name, text.replace(['\0', '\r'], "")));
        }
    }
    for entry in node.entries() {
        flat(
            &format!("{path}.{}", entry.key),
            &entry.value,
            vars,
            strategy,
        );
    }
}

fn ours(path: &str, strategy: &mut Strategy) -> String {
    if let Some((_, name)) = strategy.names.iter().find(|(known, _)| known == path) {
        return name.clone();
    }
    let mut name = legal_name(&path.replace('.', "_"));
    if matches!(name.as_str(), "include" | "exclude") {
        name.push_str("-axis");
    }
    strategy.names.push((path.to_owned(), name.clone()));
    name
}

/// Axes, added and excluded cells as ours: values that `include` adds to cells need them listed.
fn joined(axes: &[(String, Vec<Vars>)], include: Vec<Vars>, exclude: Vec<Vars>) -> Matrix {
    let simple = axes
        .iter()
        .all(|(_, values)| values.iter().all(|value| value.len() == 1));
    let mut own: Vec<&String> = Vec::new();
    for (name, _) in axes.iter().flat_map(|(_, values)| values).flatten() {
        if !own.contains(&name) {
            own.push(name);
        }
    }
    let mut cells = product(axes, &exclude);
    let mut added: Vec<Vars> = Vec::new();
    let mut merged = false;
    let originals = cells.clone();
    for extra in include {
        let mut found = false;
        for (cell, original) in cells.iter_mut().zip(&originals) {
            let fits = extra
                .iter()
                .filter(|(name, _)| own.contains(&name))
                .all(|pair| original.contains(pair));
            if !fits {
                continue;
            }
            found = true;
            for (name, value) in &extra {
                if own.contains(&name) {
                    continue;
                }
                merged = true;
                match cell.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => known.clone_from(value),
                    None => cell.push((name.clone(), value.clone())),
                }
            }
        }
        if !found && !extra.is_empty() {
            added.push(extra);
        }
    }
    if merged || !simple {
        cells.append(&mut added);
        cells.truncate(limits::CELLS);
        return Matrix {
            include: cells,
            ..Matrix::default()
        };
    }
    let values = |values: &Vec<Vars>| {
        values
            .iter()
            .flatten()
            .map(|(_, value)| value.clone())
            .collect()
    };
    let mut exclude = exclude;
    exclude.retain(|cell| {
        let known = |pair: &(String, String)| originals_have(axes, pair);
        !cell.is_empty() && cell.iter().all(known)
    });
    Matrix {
        axes: axes
            .iter()
            .filter_map(|(_, list)| Some((list.first()?.first()?.0.clone(), values(list))))
            .collect(),
        include: added,
        exclude,
    }
}

fn originals_have(axes: &[(String, Vec<Vars>)], pair: &(String, String)) -> bool {
    axes.iter()
        .flat_map(|(_, values)| values)
        .flatten()
        .any(|own| own == pair)
}

fn product(axes: &[(String, Vec<Vars>)], exclude: &[Vars]) -> Vec<Vars> {
    if axes.is_empty() {
        return Vec::new();
    }
    let mut cells: Vec<Vars> = vec![Vars::new()];
    for (_, values) in axes {
        let longer = cells.iter().flat_map(|cell| {
            values
                .iter()
                .map(move |value| cell.iter().chain(value).cloned().collect::<Vars>())
        });
        cells = longer.take(limits::CELLS).collect();
    }
    cells.retain(|cell| {
        let out = |out: &Vars| !out.is_empty() && out.iter().all(|pair| cell.contains(pair));
        !exclude.iter().any(out)
    });
    cells
}

/// Systems for which there are no machines here.
pub(super) fn is_other_system(label: &str) -> bool {
    let label = label.to_ascii_lowercase();
    ["windows", "macos", "mac-"]
        .iter()
        .any(|word| label.starts_with(word))
}

impl Strategy {
    /// Takes out the cells that need another system; their labels.
    pub(super) fn only_linux(&mut self, runs_on: &str) -> Vec<String> {
        let axis = pieces(runs_on).into_iter().find_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Expr(text) => {
                let path = parse(text).as_ref().and_then(Expr::path)?;
                let path = path.strip_prefix("matrix.")?.to_owned();
                let found = self.names.iter().find(|(name, _)| *name == path)?;
                Some(found.1.clone())
            }
        });
        let (Some(axis), Some(matrix)) = (axis, &mut self.matrix) else {
            return Vec::new();
        };
        let mut gone: Vec<String> = Vec::new();
        let mut keeps = |name: &str, value: &str| {
            let out = name == axis && is_other_system(value);
            if out && !gone.iter().any(|known| known == value) {
                gone.push(value.to_owned());
            }
            !out
        };
        for (name, values) in &mut matrix.axes {
            values.retain(|value| keeps(name, value));
        }
        matrix
            .include
            .retain(|cell| cell.iter().all(|(name, value)| keeps(name, value)));
        matrix.exclude.retain(|cell| {
            cell.iter()
                .all(|(name, value)| name != &axis || !is_other_system(value))
        });
        let empty_axis = matrix.axes.iter().any(|(_, values)| values.is_empty());
        if empty_axis {
            // Without a value of one axis there is no combination.
            matrix.axes.clear();
            matrix.exclude.clear();
        }
        if matrix.axes.is_empty() && matrix.include.is_empty() {
            self.never = true;
            self.matrix = None;
        }
        gone
    }

    /// All values of our name.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let Some(matrix) = &self.matrix else {
            return Vec::new();
        };
        let of_axes = matrix.axes.iter().filter(|(known, _)| known == name);
        let of_cells = matrix
            .include
            .iter()
            .flatten()
            .filter(|(known, _)| known == name);
        of_axes
            .flat_map(|(_, values)| values.iter().map(String::as_str))
            .chain(of_cells.map(|(_, value)| value.as_str()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::source::documents;

    fn of(text: &str) -> Strategy {
        let documents = documents("x", text.as_bytes()).unwrap();
        let mut notes = Notes::new("x");
        read(
            &documents[0],
            &documents[0].root,
            "s",
            &mut Vec::new(),
            &mut notes,
        )
    }

    #[test]
    fn include_adds_values_to_cells_that_fit() {
        let strategy = of("matrix: {a: [1, 2], include: [{a: 1, b: x}, {a: 3, b: y}, {c: z}]}");
        let matrix = strategy.matrix.unwrap();
        assert!(matrix.axes.is_empty());
        let cells: Vec<String> = matrix
            .include
            .iter()
            .map(|cell| cell.iter().map(|(n, v)| format!("{n}={v} ")).collect())
            .collect();
        assert_eq!(cells, ["a=1 b=x c=z ", "a=2 c=z ", "a=3 b=y "]);
    }

    #[test]
    fn plain_axes_stay_axes() {
        let matrix =
            of("matrix: {a: [1, 2], b: [x], exclude: [{a: 2, b: x}], include: [{a: 3, b: y}]}")
                .matrix
                .unwrap();
        assert_eq!(matrix.axes.len(), 2);
        assert_eq!((matrix.include.len(), matrix.exclude.len()), (1, 1));
    }

    #[test]
    fn maps_are_laid_flat() {
        let strategy = of("matrix: {t: [{os: linux, arch: a}, {os: linux, arch: b}]}");
        assert_eq!(strategy.names[0], ("t.os".to_owned(), "t_os".to_owned()));
        assert_eq!(strategy.values("t_arch"), ["a", "b"]);
    }

    #[test]
    fn other_systems_are_taken_out() {
        let mut strategy = of("matrix: {os: [ubuntu-latest, windows-latest], v: [1]}");
        assert_eq!(strategy.only_linux("${{ matrix.os }}"), ["windows-latest"]);
        assert_eq!(strategy.values("os"), ["ubuntu-latest"]);
        let mut strategy = of("matrix: {os: [macos-14]}");
        strategy.only_linux("${{ matrix.os }}");
        assert!(strategy.never);
        assert!(of("matrix: ${{ fromJSON(x) }}").never);
    }
}
