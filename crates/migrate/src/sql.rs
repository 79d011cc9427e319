//! SQL text as the runner needs it: cut into statements, and each statement understood as far as
//! running it safely asks for. No full parser: what is not understood is passed on as it is.

mod effect;
mod lexer;
mod params;
mod shape;
mod split;

pub use effect::{losses, losses_of};
pub(crate) use lexer::{Piece, next};
pub use lexer::{Token, TokenKind};
pub(crate) use params::fill;
pub use shape::{Outside, Shape, shape};
pub use split::{SplitError, Statement, split};

/// Whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
    /// MySQL and MariaDB.
    Mysql,
}
