//! Columns, types and constraints.

use super::{Cursor, Expr, Name, Span};
use crate::lint::statement::{
    ColumnDef, Constraint, ConstraintKind, Generated, IndexDef, Reference, Type,
};
use crate::lint::token::{Kind, Token};

/// Words that end a type or a default in a column's definition.
const CLAUSES: [&str; 30] = [
    "NOT",
    "NULL",
    "DEFAULT",
    "CONSTRAINT",
    "CHECK",
    "UNIQUE",
    "PRIMARY",
    "KEY",
    "REFERENCES",
    "GENERATED",
    "COLLATE",
    "AUTO_INCREMENT",
    "AUTOINCREMENT",
    "COMMENT",
    "FIRST",
    "AFTER",
    "ON",
    "USING",
    "AS",
    "CHARSET",
    "STORAGE",
    "COMPRESSION",
    "VIRTUAL",
    "STORED",
    "INVISIBLE",
    "VISIBLE",
    "DEFERRABLE",
    "INITIALLY",
    "ENFORCED",
    "OPTIONS",
];

impl<'a> Cursor<'a> {
    fn at_clause(&self) -> bool {
        self.is_any(&CLAUSES) || (self.is("CHARACTER") && self.is_at(1, "SET"))
    }

    /// A type, up to a clause, a comma or the end.
    pub(super) fn ty(&mut self) -> Type {
        let start = self.here();
        let mut ty = Type::default();
        let mut words: Vec<String> = Vec::new();
        while let Some(token) = self.token(0) {
            if self.at_clause() || self.punct(",") || self.punct(")") || self.punct("=") {
                break;
            }
            if self.punct("(") {
                for arg in self.parens().unwrap_or_default() {
                    let written = self.slice(arg.span);
                    match arg.kind {
                        Kind::Number => ty.args.extend(written.parse::<u32>()),
                        Kind::Str => ty
                            .members
                            .push(written.trim_matches(['\'', '"']).to_owned()),
                        _ => {}
                    }
                }
                continue;
            }
            if self.punct("[") {
                ty.array = true;
                while !self.done() && !self.eat_punct("]") {
                    self.at += 1;
                }
                continue;
            }
            match token.kind {
                // SQLite's `[name]` can't be a type's end in PostgreSQL.
                Kind::Word if self.slice(token.span).eq_ignore_ascii_case("array") => {
                    ty.array = true;
                }
                Kind::Word | Kind::Ident => {
                    let word = self.slice(token.span).trim_matches(['"', '`']);
                    words.push(word.to_lowercase());
                }
                Kind::Punct if self.punct(".") => {
                    words.pop();
                }
                _ => {}
            }
            self.at += 1;
        }
        ty.base = usual(&words.join(" "));
        ty.span = self.since(start);
        ty
    }

    /// An expression up to a clause, a comma or the end; its first token belongs to it.
    pub(super) fn value(&mut self) -> Expr {
        let from = self.at;
        while !self.done() && !self.punct(",") && !self.punct(")") {
            let after = self.at.checked_sub(1).and_then(|n| self.tokens.get(n));
            let joined = after.is_some_and(|t| {
                let word = self.slice(t.span);
                word.eq_ignore_ascii_case("is") || word.eq_ignore_ascii_case("not")
            });
            if self.at > from && self.at_clause() && !joined {
                break;
            }
            self.step();
        }
        self.expression(&self.tokens[from..self.at.min(self.tokens.len())])
    }

    pub(super) fn column_def(&mut self) -> Option<ColumnDef> {
        let start = self.here();
        let name = self.name()?;
        let ty = self.ty();
        let mut column = ColumnDef {
            name,
            ty,
            not_null: None,
            default: None,
            primary_key: None,
            unique: None,
            references: None,
            check: None,
            generated: None,
            identity: None,
            charset: None,
            named: Vec::new(),
            span: Span::default(),
        };
        if column.ty.base.ends_with("serial") {
            column.identity = Some(column.ty.span);
        }
        while !self.done() && !self.punct(",") && !self.punct(")") {
            self.clause(&mut column);
        }
        column.span = self.since(start);
        Some(column)
    }

