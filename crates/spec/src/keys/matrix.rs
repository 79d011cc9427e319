//! `matrix`: one job in many variants.

use std::ops::Range;

use serde_json::json;

use crate::codes;
use crate::draft::{JobDraft, MatrixDraft};
use crate::key::{self, About, Key};
use crate::limits;
use crate::node::{Entry, Node, Value};
use crate::problems::{Problem, Problems};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "matrix",
        required: false,
        summary: "axes with values: the job runs once for each combination",
        details: "A map of names and lists. Each combination is a job of its own, named `test (3.9, \
                  linux)`; all of them together are what `needs: test` waits for. Steps see the \
                  values as variables `MATRIX_<NAME>`, and `${{ matrix.name }}` may stand in `env` \
                  and other texts. Values are text as it is written: `3.10` stays 3.10. `exclude` \
                  is a list of maps: combinations with these values are left out. `include` is a \
                  list of maps: combinations that are added. At most 10,000.",
        example: "jobs:\n  test:\n    matrix:\n      python: [3.9, 3.10]\n      os: [debian, alpine]\n      \
                  exclude:\n        - {python: 3.9, os: alpine}\n      include:\n        - {python: 3.13, \
                  os: debian}\n    steps:\n      - ./test \"$MATRIX_PYTHON\" \"$MATRIX_OS\"\n",
        schema: || {
            let value = json!({ "type": ["string", "number", "boolean"] });
            let cells = json!({
                "type": "array",
                "items": { "type": "object", "additionalProperties": value },
            });
            json!({
                "type": "object",
                "properties": { "include": cells, "exclude": cells },
                "additionalProperties": { "type": "array", "minItems": 1, "items": value },
            })
        },
        inside: &[],
    },
    lower: |job, entry, problems| job.matrix = lower(entry, problems),
};

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<MatrixDraft> {
    const EXPECTED: &str = "a map of names and lists of values";
    let entries = key::entries(&entry.value, "`matrix`", EXPECTED, problems)?;
    let mut matrix = MatrixDraft {
        span: entry.key_span.clone(),
        axes: Vec::new(),
        include: Vec::new(),
        exclude: Vec::new(),
    };
    for Entry {
        key,
        key_span,
        value: node,
    } in entries
    {
        match key.as_str() {
            "include" => matrix.include = cells(node, "`include`", problems),
            "exclude" => matrix.exclude = cells(node, "`exclude`", problems),
            _ => {
                let good = value::word(key, key_span, "an axis", problems);
                let name = format!("`{}`", crate::node::shorten(key, 40));
                let mut values = value::texts(node, &name, "a value", problems);
                let mut seen = std::collections::HashSet::new();
                values.retain(|at| {
                    let new = seen.insert(at.value.clone());
                    if !new {
                        problems.push(
                            Problem::new(
                                codes::REPEATED,
                                at.span.clone(),
                                format!("`{}` again", at.value),
                            )
                            .label("is in the list already")
                            .help("take one of them away"),
                        );
                    }
                    new
                });
                if good && !values.is_empty() {
                    matrix
                        .axes
                        .push((key.clone(), values.into_iter().map(|at| at.value).collect()));
                }
            }
        }
    }
    if matrix.axes.is_empty() && matrix.include.is_empty() && !problems.has_errors() {
        problems.push(
            Problem::new(
                codes::MATRIX_EMPTY,
                entry.key_span.clone(),
                "the matrix has no axis",
            )
            .label("expected a name with a list of values")
            .help("for example `python: [3.9, 3.10]`"),
        );
        return None;
    }
    Some(matrix)
}

type Cell = At<Vec<(String, String, Range<usize>)>>;

fn cells(node: &Node, name: &str, problems: &mut Problems<'_>) -> Vec<Cell> {
    const EXPECTED: &str = "a list of maps such as `{os: linux}`";
    let Value::List(items) = &node.value else {
        value::wrong_type(node, name, EXPECTED, None, problems);
        return Vec::new();
    };
    let mut cells = Vec::new();
    for item in items.iter().take(limits::CELLS) {
        let Some(entries) = key::entries(
            item,
            &format!("an item of {name}"),
            "a map such as `{os: linux}`",
            problems,
        ) else {
            continue;
        };
        let mut values = Vec::new();
        for entry in entries {
            let good = value::word(&entry.key, &entry.key_span, "an axis", problems);
            let text = value::text(
                &entry.value,
                &format!("`{}`", entry.key),
                "a value",
                problems,
            );
            if let (true, Some(text)) = (good, text) {
                values.push((entry.key.clone(), text.to_owned(), entry.key_span.clone()));
            }
        }
        cells.push(At {
            value: values,
            span: item.span.clone(),
        });
    }
    cells
}

