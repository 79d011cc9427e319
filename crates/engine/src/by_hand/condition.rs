//! Conditions that only a run decides, as shell commands whose exit status is the truth.

use windlass_model::expression::{Compare, Expr, Function, Name, Value};

use super::glob::text_regex;
use super::shell::quote;

/// A command that succeeds if the expression holds. `variable` gives the shell's word (quoted) for
/// what another job tells. What nobody can know holds for nothing, as in the engine.
pub(super) fn command(expr: &Expr, variable: &dyn Fn(&Name) -> Option<String>) -> String {
    if expr
        .names()
        .into_iter()
        .any(|name| variable(name).is_none())
    {
        return "false".to_owned();
    }
    truth(expr, variable).unwrap_or_else(|| "false".to_owned())
}

/// `None` where the types don't fit, which the spec doesn't let through.
fn truth(expr: &Expr, variable: &dyn Fn(&Name) -> Option<String>) -> Option<String> {
    Some(match expr {
        Expr::Value(Value::Bool(truth)) => truth.to_string(),
        Expr::Value(_) | Expr::Name(_) => return None,
        Expr::Not(inner) => format!("! {{ {}; }}", truth(inner, variable)?),
        Expr::And(parts) => join(parts, " && ", "true", variable)?,
        Expr::Or(parts) => join(parts, " || ", "false", variable)?,
        Expr::Compare(how, left, right) => compare(*how, left, right, variable)?,
        Expr::In(item, list) => {
            let Expr::Value(Value::List(items)) = list.as_ref() else {
                return None;
            };
            let each = items
                .iter()
                .map(|value| compare(Compare::Equal, item, &Expr::Value(value.clone()), variable))
                .collect::<Option<Vec<_>>>()?;
            group(each, " || ", "false")
        }
        Expr::Call(function, arguments) => call(*function, arguments, variable)?,
    })
}

fn join(
    parts: &[Expr],
    between: &str,
    empty: &str,
    variable: &dyn Fn(&Name) -> Option<String>,
) -> Option<String> {
    let parts = parts.iter().map(|part| truth(part, variable));
    Some(group(parts.collect::<Option<Vec<_>>>()?, between, empty))
}

fn group(parts: Vec<String>, between: &str, empty: &str) -> String {
    match parts.as_slice() {
        [] => empty.to_owned(),
        [only] => only.clone(),
        _ => {
            let parts: Vec<String> = parts.iter().map(|part| format!("{{ {part}; }}")).collect();
            parts.join(between)
        }
    }
}

fn text(expr: &Expr, variable: &dyn Fn(&Name) -> Option<String>) -> Option<String> {
    match expr {
        Expr::Value(Value::Text(text)) => Some(quote(text)),
        Expr::Name(name) => variable(name),
        _ => None,
    }
}

fn compare(
    how: Compare,
    left: &Expr,
    right: &Expr,
    variable: &dyn Fn(&Name) -> Option<String>,
) -> Option<String> {
    let negated = match how {
        Compare::Equal => false,
        Compare::NotEqual => true,
        // What jobs tell is text, and texts have no order here.
        _ => return Some("false".to_owned()),
    };
    if let (Some(left), Some(right)) = (text(left, variable), text(right, variable)) {
        let sign = if negated { "!=" } else { "=" };
        return Some(format!("[ {left} {sign} {right} ]"));
    }
    match (truth(left, variable), truth(right, variable)) {
        (Some(left), Some(right)) => {
            let (yes, no) = if negated { ("! ", "") } else { ("", "! ") };
            Some(format!(
                "if {left}; then {yes}{{ {right}; }}; else {no}{{ {right}; }}; fi"
            ))
        }
        // Values of different types are never equal.
        _ => Some(negated.to_string()),
    }
}

fn call(
    function: Function,
    arguments: &[Expr],
    variable: &dyn Fn(&Name) -> Option<String>,
) -> Option<String> {
    let texts = arguments.iter().map(|argument| text(argument, variable));
    let texts = texts.collect::<Option<Vec<_>>>()?;
    let (subject, rest) = texts.split_first()?;
    let case = |before: &str, part: &str, after: &str| {
        format!("case {subject} in {before}{part}{after}) true ;; *) false ;; esac")
    };
    let each: Vec<String> = match function {
        Function::Contains => rest.iter().map(|part| case("*", part, "*")).collect(),
        Function::StartsWith => rest.iter().map(|part| case("", part, "*")).collect(),
        Function::EndsWith => rest.iter().map(|part| case("*", part, "")).collect(),
        Function::Glob => return glob(subject, arguments.get(1..)?),
        Function::Changed => return None,
    };
    Some(group(each, " && ", "true"))
}

