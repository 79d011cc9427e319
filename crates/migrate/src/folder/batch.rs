//! What a data migration says of its batches.

use std::time::Duration;

use super::parse_duration;
use crate::sql::Dialect;

/// More keys than this are not read at once.
const MAX_SIZE: u32 = 100_000;

/// `-- windlass: batch users.id size 1000 pause 100ms target 1s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The table, as SQL: `users`, `app.users`, `"order"`.
    pub table: String,
    /// The column whose order the batches follow, as SQL. It has an index and no NULL.
    pub column: String,
    /// At most so many keys at a time.
    pub size: u32,
    /// How long to leave the database alone after each.
    pub pause: Duration,
    /// A batch that takes longer makes the next ones smaller.
    pub target: Duration,
    /// `-- windlass: command ...`: what is run for each batch, instead of SQL.
    pub command: Option<String>,
}

impl Batch {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let key = words.next().unwrap_or_default();
        let (table, column) = key
            .rsplit_once('.')
            .filter(|(table, column)| {
                is_name(column) && table.split('.').count() <= 2 && table.split('.').all(is_name)
            })
            .ok_or_else(|| {
                format!(
                    "{key:?} is no table and column, such as users.id: `batch users.id size 1000`"
                )
            })?;
        let mut batch = Self {
            table: table.to_owned(),
            column: column.to_owned(),
            size: 1000,
            pause: Duration::from_millis(50),
            target: Duration::from_secs(1),
            command: None,
        };
        while let Some(word) = words.next() {
            let value = words.next().unwrap_or_default();
            let time = || {
                parse_duration(value).ok_or_else(|| {
                    format!("{value:?} after {word} is no time: say 500ms, 2s, or 0")
                })
            };
            match word {
                "size" => {
                    let size = value.parse().ok().filter(|n| (1..=MAX_SIZE).contains(n));
                    batch.size = size.ok_or_else(|| {
                        format!("{value:?} is no size of a batch: 1 to {MAX_SIZE} keys")
                    })?;
                }
                "pause" => batch.pause = time()?,
                "target" => batch.target = time()?,
                other => {
                    return Err(format!(
                        "{other:?} is not known: size, pause and target are"
                    ));
                }
            }
        }
        Ok(batch)
    }

    /// Table and column as people write them.
    pub fn key(&self) -> String {
        format!("{}.{}", self.table, self.column)
    }
}

/// A bare word, or one in quotes.
fn is_name(word: &str) -> bool {
    let quoted = |quote: char| {
        word.len() > 2
            && word.starts_with(quote)
            && word.ends_with(quote)
            && word.matches(quote).count() == 2
    };
    let bare = |word: &str| {
        !word.is_empty()
            && !word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    bare(word) || quoted('"') || quoted('`')
}

/// The catalog's name of something that is written so in SQL.
pub(crate) fn catalog_name(word: &str, dialect: Dialect) -> String {
    let bare = word.trim_matches(['"', '`']);
    match dialect {
        Dialect::Postgres if bare == word => bare.to_lowercase(),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_and_what_is_no_name_is_refused() {
        let batch = Batch::parse("app.\"Order\".id size 500 pause 0 target 2s").unwrap();
        assert_eq!(
            (batch.table.as_str(), batch.column.as_str()),
            ("app.\"Order\"", "id")
        );
        assert_eq!((batch.size, batch.pause), (500, Duration::ZERO));
        assert_eq!(batch.target, Duration::from_secs(2));
        assert_eq!(Batch::parse("users.id").unwrap().size, 1000);
        for (text, words) in [
            ("", "no table and column"),
            ("users", "no table and column"),
            ("users;drop.id", "no table and column"),
            ("a.b.c.id", "no table and column"),
            ("users.id size 0", "no size"),
            ("users.id size 1000000", "no size"),
            ("users.id pause soon", "no time"),
            ("users.id throttle 3", "is not known"),
        ] {
            let error = Batch::parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert_eq!(catalog_name("Users", Dialect::Postgres), "users");
        assert_eq!(catalog_name("\"Users\"", Dialect::Postgres), "Users");
        assert_eq!(catalog_name("`Users`", Dialect::Mysql), "Users");
    }
}
