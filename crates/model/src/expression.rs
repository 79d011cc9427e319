//! Conditions as data: a small typed language without loops, functions of one's own, or effects.
//!
//! `spec` makes an [`Expr`] of text and checks its types; here it is evaluated, as far as the
//! names are known: at planning all but what other jobs tell, at run time the rest.

use std::fmt::{self, Write as _};

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

impl Expr {
    /// The expression with everything known worked out: `false && x` is `false` whatever `x` is.
    pub fn simplify(&self, known: &dyn Lookup) -> Self {
        match self {
            Self::Value(_) => self.clone(),
            Self::Name(name) => known.value(name).map_or_else(|| self.clone(), Self::Value),
            Self::Not(inner) => match inner.simplify(known) {
                Self::Value(Value::Bool(truth)) => Self::Value(Value::Bool(!truth)),
                other => Self::Not(Box::new(other)),
            },
            Self::And(parts) => join(parts, known, false, Self::And),
            Self::Or(parts) => join(parts, known, true, Self::Or),
            Self::Compare(how, left, right) => {
                match (left.simplify(known), right.simplify(known)) {
                    (Self::Value(left), Self::Value(right)) => {
                        Self::Value(Value::Bool(how.holds(&left, &right)))
                    }
                    (left, right) => Self::Compare(*how, Box::new(left), Box::new(right)),
                }
            }
            Self::In(item, list) => match (item.simplify(known), list.simplify(known)) {
                (Self::Value(item), Self::Value(Value::List(items))) => {
                    Self::Value(Value::Bool(items.contains(&item)))
                }
                (item, list) => Self::In(Box::new(item), Box::new(list)),
            },
            Self::Call(function, arguments) => {
                let arguments: Vec<Self> = arguments.iter().map(|a| a.simplify(known)).collect();
                let texts: Option<Vec<String>> = arguments.iter().map(Self::text).collect();
                let done = texts.and_then(|texts| function.call(&texts, known));
                done.map_or(Self::Call(*function, arguments), |truth| {
                    Self::Value(Value::Bool(truth))
                })
            }
        }
    }

    /// The truth that it is, if it is a known one.
    pub fn truth(&self) -> Option<bool> {
        match self {
            Self::Value(Value::Bool(truth)) => Some(*truth),
            _ => None,
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::Value(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Whether it asks which paths changed.
    pub fn asks_for_changes(&self) -> bool {
        match self {
            Self::Call(Function::Changed, _) => true,
            Self::Value(_) | Self::Name(_) => false,
            Self::Not(inner) => inner.asks_for_changes(),
            Self::And(parts) | Self::Or(parts) | Self::Call(_, parts) => {
                parts.iter().any(Self::asks_for_changes)
            }
            Self::Compare(_, left, right) | Self::In(left, right) => {
                left.asks_for_changes() || right.asks_for_changes()
            }
        }
    }

    /// Every name that it speaks of.
    pub fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        self.collect(&mut names);
        names
    }

    fn collect<'e>(&'e self, names: &mut Vec<&'e Name>) {
        match self {
            Self::Value(_) => {}
            Self::Name(name) => names.push(name),
            Self::Not(inner) => inner.collect(names),
            Self::And(parts) | Self::Or(parts) | Self::Call(_, parts) => {
                parts.iter().for_each(|part| part.collect(names));
            }
            Self::Compare(_, left, right) | Self::In(left, right) => {
                left.collect(names);
                right.collect(names);
            }
        }
    }
}

/// `And` and `Or`: `decisive` alone decides, its opposite says nothing.
fn join(parts: &[Expr], known: &dyn Lookup, decisive: bool, make: fn(Vec<Expr>) -> Expr) -> Expr {
    let mut open = Vec::new();
    for part in parts {
        let part = part.simplify(known);
        match part.truth() {
            Some(truth) if truth == decisive => return Expr::Value(Value::Bool(decisive)),
            Some(_) => {}
            None => open.push(part),
        }
    }
    match open.len() {
        0 => Expr::Value(Value::Bool(!decisive)),
        1 => open.remove(0),
        _ => make(open),
    }
}

impl Compare {
    fn holds(self, left: &Value, right: &Value) -> bool {
        use std::cmp::Ordering;
        let order = match (left, right) {
            (Value::Number(left), Value::Number(right)) => Some(left.cmp(right)),
            _ => None,
        };
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => order == Some(Ordering::Less),
            Self::LessEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }
}

impl Function {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Glob,
        Self::Changed,
        Self::Contains,
        Self::StartsWith,
        Self::EndsWith,
    ];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Glob => "glob",
            Self::Changed => "changed",
            Self::Contains => "contains",
            Self::StartsWith => "starts_with",
            Self::EndsWith => "ends_with",
        }
    }

    fn call(self, texts: &[String], known: &dyn Lookup) -> Option<bool> {
        if self == Self::Changed {
            return known.changed(texts);
        }
        let (text, rest) = texts.split_first()?;
        Some(match self {
            Self::Glob => crate::glob::any(rest, text),
            Self::Contains => rest.iter().all(|part| text.contains(part.as_str())),
            Self::StartsWith => rest.iter().all(|part| text.starts_with(part.as_str())),
            Self::EndsWith => rest.iter().all(|part| text.ends_with(part.as_str())),
            Self::Changed => return None,
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => {
                f.write_char('"')?;
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        f.write_char('\\')?;
                    }
                    f.write_char(c)?;
                }
                f.write_char('"')
            }
            Self::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
        }
    }
}

