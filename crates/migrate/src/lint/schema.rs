//! The schema that a history makes, replayed in memory statement by statement.
//!
//! It knows what rules ask: tables with columns, keys, indexes and constraints, enumerations,
//! domains, views, and in which file each came. A statement whose effect is hidden (`DO`, `CALL`)
//! makes the model *open*: from then on rules don't conclude from a thing's absence.

use std::collections::{BTreeMap, BTreeSet};

use super::Span;
use super::statement::{
    Action, ActionKind, ColumnDef, Constraint, ConstraintKind, CreateIndex, CreateTable, IndexDef,
    Name, ObjectKind, Stmt, Type,
};

/// A column.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: Type,
    pub(crate) nullable: bool,
    pub(crate) default: bool,
    /// The file that added it.
    pub(crate) file: usize,
}

/// A foreign key, a check, or a NOT NULL that isn't proved yet.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    ForeignKey { columns: Vec<String>, table: String },
    Check { not_null: Vec<String> },
    Unique,
    PrimaryKey,
    NotNull { column: String },
    Exclude,
}

#[derive(Debug, Clone)]
pub(crate) struct TableConstraint {
    pub(crate) name: String,
    pub(crate) rule: Rule,
    pub(crate) valid: bool,
    pub(crate) file: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) name: String,
    /// An expression is an empty name.
    pub(crate) columns: Vec<String>,
    pub(crate) unique: bool,
    pub(crate) partial: bool,
    pub(crate) special: bool,
    /// Whether a UNIQUE or PRIMARY KEY stands on it.
    pub(crate) constraint: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) constraints: Vec<TableConstraint>,
    /// The file that made it.
    pub(crate) file: usize,
    pub(crate) temporary: bool,
    /// Its columns aren't all known.
    pub(crate) open: bool,
    /// Triggers on it.
    pub(crate) triggers: BTreeSet<String>,
}

impl Table {
    fn new(file: usize) -> Self {
        Self {
            columns: Vec::new(),
            primary_key: Vec::new(),
            indexes: Vec::new(),
            constraints: Vec::new(),
            file,
            temporary: false,
            open: false,
            triggers: BTreeSet::new(),
        }
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    fn column_mut(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.iter_mut().find(|c| c.name == name)
    }

    pub(crate) fn constraint(&self, name: &str) -> Option<&TableConstraint> {
        self.constraints.iter().find(|c| c.name == name)
    }

    /// A check, valid or as asked, that proves the column is never null.
    pub(crate) fn proves(&self, column: &str, valid: bool) -> bool {
        self.constraints.iter().any(|c| {
            (c.valid || !valid)
                && match &c.rule {
                    Rule::Check { not_null } => not_null.iter().any(|name| name == column),
                    Rule::NotNull { column: name } => name == column,
                    _ => false,
                }
        })
    }

    /// Whether an index begins with these columns, in any order among themselves.
    pub(crate) fn covers(&self, columns: &[String]) -> bool {
        let begins = |index: &[String]| {
            index.len() >= columns.len()
                && index[..columns.len()].iter().all(|c| columns.contains(c))
        };
        begins(&self.primary_key)
            || self
                .indexes
                .iter()
                .any(|i| !i.partial && !i.special && begins(&i.columns))
    }

    /// The columns by which few rows are found: those that lead a key or an index.
    pub(crate) fn leads(&self, column: &str) -> bool {
        self.primary_key.iter().any(|c| c == column)
            || self
                .indexes
                .iter()
                .any(|i| i.columns.first().is_some_and(|c| c == column))
    }
}

/// Everything there is after some of the statements.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    pub(crate) tables: BTreeMap<String, Table>,
    pub(crate) enums: BTreeMap<String, Vec<String>>,
    /// Domains, and whether they have constraints.
    pub(crate) domains: BTreeMap<String, bool>,
    /// Views and the names that their text mentions.
    pub(crate) views: BTreeMap<String, BTreeSet<String>>,
    /// Tables that this file's statements dropped, and in which file: SQLite's rebuild.
    pub(crate) dropped: BTreeMap<String, (usize, Table)>,
    /// Something may have changed behind the model's back.
    pub(crate) open: bool,
}

