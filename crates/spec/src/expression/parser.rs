//! From tokens to an expression, types checked on the way.

use std::ops::Range;

use windlass_model::expression::{Compare, Expr, Function, Name, Value};
use windlass_model::glob;

use super::lexer::{self, Token, syntax};
use super::{EVENTS, Fault, Kind, Scope};
use crate::codes;
use crate::suggest;

/// Parentheses and negations in each other.
const DEPTH: usize = 64;

/// What `needs.<job>.result` can be.
const RESULTS: [&str; 5] = ["passed", "failed", "error", "cancelled", "skipped"];

/// A part with its type and place.
struct Part {
    expr: Expr,
    kind: Kind,
    span: Range<usize>,
}

struct Parser<'a> {
    scope: &'a Scope,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
    depth: usize,
}

pub(super) fn condition(text: &str, scope: &Scope) -> Result<Expr, Fault> {
    let mut parser = Parser {
        scope,
        tokens: lexer::tokens(text)?,
        at: 0,
        end: text.len(),
        depth: 0,
    };
    let part = parser.or()?;
    if let Some((token, span)) = parser.tokens.get(parser.at) {
        return Err(unexpected(token, span.clone()));
    }
    if part.kind != Kind::Truth {
        return Err(Fault {
            code: &codes::EXPRESSION_NOT_TRUTH,
            span: part.span,
            message: format!(
                "a condition is true or false, and this is {}",
                part.kind.words()
            ),
            label: "neither true nor false".to_owned(),
            help: match part.kind {
                Kind::Text => format!("compare it: `{} == \"…\"`", part.expr),
                _ => "compare it with something".to_owned(),
            },
        });
    }
    Ok(part.expr)
}

pub(super) fn name(text: &str, scope: &Scope) -> Result<Name, Fault> {
    let tokens = lexer::tokens(text)?;
    match tokens.as_slice() {
        [(Token::Word(word), span)] => lookup(word, span.clone(), scope).map(|(name, _)| name),
        [] => Err(syntax(
            0..text.len(),
            "nothing is named",
            "expected a name",
            "write a name such as `${{ branch }}`",
        )),
        _ => Err(syntax(
            0..text.len(),
            "only a single name may stand here",
            "more than a name",
            "conditions belong into `when`; a text may be put together from several `${{ name }}`",
        )),
    }
}

fn unexpected(token: &Token, span: Range<usize>) -> Fault {
    let help = match token {
        Token::Word(word) => match word.as_str() {
            "and" | "AND" => "write `&&`",
            "or" | "OR" => "write `||`",
            "not" | "NOT" => "write `!` before what is negated",
            "is" | "eq" => "write `==`",
            _ => "texts stand in quotes; parts are joined by && and ||",
        },
        Token::Mark(")" | "]") => "take it away, or add the opening one",
        _ => "parts are joined by && and ||",
    };
    syntax(
        span,
        "the condition should end here, or go on with an operator",
        "not expected here",
        help,
    )
}