impl Value {
    /// The value as the text of a variable: without quotes.
    pub fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Event => "event",
            Self::Branch => "branch",
            Self::Tag => "tag",
            Self::Base => "base",
            Self::Revision => "revision",
            Self::Message => "message",
            Self::Author => "author",
            Self::Fork => "fork",
            Self::Schedule => "schedule",
            Self::Repo => "repo",
            Self::Param(name) => return write!(f, "params.{name}"),
            Self::Matrix(name) => return write!(f, "matrix.{name}"),
            Self::NeedResult(job) => return write!(f, "needs.{job}.result"),
            Self::NeedOutput(job, output) => return write!(f, "needs.{job}.outputs.{output}"),
        })
    }
}

impl fmt::Display for Expr {
    /// As it would be written in a spec. Parts that bind less stand in parentheses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: &[Self], between: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    f.write_str(between)?;
                }
                match part {
                    Self::And(_) | Self::Or(_) if between != ", " => write!(f, "({part})")?,
                    _ => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        let operand = |part: &Self| match part {
            Self::Value(_) | Self::Name(_) | Self::Call(..) => part.to_string(),
            _ => format!("({part})"),
        };
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Not(inner) => write!(f, "!{}", operand(inner)),
            Self::And(parts) if parts.is_empty() => f.write_str("true"),
            Self::Or(parts) if parts.is_empty() => f.write_str("false"),
            Self::And(parts) => list(f, parts, " && "),
            Self::Or(parts) => list(f, parts, " || "),
            Self::Compare(how, left, right) => {
                write!(f, "{} {} {}", operand(left), how.as_str(), operand(right))
            }
            Self::In(item, items) => write!(f, "{} in {}", operand(item), operand(items)),
            Self::Call(function, arguments) => {
                write!(f, "{}(", function.as_str())?;
                list(f, arguments, ", ")?;
                f.write_char(')')
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Only(&'static str);

    impl Lookup for Only {
        fn value(&self, name: &Name) -> Option<Value> {
            (*name == Name::Branch).then(|| Value::Text(self.0.to_owned()))
        }
        fn changed(&self, _: &[String]) -> Option<bool> {
            None
        }
    }

    fn is(name: Name, text: &str) -> Expr {
        let text = Expr::Value(Value::Text(text.to_owned()));
        Expr::Compare(Compare::Equal, Box::new(Expr::Name(name)), Box::new(text))
    }

    #[test]
    fn what_is_known_is_worked_out_and_the_rest_stays() {
        let later = is(Name::NeedResult("a".to_owned()), "failed");
        let both = Expr::And(vec![is(Name::Branch, "main"), later.clone()]);
        assert_eq!(both.simplify(&Only("main")), later);
        assert_eq!(both.simplify(&Only("x")).truth(), Some(false));
        let either = Expr::Or(vec![is(Name::Branch, "main"), later.clone()]);
        assert_eq!(either.simplify(&Only("main")).truth(), Some(true));
        assert_eq!(either.simplify(&Only("x")), later);
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let both = Expr::And(vec![
            Expr::Or(vec![
                is(Name::Branch, "a\"b"),
                Expr::Not(Box::new(Expr::Name(Name::Fork))),
            ]),
            is(Name::Matrix("os".to_owned()), "x"),
        ]);
        assert_eq!(
            both.to_string(),
            r#"(branch == "a\"b" || !fork) && matrix.os == "x""#
        );
    }
}