impl Schema {
    pub(crate) fn table(&self, name: &Name) -> Option<&Table> {
        self.tables.get(&name.key)
    }

    /// The table that has the index, and the index.
    pub(crate) fn index(&self, name: &str) -> Option<(&str, &Index)> {
        let last = name.rsplit('.').next().unwrap_or(name);
        self.tables.iter().find_map(|(table, t)| {
            let index = t.indexes.iter().find(|i| i.name == last)?;
            Some((table.as_str(), index))
        })
    }

    /// How many tables, columns and indexes there are, for a summary.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let columns = self.tables.values().map(|t| t.columns.len()).sum();
        let indexes = self.tables.values().map(|t| t.indexes.len()).sum();
        (self.tables.len(), columns, indexes)
    }

    /// Applies a statement of a file. `words` are the names that its text mentions, asked only for
    /// views.
    pub(crate) fn apply(
        &mut self,
        statement: &Stmt,
        file: usize,
        words: impl FnOnce() -> BTreeSet<String>,
    ) {
        match statement {
            Stmt::CreateTable(create) => self.create_table(create, file),
            Stmt::AlterTable { table, actions } => {
                let mut key = table.key.clone();
                for action in actions {
                    self.action(&mut key, action, file);
                }
            }
            Stmt::RenameTables(pairs) => {
                for (from, to) in pairs {
                    self.rename_table(&from.key, &to.key);
                }
            }
            Stmt::CreateIndex(create) => self.create_index(create),
            Stmt::Drop {
                kind, names, on, ..
            } => {
                for name in names {
                    self.drop(*kind, name, on.as_ref(), file);
                }
            }
            Stmt::Create {
                kind: ObjectKind::View | ObjectKind::MaterializedView,
                name,
                ..
            } => {
                // Indexes of materialized views, and UPDATE through views, need a table.
                self.views.insert(name.key.clone(), words());
                let mut table = Table::new(file);
                table.open = true;
                self.tables.insert(name.key.clone(), table);
            }
            Stmt::Create {
                kind: ObjectKind::Trigger,
                name,
                on: Some(on),
                ..
            } => {
                if let Some(table) = self.tables.get_mut(&on.key) {
                    table.triggers.insert(name.last().to_owned());
                }
            }
            Stmt::Rename {
                kind: ObjectKind::Index,
                from,
                to,
            } => {
                for table in self.tables.values_mut() {
                    for index in &mut table.indexes {
                        if index.name == from.last() {
                            index.name = to.last().to_owned();
                        }
                    }
                }
            }
            Stmt::Rename {
                kind: ObjectKind::View | ObjectKind::MaterializedView,
                from,
                to,
            } => {
                if let Some(words) = self.views.remove(&from.key) {
                    self.views.insert(to.key.clone(), words);
                }
                self.rename_table(&from.key, &to.key);
            }
            Stmt::CreateEnum { name, labels } => {
                self.enums.insert(name.key.clone(), labels.clone());
            }
            Stmt::AddEnumValue { name, value, .. } => {
                if let Some(labels) = self.enums.get_mut(&name.key) {
                    labels.push(value.clone());
                }
            }
            Stmt::CreateDomain { name, constrained } => {
                self.domains.insert(name.key.clone(), *constrained);
            }
            Stmt::AlterDomainConstraint { name, .. } => {
                self.domains.insert(name.key.clone(), true);
            }
            Stmt::Opaque | Stmt::Unknown => self.open = true,
            _ => {}
        }
    }

    fn create_table(&mut self, create: &CreateTable, file: usize) {
        if create.if_not_exists && self.tables.contains_key(&create.name.key) {
            return;
        }
        let mut table = Table::new(file);
        (table.open, table.temporary) = (create.open, create.temporary);
        let name = create.name.last();
        for column in &create.columns {
            add_column(&mut table, name, column, file);
        }
        for constraint in &create.constraints {
            add_constraint(&mut table, name, constraint, file);
        }
        for index in &create.indexes {
            table.indexes.push(as_index(index, name));
        }
        if let Some(parent) = create.partition_of.as_ref().and_then(|p| self.table(p)) {
            table.columns.clone_from(&parent.columns);
            table.primary_key.clone_from(&parent.primary_key);
        }
        self.tables.insert(create.name.key.clone(), table);
    }

    fn create_index(&mut self, create: &CreateIndex) {
        if let Some(table) = self.tables.get_mut(&create.table.key) {
            let index = as_index(&create.def, create.table.last());
            // `IF NOT EXISTS`, and indexes that a tool lists twice.
            if table.indexes.iter().all(|i| i.name != index.name) {
                table.indexes.push(index);
            }
        }
    }

    fn drop(&mut self, kind: ObjectKind, name: &Name, on: Option<&Name>, file: usize) {
        match kind {
            ObjectKind::Table | ObjectKind::View | ObjectKind::MaterializedView => {
                self.views.remove(&name.key);
                if let Some(table) = self.tables.remove(&name.key) {
                    self.dropped.insert(name.key.clone(), (file, table));
                }
            }
            ObjectKind::Index => {
                for table in self.tables.values_mut() {
                    table.indexes.retain(|i| i.name != name.last());
                }
            }
            ObjectKind::Trigger => {
                for (key, table) in &mut self.tables {
                    if on.is_none_or(|on| on.key == *key) {
                        table.triggers.remove(name.last());
                    }
                }
            }
            ObjectKind::Schema => {
                let prefix = format!("{}.", name.key);
                self.tables.retain(|table, _| !table.starts_with(&prefix));
            }
            ObjectKind::Type => {
                self.enums.remove(&name.key);
            }
            ObjectKind::Domain => {
                self.domains.remove(&name.key);
            }
            _ => {}
        }
    }

    fn rename_table(&mut self, from: &str, to: &str) {
        // `ALTER TABLE app.users RENAME TO people` stays in its schema.
        let to = match (from.rsplit_once('.'), to.contains('.')) {
            (Some((schema, _)), false) => format!("{schema}.{to}"),
            _ => to.to_owned(),
        };
        if let Some(table) = self.tables.remove(from) {
            self.tables.insert(to.clone(), table);
        }
        for table in self.tables.values_mut() {
            for constraint in &mut table.constraints {
                if let Rule::ForeignKey { table, .. } = &mut constraint.rule
                    && table == from
                {
                    table.clone_from(&to);
                }
            }
        }
    }

    fn action(&mut self, key: &mut String, action: &Action, file: usize) {
        if let ActionKind::RenameTo(to) | ActionKind::SetSchema(to) = &action.kind {
            let new = match &action.kind {
                ActionKind::SetSchema(schema) => {
                    let last = key.rsplit('.').next().unwrap_or(key).to_owned();
                    format!("{}.{last}", schema.key)
                }
                _ => to.key.clone(),
            };
            self.rename_table(key, &new);
            *key = new;
            return;
        }
        let short = key.rsplit('.').next().unwrap_or(key).to_owned();
        let Some(table) = self.tables.get_mut(key.as_str()) else {
            return;
        };
        match &action.kind {
            ActionKind::AddColumn(column) if table.column(&column.name.key).is_none() => {
                add_column(table, &short, column, file);
            }
            ActionKind::DropColumn(name) => {
                table.columns.retain(|c| c.name != name.key);
                table.indexes.retain(|i| !i.columns.contains(&name.key));
                table.primary_key.retain(|c| *c != name.key);
                table.constraints.retain(|c| match &c.rule {
                    Rule::ForeignKey { columns, .. } => !columns.contains(&name.key),
                    Rule::NotNull { column } => *column != name.key,
                    _ => true,
                });
            }
            ActionKind::AddConstraint(constraint) => {
                if let ConstraintKind::PrimaryKey {
                    index: Some(index), ..
                }
                | ConstraintKind::Unique {
                    index: Some(index), ..
                } = &constraint.kind
                {
                    using_index(table, constraint, index, file);
                } else {
                    add_constraint(table, &short, constraint, file);
                }
            }
            ActionKind::DropConstraint(name) => {
                let dropped = table.constraint(&name.key).map(|c| c.rule.clone());
                if matches!(dropped, Some(Rule::PrimaryKey)) {
                    table.primary_key.clear();
                }
                table.constraints.retain(|c| c.name != name.key);
                table
                    .indexes
                    .retain(|i| !(i.constraint && i.name == name.key));
            }
            ActionKind::DropForeignKey(name) => {
                table.constraints.retain(|c| c.name != name.key);
            }
            ActionKind::DropPrimaryKey => {
                table.primary_key.clear();
                table
                    .constraints
                    .retain(|c| !matches!(c.rule, Rule::PrimaryKey));
            }
            ActionKind::AddIndex(index) => table.indexes.push(as_index(index, &short)),
            ActionKind::DropIndex(name) => table.indexes.retain(|i| i.name != name.key),
            ActionKind::RenameIndex(from, to) => {
                for index in table.indexes.iter_mut().filter(|i| i.name == from.key) {
                    index.name.clone_from(&to.key);
                }
            }
            ActionKind::RenameConstraint(from, to) => {
                for constraint in table.constraints.iter_mut().filter(|c| c.name == from.key) {
                    constraint.name.clone_from(&to.key);
                }
            }
            ActionKind::RenameColumn(from, to) => rename_column(table, &from.key, &to.key),
            ActionKind::SetNotNull(name) | ActionKind::AddIdentity(name) => {
                if let Some(column) = table.column_mut(&name.key) {
                    column.nullable = false;
                    column.default |= matches!(action.kind, ActionKind::AddIdentity(_));
                }
            }
            ActionKind::DropNotNull(name) => {
                if let Some(column) = table.column_mut(&name.key) {
                    column.nullable = true;
                }
            }
            ActionKind::SetDefault(name, value) => {
                if let Some(column) = table.column_mut(&name.key) {
                    column.default = !value.null;
                }
            }
            ActionKind::DropDefault(name) => {
                if let Some(column) = table.column_mut(&name.key) {
                    column.default = false;
                }
            }
            ActionKind::SetType { column, ty, .. } => {
                if let Some(column) = table.column_mut(&column.key) {
                    column.ty = ty.clone();
                }
            }
            ActionKind::Redefine { old, new } => {
                if old.key != new.name.key {
                    rename_column(table, &old.key, &new.name.key);
                }
                if let Some(column) = table.column_mut(&new.name.key) {
                    let kept = column.file;
                    *column = as_column(new, kept);
                }
            }
            ActionKind::Validate(name) => {
                for constraint in table.constraints.iter_mut().filter(|c| c.name == name.key) {
                    constraint.valid = true;
                }
            }
            ActionKind::Unknown => table.open = true,
            _ => {}
        }
    }
}

