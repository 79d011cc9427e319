//! `windlass migrate lint`: what is dangerous in a folder of migrations.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Value, json};
use windlass_migrate::folder::FolderError;
use windlass_migrate::lint::{
    Dialect, Fixes, NewFile, Options, Report, ServerVersion, Severity, Source, fix, lint, rules,
    show,
};

use super::{complain, say, wants_colour};
use crate::report::{EXIT_FAILED, EXIT_OK, Problem};

/// Something unsafe was found.
const EXIT_UNSAFE: u8 = 7;

const HELP: &str = "\
Reads all files of the folder in order, to know the schema, and reports what breaks the release that runs
now, what locks others out, and what fails on a table with rows.

  windlass migrate lint --since 0041_orders.sql        0041 and those before it are applied
  windlass migrate lint --explain create-index         why, what to write instead, examples
  windlass migrate lint --since 0041_orders.sql --fix  write the safe sequence as new files

To allow a finding, say why before the statement: -- windlass: allow RULE: the reason

Exit codes: 0 nothing that fails; 1 the folder can't be read, or a file isn't there; 2 the command line is
wrong; 7 unsafe.

More: docs/migrate-lint.md";

/// Which files, for which database.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct LintArgs {
    /// The folder of SQL files
    #[arg(
        long,
        value_name = "DIR",
        default_value = "migrations",
        env = "WINDLASS_MIGRATE_DIR"
    )]
    dir: PathBuf,
    #[command(flatten)]
    placeholders: super::migrate::PlaceholderArgs,
    /// postgres, mysql (and MariaDB) or sqlite [default: as DATABASE_URL says, or postgres]
    #[arg(long, value_name = "NAME")]
    dialect: Option<Dialect>,
    /// The server's version, such as 15, 8.0.36 or mariadb-10.11
    #[arg(long, value_name = "VERSION")]
    server_version: Option<ServerVersion>,
    /// Report only the files behind this one: it and those before it are applied
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Report only this file; may be given again
    #[arg(long, value_name = "FILE")]
    only: Vec<PathBuf>,
    /// Switch a rule on that is off by default
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule)]
    enable: Vec<String>,
    /// Switch a rule off
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = rule)]
    disable: Vec<String>,
    /// Fail for warnings, too
    #[arg(long)]
    deny_warnings: bool,
    /// How findings are shown
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the safe sequence of statements as new files
    #[arg(long)]
    fix: bool,
    /// With --fix: change the files themselves. Only for files that are applied nowhere
    #[arg(long, requires = "fix")]
    in_place: bool,
    /// List the rules
    #[arg(long)]
    rules: bool,
    /// Say why there is a rule, and what to do, with examples
    #[arg(long, value_name = "RULE", value_parser = rule)]
    explain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As a compiler shows them
    Text,
    /// For programs
    Json,
    /// For code scanners and editors (SARIF 2.1.0)
    Sarif,
    /// Annotations in GitHub Actions
    Github,
}

fn rule(id: &str) -> Result<String, String> {
    match rules::find(id) {
        Some(rule) => Ok(rule.id.to_owned()),
        None => Err("there is no such rule: `windlass migrate lint --rules` lists them".to_owned()),
    }
}

fn failed(message: impl Into<String>) -> Problem {
    Problem::new(message).code(EXIT_FAILED)
}

/// The migrations of a folder in order, without those for the way down; and whether a file is not shown as it is,
/// because values stand in it for placeholders.
fn read(args: &LintArgs) -> Result<(Vec<(String, String)>, bool), Problem> {
    let source = args.placeholders.source(&args.dir);
    let texts = source.texts().map_err(|e| {
        let unread = matches!(e, FolderError::Io { .. });
        let problem = Problem::from(windlass_migrate::Error::from(e)).code(EXIT_FAILED);
        if unread {
            problem.hint("give the folder of SQL files with --dir")
        } else {
            problem
        }
    })?;
    let replaced = texts.iter().any(|text| text.replaced);
    Ok((
        texts.into_iter().map(|t| (t.file, t.text)).collect(),
        replaced,
    ))
}

/// The name of a file that must be in the folder.
fn known(path: &Path, files: &[(String, String)], dir: &Path) -> Result<String, Problem> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    // By its path, or by its name in whichever folder below.
    let whole = |file: &&String| path.ends_with(file.as_str());
    let bare = |file: &&String| file.rsplit('/').next() == Some(name);
    let mut names = files.iter().map(|(file, _)| file);
    if let Some(file) = names.clone().find(whole).or_else(|| names.find(bare)) {
        return Ok(file.clone());
    }
    Err(failed(format!(
        "there is no {} in {}",
        path.display(),
        dir.display()
    ))
    .hint("name a file of the folder, such as 0007_add_email.sql"))
}

fn dialect(args: &LintArgs) -> Dialect {
    let of_url = || {
        let url = std::env::var("DATABASE_URL").ok()?;
        url.split([':', '+']).next()?.parse().ok()
    };
    args.dialect.or_else(of_url).unwrap_or(Dialect::Postgres)
}

fn sources(files: &[(String, String)]) -> Vec<Source<'_>> {
    files
        .iter()
        .map(|(name, text)| Source { name, text })
        .collect()
}

