//! `windlass fmt`: the usual layout for a spec, its comments kept.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use windlass_spec::layout;

use crate::report::{EXIT_FAILED, EXIT_OK, EXIT_SPEC, Problem};
use crate::spec_file;

/// What to lay out.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The file [default: the spec in this folder]
    file: Option<PathBuf>,
    /// Change nothing; say whether something would be changed, and exit with 1 if so
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8, Problem> {
    let path = match &args.file {
        Some(path) => path.clone(),
        None => PathBuf::from(
            spec_file::read(&Path::new(".").canonicalize()?)?
                .ok_or_else(spec_file::missing)?
                .0,
        ),
    };
    let shown = path.display();
    let source =
        std::fs::read(&path).map_err(|e| Problem::new(format!("could not read {shown}: {e}")))?;
    let made = layout::layout(&path.to_string_lossy(), &source).map_err(|e| {
        let hint = format!("nothing was changed; `windlass check {shown}` says more");
        Problem::new(format!("{shown}: {e}"))
            .hint(hint)
            .code(EXIT_SPEC)
    })?;
    if made.as_bytes() == source {
        return Ok(EXIT_OK);
    }
    if args.check {
        let before = String::from_utf8_lossy(&source);
        let differs = before.lines().zip(made.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or_else(|| before.lines().count().min(made.lines().count())) + 1;
        super::say(format_args!(
            "{shown}:{line}: the layout differs: `windlass fmt {shown}`"
        ));
        return Ok(EXIT_FAILED);
    }
    write(&path, made.as_bytes())?;
    super::say(format_args!("{shown} has the usual layout now"));
    Ok(EXIT_OK)
}

/// In one step, so that a full disk leaves the file as it was.
fn write(path: &Path, text: &[u8]) -> Result<(), Problem> {
    let failed = |e: std::io::Error| {
        Problem::new(format!("could not write {}: {e}", path.display()))
            .hint("the file is as it was")
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mode = std::fs::metadata(path).map_err(failed)?.permissions();
    let written = std::fs::write(&beside, text)
        .and_then(|()| std::fs::set_permissions(&beside, mode))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        // The first problem is the one to tell.
        let _ = std::fs::remove_file(&beside);
        failed(e)
    })
}