fn as_column(def: &ColumnDef, file: usize) -> Column {
    Column {
        name: def.name.key.clone(),
        ty: def.ty.clone(),
        nullable: def.not_null.is_none() && def.primary_key.is_none(),
        default: def.default.as_ref().is_some_and(|d| !d.null)
            || def.identity.is_some()
            || def.generated.is_some(),
        file,
    }
}

fn add_column(table: &mut Table, name: &str, def: &ColumnDef, file: usize) {
    let key = &def.name.key;
    table.columns.push(as_column(def, file));
    let named = |suffix: &str, span: Span| {
        let given = def.named.iter().find(|(at, _)| *at == span);
        given.map_or_else(
            || format!("{name}_{key}_{suffix}"),
            |(_, name)| name.clone(),
        )
    };
    let mut constraint = |suffix: &str, span: Span, rule: Rule| {
        table.constraints.push(TableConstraint {
            name: named(suffix, span),
            rule,
            valid: true,
            file,
        });
    };
    if let Some((reference, span)) = &def.references {
        constraint(
            "fkey",
            *span,
            Rule::ForeignKey {
                columns: vec![key.clone()],
                table: reference.table.key.clone(),
            },
        );
    }
    if let Some((_, span)) = &def.check {
        constraint(
            "check",
            *span,
            Rule::Check {
                not_null: Vec::new(),
            },
        );
    }
    if let Some(span) = def.unique {
        constraint("key", span, Rule::Unique);
        table.indexes.push(Index {
            name: named("key", span),
            columns: vec![key.clone()],
            unique: true,
            partial: false,
            special: false,
            constraint: true,
        });
    }
    if def.primary_key.is_some() {
        table.primary_key = vec![key.clone()];
        table.constraints.push(TableConstraint {
            name: format!("{name}_pkey"),
            rule: Rule::PrimaryKey,
            valid: true,
            file,
        });
    }
}

