//! Conditions of jobs and steps: alternatives of which one must hold, joined and written as text.

/// Under which conditions something runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct When {
    /// `always` or `failure`; `None` is `success`.
    pub(super) result: Option<&'static str>,
    /// One of these must hold; none at all is "in any case".
    pub(super) any: Vec<Alternative>,
}

/// Conditions of which all must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) event: Vec<String>,
    pub(super) branch: Vec<String>,
    pub(super) tag: Vec<String>,
    pub(super) base: Vec<String>,
    pub(super) paths: Vec<String>,
    /// A condition as text.
    pub(super) expr: Option<String>,
}

impl When {
    /// It never runs: what must not happen by mistake.
    pub(super) fn never() -> Self {
        Self::of("false")
    }

    /// This condition.
    pub(super) fn of(expr: impl Into<String>) -> Self {
        Self::one(Alternative {
            expr: Some(expr.into()),
            ..Alternative::default()
        })
    }

    /// These conditions.
    pub(super) fn one(alternative: Alternative) -> Self {
        Self::any(vec![alternative])
    }

    /// One of these. One that asks for nothing holds always.
    pub(super) fn any(alternatives: Vec<Alternative>) -> Self {
        let mut any: Vec<Alternative> = Vec::new();
        for alternative in alternatives {
            if alternative == Alternative::default() {
                return Self::default();
            }
            if !any.contains(&alternative) {
                any.push(alternative);
            }
        }
        Self { result: None, any }
    }

    /// Whether it was made to never run.
    pub(super) fn is_never(&self) -> bool {
        matches!(&self.any[..], [one] if one.expr.as_deref() == Some("false"))
    }

    /// Whether nothing is asked for.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Both must hold.
    pub(super) fn and(self, other: Self) -> Self {
        let result = other.result.or(self.result);
        if self.is_never() || other.is_never() {
            return Self {
                result,
                ..Self::never()
            };
        }
        let any = match (&self.any[..], &other.any[..]) {
            (mine, []) => mine.to_vec(),
            ([], theirs) => theirs.to_vec(),
            (mine, theirs) if mine == theirs => mine.to_vec(),
            ([mine], [theirs]) if mine.is_beside(theirs) => vec![mine.joined(theirs)],
            _ => {
                let expr = format!("{} && {}", self.expr(true), other.expr(true));
                return Self {
                    result,
                    ..Self::of(expr)
                };
            }
        };
        Self { result, any }
    }

    /// All alternatives as one condition; `in_and` puts it into parentheses where `&&` needs them.
    pub(super) fn expr(&self, in_and: bool) -> String {
        match &self.any[..] {
            [] => "true".to_owned(),
            [one] => {
                let text = one.expr_text();
                let mixed = in_and && text.contains("||");
                if mixed { format!("({text})") } else { text }
            }
            several => {
                let texts: Vec<String> = several
                    .iter()
                    .map(|one| {
                        let text = one.expr_text();
                        if text.contains("&&") || text.contains("||") {
                            format!("({text})")
                        } else {
                            text
                        }
                    })
                    .collect();
                let text = texts.join(" || ");
                if in_and { format!("({text})") } else { text }
            }
        }
    }
}

impl Alternative {
    /// For one or several events.
    pub(super) fn event(events: &[&str]) -> Self {
        Self {
            event: events.iter().map(|event| (*event).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Asks for one thing more.
    pub(super) fn add(&mut self, expr: String) {
        self.expr = Some(match self.expr.take() {
            Some(known) => format!("{known} && {expr}"),
            None => expr,
        });
    }

    fn lists(&self) -> [&Vec<String>; 5] {
        [
            &self.event,
            &self.branch,
            &self.tag,
            &self.base,
            &self.paths,
        ]
    }

    /// Whether no key is in both.
    fn is_beside(&self, other: &Self) -> bool {
        let both = |(a, b): (&Vec<String>, &Vec<String>)| !a.is_empty() && !b.is_empty();
        !self.lists().into_iter().zip(other.lists()).any(both)
            && (self.expr.is_none() || other.expr.is_none())
    }

    fn joined(&self, other: &Self) -> Self {
        let join =
            |a: &Vec<String>, b: &Vec<String>| if a.is_empty() { b.clone() } else { a.clone() };
        Self {
            event: join(&self.event, &other.event),
            branch: join(&self.branch, &other.branch),
            tag: join(&self.tag, &other.tag),
            base: join(&self.base, &other.base),
            paths: join(&self.paths, &other.paths),
            expr: self.expr.clone().or_else(|| other.expr.clone()),
        }
    }

    /// As a condition.
    pub(super) fn expr_text(&self) -> String {
        let mut parts = Vec::new();
        match &self.event[..] {
            [] => {}
            [one] => parts.push(format!("event == {}", quoted(one))),
            several => parts.push(format!("event in [{}]", list(several))),
        }
        for (name, patterns) in [
            ("branch", &self.branch),
            ("tag", &self.tag),
            ("base", &self.base),
        ] {
            match &patterns[..] {
                [] => {}
                [one] if is_plain(one) => parts.push(format!("{name} == {}", quoted(one))),
                several => {
                    if several.iter().all(|pattern| pattern.starts_with('!')) {
                        parts.push(format!("{name} != \"\""));
                    }
                    parts.push(format!("glob({name}, {})", list(several)));
                }
            }
        }
        if !self.paths.is_empty() {
            parts.push(format!("changed({})", list(&self.paths)));
        }
        if let Some(expr) = &self.expr {
            let mixed = !parts.is_empty() && expr.contains("||");
            parts.push(if mixed {
                format!("({expr})")
            } else {
                expr.clone()
            });
        }
        if parts.is_empty() {
            return "true".to_owned();
        }
        parts.join(" && ")
    }
}

/// Whether a pattern is a name and nothing else.
pub(super) fn is_plain(pattern: &str) -> bool {
    !pattern.contains(['*', '?', '[', ']', '{', '}', '!', '\\'])
}

/// A text of the language of conditions.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
    texts.join(", ")
}

/// Patterns that can be understood, and those that can't.
pub(super) fn patterns(texts: Vec<String>) -> (Vec<String>, Vec<String>) {
    texts.into_iter().partition(|text| {
        let text = text.strip_prefix('!').unwrap_or(text);
        !text.is_empty()
            && !text.contains("${")
            && !text.chars().any(char::is_control)
            && windlass_model::glob::compile(text.trim_start_matches('!')).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(name: &str) -> Alternative {
        Alternative {
            branch: vec![name.to_owned()],
            ..Alternative::default()
        }
    }

    #[test]
    fn both_must_hold() {
        let push = When::one(Alternative::event(&["push"]));
        let both = push.clone().and(When::one(branch("main")));
        assert_eq!(both.any.len(), 1);
        assert_eq!(both.expr(false), "event == \"push\" && branch == \"main\"");
        let either = When::any(vec![branch("a"), branch("b/*")]);
        let text = push.clone().and(either).expr(false);
        assert_eq!(
            text,
            "event == \"push\" && (branch == \"a\" || glob(branch, \"b/*\"))"
        );
        assert!(push.clone().and(When::never()).is_never());
        assert_eq!(push.clone().and(When::default()), push);
        let two = When::of("a || b").and(When::of("c"));
        assert_eq!(two.expr(false), "(a || b) && c");
    }

    #[test]
    fn one_that_asks_for_nothing_holds_always() {
        assert!(When::any(vec![branch("x"), Alternative::default()]).is_default());
    }
}
