//! `windlass init`: a first build spec, by looking at the folder.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use windlass_spec::detect::{RootFile, detect, first_spec};

use super::say;
use crate::report::{EXIT_OK, Problem};
use crate::spec_file;

/// Files larger than this are not looked into: only small ones say how to build.
const MAX_BYTES: u64 = 1 << 20;

/// Where.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Print the spec instead of writing windlass.yml
    #[arg(long)]
    print: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8, Problem> {
    let folder = &args.folder;
    let there = spec_file::NAMES
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists());
    if let (Some(path), false) = (&there, args.print) {
        return Err(Problem::new(format!("there is {} already", path.display()))
            .hint("look at what would be written with `windlass init --print`"));
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|e| Problem::new(format!("could not read {}: {e}", folder.display())))?;
    let mut files: Vec<(String, String)> = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let small = entry
            .metadata()
            .is_ok_and(|m| m.is_file() && m.len() <= MAX_BYTES);
        let contents = if small {
            std::fs::read(entry.path())?
        } else {
            Vec::new()
        };
        files.push((name, String::from_utf8_lossy(&contents).into_owned()));
    }
    files.sort();
    let files: Vec<RootFile<'_>> = files
        .iter()
        .map(|(name, contents)| RootFile { name, contents })
        .collect();
    let suggestions = detect(&files);
    let spec = first_spec(&suggestions);
    if args.print {
        say(spec.trim_end());
        return Ok(EXIT_OK);
    }
    let path = folder.join("windlass.yml");
    std::fs::write(&path, &spec)
        .map_err(|e| Problem::new(format!("could not write {}: {e}", path.display())))?;
    say(format_args!("wrote {}", path.display()));
    for suggestion in &suggestions {
        say(format_args!(
            "  {}: there is a {}",
            suggestion.kind.title(),
            suggestion.because
        ));
    }
    say("next: windlass run");
    Ok(EXIT_OK)
}