fn keys(names: &[Name]) -> Vec<String> {
    names.iter().map(|n| n.key.clone()).collect()
}

fn as_index(def: &IndexDef, table: &str) -> Index {
    let columns = keys(&def.columns);
    let made = || format!("{table}_{}_idx", columns.join("_"));
    Index {
        name: def.name.as_ref().map_or_else(made, |n| n.last().to_owned()),
        unique: def.unique,
        partial: def.partial,
        special: def.special.is_some(),
        constraint: false,
        columns,
    }
}

fn add_constraint(table: &mut Table, name: &str, def: &Constraint, file: usize) {
    let given = def.name.as_ref().map(|n| n.key.clone());
    let (suffix, rule) = match &def.kind {
        ConstraintKind::PrimaryKey { columns, .. } => {
            table.primary_key = keys(columns);
            for column in columns {
                if let Some(column) = table.column_mut(&column.key) {
                    column.nullable = false;
                }
            }
            ("pkey".to_owned(), Rule::PrimaryKey)
        }
        ConstraintKind::Unique { columns, .. } => {
            let columns = keys(columns);
            let suffix = format!("{}_key", columns.join("_"));
            table.indexes.push(Index {
                name: given.clone().unwrap_or_else(|| format!("{name}_{suffix}")),
                columns,
                unique: true,
                partial: false,
                special: false,
                constraint: true,
            });
            (suffix, Rule::Unique)
        }
        ConstraintKind::ForeignKey { columns, reference } => (
            format!("{}_fkey", keys(columns).join("_")),
            Rule::ForeignKey {
                columns: keys(columns),
                table: reference.table.key.clone(),
            },
        ),
        ConstraintKind::Check { not_null } => (
            "check".to_owned(),
            Rule::Check {
                not_null: not_null.clone(),
            },
        ),
        ConstraintKind::NotNull { column } => {
            let key = column.key.clone();
            if !def.not_valid
                && let Some(column) = table.column_mut(&key)
            {
                column.nullable = false;
            }
            (format!("{key}_not_null"), Rule::NotNull { column: key })
        }
        ConstraintKind::Exclude => ("excl".to_owned(), Rule::Exclude),
    };
    table.constraints.push(TableConstraint {
        name: given.unwrap_or_else(|| format!("{name}_{suffix}")),
        rule,
        valid: !def.not_valid && !def.not_enforced,
        file,
    });
}

