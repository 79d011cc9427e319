//! Rules about single Rust files: how they begin, how long they are, what they are called, and
//! which words may not stand in them.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Complaint;

const MOST_LINES: usize = 800;

/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &[
    "common", "helper", "helpers", "imp", "misc", "mod", "util", "utils",
];

/// The files that may have unsafe code: the shim's fork, and the program that has no standard library.
const UNSAFE_HERE: &[&str] = &["crates/shim/src/spawn.rs", "crates/shim/stub/stub.rs"];

pub(super) fn check(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for dir in ["crates", "tests", "xtask"] {
        walk(root, &root.join(dir), &mut complaints)?;
    }
    Ok(complaints)
}

fn walk(root: &Path, dir: &Path, complaints: &mut Vec<Complaint>) -> Result<()> {
    let listing = std::fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut paths: Vec<_> = listing.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(root, &path, complaints)?;
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path);
            complaints.extend(file(&path.to_string_lossy(), &text));
        }
    }
    Ok(())
}

/// What is wrong with one file.
fn file(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !text.starts_with("//!") {
        complaints.push(format!(
            "{path}: begin with `//!`: what it is for, what it must never do"
        ));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        complaints.push(format!(
            "{path}: {lines} lines; split it, {MOST_LINES} are the most"
        ));
    }
    let stem = Path::new(path)
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy();
    if NAMELESS.contains(&stem.as_ref()) {
        complaints.push(format!(
            "{path}: name it after what is inside, not `{stem}`"
        ));
    }
    let code = only_code(text);
    for (number, (code, whole)) in code.lines().zip(text.lines()).enumerate() {
        for words in line(path, code, whole) {
            complaints.push(format!("{path}:{}: {words}", number + 1));
        }
    }
    complaints
}

fn line(path: &str, code: &str, whole: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let dense: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    if dense.contains("#[ignore]") {
        found.push("say why it is ignored: `#[ignore = \"...\"]`");
    }
    if dense.contains("todo!(") || dense.contains("unimplemented!(") {
        found.push("finish it, or leave it out");
    }
    if whole.contains(concat!("FIX", "ME")) || whole.contains(concat!("XX", "X:")) {
        found.push("fix it now, or say in words what is not done and why");
    }
    if !UNSAFE_HERE.contains(&path) && has_word(code, "unsafe") {
        found.push(
            "unsafe code stands in crates/shim/src/spawn.rs and crates/shim/stub/stub.rs alone",
        );
    }
    found
}

fn has_word(code: &str, word: &str) -> bool {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|w| w == word)
}

/// The text with comments and the insides of string and character literals left out. Line breaks
/// stay where they are.
fn only_code(text: &str) -> String {
    let (mut code, mut rest) = (String::with_capacity(text.len()), text);
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let in_word = before.is_alphanumeric() || before == '_';
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = raw_string(rest).filter(|_| !in_word) {
            length
        } else if c == '"' {
            quoted(rest, '"')
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            before = c;
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            code.push(' ');
            before = ' ';
            rest = &rest[skipped..];
        }
    }
    code
}

/// The length of a block comment, with those inside it.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of `r"..."`, `r#"..."#`, `br"..."`, `cr"..."`, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text
        .strip_prefix(['b', 'c'])
        .unwrap_or(text)
        .strip_prefix('r')?;
    let inside = rest.trim_start_matches('#');
    let hashes = rest.len() - inside.len();
    let inside = inside.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let begun = text.len() - inside.len();
    Some(
        inside
            .find(&end)
            .map_or(text.len(), |at| begun + at + end.len()),
    )
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted(text, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(path: &str, text: &str, expected: &str) {
        let complaints = file(path, &format!("//! About.\n{text}\n"));
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains(expected), "{complaints:?}");
    }

    #[test]
    fn what_is_not_tidy_is_found() {
        assert!(file("a.rs", "fn a() {}\n")[0].contains("begin with"));
        complaint("a.rs", &"//\n".repeat(799), "801 lines");
        complaint("crates/web/src/utils.rs", "", "not `utils`");
        complaint("crates/web/src/pages/mod.rs", "", "not `mod`");
        complaint(
            "a.rs",
            "#[test]\n# [ ignore ]\nfn a() {}",
            "a.rs:3: say why",
        );
        complaint("a.rs", "fn a() { todo!() }", "a.rs:2: finish it");
        complaint("a.rs", "fn a() { unimplemented!(\"x\") }", "finish it");
        complaint("a.rs", concat!("// FIX", "ME: later"), "a.rs:2: fix it");
        complaint("a.rs", "fn a<'a>(b: &'a u8) { unsafe { c() } }", "spawn.rs");
        complaint(
            "a.rs",
            "const A: &str = r#\"\"#; unsafe fn a() {}",
            "spawn.rs",
        );
        complaint(
            "a.rs",
            "const A: [char; 2] = ['\"', '\\''];\nunsafe fn a() {}",
            "a.rs:3",
        );
    }

    #[test]
    fn what_is_tidy_is_left_alone() {
        for text in [
            "#[ignore = \"needs a network\"]\nfn a() {}",
            "// unsafe, todo!() /* \nfn a() {}",
            "/* unsafe /* todo!() */ unsafe */ fn a() {}",
            "const A: &str = \"unsafe \\\" unsafe\";",
            "const A: &[u8] = br##\"unsafe \"# todo!()\"##;",
            "fn unsafe_looking<'a>(a: &'a str) {}",
        ] {
            let complaints = file("a.rs", &format!("//! About.\n{text}\n"));
            assert!(complaints.is_empty(), "{complaints:?}");
        }
        let allowed = file(UNSAFE_HERE[0], "//! About.\nunsafe fn a() {}\n");
        assert!(allowed.is_empty(), "{allowed:?}");
    }
}
