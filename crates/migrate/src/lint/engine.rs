//! Reads the history file by file, keeps the schema, asks the rules, and settles what is allowed.

use std::collections::BTreeSet;

use super::context::{Context, Held, Hit, Hits, Phase};
use super::dialect::Dialect;
use super::rules::{self, Check, Rule, Severity};
use super::schema::Schema;
use super::script::{Directive, Script, split};
use super::statement::{ActionKind, ObjectKind, Stmt};
use super::token::Kind;
use super::{Allowed, Finding, Options, Report, Source, Span, parse, syntax};

/// What rules need between the files.
struct Run<'a> {
    options: &'a Options,
    schema: Schema,
    rules: Vec<&'static Rule>,
    /// Findings that an index later in the history takes back.
    pending: Vec<(usize, Hit)>,
}

/// One file, read.
pub(crate) struct Reading {
    pub(crate) script: Script,
    pub(crate) statements: Vec<Stmt>,
    pub(crate) phase: Phase,
}

pub(crate) fn read(text: &str, dialect: Dialect) -> Reading {
    let script = split(text, dialect);
    let statements = script
        .statements
        .iter()
        .map(|raw| parse::parse(text, &raw.tokens, dialect))
        .collect();
    let contract = script.directives("phase").any(|d| d.rest == "contract");
    Reading {
        script,
        statements,
        phase: if contract {
            Phase::Contract
        } else {
            Phase::Expand
        },
    }
}

/// Tables that were there before the file and that the statement locks for everybody, with the
/// place that says so. Only PostgreSQL keeps such locks until the end of a transaction of several
/// statements.
pub(crate) fn strong<'a>(context: &Context<'a>) -> Vec<(&'a str, Span)> {
    if !context.pg() {
        return Vec::new();
    }
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            let weak = actions.iter().all(|a| match &a.kind {
                ActionKind::Validate(_) | ActionKind::Cheap | ActionKind::AttachPartition(_) => {
                    true
                }
                ActionKind::DetachPartition { concurrently, .. } => *concurrently,
                _ => false,
            });
            if weak {
                Vec::new()
            } else {
                vec![(table.key.as_str(), context.span())]
            }
        }
        Stmt::Drop {
            kind: ObjectKind::Table,
            names,
            ..
        } => {
            let old = names.iter().filter(|n| !context.fresh(n));
            old.map(|n| (n.key.as_str(), context.span())).collect()
        }
        Stmt::Truncate { tables } => {
            let old = tables.iter().filter(|n| !context.fresh(n));
            old.map(|n| (n.key.as_str(), context.span())).collect()
        }
        _ => Vec::new(),
    }
}

/// Lints a history.
pub(crate) fn lint(files: &[Source<'_>], options: &Options) -> Report {
    let on = |rule: &&'static Rule| {
        let named = |list: &[String]| list.iter().any(|id| id == rule.id);
        (rule.on || named(&options.enable)) && !named(&options.disable)
    };
    let mut run = Run {
        options,
        schema: Schema::default(),
        rules: rules::all().filter(on).collect(),
        pending: Vec::new(),
    };
    let first_new = options.first_new(files);
    let mut report = Report {
        dialect: options.dialect,
        ..Report::default()
    };
    let mut readings = Vec::with_capacity(files.len());
    for (index, file) in files.iter().enumerate() {
        let asked = options.is_asked(index, file.name, first_new);
        let reading = read(file.text, options.dialect);
        if asked {
            report.files += 1;
        }
        report.statements += if asked { reading.statements.len() } else { 0 };
        let found = run.file(index, file.text, &reading, first_new, asked);
        report.findings.extend(found);
        if asked {
            readings.push((index, reading));
        }
    }
    // An index in a later file has been seen by now.
    for (finding, hit) in std::mem::take(&mut run.pending) {
        let covered = hit.unless_indexed.is_some_and(|(table, columns)| {
            let table = run.schema.tables.get(&table);
            table.is_none_or(|t| t.covers(&columns))
        });
        if covered {
            report.findings.retain(|f| f.pending != Some(finding));
        }
    }
    for (index, reading) in &readings {
        allow(&mut report, *index, files[*index].text, reading, &run.rules);
    }
    report
        .findings
        .sort_by_key(|f| (f.file, f.span.start, f.span.end, f.rule.id));
    report.schema = run.schema.counts();
    report
}

