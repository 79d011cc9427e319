//! The layout of TOML: one space around `=`, at most one blank line, no space at the end of a line.

use toml_edit::{Decor, DocumentMut, Item, RawString, Table};

pub(super) fn layout(text: &str) -> Option<String> {
    let mut document: DocumentMut = text.parse().ok()?;
    let trailing = document.trailing().as_str().unwrap_or_default().to_owned();
    table(document.as_table_mut());
    document.set_trailing(before(&trailing));
    let made = document.to_string();
    let made = made.trim_matches('\n');
    Some(if made.is_empty() {
        String::new()
    } else {
        format!("{made}\n")
    })
}

fn table(table: &mut Table) {
    tidy_head(table.decor_mut());
    for (mut key, item) in table.iter_mut() {
        match item {
            Item::Value(value) => {
                let decor = key.leaf_decor_mut();
                let prefix = before(text(decor.prefix()));
                *decor = Decor::new(prefix, " ");
                let suffix = behind(text(value.decor().suffix()));
                *value.decor_mut() = Decor::new(" ", suffix);
            }
            Item::Table(inner) => self::table(inner),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(self::table),
            Item::None => {}
        }
    }
}

fn tidy_head(decor: &mut Decor) {
    let prefix = before(text(decor.prefix()));
    let suffix = behind(text(decor.suffix()));
    *decor = Decor::new(prefix, suffix);
}

fn text(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

/// Comments and blank lines before something.
fn before(text: &str) -> String {
    let mut made = String::new();
    let mut blank = false;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.is_empty() {
            blank |= line.ends_with('\n');
            continue;
        }
        if std::mem::take(&mut blank) {
            made.push('\n');
        }
        made.push_str(content);
        made.push('\n');
    }
    if blank {
        made.push('\n');
    }
    made
}

/// A comment behind something.
fn behind(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        comment => format!(" {comment}"),
    }
}
