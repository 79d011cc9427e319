//! Conditions as data: a small typed language without loops, functions of one's own, or effects.
//!
//! `spec` makes an [`Expr`] of text and checks its types; here it is evaluated, as far as the
//! names are known: at planning all but what other jobs tell, at run time the rest.

use serde::{Deserialize, Serialize};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Values of one type.
    List(Vec<Value>),
}

/// The closed set of names that an expression may speak of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// `event`: `push`, `tag`, `pull_request`, `schedule`, `manual` or `api`. Text.
    Event,
    /// `branch`: the branch that is built; for a pull request, the one it comes from. Text.
    Branch,
    /// `tag`: text, empty when no tag is built.
    Tag,
    /// `base`: the branch that a pull request wants to go into; else empty. Text.
    Base,
    /// `revision`: the full commit id. Text.
    Revision,
    /// `message`: the first line of the commit's message. Text.
    Message,
    /// `author`: who did it. Text.
    Author,
    /// `fork`: whether strangers wrote the code. Truth.
    Fork,
    /// `schedule`: the name of the schedule; else empty. Text.
    Schedule,
    /// `repo`: the repository's name. Text.
    Repo,
    /// `params.<name>`.
    Param(String),
    /// `matrix.<name>`: text.
    Matrix(String),
    /// `needs.<job>.result`: `passed`, `failed`, `skipped`, `cancelled` or `error`. Text.
    NeedResult(String),
    /// `needs.<job>.outputs.<name>`: text, empty when it was not set.
    NeedOutput(String, String),
}

/// What may be done with values besides the operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    /// `glob(text, "pattern", ...)`: whether the text matches one of the patterns.
    Glob,
    /// `changed("pattern", ...)`: whether a changed path matches one. True when that is unknown.
    Changed,
    /// `contains(text, "part")`.
    Contains,
    /// `starts_with(text, "beginning")`.
    StartsWith,
    /// `ends_with(text, "end")`.
    EndsWith,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<` (numbers)
    Less,
    /// `<=` (numbers)
    LessEqual,
    /// `>` (numbers)
    Greater,
    /// `>=` (numbers)
    GreaterEqual,
}

/// An expression whose types were checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expr {
    /// A known value.
    Value(Value),
    /// Something to be looked up.
    Name(Name),
    /// `!a`
    Not(Box<Expr>),
    /// `a && b`, any number of them; none is true.
    And(Vec<Expr>),
    /// `a || b`, any number of them; none is false.
    Or(Vec<Expr>),
    /// `a == b` and the like.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `a in [b, c]`
    In(Box<Expr>, Box<Expr>),
    /// `glob(branch, "release/*")`
    Call(Function, Vec<Expr>),
}

/// What is known. Whoever knows only a part says `None` to the rest.
pub trait Lookup {
    /// The value of a name.
    fn value(&self, name: &Name) -> Option<Value>;
    /// Whether a changed path matches one of the patterns.
    fn changed(&self, patterns: &[String]) -> Option<bool>;
}