    fn clause(&mut self, column: &mut ColumnDef) {
        let start = self.here();
        if self.eat("CONSTRAINT") {
            let name = self.part().map(|(name, _)| name);
            let clause = self.here();
            if self.at_clause() && !self.is("CONSTRAINT") {
                self.clause(column);
            }
            // The name belongs to the clause.
            let spans = [
                column.unique.as_mut(),
                column.references.as_mut().map(|(_, span)| span),
                column.check.as_mut().map(|(_, span)| span),
                column.not_null.as_mut(),
            ];
            for span in spans
                .into_iter()
                .flatten()
                .filter(|span| span.start == clause)
            {
                span.start = start;
                column.named.extend(name.clone().map(|name| (*span, name)));
            }
            return;
        }
        if self.eat_all(&["NOT", "NULL"]) {
            column.not_null = Some(self.since(start));
        } else if self.eat("DEFAULT") {
            let value = self.value();
            column.default = Some(value);
        } else if self.eat_all(&["PRIMARY", "KEY"]) {
            self.eat_any(&["ASC", "DESC"]);
            column.primary_key = Some(self.since(start));
        } else if self.eat("UNIQUE") {
            self.eat("KEY");
            self.eat_all(&["NULLS", "NOT", "DISTINCT"]);
            column.unique = Some(self.since(start));
        } else if self.eat("CHECK") {
            let tokens = self.parens().unwrap_or_default();
            let check = self.expression(tokens);
            self.eat_all(&["NO", "INHERIT"]);
            column.check = Some((check, self.since(start)));
        } else if self.is("REFERENCES") {
            if let Some(reference) = self.reference() {
                column.references = Some((reference, self.since(start)));
            }
        } else if self.is("GENERATED") || (self.is("AS") && self.punct_at(1, "(")) {
            self.generated(column, start);
        } else if self.eat_any(&["AUTO_INCREMENT", "AUTOINCREMENT"]) {
            column.identity = Some(self.since(start));
        } else if self.eat_all(&["CHARACTER", "SET"]) || self.eat_any(&["CHARSET", "COLLATE"]) {
            self.eat_punct("=");
            self.name();
            column.charset = Some(self.since(start));
        } else if self.eat_all(&["ON", "UPDATE"]) {
            self.value();
        } else {
            self.step();
        }
    }

    fn generated(&mut self, column: &mut ColumnDef, start: usize) {
        self.eat("GENERATED");
        self.eat_any(&["ALWAYS"]);
        self.eat_all(&["BY", "DEFAULT"]);
        self.eat_all(&["ON", "NULL"]);
        self.eat("AS");
        if self.eat("IDENTITY") {
            self.parens();
            column.identity = Some(self.since(start));
            return;
        }
        self.parens();
        // Without a word: virtual, in PostgreSQL since 18 and everywhere else.
        let kind = if self.eat_any(&["STORED", "PERSISTENT"]) {
            Generated::Stored
        } else {
            self.eat("VIRTUAL");
            Generated::Virtual
        };
        column.generated = Some((kind, self.since(start)));
    }

    /// `REFERENCES t (c) ON DELETE ...`.
    pub(super) fn reference(&mut self) -> Option<Reference> {
        if !self.eat("REFERENCES") {
            return None;
        }
        let table = self.name()?;
        let columns = self.within().map(|mut c| c.columns()).unwrap_or_default();
        loop {
            if self.eat("MATCH") {
                self.at += 1;
            } else if self.is("ON") && (self.is_at(1, "DELETE") || self.is_at(1, "UPDATE")) {
                self.at += 2;
                if self.eat("SET") {
                    self.at += 1;
                    self.parens();
                } else if !self.eat_all(&["NO", "ACTION"]) {
                    self.at += 1;
                }
            } else {
                break;
            }
        }
        self.deferral();
        Some(Reference { table, columns })
    }

    fn deferral(&mut self) {
        self.eat_all(&["NOT", "DEFERRABLE"]);
        self.eat("DEFERRABLE");
        if self.eat("INITIALLY") {
            self.at += 1;
        }
    }