impl Parser<'_> {
    fn mark(&mut self, wanted: &str) -> bool {
        let found =
            matches!(self.tokens.get(self.at), Some((Token::Mark(mark), _)) if *mark == wanted);
        self.at += usize::from(found);
        found
    }

    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth <= DEPTH {
            return Ok(());
        }
        let span = self
            .tokens
            .get(self.at)
            .map_or(0..self.end, |(_, span)| span.clone());
        Err(syntax(
            span,
            "nested too deep",
            format!("at most {DEPTH} levels"),
            "take parentheses away",
        ))
    }

    fn or(&mut self) -> Result<Part, Fault> {
        self.deeper()?;
        let first = self.and()?;
        let part = self.chain(first, "||", Self::and, Expr::Or);
        self.depth -= 1;
        part
    }

    fn and(&mut self) -> Result<Part, Fault> {
        let first = self.not()?;
        self.chain(first, "&&", Self::not, Expr::And)
    }

    fn chain(
        &mut self,
        first: Part,
        operator: &str,
        next: fn(&mut Self) -> Result<Part, Fault>,
        make: fn(Vec<Expr>) -> Expr,
    ) -> Result<Part, Fault> {
        let mut parts = vec![first];
        while self.mark(operator) {
            parts.push(next(self)?);
        }
        if parts.len() == 1 {
            return Ok(parts.remove(0));
        }
        for part in &parts {
            part.must_be(Kind::Truth, &format!("beside `{operator}`"))?;
        }
        let span = parts[0].span.start..parts[parts.len() - 1].span.end;
        let expr = make(parts.into_iter().map(|part| part.expr).collect());
        Ok(Part {
            expr,
            kind: Kind::Truth,
            span,
        })
    }

    fn not(&mut self) -> Result<Part, Fault> {
        let start = self
            .tokens
            .get(self.at)
            .map_or(self.end, |(_, span)| span.start);
        if !self.mark("!") {
            return self.compare();
        }
        self.deeper()?;
        let inner = self.not()?;
        self.depth -= 1;
        inner.must_be(Kind::Truth, "after `!`")?;
        Ok(Part {
            span: start..inner.span.end,
            expr: Expr::Not(Box::new(inner.expr)),
            kind: Kind::Truth,
        })
    }

    fn compare(&mut self) -> Result<Part, Fault> {
        let left = self.value()?;
        if matches!(self.tokens.get(self.at), Some((Token::Word(word), _)) if word == "in") {
            self.at += 1;
            let right = self.value()?;
            let list = match left.kind {
                Kind::Number => Kind::Numbers,
                _ => Kind::Texts,
            };
            right.must_be(list, "after `in`")?;
            if left.kind != Kind::Number {
                left.must_be(Kind::Text, "before `in`")?;
            }
            if let Expr::Value(Value::List(items)) = &right.expr {
                for item in items {
                    check_word(&left.expr, item, &right.span)?;
                }
            }
            return Ok(Part {
                span: left.span.start..right.span.end,
                expr: Expr::In(Box::new(left.expr), Box::new(right.expr)),
                kind: Kind::Truth,
            });
        }
        let operators = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessEqual),
            (">=", Compare::GreaterEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ];
        let Some((text, how)) = operators.into_iter().find(|(text, _)| self.mark(text)) else {
            return Ok(left);
        };
        let right = self.value()?;
        if !matches!(how, Compare::Equal | Compare::NotEqual) {
            left.must_be(Kind::Number, &format!("before `{text}`"))?;
            right.must_be(Kind::Number, &format!("after `{text}`"))?;
        }
        right.must_be(left.kind, &format!("compared with {}", left.kind.words()))?;
        for (name, value) in [(&left, &right), (&right, &left)] {
            if let Expr::Value(word) = &value.expr {
                check_word(&name.expr, word, &value.span)?;
            }
        }
        Ok(Part {
            span: left.span.start..right.span.end,
            expr: Expr::Compare(how, Box::new(left.expr), Box::new(right.expr)),
            kind: Kind::Truth,
        })
    }

    fn value(&mut self) -> Result<Part, Fault> {
        let Some((token, span)) = self.tokens.get(self.at).cloned() else {
            let end = self.end.saturating_sub(1)..self.end;
            let message = if self.at == 0 {
                "the condition is empty"
            } else {
                "the condition breaks off"
            };
            return Err(syntax(
                end,
                message,
                "something is missing after this",
                "write what it depends on, such as branch == \"main\"",
            ));
        };
        self.at += 1;
        match token {
            Token::Text(text) => Ok(Part {
                expr: Expr::Value(Value::Text(text)),
                kind: Kind::Text,
                span,
            }),
            Token::Number(number) => Ok(Part {
                expr: Expr::Value(Value::Number(number)),
                kind: Kind::Number,
                span,
            }),
            Token::Mark("(") => {
                let inner = self.or()?;
                if !self.mark(")") {
                    return Err(syntax(
                        span,
                        "the parenthesis is not closed",
                        "opened here",
                        "add `)`",
                    ));
                }
                Ok(inner)
            }
            Token::Mark("[") => self.list(span),
            Token::Mark(mark) => {
                let help = format!("something must stand before `{mark}`");
                Err(syntax(
                    span,
                    format!("`{mark}` where a value is expected"),
                    "expected a name or a text",
                    help,
                ))
            }
            Token::Word(word) => {
                if self.mark("(") {
                    return self.call(&word, span);
                }
                if matches!(word.as_str(), "true" | "false") {
                    let expr = Expr::Value(Value::Bool(word == "true"));
                    return Ok(Part {
                        expr,
                        kind: Kind::Truth,
                        span,
                    });
                }
                let (name, kind) = lookup(&word, span.clone(), self.scope)?;
                Ok(Part {
                    expr: Expr::Name(name),
                    kind,
                    span,
                })
            }
        }
    }

    fn list(&mut self, open: Range<usize>) -> Result<Part, Fault> {
        let mut items = Vec::new();
        let mut kind = None;
        while !self.mark("]") {
            if !items.is_empty() && !self.mark(",") || self.at >= self.tokens.len() {
                return Err(syntax(
                    open,
                    "the list is not closed",
                    "opened here",
                    "separate its items by commas, and end it with `]`",
                ));
            }
            let item = self.value()?;
            match kind {
                None => kind = Some(item.kind),
                Some(kind) => item.must_be(kind, "in a list of such")?,
            }
            let Expr::Value(value @ (Value::Text(_) | Value::Number(_))) = item.expr else {
                return Err(syntax(
                    item.span,
                    "a list holds texts or numbers",
                    "neither",
                    "write texts in quotes: [\"push\", \"tag\"]",
                ));
            };
            items.push(value);
        }
        let end = self
            .tokens
            .get(self.at - 1)
            .map_or(self.end, |(_, span)| span.end);
        let kind = if kind == Some(Kind::Number) {
            Kind::Numbers
        } else {
            Kind::Texts
        };
        Ok(Part {
            expr: Expr::Value(Value::List(items)),
            kind,
            span: open.start..end,
        })
    }

    fn call(&mut self, word: &str, span: Range<usize>) -> Result<Part, Fault> {
        let Some(function) = Function::ALL.into_iter().find(|f| f.as_str() == word) else {
            return Err(unknown_function(word, span));
        };
        let mut arguments = Vec::new();
        while !self.mark(")") {
            if !arguments.is_empty() && !self.mark(",") || self.at >= self.tokens.len() {
                return Err(syntax(
                    span,
                    "the parenthesis is not closed",
                    "opened here",
                    "separate the texts by commas, and end with `)`",
                ));
            }
            let argument = self.value()?;
            argument.must_be(Kind::Text, &format!("for `{word}`"))?;
            arguments.push(argument);
        }
        let end = self
            .tokens
            .get(self.at - 1)
            .map_or(self.end, |(_, span)| span.end);
        let least = if function == Function::Changed { 1 } else { 2 };
        if arguments.len() < least {
            return Err(Fault {
                code: &codes::EXPRESSION_ARGUMENTS,
                span: span.start..end,
                message: format!("`{word}` needs at least {least} texts"),
                label: format!("has {}", arguments.len()),
                help: match function {
                    Function::Changed => "write changed(\"src/**\")".to_owned(),
                    _ => format!("write {word}(branch, \"…\")"),
                },
            });
        }
        if matches!(function, Function::Glob | Function::Changed) {
            for pattern in &arguments[least - 1..] {
                if let Expr::Value(Value::Text(text)) = &pattern.expr
                    && let Err(bad) = glob::check(text.trim_start_matches('!'))
                {
                    return Err(Fault {
                        code: &codes::BAD_GLOB,
                        span: pattern.span.clone(),
                        message: format!("the pattern can't be understood: {bad}"),
                        label: "not a pattern".to_owned(),
                        help:
                            "`*`, `**`, `?`, `[a-z]` and `{a,b}` have a meaning; `\\` takes it away"
                                .to_owned(),
                    });
                }
            }
        }
        let arguments = arguments.into_iter().map(|part| part.expr).collect();
        Ok(Part {
            expr: Expr::Call(function, arguments),
            kind: Kind::Truth,
            span: span.start..end,
        })
    }
}

