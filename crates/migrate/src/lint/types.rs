//! What it means to change a column's type.

use super::dialect::Dialect;
use super::statement::Type;

/// What a change does to the table, and to old code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TypeChange {
    /// Old code's values still fit, and what it reads still means the same to it.
    pub(crate) compatible: bool,
    /// The server writes every row anew.
    pub(crate) rewrites: bool,
}

const FREE: TypeChange = TypeChange {
    compatible: true,
    rewrites: false,
};
const WIDER: TypeChange = TypeChange {
    compatible: true,
    rewrites: true,
};
const OTHER: TypeChange = TypeChange {
    compatible: false,
    rewrites: true,
};

/// Compares two types. Measured on PostgreSQL 15.18; MySQL by its manual ("Online DDL
/// Operations").
pub(crate) fn change(from: &Type, to: &Type, dialect: Dialect) -> TypeChange {
    if from.base == to.base && from.args == to.args && from.members == to.members {
        return if from.array == to.array { FREE } else { OTHER };
    }
    if from.array || to.array {
        return OTHER;
    }
    match dialect {
        Dialect::Postgres => postgres(from, to),
        Dialect::Mysql => mysql(from, to),
        Dialect::Sqlite => OTHER,
    }
}

fn integer(base: &str) -> Option<u8> {
    Some(match base {
        "tinyint" => 0,
        "smallint" | "smallserial" => 1,
        "integer" | "serial" => 2,
        "bigint" | "bigserial" => 3,
        _ => return None,
    })
}

/// `numeric(p, s)`: no arguments hold any number in PostgreSQL.
fn numeric(from: &Type, to: &Type) -> TypeChange {
    let scale = |ty: &Type| ty.args.get(1).copied().unwrap_or(0);
    match (from.args.first(), to.args.first()) {
        (_, None) => FREE,
        (None, Some(_)) => OTHER,
        (Some(a), Some(b)) if scale(from) == scale(to) && b >= a => FREE,
        (Some(a), Some(b))
            if scale(to) > scale(from) && b - b.min(&scale(to)) >= a - a.min(&scale(from)) =>
        {
            WIDER
        }
        _ => OTHER,
    }
}

fn postgres(from: &Type, to: &Type) -> TypeChange {
    let (a, b) = (from.base.as_str(), to.base.as_str());
    if let (Some(a), Some(b)) = (integer(a), integer(b)) {
        return if b > a {
            WIDER
        } else if a == b {
            FREE
        } else {
            OTHER
        };
    }
    let limit = to.args.first();
    match (a, b) {
        ("varchar" | "text", "text") => FREE,
        ("varchar" | "text", "varchar") if limit.is_none() => FREE,
        ("varchar", "varchar") | ("varbit", "varbit") => {
            if from
                .args
                .first()
                .is_some_and(|n| limit.is_some_and(|m| m >= n))
            {
                FREE
            } else {
                OTHER
            }
        }
        ("numeric", "numeric") => numeric(from, to),
        ("char", "text" | "varchar") if limit.is_none() => WIDER,
        ("real", "double") => WIDER,
        ("citext", "text") | ("text", "citext") | ("cidr", "inet") => FREE,
        ("timestamp", "timestamp")
        | ("timestamptz", "timestamptz")
        | ("time", "time")
        | ("interval", "interval") => {
            let precision = |ty: &Type| ty.args.first().copied().unwrap_or(6);
            if precision(to) >= precision(from) {
                FREE
            } else {
                OTHER
            }
        }
        _ => OTHER,
    }
}

fn mysql(from: &Type, to: &Type) -> TypeChange {
    let (a, b) = (from.base.as_str(), to.base.as_str());
    // The width in `int(11)` is only for display.
    let unsigned = |base: &str| base.ends_with(" unsigned");
    let plain = |base: &str| integer(base.trim_end_matches(" unsigned"));
    if let (Some(x), Some(y)) = (plain(a), plain(b)) {
        return match (x == y, unsigned(a) == unsigned(b)) {
            (true, true) => FREE,
            (false, true) if y > x => WIDER,
            _ => OTHER,
        };
    }
    match (a, b) {
        ("varchar", "varchar") => match (from.args.first(), to.args.first()) {
            // Up to 255 bytes have a length of one byte; utf8mb4 needs four bytes for a character.
            (Some(n), Some(m)) if m >= n && (n * 4 > 255 || m * 4 <= 255) => FREE,
            (Some(n), Some(m)) if m >= n => WIDER,
            _ => OTHER,
        },
        ("enum", "enum") | ("set", "set") => {
            let kept = from.members.iter().all(|m| to.members.contains(m));
            if to.members.starts_with(&from.members) {
                FREE
            } else if kept {
                WIDER
            } else {
                OTHER
            }
        }
        ("tinytext", "text" | "mediumtext" | "longtext")
        | ("text", "mediumtext" | "longtext")
        | ("mediumtext", "longtext")
        | ("float", "double")
        | ("varchar", "text" | "mediumtext" | "longtext") => WIDER,
        ("numeric", "numeric") => {
            let change = numeric(from, to);
            if change.compatible { WIDER } else { OTHER }
        }
        _ => OTHER,
    }
}

/// As it is written.
pub(crate) fn written(ty: &Type) -> String {
    let args: Vec<String> = ty.args.iter().map(ToString::to_string).collect();
    let mut text = ty.base.clone();
    if !args.is_empty() {
        text.push_str(&format!("({})", args.join(", ")));
    }
    if ty.array {
        text.push_str("[]");
    }
    text
}