/// Lints, fixes if asked to, and shows what is left.
pub(crate) fn run(args: &LintArgs) -> Result<u8, Problem> {
    if args.rules {
        list();
        return Ok(EXIT_OK);
    }
    if let Some(rule) = args.explain.as_deref().and_then(rules::find) {
        say(windlass_migrate::lint::explain(rule).trim_end());
        return Ok(EXIT_OK);
    }
    let (mut files, replaced) = read(args)?;
    if args.fix && replaced {
        return Err(failed(
            "the files have placeholders, and --fix would write values in their place",
        )
        .hint("take what it shows without --fix, and write the files by hand"));
    }
    let mut options = Options::new(dialect(args));
    options.server_version = args.server_version;
    options.enable.clone_from(&args.enable);
    options.disable.clone_from(&args.disable);
    let since = args
        .since
        .as_ref()
        .map(|path| known(path, &files, &args.dir));
    options.since = since.transpose()?;
    let only = args.only.iter().map(|path| known(path, &files, &args.dir));
    options.only = only.collect::<Result<_, _>>()?;

    let mut report = lint(&sources(&files), &options);
    let mut fixes = None;
    if args.fix {
        let made = fix(&sources(&files), &options, &report, args.in_place);
        write(&args.dir, &made)?;
        if args.in_place {
            // What was made is reported on as well.
            if !options.only.is_empty() {
                options
                    .only
                    .extend(made.new.iter().map(|file| file.name.clone()));
            }
            files = read(args)?.0;
            report = lint(&sources(&files), &options);
        }
        fixes = Some(made);
    }
    let format = if args.json { Format::Json } else { args.format };
    tell(args, format, &sources(&files), &report, fixes.as_ref());
    let bad = report.count(Severity::Error) > 0
        || (args.deny_warnings && report.count(Severity::Warning) > 0);
    Ok(if bad { EXIT_UNSAFE } else { EXIT_OK })
}

fn tell(
    args: &LintArgs,
    format: Format,
    sources: &[Source<'_>],
    report: &Report,
    fixes: Option<&Fixes>,
) {
    let dir = args.dir.to_string_lossy();
    let folder = match dir.trim_end_matches('/').trim_start_matches("./") {
        "" | "." => String::new(),
        dir => format!("{dir}/"),
    };
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    match format {
        Format::Text => {
            let style = if wants_colour() {
                show::Style::Colour
            } else {
                show::Style::Plain
            };
            let shown = show::text_report(sources, report, style, &folder);
            if !shown.is_empty() {
                say(shown.trim_end_matches('\n'));
                say("");
            }
            for line in fixes
                .iter()
                .flat_map(|fixes| in_words(fixes, args.in_place))
            {
                say(line);
            }
            say(show::summary(report));
        }
        Format::Json => {
            let mut value = show::json_report(sources, report, &folder);
            if let Some(fixes) = fixes {
                value["fixes"] = as_json(fixes);
            }
            say(pretty(&value));
        }
        Format::Sarif => {
            let version = env!("CARGO_PKG_VERSION");
            say(pretty(&show::sarif_report(
                sources, report, &folder, version,
            )));
        }
        Format::Github => {
            let shown = show::github_report(sources, report, &folder);
            if !shown.is_empty() {
                say(shown.trim_end());
            }
        }
    }
    if matches!(format, Format::Sarif | Format::Github) {
        for line in fixes
            .iter()
            .flat_map(|fixes| in_words(fixes, args.in_place))
        {
            complain(line);
        }
    }
}

fn in_words(fixes: &Fixes, in_place: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for fixed in &fixes.fixed {
        let (first, last) = fixed.lines;
        let place = if first == last {
            format!("{}, line {first}", fixed.file)
        } else {
            format!("{}, lines {first} to {last}", fixed.file)
        };
        let files = fixed.files.join(", ");
        lines.push(format!(
            "fixed {} ({}): now in {files}",
            fixed.rules.join(", "),
            place
        ));
        if !in_place {
            lines.push(format!(
                "  now remove the statement from {place}, or run again with --in-place if the file is applied nowhere"
            ));
        }
    }
    for unfixed in &fixes.unfixed {
        lines.push(format!(
            "not fixed: {} ({}, line {}): {}",
            unfixed.rule, unfixed.file, unfixed.line, unfixed.why
        ));
    }
    lines
}

fn as_json(fixes: &Fixes) -> Value {
    let fixed = fixes.fixed.iter().map(|fixed| {
        json!({
            "file": fixed.file,
            "line": fixed.lines.0,
            "end_line": fixed.lines.1,
            "rules": fixed.rules,
            "files": fixed.files,
        })
    });
    let unfixed = fixes.unfixed.iter().map(|unfixed| {
        json!({
            "file": unfixed.file,
            "line": unfixed.line,
            "rule": unfixed.rule,
            "why": unfixed.why,
        })
    });
    json!({ "fixed": fixed.collect::<Vec<_>>(), "unfixed": unfixed.collect::<Vec<_>>() })
}

/// New files never take another one's place; changed ones change at once or not at all.
fn write(dir: &Path, fixes: &Fixes) -> Result<(), Problem> {
    let unwritten = |name: &str, e: std::io::Error| {
        failed(format!("could not write {}: {e}", dir.join(name).display()))
    };
    for NewFile { name, text } in &fixes.new {
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(dir.join(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| unwritten(name, e))?;
    }
    for NewFile { name, text } in &fixes.changed {
        let path = dir.join(name);
        let beside = dir.join(format!(".{name}.windlass-new"));
        let permissions = fs::metadata(&path).map(|m| m.permissions());
        fs::write(&beside, text)
            .and_then(|()| fs::set_permissions(&beside, permissions?))
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|e| unwritten(name, e))?;
    }
    Ok(())
}

fn list() {
    for rule in rules::all() {
        let databases: Vec<&str> = rule.cases.iter().map(|case| case.dialect.word()).collect();
        let off = if rule.on { "" } else { " (off)" };
        let (id, severity) = (rule.id, rule.severity.word());
        say(format_args!(
            "{id:<28} {severity:<8} {}{off} [{}]",
            rule.title,
            databases.join(", ")
        ));
    }
}