/// The last pattern that matches counts, so they are asked from the end.
fn glob(subject: &str, patterns: &[Expr]) -> Option<String> {
    let patterns = patterns.iter().map(|pattern| match pattern {
        Expr::Value(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    });
    let patterns = patterns.collect::<Option<Vec<_>>>()?;
    let only_out = !patterns.is_empty() && patterns.iter().all(|p| p.starts_with('!'));
    let mut command = only_out.to_string();
    for pattern in patterns {
        let (pattern, takes) = match pattern.strip_prefix('!') {
            Some(rest) => (rest, false),
            None => (pattern, true),
        };
        let regex = quote(&text_regex(pattern)?);
        command = format!("if matches {subject} {regex}; then {takes}; else {command}; fi");
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;
    use windlass_model::expression::Lookup;

    use super::*;

    struct Told(String, String);

    impl Lookup for Told {
        fn value(&self, name: &Name) -> Option<Value> {
            match name {
                Name::NeedResult(_) => Some(Value::Text(self.0.clone())),
                Name::NeedOutput(..) => Some(Value::Text(self.1.clone())),
                _ => None,
            }
        }
        fn changed(&self, _: &[String]) -> Option<bool> {
            None
        }
    }

    fn word(name: &Name) -> Option<String> {
        match name {
            Name::NeedResult(_) => Some("\"$R\"".to_owned()),
            Name::NeedOutput(..) => Some("\"$O\"".to_owned()),
            _ => None,
        }
    }

    fn some_text() -> impl Strategy<Value = String> {
        prop_oneof![
            Just("passed".to_owned()),
            Just("yes".to_owned()),
            Just("!".to_owned()),
            Just("(".to_owned()),
            Just("-n".to_owned()),
            Just("$(id)'`\"*".to_owned()),
            "[a*?'\"$`! -]{0,4}",
        ]
    }

    fn term() -> impl Strategy<Value = Expr> {
        prop_oneof![
            some_text().prop_map(|t| Expr::Value(Value::Text(t))),
            Just(Expr::Name(Name::NeedResult("a".to_owned()))),
            Just(Expr::Name(Name::NeedOutput("a".to_owned(), "o".to_owned()))),
        ]
    }

    fn any_expr() -> impl Strategy<Value = Expr> {
        let how = prop_oneof![Just(Compare::Equal), Just(Compare::NotEqual)];
        let function = prop_oneof![
            Just(Function::Contains),
            Just(Function::StartsWith),
            Just(Function::EndsWith),
        ];
        let leaf = prop_oneof![
            any::<bool>().prop_map(|b| Expr::Value(Value::Bool(b))),
            (how, term(), term()).prop_map(|(h, l, r)| Expr::Compare(h, Box::new(l), Box::new(r))),
            (function, term(), prop::collection::vec(term(), 1..3)).prop_map(|(f, t, rest)| {
                Expr::Call(f, std::iter::once(t).chain(rest).collect())
            }),
            (term(), prop::collection::vec(some_text(), 0..3)).prop_map(|(t, list)| {
                let list = list.into_iter().map(Value::Text).collect();
                Expr::In(Box::new(t), Box::new(Expr::Value(Value::List(list))))
            }),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|e| Expr::Not(Box::new(e))),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::And),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Expr::Or),
                (inner.clone(), inner).prop_map(|(l, r)| {
                    Expr::Compare(Compare::NotEqual, Box::new(l), Box::new(r))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn the_shell_decides_as_the_engine(
            expr in any_expr(), result in some_text(), output in some_text(),
        ) {
            let wanted = expr.simplify(&Told(result.clone(), output.clone())).truth();
            let command = command(&expr, &word);
            let status = Command::new("sh")
                .args(["-c", &command])
                .env("R", &result)
                .env("O", &output)
                .status()
                .unwrap();
            prop_assert_eq!(status.code(), Some(i32::from(wanted != Some(true))), "{} {}", expr, command);
        }
    }

    #[test]
    fn what_nobody_knows_holds_for_nothing() {
        let unknown = Expr::Not(Box::new(Expr::Name(Name::Matrix("x".to_owned()))));
        assert_eq!(command(&unknown, &word), "false");
    }
}