impl Part {
    fn must_be(&self, kind: Kind, place: &str) -> Result<(), Fault> {
        if self.kind == kind {
            return Ok(());
        }
        Err(Fault {
            code: &codes::EXPRESSION_TYPE,
            span: self.span.clone(),
            message: format!("{} {place} must be {}", self.expr, kind.words()),
            label: format!("this is {}", self.kind.words()),
            help: match (self.kind, kind) {
                (Kind::Number, Kind::Text) => format!("put it in quotes: \"{}\"", self.expr),
                (Kind::Text, Kind::Number) => "write the number without quotes".to_owned(),
                (Kind::Text, Kind::Truth) => format!("compare it: {} == \"…\"", self.expr),
                (Kind::Text, Kind::Texts) => format!("write a list: [{}]", self.expr),
                _ => format!("write {} here", kind.words()),
            },
        })
    }
}

/// A word that a name can never be is a slip.
fn check_word(name: &Expr, value: &Value, span: &Range<usize>) -> Result<(), Fault> {
    let (what, words): (_, &[&str]) = match name {
        Expr::Name(Name::Event) => ("event", &EVENTS),
        Expr::Name(Name::NeedResult(_)) => ("result", &RESULTS),
        _ => return Ok(()),
    };
    let Value::Text(text) = value else {
        return Ok(());
    };
    if words.contains(&text.as_str()) {
        return Ok(());
    }
    let listed: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let near = match text.as_str() {
        "pr" | "pullrequest" | "merge_request" => Some("pull_request"),
        "cron" => Some("schedule"),
        "success" => Some("passed"),
        "failure" => Some("failed"),
        text => suggest::nearest(text, words),
    };
    Err(Fault {
        code: &codes::EXPRESSION_WORD,
        span: span.clone(),
        message: format!("no {what} is called \"{text}\""),
        label: near.map_or_else(
            || "never equal".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        ),
        help: format!("the {what} is one of {}", listed.join(", ")),
    })
}

