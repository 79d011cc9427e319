//! `secrets`: names of values that are kept on the server.

use serde_json::json;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Language, Problem, Problems};
use crate::value::{self, At};

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "secrets",
        required: false,
        summary: "names of secrets that the steps get as variables",
        details: "A list of names in capital letters, digits and `_`. Only names stand here, the \
                  values are kept on the server. Each is a variable of the same name in every \
                  step, and is masked in the output.",
        example: "secrets: [REGISTRY_TOKEN]\nsteps:\n  - ./publish --token \"$REGISTRY_TOKEN\"\n",
        schema: || {
            json!({
                "type": "array",
                "items": { "type": "string", "pattern": "^[A-Z_][A-Z0-9_]*$" },
                "uniqueItems": true,
            })
        },
        inside: &[],
    },
    lower,
};

fn lower(job: &mut JobDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let node = &entry.value;
    let items = match &node.value {
        Value::List(items) => items,
        Value::Scalar(scalar) if !node.is_nothing() => {
            let first = shorten(&scalar.text, 40);
            let help = match problems.language() {
                Language::Yaml => format!("write `secrets: [{first}]`"),
                Language::Toml => format!("write `secrets = [\"{first}\"]`"),
            };
            value::wrong_type(node, "`secrets`", "a list of names", Some(help), problems);
            return;
        }
        Value::Map(_) => {
            let help = "list the names only; the values are kept on the server, never here";
            let help = Some(help.to_owned());
            value::wrong_type(node, "`secrets`", "a list of names", help, problems);
            return;
        }
        Value::Scalar(_) => {
            value::wrong_type(node, "`secrets`", "a list of names", None, problems);
            return;
        }
    };
    for item in items {
        let Some(name) = name(item, problems) else {
            continue;
        };
        if let Some(first) = job.secrets.iter().find(|secret| secret.value == name) {
            let (line, _) = problems.place(first.span.start);
            problems.push(
                Problem::new(
                    codes::REPEATED,
                    item.span.clone(),
                    format!("`{name}` again"),
                )
                .label(format!("the first one is on line {line}"))
                .help("take one of them away"),
            );
            continue;
        }
        job.secrets.push(At {
            value: name,
            span: item.span.clone(),
        });
    }
}

fn name(node: &Node, problems: &mut Problems<'_>) -> Option<String> {
    let text = value::text(node, "a secret", "a name", problems)?;
    let mut bytes = text.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_uppercase() || b == b'_');
    let good = first && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if good && text.len() <= 256 && text != "WINDLASS_ATTEMPT" {
        return Some(text.to_owned());
    }
    let message = format!("a secret can't be named `{}`", shorten(text, 40));
    let problem = Problem::new(codes::BAD_VARIABLE, node.span.clone(), message)
        .label("expected capital letters, digits and `_`, and no digit first");
    let upper = text.to_uppercase().replace(['-', '.', ' '], "_");
    let upper_is_good = upper
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && upper.starts_with(|c: char| !c.is_ascii_digit())
        && upper != text;
    problems.push(if upper_is_good {
        problem.help(format!("write `{}`", shorten(&upper, 40)))
    } else {
        problem.help("take another name")
    });
    None
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn names_in_order() {
        assert_eq!(
            job("secrets: [B, _A1]\nsteps: [make]").secrets,
            ["B", "_A1"]
        );
    }

    #[test]
    fn what_is_no_name() {
        assert_eq!(codes("secrets: [a, A-B, 1A, '', [A]]\nsteps: [x]").len(), 5);
        assert_eq!(codes("secrets: A\nsteps: [x]"), ["E0132"]);
        assert_eq!(codes("secrets: {A: b}\nsteps: [x]"), ["E0132"]);
        assert_eq!(codes("secrets:\nsteps: [x]"), ["E0133"]);
        assert_eq!(codes("secrets: [A, A]\nsteps: [x]"), ["W0154"]);
    }
}
