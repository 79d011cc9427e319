//! `--fix`: the safe sequence, as files.
//!
//! A statement that a rule found is taken apart into what may be done in its place and what must
//! follow in migrations of its own: in another transaction, outside of one, or when the old release
//! is gone. New files get numbers behind the last one. The file itself is only changed if that was
//! asked for: whether it is applied somewhere no file says.

mod alter;
mod sequence;

use super::context::{Context, Phase};
use super::engine::{Reading, read};
use super::rules;
use super::schema::Schema;
use super::{Finding, Options, Report, Source, Span};
use crate::version::Version;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What takes the place of a statement.
#[derive(Debug, Clone)]
pub struct Fixed {
    /// The file that has the statement.
    pub file: String,
    /// Its first and last line there, from 1.
    pub lines: (usize, usize),
    /// The rules that it broke.
    pub rules: Vec<&'static str>,
    /// The files that take its place; the statement's own file, if that was changed.
    pub files: Vec<String>,
}

/// What can't be fixed, and why.
#[derive(Debug, Clone)]
pub struct Unfixed {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule.
    pub rule: &'static str,
    /// Why.
    pub why: String,
}

/// What `--fix` does to a folder.
#[derive(Debug, Clone, Default)]
pub struct Fixes {
    /// Files that are new.
    pub new: Vec<NewFile>,
    /// Files that are there, with their new text.
    pub changed: Vec<NewFile>,
    /// What was fixed.
    pub fixed: Vec<Fixed>,
    /// What wasn't.
    pub unfixed: Vec<Unfixed>,
}

/// One migration of a sequence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// For the file's name.
    slug: String,
    contract: bool,
    no_transaction: bool,
    /// More lines for the head, without `-- windlass: `.
    directives: Vec<String>,
    sql: String,
}

/// What becomes of a statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// What may stay where the statement stands.
    here: Option<String>,
    /// What follows in files of its own.
    parts: Vec<Part>,
    /// Names that nothing behind may mention, because they come later or go later than it thinks.
    names: Vec<String>,
    /// What only a change of the file itself can do: a directive for its head.
    head: Option<String>,
    /// Another statement that goes: the COMMIT of a BEGIN.
    remove: Option<Span>,
}

/// The names of files go on from the newest.
struct Numbers {
    /// `V` of Flyway and refinery, or nothing.
    before: &'static str,
    width: usize,
    separator: String,
    suffix: &'static str,
    last: Version,
}

