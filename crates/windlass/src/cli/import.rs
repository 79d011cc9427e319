//! `windlass import`: a spec of another system's build description.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use windlass_spec::import::{Dialect, ImportError, Imported, Kind, Note, import_files};

use super::{complain, say};
use crate::report::{EXIT_OK, EXIT_SPEC, Problem};
use crate::spec_file;

/// Which files, and where to.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// .github/workflows/*.yml, .woodpecker.yml, .drone.yml, .gitlab-ci.yml or .travis.yml; several
    /// become one spec
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The system: github, woodpecker, drone, gitlab or travis [default: what the path tells]
    #[arg(long, value_name = "SYSTEM")]
    from: Option<Dialect>,
    /// Where to write; `-` prints the spec
    #[arg(long, short, default_value = "windlass.yml", value_name = "FILE")]
    output: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8, Problem> {
    let prints = args.output.as_os_str() == "-";
    if !prints && !args.force {
        refuse_to_overwrite(&args.output)?;
    }
    let sources: Vec<(String, Vec<u8>)> = args
        .files
        .iter()
        .map(|path| {
            let text = std::fs::read(path)
                .map_err(|e| Problem::new(format!("could not read {}: {e}", path.display())))?;
            Ok((path.display().to_string(), text))
        })
        .collect::<Result<_, Problem>>()?;
    let files: Vec<(&str, &[u8])> = sources
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_slice()))
        .collect();
    let imported = import_files(&files, args.from).map_err(|error| explain(error, &sources))?;
    if prints {
        say(imported.spec.trim_end());
        complain(summary(&imported).trim_end());
        return Ok(EXIT_OK);
    }
    write(&args.output, &imported.spec, args.force)?;
    say(format_args!("wrote {}", args.output.display()));
    say(summary(&imported).trim_end());
    say("next: read the comments in it, then windlass check and windlass run");
    Ok(EXIT_OK)
}

/// A spec of any name in the folder counts: two of them would be one too many.
fn refuse_to_overwrite(output: &Path) -> Result<(), Problem> {
    let is_spec = output
        .file_name()
        .is_some_and(|name| spec_file::NAMES.iter().any(|known| name == *known));
    let folder = output.parent().unwrap_or(Path::new(""));
    let mut taken = vec![output.to_owned()];
    if is_spec {
        taken.extend(spec_file::NAMES.iter().map(|name| folder.join(name)));
    }
    match taken.iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(
            Problem::new(format!("there is {} already", path.display())).hint(
                "look at what would be written with `--output -`, or write over it with `--force`",
            ),
        ),
        None => Ok(()),
    }
}

fn write(path: &Path, spec: &str, force: bool) -> Result<(), Problem> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    options
        .open(path)
        .and_then(|mut file| file.write_all(spec.as_bytes()))
        .map_err(|e| Problem::new(format!("could not write {}: {e}", path.display())))
}

/// Why nothing was converted, with the place in the file where there is one.
fn explain(error: ImportError, sources: &[(String, Vec<u8>)]) -> Problem {
    if let ImportError::Unreadable { file, diagnostics } = &error
        && let Some((_, text)) = sources.iter().find(|(name, _)| name == file)
    {
        say(super::check::render(file, text, diagnostics).trim_end());
        return Problem::new(format!("{file} can't be read")).code(EXIT_SPEC);
    }
    let hint = match &error {
        ImportError::UnknownDialect { .. } => {
            "say it with `--from github`, woodpecker, drone, gitlab or travis"
        }
        ImportError::SeveralDialects => "import the files of one system at a time",
        _ => "look whether it is the right file, or say the system with `--from`",
    };
    Problem::new(error.to_string()).hint(hint).code(EXIT_SPEC)
}

/// What became of everything: what is exact in one line, the rest one by one.
fn summary(imported: &Imported) -> String {
    let mut text = String::new();
    let exact = imported.count(Kind::Exact);
    let _ = writeln!(text, "{exact} converted exactly{}", lines(imported));
    for (kind, words) in [
        (Kind::Approximate, "converted approximately"),
        (Kind::NotConverted, "not converted"),
    ] {
        let notes: Vec<&Note> = imported
            .notes
            .iter()
            .filter(|note| note.kind == kind)
            .collect();
        let colon = if notes.is_empty() { "" } else { ":" };
        let _ = writeln!(text, "{} {words}{colon}", notes.len());
        for note in notes {
            let what = printable(&note.what);
            let _ = writeln!(
                text,
                "  {}:{}: {what}: {}",
                note.file,
                note.line,
                printable(&note.words)
            );
        }
    }
    text
}

/// `: lines 1, 3-5` of what is exact, if there is one file.
fn lines(imported: &Imported) -> String {
    let exact = imported
        .notes
        .iter()
        .filter(|note| note.kind == Kind::Exact);
    let mut numbers: Vec<usize> = exact.clone().map(|note| note.line).collect();
    let mut files: Vec<&str> = exact.map(|note| note.file.as_str()).collect();
    files.dedup();
    if files.len() != 1 {
        return String::new();
    }
    numbers.sort_unstable();
    numbers.dedup();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts: Vec<String> = ranges
        .iter()
        .map(|(start, end)| {
            if start == end {
                start.to_string()
            } else {
                format!("{start}-{end}")
            }
        })
        .collect();
    format!(": lines {}", texts.join(", "))
}

/// What stands in a stranger's file must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_lines() {
        let file =
            b"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: make\n";
        let imported = import_files(&[("x.yml", file)], Some(Dialect::Github)).unwrap();
        let text = summary(&imported);
        assert!(
            text.starts_with("2 converted exactly: lines 1, 6\n"),
            "{text}"
        );
        assert!(text.contains("\n  x.yml:4: jobs.a.runs-on: "), "{text}");
        assert!(text.ends_with("\n0 not converted\n"), "{text}");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb"), "a [2Jb");
    }
}
