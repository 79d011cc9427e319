//! Documents that name files name files that exist, and every decision can be found.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Complaint;

pub(super) fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = architecture(root)?;
    complaints.extend(decisions(root)?);
    Ok(complaints)
}

/// Every path in ARCHITECTURE.md. In its first table a path is whatever stands in code marks and
/// has a slash; elsewhere it must begin with a folder of this repository.
fn architecture(root: &Path) -> Result<Vec<Complaint>> {
    let name = "ARCHITECTURE.md";
    let Ok(text) = std::fs::read_to_string(root.join(name)) else {
        return Ok(vec![format!(
            "{name} is missing: it says where everything is"
        )]);
    };
    let table = text.lines().take_while(|line| !line.starts_with("## "));
    let (table_end, mut paths) = (table.clone().count(), 0);
    let mut complaints = Vec::new();
    for (number, line) in prose(&text) {
        let in_table = number <= table_end && line.starts_with('|');
        for span in code_spans(line).filter(|span| span.contains('/')) {
            let first = span.split('/').next().unwrap_or_default();
            if first.is_empty() || !(in_table || root.join(first).is_dir()) {
                continue;
            }
            paths += usize::from(in_table);
            if !exists(root, span) {
                complaints.push(format!("{name}:{number}: there is no {span}"));
            }
        }
    }
    if paths == 0 {
        complaints.push(format!("{name} must begin with the table of what is where"));
    }
    Ok(complaints)
}

/// Lines outside of fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fence && !fenced).then_some((at + 1, line))
    })
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// `pages/<page>.rs` and `pages/*.rs` stand for some file in `pages`.
fn exists(root: &Path, span: &str) -> bool {
    let span = span.trim_end_matches('/');
    let sure = match span.find(['<', '*', '{']) {
        Some(at) => span[..at].rsplit_once('/').map_or("", |(dir, _)| dir),
        None => span,
    };
    root.join(sure).exists()
}

/// Every decision is in the list of decisions.
fn decisions(root: &Path) -> Result<Vec<Complaint>> {
    let dir = root.join("docs/adr");
    let list = std::fs::read_to_string(dir.join("README.md")).unwrap_or_default();
    let mut complaints = Vec::new();
    for file in std::fs::read_dir(&dir).context("listing docs/adr")? {
        let name = file?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".md") && name != "README.md" && !list.contains(&format!("({name})")) {
            complaints.push(format!("docs/adr/{name}: list it in docs/adr/README.md"));
        }
    }
    complaints.sort();
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(architecture: &str, list: &str) -> Vec<Complaint> {
        let dir = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        write("crates/web/src/hooks.rs", "");
        write("docs/adr/0001-one.md", "");
        write("docs/adr/README.md", list);
        if !architecture.is_empty() {
            write("ARCHITECTURE.md", architecture);
        }
        check(dir.path()).expect("it can be read")
    }

    const TABLE: &str = "| hooks | `crates/web/src/hooks.rs`, `crates/web/src/<page>.rs` |\n";
    const LIST: &str = "[0001](0001-one.md)";

    #[test]
    fn what_exists_may_be_named() {
        let text = format!("{TABLE}## More\n`crates/web`, `POST /hooks`, `a/b`\n```\n`crates/x`\n");
        assert_eq!(repository(&text, LIST), Vec::<Complaint>::new());
    }

    #[test]
    fn what_is_gone_is_found() {
        let found = repository(&format!("{TABLE}| x | `crate/web` |\n## More\n"), LIST);
        assert_eq!(found, ["ARCHITECTURE.md:2: there is no crate/web"]);
        let found = repository(&format!("{TABLE}## More\n`crates/spec/src/a.rs`\n"), LIST);
        assert_eq!(
            found,
            ["ARCHITECTURE.md:3: there is no crates/spec/src/a.rs"]
        );
        assert!(repository("# Nothing\n", LIST)[0].contains("must begin with the table"));
        assert!(repository("", LIST)[0].contains("missing"));
        assert!(repository(TABLE, "")[0].contains("0001-one.md: list it"));
    }
}