    /// Names in a list of columns; what is an expression has an empty name.
    pub(super) fn columns(&mut self) -> Vec<Name> {
        let mut columns = Vec::new();
        while !self.done() {
            let start = self.here();
            let plain = !self.punct("(");
            let name = if plain { self.name() } else { None };
            // `lower(email)` is an expression, `email(10)` of MySQL a prefix.
            let prefix = self.punct("(") && self.token(1).is_some_and(|t| t.kind == Kind::Number);
            let call = plain && self.punct("(") && !prefix;
            self.skip_to_comma();
            let span = self.since(start);
            self.eat_punct(",");
            columns.push(match name {
                Some(name) if !call => name,
                _ => Name {
                    key: String::new(),
                    qualified: false,
                    span,
                },
            });
        }
        columns
    }

    /// Whether a table constraint, or MySQL's index, begins here.
    pub(super) fn at_constraint(&self) -> bool {
        let paren = |n| self.punct_at(n, "(");
        if self.is("CONSTRAINT") || (self.is("PRIMARY") && self.is_at(1, "KEY")) {
            return true;
        }
        (self.is("FOREIGN") && self.is_at(1, "KEY"))
            || (self.is("CHECK") && paren(1))
            || (self.is("UNIQUE")
                && (paren(1)
                    || paren(2)
                    || paren(3)
                    || self.is_at(1, "NULLS")
                    || self.is_at(1, "USING")))
            || (self.is("EXCLUDE") && (paren(1) || self.is_at(1, "USING")))
            || (self.is("NOT") && self.is_at(1, "NULL"))
    }

    pub(super) fn at_index(&self) -> bool {
        self.mysql()
            && ((self.is_any(&["INDEX", "KEY"])
                && (self.punct_at(1, "(")
                    || self.punct_at(2, "(")
                    || self.is_at(2, "USING")
                    || self.is_at(1, "USING")
                    || self.is_at(1, "IF")))
                || self.is_any(&["FULLTEXT", "SPATIAL"]))
    }

    /// `INDEX name (columns)` within a table of MySQL.
    pub(super) fn index(&mut self) -> Option<IndexDef> {
        let start = self.here();
        let special = self
            .eat_any(&["FULLTEXT", "SPATIAL"])
            .then(|| self.since(start));
        self.eat_any(&["INDEX", "KEY"]);
        self.if_not_exists();
        let name = if self.punct("(") || self.is("USING") {
            None
        } else {
            Some(self.name()?)
        };
        if self.eat("USING") {
            self.at += 1;
        }
        let columns = self.within()?.columns();
        self.skip_to_comma();
        Some(IndexDef {
            name,
            columns,
            unique: false,
            special,
            partial: false,
        })
    }