fn unknown_function(word: &str, span: Range<usize>) -> Fault {
    let names = Function::ALL.map(Function::as_str);
    let help = match word {
        "startsWith" => "write starts_with(text, \"beginning\")".to_owned(),
        "endsWith" => "write ends_with(text, \"end\")".to_owned(),
        "always" | "failure" | "success" | "cancelled" => {
            "write `when: {result: always}`, `{result: failure}` or `{result: success}`".to_owned()
        }
        _ => format!("there are {}", names.join(", ")),
    };
    let label = suggest::nearest(word, &names).map_or_else(
        || "not a function".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Fault {
        code: &codes::EXPRESSION_FUNCTION,
        span,
        message: format!("there is no function `{word}`"),
        label,
        help,
    }
}

const NAMES: [(&str, Name, Kind); 10] = [
    ("event", Name::Event, Kind::Text),
    ("branch", Name::Branch, Kind::Text),
    ("tag", Name::Tag, Kind::Text),
    ("base", Name::Base, Kind::Text),
    ("revision", Name::Revision, Kind::Text),
    ("message", Name::Message, Kind::Text),
    ("author", Name::Author, Kind::Text),
    ("fork", Name::Fork, Kind::Truth),
    ("schedule", Name::Schedule, Kind::Text),
    ("repo", Name::Repo, Kind::Text),
];

fn lookup(word: &str, span: Range<usize>, scope: &Scope) -> Result<(Name, Kind), Fault> {
    if let Some((_, name, kind)) = NAMES.iter().find(|(text, ..)| *text == word) {
        return Ok((name.clone(), *kind));
    }
    let unknown = |known: Vec<&str>, help: String| {
        let last = word.rsplit('.').next().unwrap_or(word);
        let near = suggest::nearest(word, &known).or_else(|| suggest::nearest(last, &known));
        Fault {
            code: &codes::EXPRESSION_NAME,
            span: span.clone(),
            message: format!("nothing is known as `{word}`"),
            label: near.map_or_else(
                || "no such name".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ),
            help,
        }
    };
    let parts: Vec<&str> = word.split('.').collect();
    match parts.as_slice() {
        ["params", name] => match scope.params.get(*name) {
            Some(kind) => Ok((Name::Param((*name).to_owned()), *kind)),
            None => {
                let known: Vec<&str> = scope.params.keys().map(String::as_str).collect();
                let help = match known.as_slice() {
                    [] => "the spec has no `params`".to_owned(),
                    known => format!("the parameters are {}", known.join(", ")),
                };
                Err(unknown(known, help))
            }
        },
        ["matrix", name] => {
            if scope.matrix.iter().any(|known| known == name) {
                return Ok((Name::Matrix((*name).to_owned()), Kind::Text));
            }
            let known: Vec<&str> = scope.matrix.iter().map(String::as_str).collect();
            let help = match known.as_slice() {
                [] => "there is no `matrix` here".to_owned(),
                known => format!("the matrix has {}", known.join(", ")),
            };
            Err(unknown(known, help))
        }
        ["needs", job, ..] => need(word, &parts, job, span, scope),
        _ => {
            let help = match parts[0] {
                "github" | "env" | "steps" | "CI_COMMIT_BRANCH" => {
                    "the names are event, branch, tag, base, revision, message, author, fork, repo, \
                     schedule, params.…, matrix.… and needs.…"
                        .to_owned()
                }
                _ if parts.len() == 1 => format!("if it is a text, put it in quotes: \"{word}\""),
                _ => "names with a dot begin with params, matrix or needs".to_owned(),
            };
            Err(unknown(
                NAMES.iter().map(|(text, ..)| *text).collect(),
                help,
            ))
        }
    }
}

fn need(
    word: &str,
    parts: &[&str],
    job: &str,
    span: Range<usize>,
    scope: &Scope,
) -> Result<(Name, Kind), Fault> {
    let Some(needs) = &scope.needs else {
        return Err(Fault {
            code: &codes::EXPRESSION_NEEDS,
            span,
            message: format!("`{word}` is not known here"),
            label: "known only when other jobs have ended".to_owned(),
            help: "use it in the `when` or `env` of a job that has `needs`".to_owned(),
        });
    };
    let fault = |message: String, help: String| Fault {
        code: &codes::EXPRESSION_NAME,
        span: span.clone(),
        message,
        label: "no such name".to_owned(),
        help,
    };
    let Some(outputs) = needs.get(job) else {
        let known: Vec<&str> = needs.keys().map(String::as_str).collect();
        let help = match known.as_slice() {
            [] => format!("add `needs: {job}` to the job"),
            known => format!("the job needs {}; add `{job}` to `needs`", known.join(", ")),
        };
        return Err(fault(format!("the job does not need `{job}`"), help));
    };
    match parts {
        [_, _, "result"] => Ok((Name::NeedResult(job.to_owned()), Kind::Text)),
        [_, _, "outputs", output] if outputs.iter().any(|known| known == output) => Ok((
            Name::NeedOutput(job.to_owned(), (*output).to_owned()),
            Kind::Text,
        )),
        [_, _, "outputs", output] => Err(fault(
            format!("`{job}` has no output `{output}`"),
            format!("add it to the job's `outputs`: [{output}]"),
        )),
        _ => Err(fault(
            format!("nothing is known as `{word}`"),
            format!("there are needs.{job}.result and needs.{job}.outputs.NAME"),
        )),
    }
}
