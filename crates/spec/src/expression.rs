//! Conditions: from text to a checked [`Expr`], or what is wrong with it and where.
//!
//! ```text
//! or      = and { "||" and }            value   = "text" | 'text' | number | true | false
//! and     = not { "&&" not }                    | "[" value { "," value } "]"
//! not     = "!" not | compare                   | name | function "(" or { "," or } ")"
//! compare = value [ op value | "in" value ]     | "(" or ")"
//! ```
//!
//! Names and functions are a closed set ([`Name`], [`Function`]); every value has a type that is
//! known before anything runs, so a condition can be wrong only in its meaning.

mod lexer;
mod parser;

use std::collections::BTreeMap;
use std::ops::Range;

use windlass_model::expression::{Expr, Name};

use crate::codes::Code;

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true`, `false`
    Truth,
    /// A whole number.
    Number,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of numbers.
    Numbers,
}

impl Kind {
    /// What a person calls it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Truth => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Numbers => "a list of numbers",
        }
    }
}

/// Which names exist where an expression stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// The parameters and their types.
    pub(crate) params: BTreeMap<String, Kind>,
    /// The names of the job's matrix.
    pub(crate) matrix: Vec<String>,
    /// The jobs that are needed, each with its outputs; `None` where jobs' ends are not known.
    pub(crate) needs: Option<BTreeMap<String, Vec<String>>>,
}

/// What is wrong with an expression; the span counts from its own beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) code: &'static Code,
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: String,
}

/// The words that `event` can be.
pub(crate) const EVENTS: [&str; 6] = ["push", "tag", "pull_request", "schedule", "manual", "api"];

/// Reads a condition.
pub(crate) fn condition(text: &str, scope: &Scope) -> Result<Expr, Fault> {
    parser::condition(text, scope)
}

/// Reads a single name: what stands between `${{` and `}}`.
pub(crate) fn name(text: &str, scope: &Scope) -> Result<Name, Fault> {
    parser::name(text, scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope {
            params: BTreeMap::from([
                ("target".to_owned(), Kind::Text),
                ("count".to_owned(), Kind::Number),
                ("dry".to_owned(), Kind::Truth),
            ]),
            matrix: vec!["os".to_owned()],
            needs: Some(BTreeMap::from([(
                "build".to_owned(),
                vec!["version".to_owned()],
            )])),
        }
    }

    fn code(text: &str) -> &'static str {
        condition(text, &scope()).map_or_else(|fault| fault.code.code, |_| "fine")
    }

    #[test]
    fn what_is_right_is_printed_as_it_was_written() {
        for text in [
            "true",
            r#"branch == "main""#,
            r#"branch == "main" && !fork"#,
            r#"(event == "push" || event == "tag") && branch != "x""#,
            r#"event in ["push", "tag"]"#,
            "params.count >= 3",
            "params.dry",
            r#"glob(branch, "release/*", "main")"#,
            r#"changed("src/**")"#,
            r#"matrix.os == "linux""#,
            r#"needs.build.result == "failed""#,
            r#"needs.build.outputs.version == "1""#,
            r#"starts_with(message, "fix: \"it\"")"#,
        ] {
            let expr = condition(text, &scope()).unwrap_or_else(|f| panic!("{text}: {f:?}"));
            assert_eq!(expr.to_string(), text);
        }
        let single = condition("branch == 'main'", &scope()).unwrap();
        assert_eq!(single.to_string(), r#"branch == "main""#);
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        for (text, expected) in [
            ("", "E0160"),
            ("branch ==", "E0160"),
            ("branch = \"main\"", "E0160"),
            ("(branch == \"a\"", "E0160"),
            ("branch == \"main", "E0160"),
            ("branch == \"a\" and fork", "E0160"),
            ("a ? b : c", "E0160"),
            ("brunch == \"main\"", "E0161"),
            ("params.tarket == \"x\"", "E0161"),
            ("matrix.oz == \"x\"", "E0161"),
            ("needs.lint.result == \"failed\"", "E0161"),
            ("needs.build.outputs.x == \"1\"", "E0161"),
            ("github.ref == \"x\"", "E0161"),
            ("branch == main", "E0161"),
            ("startsWith(branch, \"x\")", "E0162"),
            ("always()", "E0162"),
            ("glob(branch)", "E0163"),
            ("branch == 3", "E0164"),
            ("branch && fork", "E0164"),
            ("branch < \"x\"", "E0164"),
            ("branch in \"x\"", "E0164"),
            ("glob(3, \"x\")", "E0164"),
            ("!branch", "E0164"),
            ("branch", "E0165"),
            ("params.count", "E0165"),
            ("event == \"pullrequest\"", "E0166"),
            ("event in [\"push\", \"pr\"]", "E0166"),
            ("needs.build.result == \"success\"", "E0166"),
            ("${{ branch == \"x\" }}", "E0167"),
            ("glob(branch, \"[a\")", "E0211"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        let no_needs = Scope::default();
        let fault = condition("needs.a.result == \"failed\"", &no_needs).unwrap_err();
        assert_eq!(fault.code.code, "E0168");
    }

    #[test]
    fn depth_has_a_limit() {
        let deep = format!("{}true{}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(code(&deep), "E0160");
        let deep = format!("{}true", "!".repeat(5000));
        assert_eq!(code(&deep), "E0160");
    }

    #[test]
    fn no_text_makes_it_panic() {
        use proptest::prelude::*;
        proptest!(|(text in "[a-z.\"'()\\[\\]!&|=<> 0-9${}é]{0,40}")| {
            let _ = condition(&text, &scope());
            let _ = name(&text, &scope());
        });
    }
}