impl Numbers {
    fn of(files: &[Source<'_>]) -> Option<Self> {
        let parse = |name: &str| {
            let base = name.rsplit('/').next().unwrap_or(name);
            let start = base.find(|c: char| c.is_ascii_digit())?;
            let (before, rest) = base.split_at(start);
            let before = match before {
                "" => "",
                // A baseline is no example for a name, but those that follow are above it.
                "V" | "v" | "B" => "V",
                _ => return None,
            };
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let (digits, after) = rest.split_at(end);
            let word = after.find(|c: char| c.is_alphanumeric())?;
            let suffix = if base.ends_with(".up.sql") {
                ".up.sql"
            } else {
                ".sql"
            };
            let several = rest.split_once("__").filter(|_| before == "V");
            let (last, separator) = match several.map(|(version, _)| version.parse()) {
                Some(Ok(version)) => (version, "__"),
                _ => (digits.parse().ok()?, &after[..word]),
            };
            Some(Self {
                before,
                width: digits.len(),
                separator: separator.to_owned(),
                suffix,
                last,
            })
        };
        files
            .iter()
            .filter_map(|f| parse(f.name))
            .max_by_key(|n| n.last)
    }

    fn next(&mut self, slug: &str) -> String {
        self.last = self.last.next();
        let Self {
            before,
            width,
            separator,
            suffix,
            last,
        } = self;
        match last.number() {
            Some(number) => format!("{before}{number:0width$}{separator}{slug}{suffix}"),
            None => format!("{before}{last}{separator}{slug}{suffix}"),
        }
    }
}

/// Makes the fixes for a report. With `in_place`, files are changed; otherwise their statements
/// stay for you to remove.
pub fn fix(files: &[Source<'_>], options: &Options, report: &Report, in_place: bool) -> Fixes {
    let mut fixes = Fixes::default();
    let mut numbers = Numbers::of(files);
    let mut schema = Schema::default();
    let first_new = options.first_new(files);
    for (index, file) in files.iter().enumerate() {
        let reading = read(file.text, options.dialect);
        let mut edits: Vec<(Span, String)> = Vec::new();
        let mut head: Vec<String> = Vec::new();
        for n in 0..reading.statements.len() {
            let findings: Vec<&Finding> = report
                .findings
                .iter()
                .filter(|f| f.file == index && f.statement == Some(n))
                .collect();
            let context = Context {
                dialect: options.dialect,
                version: options.server(),
                text: file.text,
                file: index,
                first_new,
                phase: reading.phase,
                script: &reading.script,
                statements: &reading.statements,
                index: n,
                schema: &schema,
                held: &[],
            };
            if !findings.is_empty() {
                let planned = sequence::plan(&context, &findings)
                    .and_then(|plan| clear(plan, &context, files))
                    .and_then(|plan| {
                        let alone = plan.head.is_some() || plan.parts.is_empty();
                        if alone && !in_place {
                            return Err("it needs a change of the file itself: --in-place makes it, if the file isn't applied anywhere".to_owned());
                        }
                        if !alone && numbers.is_none() {
                            return Err("the files' names have no number to go on from".to_owned());
                        }
                        Ok(plan)
                    });
                match planned {
                    Ok(plan) => {
                        let mut place = Place {
                            context: &context,
                            reading: &reading,
                            name: file.name,
                            in_place,
                            numbers: &mut numbers,
                            fixes: &mut fixes,
                        };
                        place.carry_out(plan, &findings, &mut edits, &mut head);
                    }
                    Err(why) => {
                        for finding in &findings {
                            fixes.unfixed.push(unfixed(file, finding, &why));
                        }
                    }
                }
            }
            schema.apply(&reading.statements[n], index, Default::default);
        }
        // Findings of no statement: directives.
        for finding in &report.findings {
            if finding.file == index && finding.statement.is_none() {
                let why = match finding.rule.fix {
                    rules::Fix::None(why) => why,
                    _ => "it belongs to no statement",
                };
                fixes.unfixed.push(unfixed(file, finding, why));
            }
        }
        if !edits.is_empty() || !head.is_empty() {
            let text = edited(file.text, edits, &head);
            fixes.changed.push(NewFile {
                name: file.name.to_owned(),
                text,
            });
        }
    }
    fixes
}

fn unfixed(file: &Source<'_>, finding: &Finding, why: &str) -> Unfixed {
    Unfixed {
        file: file.name.to_owned(),
        line: line(file.text, finding.span.start),
        rule: finding.rule.id,
        why: why.to_owned(),
    }
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at)
        .map_or(1, |before| before.matches('\n').count() + 1)
}

/// The line of a new file that says what it is for, as long as the statement still stands.
fn mark(context: &Context<'_>, name: &str) -> String {
    format!(
        "-- Takes the place of line {} of {name} (windlass migrate lint --fix).",
        line(context.text, context.span().start)
    )
}

/// Whether something behind the statement needs what now comes later.
fn clear(plan: Plan, context: &Context<'_>, files: &[Source<'_>]) -> Result<Plan, String> {
    let mark = mark(context, files[context.file].name);
    if let Some(file) = files.iter().find(|f| f.text.contains(&mark)) {
        return Err(format!(
            "{} takes its place already: remove the statement here",
            file.name
        ));
    }
    let mentions = |text: &str| {
        let lower = text.to_lowercase();
        plan.names.iter().find(|name| {
            let name = name.to_lowercase();
            let mut words = lower.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            words.any(|word| word == name)
        })
    };
    // What is part of the plan itself (the same statement) is no mention.
    let rest = &context.text[context.raw().end.min(context.text.len())..];
    let behind = std::iter::once(("this file", rest)).chain(
        files
            .iter()
            .skip(context.file + 1)
            .map(|f| (f.name, f.text)),
    );
    for (name, text) in behind {
        if let Some(found) = mentions(text) {
            return Err(format!(
                "what follows in {name} uses `{found}`, which would come later"
            ));
        }
    }
    Ok(plan)
}

