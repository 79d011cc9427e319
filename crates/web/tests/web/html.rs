//! Whether a page is well formed: tags balanced, ids unique, nothing inline, no unsafe links.

use std::collections::HashSet;

const VOID: [&str; 6] = ["meta", "link", "input", "br", "hr", "img"];

pub(crate) fn check(page: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut ids = HashSet::new();
    let mut rest = page;
    assert!(
        page.starts_with("<!doctype html>"),
        "no doctype: {}",
        &page[..page.len().min(80)]
    );
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let end = tag_end(rest);
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        if tag.starts_with('!') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let top = open.pop();
            assert_eq!(
                top.as_deref(),
                Some(name),
                "unbalanced near {}",
                &rest[..rest.len().min(80)]
            );
            continue;
        }
        let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
        assert!(
            name.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "<{tag}>"
        );
        for (attribute, value) in attributes_of(attributes) {
            assert!(!attribute.starts_with("on"), "inline script: <{tag}>");
            assert_ne!(attribute, "style", "inline style: <{tag}>");
            if attribute == "id" {
                assert!(ids.insert(value.clone()), "id {value:?} is there twice");
            }
            if matches!(attribute.as_str(), "href" | "src" | "action") {
                let good = ["/", "#", "http://", "https://"]
                    .iter()
                    .any(|s| value.starts_with(s));
                assert!(good, "strange link {value:?}");
            }
        }
        assert_ne!(name, "style", "a style element");
        if name == "script" {
            assert!(attributes.contains("src="), "an inline script");
        }
        let empty = VOID.contains(&name) || attributes.ends_with('/');
        if !empty {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    for needed in [
        "<title>",
        "<main id=\"main\"",
        "<h1",
        "class=\"skip\"",
        "lang=\"en\"",
    ] {
        assert!(page.contains(needed), "no {needed}");
    }
}

/// The end of a tag, not fooled by `>` in attributes.
fn tag_end(text: &str) -> usize {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '>' if !quoted => return at,
            _ => {}
        }
    }
    panic!("a tag that never ends: {}", &text[..text.len().min(80)]);
}

fn attributes_of(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        let Some(end) = text.find(|c: char| c == '=' || c.is_whitespace()) else {
            if !text.is_empty() && text != "/" {
                found.push((text.to_owned(), String::new()));
            }
            return found;
        };
        let name = text[..end].to_owned();
        text = &text[end..];
        let mut value = String::new();
        if let Some(quoted) = text.strip_prefix("=\"") {
            let close = quoted.find('"').expect("a closing quote");
            value = quoted[..close].to_owned();
            text = &quoted[close + 1..];
        } else {
            assert!(
                !text.starts_with('='),
                "an attribute without quotes: {text}"
            );
        }
        found.push((name, value));
    }
}
