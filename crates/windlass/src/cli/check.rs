//! `windlass check`: what is wrong with a build spec.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use windlass_engine::git::Git;
use windlass_model::Severity;
use windlass_spec::formats;

use super::say;
use crate::report::{EXIT_OK, EXIT_SPEC, Problem};
use crate::spec_file;

/// Which spec.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The file [default: windlass.yml, windlass.yaml or windlass.toml in this folder]
    file: Option<PathBuf>,
    /// How problems are shown
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    format: Format,
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

/// The files that git knows in this folder, if it is the root of a checkout: those that are there and
/// not ignored.
async fn files(folder: &Path) -> Option<Vec<String>> {
    let git = Git::find().ok()?;
    let tree = git.working_tree(folder).await.ok()??;
    if tree.root != folder {
        return None;
    }
    git.files(&tree).await.ok()
}

pub(crate) async fn run(args: &Args) -> Result<u8, Problem> {
    let here = match args.file.as_deref().and_then(Path::parent) {
        Some(folder) if folder != Path::new("") => folder.canonicalize(),
        _ => Path::new(".").canonicalize(),
    };
    let here = here.unwrap_or_else(|_| PathBuf::from("."));
    let (name, text) = match &args.file {
        Some(path) => {
            let text = std::fs::read(path)
                .map_err(|e| Problem::new(format!("could not read {}: {e}", path.display())))?;
            (path.display().to_string(), text)
        }
        None => spec_file::read(&here)?.ok_or_else(spec_file::missing)?,
    };
    let included = spec_file::included_here(&here, &name, &text).await?;
    let files = files(&here).await;
    let loaded = windlass_spec::load_in(&name, &text, &included, files.as_deref());
    let shown = match args.format {
        Format::Text => render(&name, &text, &loaded.diagnostics),
        Format::Json => formats::json(&name, &text, &loaded.diagnostics),
        Format::Sarif => formats::sarif(&name, &text, &loaded.diagnostics),
        Format::Github => formats::github(&name, &text, &loaded.diagnostics),
    };
    if !shown.is_empty() {
        say(shown.trim_end());
    }
    let errors = loaded
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .count();
    match (&loaded.plan, errors) {
        (Some(_), _) if args.format != Format::Text => Ok(EXIT_OK),
        (Some(plan), _) => {
            let jobs = match plan.jobs.len() {
                1 => String::new(),
                n => format!("{n} jobs, "),
            };
            let steps: usize = plan.jobs.iter().map(|job| job.steps.len()).sum();
            let word = if steps == 1 { "step" } else { "steps" };
            say(format_args!("{name} is good: {jobs}{steps} {word}"));
            Ok(EXIT_OK)
        }
        (None, 1) => Err(Problem::new(format!("{name} has an error")).code(EXIT_SPEC)),
        (None, n) => Err(Problem::new(format!("{name} has {n} errors")).code(EXIT_SPEC)),
    }
}

/// The problems as a compiler shows them, with colour on a terminal.
pub(crate) fn render(
    name: &str,
    text: &[u8],
    diagnostics: &[windlass_model::Diagnostic],
) -> String {
    let plain = windlass_spec::render::plain(text, name, diagnostics);
    if !(std::io::stdout().is_terminal() && super::wants_colour()) {
        return plain;
    }
    plain
        .lines()
        .map(|line| {
            if line.starts_with("error") {
                format!("\x1b[1;31m{line}\x1b[0m\n")
            } else if line.starts_with("warning") {
                format!("\x1b[1;33m{line}\x1b[0m\n")
            } else {
                format!("{line}\n")
            }
        })
        .collect()
}
