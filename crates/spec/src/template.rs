//! `${{ name }}` inside a text.

use windlass_model::expression::{Lookup, Name};

use crate::codes;
use crate::expression::{self, Fault, Scope};

/// A text with names in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(Name),
}

/// Whether there is anything to fill in.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("${{")
}

/// Reads a text. `$${{` is the text `${{`. Outputs of other jobs can only be a whole text: what a
/// job printed must not become part of a name or path unseen.
pub(crate) fn parse(text: &str, scope: &Scope) -> Result<Template, Fault> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let open = at + found;
        if text[at..open].ends_with('$') {
            parts.push(Part::Text(format!("{}{{{{", &text[at..open])));
            at = open + 3;
            continue;
        }
        let Some(length) = text[open..].find("}}") else {
            return Err(Fault {
                code: &codes::TEMPLATE_OPEN,
                span: open..text.len(),
                message: "`${{` is not closed".to_owned(),
                label: "opened here".to_owned(),
                help: "add `}}`, or write `$${{` for the text itself".to_owned(),
            });
        };
        let inside = open + 3..open + length;
        let name = expression::name(&text[inside.clone()], scope).map_err(|mut fault| {
            fault.span = fault.span.start + inside.start..fault.span.end + inside.start;
            fault
        })?;
        let close = open + length + 2;
        let whole = open == 0 && close == text.len();
        if matches!(name, Name::NeedResult(_)) || matches!(name, Name::NeedOutput(..)) && !whole {
            return Err(Fault {
                code: &codes::TEMPLATE_NEEDS,
                span: open..close,
                message: format!("`{name}` can't be part of a text"),
                label: "known only when the other job has ended".to_owned(),
                help: "an output may be the whole value of a variable in `env`".to_owned(),
            });
        }
        parts.push(Part::Text(text[at..open].to_owned()));
        parts.push(Part::Name(name));
        at = close;
    }
    parts.push(Part::Text(text[at..].to_owned()));
    Ok(Template(parts))
}

impl Template {
    /// The text with all names filled in; `None` if one isn't known.
    pub(crate) fn fill(&self, known: &dyn Lookup) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Name(name) => text.push_str(&known.value(name)?.plain()),
            }
        }
        Some(text)
    }

    /// Job and output, when the text is that output and nothing else.
    pub(crate) fn output(&self) -> Option<(&str, &str)> {
        self.0.iter().find_map(|part| match part {
            Part::Name(Name::NeedOutput(job, output)) => Some((job.as_str(), output.as_str())),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> &'static str {
        parse(text, &Scope::default()).map_or_else(|fault| fault.code.code, |_| "fine")
    }

    #[test]
    fn names_are_filled_in() {
        struct Known;
        impl Lookup for Known {
            fn value(&self, _: &Name) -> Option<windlass_model::expression::Value> {
                Some(windlass_model::expression::Value::Text("x".to_owned()))
            }
            fn changed(&self, _: &[String]) -> Option<bool> {
                None
            }
        }
        let fill = |text| {
            parse(text, &Scope::default())
                .unwrap()
                .fill(&Known)
                .unwrap()
        };
        assert_eq!(fill("a-${{ branch }}-${{tag}}"), "a-x-x");
        assert_eq!(fill("$${{ branch }}"), "${{ branch }}");
        assert_eq!(fill("plain }} $x"), "plain }} $x");
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        assert_eq!(code("${{ branch"), "E0169");
        assert_eq!(code("${{ }}"), "E0160");
        assert_eq!(code("${{ brunch }}"), "E0161");
        assert_eq!(code("${{ branch == 'x' }}"), "E0160");
        assert_eq!(code("${{ needs.a.outputs.b }}"), "E0168");
    }
}