/// `ADD CONSTRAINT ... USING INDEX`.
fn using_index(table: &mut Table, def: &Constraint, index: &Name, file: usize) {
    let primary = matches!(def.kind, ConstraintKind::PrimaryKey { .. });
    let name = def
        .name
        .as_ref()
        .map_or_else(|| index.last().to_owned(), |n| n.key.clone());
    for found in table.indexes.iter_mut().filter(|i| i.name == index.last()) {
        found.constraint = true;
        found.name.clone_from(&name);
        if primary {
            table.primary_key.clone_from(&found.columns);
        }
    }
    if primary {
        for column in table.primary_key.clone() {
            if let Some(column) = table.column_mut(&column) {
                column.nullable = false;
            }
        }
    }
    table.constraints.push(TableConstraint {
        name,
        rule: if primary {
            Rule::PrimaryKey
        } else {
            Rule::Unique
        },
        valid: true,
        file,
    });
}

fn rename_column(table: &mut Table, from: &str, to: &str) {
    let rename = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    for column in &mut table.columns {
        rename(&mut column.name);
    }
    table.primary_key.iter_mut().for_each(rename);
    for index in &mut table.indexes {
        index.columns.iter_mut().for_each(rename);
    }
    for constraint in &mut table.constraints {
        match &mut constraint.rule {
            Rule::ForeignKey { columns, .. } => columns.iter_mut().for_each(rename),
            Rule::Check { not_null } => not_null.iter_mut().for_each(rename),
            Rule::NotNull { column } => rename(column),
            _ => {}
        }
    }
}