impl Run<'_> {
    fn file(
        &mut self,
        index: usize,
        text: &str,
        reading: &Reading,
        first_new: Option<usize>,
        asked: bool,
    ) -> Vec<Finding> {
        let dialect = self.options.dialect;
        let mut findings = Vec::new();
        let mut held: Vec<Held> = Vec::new();
        if asked {
            for directive in &reading.script.directives {
                if let Some(message) = misread(directive) {
                    self.reader(
                        &mut findings,
                        index,
                        "unknown-directive",
                        directive.span,
                        message,
                        None,
                    );
                }
            }
        }
        for n in 0..reading.statements.len() {
            let context = Context {
                dialect,
                version: self.options.server(),
                text,
                file: index,
                first_new,
                phase: reading.phase,
                script: &reading.script,
                statements: &reading.statements,
                index: n,
                schema: &self.schema,
                held: &held,
            };
            if asked {
                let mut pending = Vec::new();
                ask(&context, &self.rules, &mut findings, &mut pending);
                for (mut finding, hit) in pending {
                    finding.pending = Some(self.pending.len());
                    self.pending.push((self.pending.len(), hit));
                    findings.push(finding);
                }
                self.unread(&context, &mut findings);
            }
            let locks: Vec<Held> = strong(&context)
                .into_iter()
                .map(|(table, span)| Held {
                    table: table.to_owned(),
                    span,
                })
                .collect();
            if context.in_transaction() {
                held.extend(locks);
            }
            let raw = &reading.script.statements[n];
            let words = || {
                let names = raw
                    .tokens
                    .iter()
                    .filter(|t| matches!(t.kind, Kind::Word | Kind::Ident));
                let word = |t: &super::token::Token| {
                    let written = text.get(t.span.start..t.span.end).unwrap_or_default();
                    written.trim_matches(['"', '`', '[', ']']).to_lowercase()
                };
                names.map(word).collect::<BTreeSet<String>>()
            };
            self.schema.apply(&reading.statements[n], index, words);
        }
        findings
    }

    /// A finding that no rule looks for.
    fn reader(
        &self,
        findings: &mut Vec<Finding>,
        file: usize,
        id: &str,
        span: Span,
        message: String,
        statement: Option<usize>,
    ) {
        if let Some(rule) = self.rules.iter().find(|rule| rule.id == id) {
            findings.push(Finding {
                rule,
                severity: rule.severity,
                file,
                span,
                message,
                label: String::new(),
                help: rule
                    .case(self.options.dialect)
                    .map(|case| case.rewrite.to_owned()),
                statement,
                pending: None,
            });
        }
    }

    /// What the dialect's parser, and this one, can't read.
    fn unread(&self, context: &Context<'_>, findings: &mut Vec<Finding>) {
        let n = Some(context.index);
        // Where a rule has said that it fails, it needn't be said in a parser's words.
        let told = findings
            .iter()
            .any(|f| f.statement == n && f.severity == Severity::Error);
        // psql's own commands are no SQL.
        let client = context.raw().tokens.iter().any(|t| t.kind == Kind::Client);
        let wrong = if told || client {
            None
        } else {
            syntax::check(context.text, context.raw(), context.dialect)
        };
        if let Some((message, span)) = wrong {
            let message = format!(
                "this can't be read as {}: {message}",
                context.dialect.title()
            );
            self.reader(findings, context.file, "syntax-error", span, message, n);
            return;
        }
        let message = match context.statement() {
            Stmt::Opaque => "what this does is hidden from the linter".to_owned(),
            Stmt::Unknown => "the linter doesn't know this statement".to_owned(),
            Stmt::AlterTable { actions, .. } => {
                let Some(action) = actions
                    .iter()
                    .find(|a| matches!(a.kind, ActionKind::Unknown))
                else {
                    return;
                };
                let message = "the linter doesn't know this clause".to_owned();
                self.reader(
                    findings,
                    context.file,
                    "not-understood",
                    action.span,
                    message,
                    n,
                );
                return;
            }
            _ => return,
        };
        self.reader(
            findings,
            context.file,
            "not-understood",
            context.span(),
            message,
            n,
        );
    }
}

