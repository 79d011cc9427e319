//! The database that a history is for, and the version of its server.

use std::fmt;
use std::str::FromStr;

/// A dialect of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mysql, Self::Sqlite];

    /// As people write it in prose.
    pub fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mysql => "MySQL and MariaDB",
            Self::Sqlite => "SQLite",
        }
    }

    /// As it is written on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }

    /// Whether a migration's statements can be undone together by a rollback. MySQL and MariaDB
    /// commit before and after every DDL statement (MySQL manual, "Statements That Cause an
    /// Implicit Commit").
    pub fn has_transactional_ddl(self) -> bool {
        self != Self::Mysql
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The word is none of the dialects'.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is no dialect: there are postgres, mysql and sqlite")]
pub struct UnknownDialect(String);

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(word: &str) -> Result<Self, UnknownDialect> {
        match word.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" | "pg" => Ok(Self::Postgres),
            "mysql" | "mariadb" => Ok(Self::Mysql),
            "sqlite" | "sqlite3" => Ok(Self::Sqlite),
            _ => Err(UnknownDialect(word.to_owned())),
        }
    }
}

/// The version of a database server: `15`, `14.3`, `8.0.36`, `mariadb-10.11.6`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerVersion {
    /// MariaDB numbers its versions apart from MySQL.
    pub mariadb: bool,
    /// Major, minor, patch; what is not given is 0.
    pub numbers: [u32; 3],
}

impl ServerVersion {
    /// Whether the server is at least `major.minor.patch`.
    pub fn at_least(self, numbers: [u32; 3]) -> bool {
        self.numbers >= numbers
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        if self.mariadb {
            f.write_str("MariaDB ")?;
        }
        match (minor, patch) {
            (0, 0) => write!(f, "{major}"),
            (minor, 0) => write!(f, "{major}.{minor}"),
            (minor, patch) => write!(f, "{major}.{minor}.{patch}"),
        }
    }
}

/// The text is no version.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{0}` is no server version: write it like 15, 14.3, 8.0.36 or mariadb-10.11")]
pub struct BadVersion(String);

impl FromStr for ServerVersion {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let bad = || BadVersion(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let mariadb = lower.contains("mariadb");
        let digits = lower.trim_start_matches(|c: char| !c.is_ascii_digit());
        // `10.11.6-MariaDB-1` and `15.18 (Debian)` are what servers answer.
        let digits: &str = digits
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .next()
            .unwrap_or_default();
        if digits.is_empty() {
            return Err(bad());
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(digits.split('.')) {
            *number = part.parse().map_err(|_| bad())?;
        }
        Ok(Self { mariadb, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_servers_write_them() {
        let version = |text: &str| {
            text.parse::<ServerVersion>()
                .map(|v| (v.mariadb, v.numbers))
        };
        assert_eq!(version("15").unwrap(), (false, [15, 0, 0]));
        assert_eq!(
            version("15.18 (Debian 15.18-0)").unwrap(),
            (false, [15, 18, 0])
        );
        assert_eq!(version("8.0.36").unwrap(), (false, [8, 0, 36]));
        assert_eq!(version("mariadb-10.11").unwrap(), (true, [10, 11, 0]));
        assert_eq!(version("10.11.6-MariaDB-1").unwrap(), (true, [10, 11, 6]));
        assert!(version("new").is_err());
        assert!(version("99999999999").is_err());
    }
}