struct Place<'a, 'b> {
    context: &'a Context<'b>,
    reading: &'a Reading,
    name: &'a str,
    in_place: bool,
    numbers: &'a mut Option<Numbers>,
    fixes: &'a mut Fixes,
}

impl Place<'_, '_> {
    fn carry_out(
        &mut self,
        mut plan: Plan,
        findings: &[&Finding],
        edits: &mut Vec<(Span, String)>,
        head: &mut Vec<String>,
    ) {
        let raw = self.context.raw();
        let whole = Span {
            start: raw.span.start,
            end: raw.end,
        };
        let mut used = Vec::new();
        if self.in_place {
            head.extend(plan.head.take());
            let alone = self.reading.statements.len() == 1;
            if alone && plan.here.is_none() && !plan.parts.is_empty() {
                // The first migration of the sequence is this file.
                let first = plan.parts.remove(0);
                if first.contract && self.reading.phase == Phase::Expand {
                    head.push("phase contract".to_owned());
                }
                if first.no_transaction && !self.reading.script.no_transaction {
                    head.push("no-transaction".to_owned());
                }
                head.extend(first.directives);
                plan.here = Some(first.sql);
            }
        } else if let Some(here) = plan.here.take() {
            let part = Part {
                slug: "rest".to_owned(),
                contract: self.reading.phase == Phase::Contract,
                no_transaction: self.reading.script.no_transaction,
                directives: Vec::new(),
                sql: here,
            };
            plan.parts.insert(0, part);
        }
        for part in &plan.parts {
            let Some(numbers) = self.numbers.as_mut() else {
                return;
            };
            let name = numbers.next(&slug(&part.slug));
            let text = self.written(part);
            used.push(name.clone());
            self.fixes.new.push(NewFile { name, text });
        }
        if self.in_place {
            let moved = format!(
                "-- Moved to {} (windlass migrate lint --fix).",
                used.join(", ")
            );
            edits.push((whole, plan.here.unwrap_or(moved)));
            edits.extend(plan.remove.map(|span| (span, String::new())));
            used.insert(0, self.name.to_owned());
        }
        let mut rules: Vec<&'static str> = findings.iter().map(|f| f.rule.id).collect();
        rules.dedup();
        self.fixes.fixed.push(Fixed {
            file: self.name.to_owned(),
            lines: (
                line(self.context.text, whole.start),
                line(self.context.text, whole.end.saturating_sub(1)),
            ),
            rules,
            files: used,
        });
    }

    fn written(&self, part: &Part) -> String {
        let mut text = String::new();
        if part.contract {
            text.push_str("-- windlass: phase contract\n");
        }
        if part.no_transaction {
            text.push_str("-- windlass: no-transaction\n");
        }
        if self.in_place {
            text.push_str(&format!(
                "-- Moved from {} (windlass migrate lint --fix).\n",
                self.name
            ));
        } else {
            text.push_str(&mark(self.context, self.name));
            text.push('\n');
        }
        for directive in &part.directives {
            text.push_str(&format!("-- windlass: {directive}\n"));
        }
        text.push_str(&part.sql);
        text.push('\n');
        text
    }
}

/// Letters, digits and `_`, and not too many of them.
fn slug(words: &str) -> String {
    let plain: String = words
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .take(60)
        .collect();
    plain.trim_matches('_').to_owned()
}

fn edited(text: &str, mut edits: Vec<(Span, String)>, head: &[String]) -> String {
    edits.sort_by_key(|(span, _)| span.start);
    let mut new = String::new();
    let (bom, text) = match text.strip_prefix('\u{feff}') {
        Some(rest) => (3, rest),
        None => (0, text),
    };
    for line in head {
        if !text.contains(&format!("-- windlass: {line}")) && !new.contains(line.as_str()) {
            new.push_str(&format!("-- windlass: {line}\n"));
        }
    }
    let mut at = 0;
    for (span, with) in edits {
        new.push_str(&text[at..span.start - bom]);
        new.push_str(&with);
        at = span.end - bom;
    }
    new.push_str(&text[at..]);
    new
}