impl MatrixDraft {
    /// The names of all axes, also of those that only `include` has.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.axes.iter().map(|(name, _)| name.clone()).collect();
        for cell in &self.include {
            for (name, ..) in &cell.value {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// All combinations, each with its values in the order of the axes.
    pub(crate) fn expand(&self, problems: &mut Problems<'_>) -> Vec<Vec<(String, String)>> {
        let product = self.axes.iter().try_fold(1usize, |product, (_, values)| {
            product.checked_mul(values.len())
        });
        let product = product.map(|product| if self.axes.is_empty() { 0 } else { product });
        let Some(product) = product.filter(|p| p + self.include.len() <= limits::CELLS) else {
            let count = product.map_or_else(
                || "too many".to_owned(),
                |p| (p + self.include.len()).to_string(),
            );
            problems.push(
                Problem::new(
                    codes::MATRIX_TOO_LARGE,
                    self.span.clone(),
                    format!("the matrix has {count} cells"),
                )
                .label(format!("at most {}", limits::CELLS))
                .help("take values away, or list the wanted combinations in `include`"),
            );
            return Vec::new();
        };
        self.check_excludes(problems);
        let mut used = vec![false; self.exclude.len()];
        let mut cells = Vec::with_capacity(product + self.include.len());
        for number in 0..product {
            // The last axis turns fastest, as one reads.
            let mut rest = number;
            let mut cell = vec![(String::new(), String::new()); self.axes.len()];
            for (place, (name, values)) in self.axes.iter().enumerate().rev() {
                cell[place] = (name.clone(), values[rest % values.len()].clone());
                rest /= values.len();
            }
            let excluded = self.exclude.iter().position(|out| {
                !out.value.is_empty()
                    && out
                        .value
                        .iter()
                        .all(|(name, value, _)| cell.iter().any(|(n, v)| n == name && v == value))
            });
            match excluded {
                Some(by) => used[by] = true,
                None => cells.push(cell),
            }
        }
        for (out, _) in self.exclude.iter().zip(&used).filter(|(_, used)| !**used) {
            problems.push(
                Problem::new(
                    codes::EXCLUDES_NOTHING,
                    out.span.clone(),
                    "this takes nothing out",
                )
                .label("no cell has these values, or another item takes it out already")
                .help("look at the spelling of the values, or take it away"),
            );
        }
        for cell in &self.include {
            cells.push(
                cell.value
                    .iter()
                    .map(|(name, value, _)| (name.clone(), value.clone()))
                    .collect(),
            );
        }
        if cells.is_empty() && product > 0 {
            problems.push(
                Problem::new(
                    codes::MATRIX_EMPTY,
                    self.span.clone(),
                    "`exclude` takes every cell out",
                )
                .label("no cell is left")
                .help("a job without a cell can't run: take the job away, or exclude less"),
            );
        }
        cells
    }

    fn check_excludes(&self, problems: &mut Problems<'_>) {
        for (name, _, span) in self.exclude.iter().flat_map(|cell| &cell.value) {
            if self.axes.iter().any(|(axis, _)| axis == name) {
                continue;
            }
            let names: Vec<&str> = self.axes.iter().map(|(axis, _)| axis.as_str()).collect();
            let near = crate::suggest::nearest(name, &names);
            problems.push(
                Problem::new(
                    codes::UNKNOWN_AXIS,
                    span.clone(),
                    format!("the matrix has no axis `{name}`"),
                )
                .label(near.map_or_else(
                    || "not an axis".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ))
                .help(format!("the axes are {}", names.join(", "))),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, plan};

    #[test]
    fn every_combination_is_a_job() {
        let plan = plan(
            "jobs: {t: {matrix: {a: [1.10, 2], b: [x, y], exclude: [{a: 2, b: y}], include: [{a: 3, c: z}]}, \
             steps: [q]}}",
        );
        let names: Vec<&str> = plan.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(
            names,
            ["t (1.10, x)", "t (1.10, y)", "t (2, x)", "t (3, z)"]
        );
        assert!(plan.jobs.iter().all(|job| job.base == "t"));
        assert_eq!(plan.jobs[0].matrix["a"], "1.10");
    }

    #[test]
    fn what_is_no_matrix() {
        let codes = |matrix: &str| codes(&format!("matrix: {matrix}\nsteps: [x]"));
        assert_eq!(codes("{a: [1], exclude: [{a: 1}]}"), ["E0207"]);
        assert_eq!(codes("{a: [1, 2], exclude: [{b: 1}]}"), ["W0161", "E0209"]);
        assert_eq!(codes("{a: [1, 2], exclude: [{a: 3}]}"), ["W0161"]);
        assert_eq!(codes("{a: [1, 1]}"), ["W0154"]);
        assert_eq!(codes("{}"), ["E0207"]);
        assert_eq!(codes("[a]"), ["E0132"]);
        assert_eq!(codes("{\"a b\": [1]}"), ["E0203"]);
        let axis: Vec<String> = (0..101).map(|i| i.to_string()).collect();
        let axis = axis.join(",");
        assert_eq!(codes(&format!("{{a: [{axis}], b: [{axis}]}}")), ["E0208"]);
    }
}