fn ask(
    context: &Context<'_>,
    rules: &[&'static Rule],
    findings: &mut Vec<Finding>,
    pending: &mut Vec<(Finding, Hit)>,
) {
    for rule in rules {
        let (Check::Statement(check), Some(case)) = (rule.check, rule.case(context.dialect)) else {
            continue;
        };
        let mut hits = Hits::default();
        check(context, &mut hits);
        for hit in hits.0 {
            let finding = Finding {
                rule,
                severity: rule.severity,
                file: context.file,
                span: hit.span,
                message: hit.message.clone(),
                label: hit.label.clone(),
                help: Some(hit.help.clone().unwrap_or_else(|| case.rewrite.to_owned())),
                statement: Some(context.index),
                pending: None,
            };
            if hit.unless_indexed.is_some() {
                pending.push((finding, hit));
            } else {
                findings.push(finding);
            }
        }
    }
}

/// What is wrong with a directive, if anything is. Values that the runner reads it checks itself.
fn misread(directive: &Directive) -> Option<String> {
    match directive.word.as_str() {
        "phase" if matches!(directive.rest.as_str(), "expand" | "contract" | "data") => None,
        "phase" => Some(format!(
            "the phase is expand or contract or data, not `{}`",
            directive.rest
        )),
        "lint" if !directive.rest.starts_with("allow") => Some(format!(
            "`lint {}` is no directive: there is `lint allow rule-id: reason`",
            directive.rest
        )),
        "allow" | "lint" | "foreign-keys" | "lock-timeout" | "statement-timeout" | "retries"
        | "requires-release" | "requires-migration" | "requires-data" | "batch" | "command" => None,
        word => Some(format!("`{word}` is no directive of Windlass")),
    }
}

/// Takes out what is allowed, and tells of allows that are wrong or of no use.
fn allow(report: &mut Report, file: usize, text: &str, reading: &Reading, rules: &[&'static Rule]) {
    let dialect = report.dialect;
    let tell = |findings: &mut Vec<Finding>, id: &str, span: Span, message: String| {
        if let Some(rule) = rules.iter().find(|rule| rule.id == id) {
            findings.push(Finding {
                rule,
                severity: rule.severity,
                file,
                span,
                message,
                label: String::new(),
                help: rule.case(dialect).map(|case| case.rewrite.to_owned()),
                statement: None,
                pending: None,
            });
        }
    };
    let mut told = Vec::new();
    for directive in &reading.script.directives {
        let (rest, whole_file) = match directive.word.as_str() {
            "allow" => (directive.rest.as_str(), false),
            "lint" => match directive.rest.strip_prefix("allow") {
                Some(rest) => (rest.trim(), true),
                None => continue,
            },
            _ => continue,
        };
        let (id, reason) = rest.split_once(':').unwrap_or((rest, ""));
        let (id, reason) = (id.trim(), reason.trim());
        let Some(rule) = rules::find(id) else {
            tell(
                &mut told,
                "bad-allow",
                directive.span,
                format!("there is no rule `{id}`"),
            );
            continue;
        };
        if reason.is_empty() {
            tell(
                &mut told,
                "bad-allow",
                directive.span,
                format!("this allows `{id}` and doesn't say why"),
            );
            continue;
        }
        let covered = if directive.trailing {
            directive.before.checked_sub(1)
        } else {
            Some(directive.before)
        };
        let (allowed, left): (Vec<Finding>, Vec<Finding>) = std::mem::take(&mut report.findings)
            .into_iter()
            .partition(|f| {
                f.file == file && f.rule.id == rule.id && (whole_file || f.statement == covered)
            });
        report.findings = left;
        if allowed.is_empty() {
            // A rule that is off finds nothing to allow.
            if rules.iter().any(|on| on.id == rule.id) {
                tell(
                    &mut told,
                    "unused-allow",
                    directive.span,
                    format!("this allows `{id}`, and nothing here breaks it"),
                );
            }
        } else {
            let line = text[..directive.span.start].matches('\n').count() + 1;
            report
                .allowed
                .extend(allowed.into_iter().map(|finding| Allowed {
                    finding,
                    reason: reason.to_owned(),
                    line,
                }));
        }
    }
    report.findings.extend(told);
}
