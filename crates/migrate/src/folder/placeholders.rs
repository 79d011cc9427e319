//! `${name}` in files that are named as Flyway's: what is put in their place.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::FolderError;

/// Values for `${name}` in the files of Flyway. Upper and lower case of a name are the same. Of those that Flyway
/// itself gives a value, `flyway:filename`, `flyway:table`, `flyway:timestamp` and `flyway:workingDirectory` are
/// known; what only a connection tells (`flyway:database`, `flyway:user`, `flyway:defaultSchema`) has to be given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Placeholders {
    values: BTreeMap<String, String>,
    off: bool,
}

/// Values may be passwords.
impl fmt::Debug for Placeholders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl Placeholders {
    /// `${name}` is text like any other: with refinery, which has no placeholders.
    pub fn none() -> Self {
        Self {
            off: true,
            ..Self::default()
        }
    }

    /// Gives a name its value.
    pub fn set(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_lowercase(), value.to_owned());
    }

    /// The text with values in it. `file`: its path, for messages and `flyway:filename`.
    pub(super) fn put_in<'t>(
        &self,
        text: &'t str,
        file: &str,
    ) -> Result<Cow<'t, str>, FolderError> {
        if self.off || !text.contains("${") {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = next(rest) {
            let Some(value) = self.value(name, file) else {
                let at = text.len() - rest.len() + before.len();
                return Err(FolderError::NoValue {
                    file: file.to_owned(),
                    line: text[..at].matches('\n').count() + 1,
                    name: name.to_owned(),
                });
            };
            out.push_str(before);
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        Ok(Cow::Owned(out))
    }

    fn value(&self, name: &str, file: &str) -> Option<Cow<'_, str>> {
        let name = name.to_lowercase();
        if let Some(value) = self.values.get(&name) {
            return Some(Cow::Borrowed(value));
        }
        let base = file.rsplit('/').next().unwrap_or(file);
        Some(Cow::Owned(match name.as_str() {
            "flyway:filename" => base.to_owned(),
            "flyway:table" => "flyway_schema_history".to_owned(),
            "flyway:timestamp" => jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
            "flyway:workingdirectory" => std::env::current_dir().ok()?.to_str()?.to_owned(),
            _ => return None,
        }))
    }
}

/// The first placeholder: what stands before it, its name, what follows. A text such as `$${"a": 1}$$` has none.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find("${").map(|at| from + at) {
        let inside = &text[at + 2..];
        let end = inside.find(|c: char| "}{$'\"\n".contains(c));
        match end {
            Some(end) if end > 0 && inside[end..].starts_with('}') => {
                return Some((&text[..at], &inside[..end], &inside[end + 1..]));
            }
            _ => from = at + 2,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_and_what_has_none_is_told_with_its_line() {
        let mut values = Placeholders::default();
        values.set("Schema", "app");
        values.set("empty", "");
        let put = |text| values.put_in(text, "a/V1__x.sql").map(Cow::into_owned);
        assert_eq!(
            put("create table ${schema}.t${empty} (a int); -- ${SCHEMA} ${flyway:filename}")
                .unwrap(),
            "create table app.t (a int); -- app V1__x.sql"
        );
        let none = "select $${\"a\": 1}$$, '$', '${', '${}', $1";
        assert_eq!(put(none).unwrap(), none);
        let error = put("select 1;\nselect '${nobody}';")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("V1__x.sql, line 2: ${nobody} has no value"),
            "{error}"
        );
        assert!(put("${flyway:user}").is_err());
        let text = "select '${nobody}'";
        assert_eq!(
            Placeholders::none().put_in(text, "V1__x.sql").unwrap(),
            text
        );
        assert_eq!(format!("{values:?}"), r#"["empty", "schema"]"#);
    }
}
