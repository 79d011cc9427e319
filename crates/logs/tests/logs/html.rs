//! The HTML of a row, read as strictly as it is promised. The tests here and the fuzz target
//! `fuzz/fuzz_targets/terminal.rs` share it.

/// Reads HTML as strictly as it is promised. Returns the text, or what is wrong.
pub(crate) fn check(html: &str) -> Result<String, String> {
    let mut rest = html;
    let mut text = String::new();
    let mut open = Vec::new();
    while let Some(at) = rest.find('<') {
        plain(&rest[..at], &mut text)?;
        let end = rest[at..].find('>').ok_or("an open tag")? + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name.to_owned()) {
                return Err(format!("</{name}> closes nothing"));
            }
        } else if let Some(class) = attribute(tag, "span class=\"") {
            let known = |c: &str| {
                ["fg-", "bg-", "c", "b"]
                    .iter()
                    .any(|p| c.strip_prefix(p).is_some_and(|n| n.parse::<u8>().is_ok()))
                    || c.strip_prefix("t-")
                        .is_some_and(|n| n.chars().all(|c| c.is_ascii_lowercase()))
            };
            if !class.split(' ').all(known) {
                return Err(format!("a strange class: {class}"));
            }
            open.push("span".to_owned());
        } else if let Some(link) = attribute(tag, "a href=\"") {
            let (url, host) = link
                .split_once("\" rel=\"noopener noreferrer nofollow\" title=\"")
                .ok_or("no rel")?;
            let lower = url.to_ascii_lowercase();
            if !lower.starts_with("http://") && !lower.starts_with("https://") {
                return Err(format!("a strange address: {url}"));
            }
            let strange = |c: char| c <= ' ' || "\"'<>`\\".contains(c) || !c.is_ascii();
            if url.contains(strange) || host.contains(strange) || host.contains(['/', '@', '%']) {
                return Err(format!("a strange link: {tag}"));
            }
            if open.contains(&"a".to_owned()) {
                return Err("a link in a link".to_owned());
            }
            open.push("a".to_owned());
        } else {
            return Err(format!("a strange tag: <{tag}>"));
        }
    }
    plain(rest, &mut text)?;
    if !open.is_empty() {
        return Err(format!("{open:?} stay open"));
    }
    Ok(text)
}

/// The same for a line of a block: there several lines of the screen may stand under one number (the
/// row that put them there), each whole in itself, with line feeds between them.
pub(crate) fn check_lines(html: &str) -> Result<String, String> {
    let lines: Result<Vec<String>, String> = html.split('\n').map(check).collect();
    Ok(lines?.join("\n"))
}

fn attribute<'a>(tag: &'a str, before: &str) -> Option<&'a str> {
    tag.strip_prefix(before)?.strip_suffix('"')
}

fn plain(piece: &str, text: &mut String) -> Result<(), String> {
    if piece.contains('>') {
        return Err(format!("a bare > in {piece:?}"));
    }
    for (i, part) in piece.split('&').enumerate() {
        let known = ["lt;", "gt;", "amp;"].iter().any(|e| part.starts_with(e));
        if i > 0 && !known {
            return Err(format!("a bare & in {piece:?}"));
        }
    }
    let hidden = |c: char| {
        c.is_control() && c != '\t'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}')
    };
    if piece.contains(hidden) {
        return Err(format!("something invisible in {piece:?}"));
    }
    text.push_str(
        &piece
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    );
    Ok(())
}