    pub(super) fn constraint(&mut self) -> Option<Constraint> {
        let start = self.here();
        let mut name = None;
        if self.eat("CONSTRAINT") {
            self.if_not_exists();
            let anonymous =
                self.is_any(&["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]) && self.at_constraint();
            if !anonymous {
                name = Some(self.name()?);
            }
        }
        let kind = if self.eat_all(&["PRIMARY", "KEY"]) {
            let (columns, index) = self.key_columns(&mut name)?;
            ConstraintKind::PrimaryKey { columns, index }
        } else if self.eat("UNIQUE") {
            self.eat_any(&["KEY", "INDEX"]);
            self.eat_all(&["NULLS", "NOT", "DISTINCT"]);
            let (columns, index) = self.key_columns(&mut name)?;
            ConstraintKind::Unique { columns, index }
        } else if self.eat_all(&["FOREIGN", "KEY"]) {
            self.if_not_exists();
            if !self.punct("(") {
                let index = self.name()?;
                name.get_or_insert(index);
            }
            let columns = self.within()?.columns();
            let reference = self.reference()?;
            ConstraintKind::ForeignKey { columns, reference }
        } else if self.eat("CHECK") {
            let tokens = self.parens()?;
            ConstraintKind::Check {
                not_null: self.proven(tokens),
            }
        } else if self.eat_all(&["NOT", "NULL"]) {
            ConstraintKind::NotNull {
                column: self.name()?,
            }
        } else if self.eat("EXCLUDE") {
            ConstraintKind::Exclude
        } else {
            return None;
        };
        let (mut not_valid, mut not_enforced) = (false, false);
        while !self.done() && !self.punct(",") && !self.punct(")") {
            if self.eat_all(&["NOT", "VALID"]) {
                not_valid = true;
            } else if self.eat_all(&["NOT", "ENFORCED"]) {
                not_enforced = true;
            } else {
                self.step();
            }
        }
        Some(Constraint {
            name,
            kind,
            not_valid,
            not_enforced,
            span: self.since(start),
        })
    }

    /// `(columns)` or `USING INDEX name`, perhaps behind MySQL's name and `USING BTREE`.
    fn key_columns(&mut self, name: &mut Option<Name>) -> Option<(Vec<Name>, Option<Name>)> {
        if self.eat_all(&["USING", "INDEX"]) {
            return Some((Vec::new(), Some(self.name()?)));
        }
        if !self.punct("(") && !self.is("USING") {
            let index = self.name()?;
            name.get_or_insert(index);
        }
        if self.eat("USING") {
            self.at += 1;
        }
        Some((self.within()?.columns(), None))
    }

    /// The columns that a condition proves not to be null: `a IS NOT NULL AND ...`.
    fn proven(&self, tokens: &'a [Token]) -> Vec<String> {
        let mut inner = Cursor {
            text: self.text,
            tokens,
            at: 0,
            dialect: self.dialect,
        };
        // `((a IS NOT NULL))`; nobody writes more of them, and each is looked for to its end.
        for _ in 0..16 {
            if !inner.punct("(") {
                break;
            }
            let Some(within) = inner.parens() else { break };
            if !inner.done() {
                inner.at = 0;
                break;
            }
            (inner.tokens, inner.at) = (within, 0);
        }
        let mut proven = Vec::new();
        loop {
            let mut part = match inner.within() {
                Some(within) => within,
                None => Cursor { ..inner },
            };
            let nested = part.at == 0 && part.tokens.len() != inner.tokens.len();
            if let Some(name) = part.name()
                && part.eat_all(&["IS", "NOT", "NULL"])
                && (part.done() || part.is("AND"))
            {
                proven.push(name.key);
            }
            if !nested && part.at > inner.at {
                inner.at = part.at;
            }
            while !inner.done() && !inner.is("AND") {
                // `a IS NOT NULL OR b` proves nothing.
                if inner.is("OR") {
                    return Vec::new();
                }
                inner.step();
            }
            if !inner.eat("AND") {
                return proven;
            }
        }
    }
}

/// The usual spelling of a type.
fn usual(written: &str) -> String {
    let plain = written
        .trim_end_matches(" zerofill")
        .replace(" precision", "");
    match plain.as_str() {
        "int" | "int4" | "integer" | "mediumint" | "integer unsigned" => "integer",
        "int8" | "bigint" | "bigint signed" => "bigint",
        "int2" | "smallint" => "smallint",
        "int unsigned" => "int unsigned",
        "character varying" | "varchar" | "char varying" | "varchar2" => "varchar",
        "character" | "char" | "bpchar" | "nchar" => "char",
        "bool" | "boolean" => "boolean",
        "timestamp with time zone" | "timestamptz" => "timestamptz",
        "timestamp without time zone" | "timestamp" => "timestamp",
        "time with time zone" | "timetz" => "timetz",
        "time without time zone" | "time" => "time",
        "decimal" | "numeric" | "dec" | "fixed" => "numeric",
        "float8" | "double" => "double",
        "float4" | "real" => "real",
        "serial4" | "serial" => "serial",
        "serial8" | "bigserial" => "bigserial",
        "serial2" | "smallserial" => "smallserial",
        "bit varying" | "varbit" => "varbit",
        other => other,
    }
    .to_owned()
}
