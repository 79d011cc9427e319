//! Where a database stands, decided from two lists and nothing else.

use crate::{MigrateError, Migration};

/// A row of the history table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// As in [`Migration::version`].
    pub version: i64,
    /// As in [`Migration::checksum`], when it was applied.
    pub checksum: String,
}

/// Where a database stands against the list that a program carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was ever applied: an empty database, which may be filled at once.
    Fresh,
    /// All that this program knows is applied. `ahead` counts those that it does not know: a newer
    /// release was here. Migrations are additive first, so an older program may go on.
    Current {
        /// Migrations of a newer release.
        ahead: usize,
    },
    /// These versions are still to be applied, to a database that may hold data.
    Pending(Vec<i64>),
}

/// Compares the history with the list.
///
/// # Errors
/// [`MigrateError::Changed`] and [`MigrateError::OutOfOrder`].
pub fn judge(applied: &[Applied], list: &[Migration]) -> Result<Standing, MigrateError> {
    if applied.is_empty() {
        return Ok(Standing::Fresh);
    }
    let mut pending = Vec::new();
    for migration in list {
        match applied.iter().find(|row| row.version == migration.version) {
            Some(row) if row.checksum == migration.checksum() => {
                if let Some(missing) = pending.first() {
                    return Err(MigrateError::OutOfOrder {
                        missing: *missing,
                        applied: migration.version,
                    });
                }
            }
            Some(row) => {
                return Err(MigrateError::Changed {
                    version: migration.version,
                    name: migration.name.to_owned(),
                    applied: row.checksum.clone(),
                    ours: migration.checksum(),
                });
            }
            None => pending.push(migration.version),
        }
    }
    if pending.is_empty() {
        Ok(Standing::Current {
            ahead: applied.len() - list.len(),
        })
    } else {
        Ok(Standing::Pending(pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [Migration; 3] = [
        Migration {
            version: 1,
            name: "one",
            sql: "create table a (x);\n",
        },
        Migration {
            version: 2,
            name: "two",
            sql: "create table b (x);\n",
        },
        Migration {
            version: 3,
            name: "three",
            sql: "create table c (x);\n",
        },
    ];

    fn rows(versions: &[i64]) -> Vec<Applied> {
        versions
            .iter()
            .map(|v| Applied {
                version: *v,
                checksum: LIST
                    .iter()
                    .find(|m| m.version == *v)
                    .map_or_else(|| "newer".to_owned(), Migration::checksum),
            })
            .collect()
    }

    #[test]
    fn the_standing_follows_from_the_lists() {
        assert_eq!(judge(&[], &LIST).unwrap(), Standing::Fresh);
        assert_eq!(
            judge(&rows(&[1]), &LIST).unwrap(),
            Standing::Pending(vec![2, 3])
        );
        assert_eq!(
            judge(&rows(&[1, 2, 3]), &LIST).unwrap(),
            Standing::Current { ahead: 0 }
        );
        assert_eq!(
            judge(&rows(&[1, 2, 3, 4]), &LIST).unwrap(),
            Standing::Current { ahead: 1 }
        );
        assert!(matches!(
            judge(&rows(&[1, 3]), &LIST),
            Err(MigrateError::OutOfOrder {
                missing: 2,
                applied: 3
            })
        ));
    }

    #[test]
    fn a_changed_file_stops_everything_but_line_endings_do_not_count() {
        let mut history = rows(&[1, 2, 3]);
        history[1].checksum = "other".to_owned();
        assert!(matches!(
            judge(&history, &LIST),
            Err(MigrateError::Changed { version: 2, .. })
        ));
        let dos = Migration {
            sql: "create table a (x);\r\n",
            ..LIST[0]
        };
        assert_eq!(dos.checksum(), LIST[0].checksum());
    }
}
