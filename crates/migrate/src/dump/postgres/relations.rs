//! Sequences, tables, columns, constraints, indexes, views.

use std::collections::HashMap;

use super::{Graph, OURS, Reader, Row};
use crate::dump::{Kind, Object};
use crate::error::Error;

/// SQL: options such as `fillfactor='70'`, in the order of their names.
const OPTIONS: &str = "(select string_agg(split_part(o, '=', 1) || '=' || \
    quote_literal(substr(o, strpos(o, '=') + 1)), ', ' order by o) from unnest(c.reloptions) o)";

/// SQL: a relation's qualified name.
const NAME: &str = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";

/// A column, as its table defines it.
struct Column {
    name: String,
    is: String,
    default: Option<Default>,
    local: bool,
    not_null: bool,
    /// What `ALTER TABLE` says beside.
    more: Vec<(String, String)>,
    comment: Option<String>,
}

struct Default {
    oid: String,
    sql: String,
    generated: bool,
}

struct Check {
    oid: String,
    name: String,
    is: String,
    valid: bool,
    local: bool,
}

impl Reader {
    pub(super) async fn sequences(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select c.oid, {NAME}, c.relpersistence::text, format_type(s.seqtypid, null), \
             {SEQUENCE_OPTIONS}, quote_literal(obj_description(c.oid, 'pg_class')), d.refobjid, \
             (select quote_ident(a.attname) from pg_attribute a where a.attrelid = d.refobjid \
             and a.attnum = d.refobjsubid), d.refobjid::regclass \
             from pg_sequence s join pg_class c on c.oid = s.seqrelid \
             join pg_namespace n on n.oid = c.relnamespace \
             left join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = c.oid \
             and d.deptype = 'a' and d.refclassid = 'pg_class'::regclass and d.refobjsubid > 0 \
             where {OURS} and not exists(select from pg_depend i where i.deptype = 'i' \
             and i.classid = 'pg_class'::regclass and i.objid = c.oid)"
        );
        for row in self.ask("sequences", &sql).await? {
            if graph.is_member("pg_class", row.text(0)) {
                continue;
            }
            let name = row.text(1);
            let kind = if row.text(2) == "u" { " UNLOGGED" } else { "" };
            let mut sql = format!("CREATE{kind} SEQUENCE {name}");
            if row.text(3) != "bigint" {
                sql.push_str(&format!(" AS {}", row.text(3)));
            }
            sql.push_str(row.text(4));
            let mut object = Object::whole(Kind::Sequence, name, sql);
            object.comment(&format!("SEQUENCE {name}"), row.get(5));
            let owner = row
                .get(6)
                .map(|table| (table.to_owned(), format!("{}.{}", row.text(8), row.text(7))));
            if let Some((_, column)) = &owner {
                object.part("owned by", column);
            }
            let at = graph.add("pg_class", row.text(0), object);
            if let Some((table, column)) = owner {
                graph.owned.insert(at);
                let mut object = Object::new(Kind::Addition, format!("{name} owner"));
                object.run(format!("ALTER SEQUENCE {name} OWNED BY {column}"));
                let owner = graph.free(object);
                graph.edge(at, owner);
                // The table is not read yet.
                graph.owners.push((table, owner));
            }
        }
        Ok(())
    }

    pub(super) async fn tables(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let own = self.own();
        let sql = format!(
            "select c.oid, {NAME}, c.relkind::text, c.relpersistence::text, \
             case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end, \
             case when c.relispartition then pg_get_expr(c.relpartbound, c.oid) end, {OPTIONS}, \
             (select string_agg('toast.' || split_part(o, '=', 1) || '=' || \
             quote_literal(substr(o, strpos(o, '=') + 1)), ', ' order by o) \
             from pg_class t, unnest(t.reloptions) o where t.oid = c.reltoastrelid), \
             (select quote_ident(m.amname) from pg_am m where m.oid = c.relam \
             and m.amname <> 'heap'), c.relreplident::text, c.relrowsecurity, c.relforcerowsecurity, \
             case when c.reloftype <> 0 then c.reloftype::regtype end, \
             quote_literal(obj_description(c.oid, 'pg_class')), \
             (select string_agg(i.inhparent::regclass::text, ', ' order by i.inhseqno) \
             from pg_inherits i where i.inhrelid = c.oid), c.reltype, \
             (select t.typarray from pg_type t where t.oid = c.reltype) \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p') and {OURS} and not {own}"
        );
        let rows = self.ask("tables", &sql).await?;
        let mut columns = self.columns().await?;
        let mut checks = self.checks().await?;
        for row in rows {
            let oid = row.text(0);
            if graph.is_member("pg_class", oid) {
                continue;
            }
            let columns = columns.remove(oid).unwrap_or_default();
            let checks = checks.remove(oid).unwrap_or_default();
            self.table(graph, &row, &columns, &checks);
        }
        for (table, owner) in std::mem::take(&mut graph.owners) {
            if let Some(table) = graph.find("pg_class", &table) {
                graph.edge(table, owner);
            }
        }
        Ok(())
    }

    fn table(&mut self, graph: &mut Graph, row: &Row, columns: &[Column], checks: &[Check]) {
        let (oid, name) = (row.text(0), row.text(1));
        let split = graph.split.contains(oid);
        let is_partition = row.get(5).is_some();
        let mut object = Object::new(Kind::Table, name);
        let mut lines = Vec::new();
        let mut beside = Vec::new();
        let mut later = Vec::new();
        for column in columns {
            let mut whole = column.is.clone();
            let default = column.default.as_ref();
            if let Some(default) = default {
                whole.push_str(&default.sql);
            }
            let mut line = column.is.clone();
            match default {
                Some(default)
                    if (column.local || is_partition) && (default.generated || !split) =>
                {
                    line.push_str(&default.sql);
                }
                Some(default) => later.push((column, default)),
                None => {}
            }
            if column.not_null {
                line.push_str(" NOT NULL");
                whole.push_str(" NOT NULL");
            }
            object.part(format!("column {}", column.name), whole);
            if column.local || is_partition {
                lines.push(format!("\n    {} {line}", column.name));
            } else if column.not_null {
                beside.push(format!("ALTER COLUMN {} SET NOT NULL", column.name));
            }
            for (what, sql) in &column.more {
                object.part(format!("{what} of column {}", column.name), sql);
                beside.push(format!("ALTER COLUMN {} {sql}", column.name));
            }
        }
        let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
        object.part("column order", names.join(", "));
        for check in checks.iter().filter(|c| c.local || is_partition) {
            object.part(format!("check {}", check.name), &check.is);
            if check.valid && !split {
                lines.push(format!("\n    CONSTRAINT {} {}", check.name, check.is));
            }
        }
        let unlogged = if row.text(3) == "u" { " UNLOGGED" } else { "" };
        let mut tail = String::new();
        if let (Some(parents), false) = (row.get(14), is_partition) {
            tail.push_str(&format!(" INHERITS ({parents})"));
        }
        if let Some(key) = row.get(4) {
            tail.push_str(&format!(" PARTITION BY {key}"));
        }
        if let Some(method) = row.get(8) {
            tail.push_str(&format!(" USING {method}"));
        }
        let options: Vec<&str> = [row.get(6), row.get(7)].into_iter().flatten().collect();
        if !options.is_empty() {
            tail.push_str(&format!(" WITH ({})", options.join(", ")));
        }
        object.part("options", format!("{unlogged}{tail}").trim());
        let body = if lines.is_empty() {
            String::new()
        } else {
            format!("{}\n", lines.join(","))
        };
        object.run(format!("CREATE{unlogged} TABLE {name} ({body}){tail}"));
        if let Some(of) = row.get(12) {
            object.part("of type", of);
            beside.push(format!("OF {of}"));
        }
        for action in beside {
            object.run(format!("ALTER TABLE ONLY {name} {action}"));
        }
        object.comment(&format!("TABLE {name}"), row.get(13));
        for column in columns {
            object.comment_as(
                &format!("comment on column {}", column.name),
                &format!("COLUMN {name}.{}", column.name),
                column.comment.as_deref(),
            );
        }
        if let (Some(bound), Some(parent)) = (row.get(5), row.get(14)) {
            object.part("partition of", format!("{parent} {bound}"));
        }
        let security = match (row.yes(10), row.yes(11)) {
            (false, false) => "",
            (true, false) => "ENABLE ROW LEVEL SECURITY",
            (false, true) => "FORCE ROW LEVEL SECURITY",
            (true, true) => "ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        };
        if !security.is_empty() {
            object.part("row security", security);
        }
        let identity = match row.text(9) {
            "f" => "REPLICA IDENTITY FULL",
            "n" => "REPLICA IDENTITY NOTHING",
            _ => "",
        };
        if !identity.is_empty() {
            object.part("replica identity", identity);
        }
        let at = graph.add("pg_class", oid, object);
        graph.also("pg_type", row.text(15), at);
        graph.also("pg_type", row.text(16), at);
        graph.splittable.insert(at, oid.to_owned());
        for (kind, action) in [(Kind::Policy, security), (Kind::Index, identity)] {
            if !action.is_empty() {
                let mut object = Object::new(kind, format!("{name} table"));
                object.run(format!("ALTER TABLE {name} {action}"));
                let after = graph.free(object);
                graph.edge(at, after);
            }
        }
        for (column, default) in later {
            let mut object = Object::new(Kind::Addition, format!("{name} {}", column.name));
            if default.oid.is_empty() || default.generated {
                continue;
            }
            object.run(format!(
                "ALTER TABLE ONLY {name} ALTER COLUMN {} SET{}",
                column.name, default.sql
            ));
            let addition = graph.add("pg_attrdef", &default.oid, object);
            graph.edge(at, addition);
        }
        for default in columns.iter().filter_map(|c| c.default.as_ref()) {
            if graph.find("pg_attrdef", &default.oid).is_none() {
                graph.also("pg_attrdef", &default.oid, at);
            }
        }
        for check in checks.iter().filter(|c| c.local || is_partition) {
            if check.valid && !split {
                graph.also("pg_constraint", &check.oid, at);
                continue;
            }
            let mut object = Object::new(Kind::Addition, format!("{name} {}", check.name));
            object.run(format!(
                "ALTER TABLE {name} ADD CONSTRAINT {} {}",
                check.name, check.is
            ));
            let addition = graph.add("pg_constraint", &check.oid, object);
            graph.edge(at, addition);
        }
        if let (Some(bound), Some(parent)) = (row.get(5), row.get(14)) {
            let mut object = Object::new(Kind::Attachment, format!("{parent} {name}"));
            object.late = false;
            object.run(format!(
                "ALTER TABLE ONLY {parent} ATTACH PARTITION {name} {bound}"
            ));
            let attach = graph.free(object);
            graph.edge(at, attach);
            graph.also("attachment", oid, attach);
        }
    }

    async fn columns(&mut self) -> Result<HashMap<String, Vec<Column>>, Error> {
        let sql = format!(
            "select a.attrelid, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), \
             case when a.attcollation <> t.typcollation then a.attcollation::regcollation end, \
             a.attnotnull, a.attidentity::text, a.attgenerated::text, d.oid, \
             pg_get_expr(d.adbin, d.adrelid), a.attislocal, \
             case when a.attstorage <> t.typstorage then case a.attstorage when 'p' then 'PLAIN' \
             when 'e' then 'EXTERNAL' when 'm' then 'MAIN' else 'EXTENDED' end end, \
             case to_jsonb(a) ->> 'attcompression' when 'p' then 'pglz' when 'l' then 'lz4' end, \
             nullif(coalesce(a.attstattarget, -1), -1), \
             (select string_agg(o, ', ' order by o) from unnest(a.attoptions) o), \
             quote_literal(col_description(a.attrelid, a.attnum)), \
             (select (case when {NAME} <> quote_ident(tn.nspname) || '.' || \
             quote_ident(tc.relname || '_' || a.attname || '_seq') then ' SEQUENCE NAME ' || {NAME} \
             else '' end) || (case when s.seqtypid <> a.atttypid then ' AS ' || \
             format_type(s.seqtypid, null) else '' end) || {SEQUENCE_OPTIONS} \
             from pg_depend x join pg_class c on c.oid = x.objid \
             join pg_namespace n on n.oid = c.relnamespace join pg_sequence s on s.seqrelid = c.oid \
             where x.classid = 'pg_class'::regclass and x.deptype = 'i' \
             and x.refclassid = 'pg_class'::regclass and x.refobjid = a.attrelid \
             and x.refobjsubid = a.attnum) \
             from pg_attribute a join pg_class tc on tc.oid = a.attrelid \
             join pg_namespace tn on tn.oid = tc.relnamespace join pg_type t on t.oid = a.atttypid \
             left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
             where tc.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped and {} \
             order by a.attrelid, a.attnum",
            OURS.replace("n.nspname", "tn.nspname")
        );
        let mut out: HashMap<String, Vec<Column>> = HashMap::new();
        for row in self.ask("columns", &sql).await? {
            let mut is = row.text(2).to_owned();
            if let Some(collation) = row.get(3) {
                is.push_str(&format!(" COLLATE {collation}"));
            }
            let default = match (row.text(5), row.text(6), row.get(8)) {
                ("", "", None) => None,
                ("", "", Some(text)) => Some((format!(" DEFAULT {text}"), false)),
                // The sequence is the parent's.
                (kind, ..) if !kind.is_empty() && row.get(15).is_none() => None,
                ("", "v", Some(text)) => {
                    Some((format!(" GENERATED ALWAYS AS ({text}) VIRTUAL"), true))
                }
                ("", _, Some(text)) => {
                    Some((format!(" GENERATED ALWAYS AS ({text}) STORED"), true))
                }
                (kind, ..) => {
                    let kind = if kind == "a" { "ALWAYS" } else { "BY DEFAULT" };
                    let options = row.text(15).trim_start();
                    let options = if options.is_empty() {
                        String::new()
                    } else {
                        format!(" ({options})")
                    };
                    Some((format!(" GENERATED {kind} AS IDENTITY{options}"), true))
                }
            };
            let mut more = Vec::new();
            for (i, what) in [(10, "STORAGE"), (11, "COMPRESSION"), (12, "STATISTICS")] {
                if let Some(value) = row.get(i) {
                    more.push((what.to_lowercase(), format!("SET {what} {value}")));
                }
            }
            if let Some(options) = row.get(13) {
                more.push(("options".to_owned(), format!("SET ({options})")));
            }
            out.entry(row.text(0).to_owned()).or_default().push(Column {
                name: row.text(1).to_owned(),
                is,
                default: default.map(|(sql, generated)| Default {
                    oid: row.text(7).to_owned(),
                    sql,
                    generated,
                }),
                local: row.yes(9),
                not_null: row.yes(4),
                more,
                comment: row.get(14).map(str::to_owned),
            });
        }
        Ok(out)
    }

    async fn checks(&mut self) -> Result<HashMap<String, Vec<Check>>, Error> {
        let sql = "select conrelid, oid, quote_ident(conname), pg_get_constraintdef(oid), \
            convalidated, conislocal from pg_constraint where contype = 'c' and conrelid <> 0 \
            order by conrelid, conname";
        let mut out: HashMap<String, Vec<Check>> = HashMap::new();
        for row in self.ask("checks", sql).await? {
            out.entry(row.text(0).to_owned()).or_default().push(Check {
                oid: row.text(1).to_owned(),
                name: row.text(2).to_owned(),
                is: row.text(3).to_owned(),
                valid: row.yes(4),
                local: row.yes(5),
            });
        }
        Ok(out)
    }

    pub(super) async fn views(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select c.oid, {NAME}, c.relkind::text, pg_get_viewdef(c.oid), {OPTIONS}, \
             quote_literal(obj_description(c.oid, 'pg_class')), c.reltype, \
             (select t.typarray from pg_type t where t.oid = c.reltype), c.relispopulated, \
             (select string_agg('NULL::' || format_type(a.atttypid, a.atttypmod) || \
             (case when a.attcollation <> t.typcollation then ' COLLATE ' || \
             a.attcollation::regcollation else '' end) || ' AS ' || quote_ident(a.attname), \
             ', ' order by a.attnum) from pg_attribute a join pg_type t on t.oid = a.atttypid \
             where a.attrelid = c.oid and a.attnum > 0), \
             (select quote_ident(m.amname) from pg_am m where m.oid = c.relam \
             and m.amname <> 'heap') \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('v', 'm') and {OURS}"
        );
        for row in self.ask("views", &sql).await? {
            let (oid, name) = (row.text(0), row.text(1));
            if graph.is_member("pg_class", oid) {
                continue;
            }
            let body = row.text(3).trim_end_matches(';');
            let with = row
                .get(4)
                .map_or_else(String::new, |options| format!(" WITH ({options})"));
            let is_view = row.text(2) == "v";
            let mut first = None;
            let mut object = if is_view {
                let sql = format!("VIEW {name}{with} AS\n{body}");
                let mut object = Object::new(Kind::View, name);
                object.part("definition", format!("CREATE {sql}"));
                if graph.split.contains(oid) {
                    let mut shell = Object::new(Kind::View, format!("{name} (columns)"));
                    shell.run(format!("CREATE VIEW {name} AS\n SELECT {}", row.text(9)));
                    first = Some(graph.free(shell));
                    object.run(format!("CREATE OR REPLACE {sql}"));
                } else {
                    object.run(format!("CREATE {sql}"));
                }
                object
            } else {
                let using = row
                    .get(10)
                    .map_or_else(String::new, |method| format!(" USING {method}"));
                let sql = format!("CREATE MATERIALIZED VIEW {name}{using}{with} AS\n{body}");
                let mut object = Object::new(Kind::MaterializedView, name);
                object.part("definition", sql.clone());
                object.run(format!("{sql}\n WITH NO DATA"));
                if row.yes(8) && self.rows {
                    self.last.push(format!("REFRESH MATERIALIZED VIEW {name}"));
                }
                object
            };
            let what = if is_view { "VIEW" } else { "MATERIALIZED VIEW" };
            object.comment(&format!("{what} {name}"), row.get(5));
            let sql = format!(
                "select quote_ident(a.attname), quote_literal(col_description(a.attrelid, \
                 a.attnum)), pg_get_expr(d.adbin, d.adrelid) from pg_attribute a \
                 left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
                 where a.attrelid = {oid} and a.attnum > 0 and (d.oid is not null \
                 or col_description(a.attrelid, a.attnum) is not null) order by a.attnum"
            );
            for column in self.ask("columns of views", &sql).await? {
                let column_name = column.text(0);
                if let Some(default) = column.get(2) {
                    object.part(format!("default of column {column_name}"), default);
                    object.run(format!(
                        "ALTER VIEW {name} ALTER COLUMN {column_name} SET DEFAULT {default}"
                    ));
                }
                object.comment_as(
                    &format!("comment on column {column_name}"),
                    &format!("COLUMN {name}.{column_name}"),
                    column.get(1),
                );
            }
            let at = graph.add("pg_class", oid, object);
            graph.splittable.insert(at, oid.to_owned());
            let rules = format!(
                "select oid from pg_rewrite where ev_class = {oid} and rulename = '_RETURN'"
            );
            for rule in self.ask("rules", &rules).await? {
                graph.also("pg_rewrite", rule.text(0), at);
            }
            if let Some(first) = first {
                // Whoever needs the view's columns has them early; only the body comes late.
                graph.edge(first, at);
                graph.also("pg_class", oid, first);
                graph.also("pg_type", row.text(6), first);
                graph.also("pg_type", row.text(7), first);
            } else {
                graph.also("pg_type", row.text(6), at);
                graph.also("pg_type", row.text(7), at);
            }
        }
        Ok(())
    }

    pub(super) async fn constraints(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let parent = "quote_ident(n.nspname) || '.' || quote_ident(t.relname)";
        let sql = format!(
            "select k.oid, k.contype::text, quote_ident(k.conname), {parent}, k.conrelid, k.conindid, \
             pg_get_constraintdef(k.oid), k.conparentid <> 0, t.relkind::text, \
             quote_literal(obj_description(k.oid, 'pg_constraint')), {OPTIONS}, \
             coalesce(x.indisclustered, false), coalesce(x.indisreplident, false), t.relispartition, \
             quote_ident(n.nspname) from pg_constraint k join pg_class t on t.oid = k.conrelid \
             join pg_namespace n on n.oid = t.relnamespace \
             left join pg_class c on c.oid = k.conindid left join pg_index x on x.indexrelid = c.oid \
             where k.contype in ('p', 'u', 'x', 'f', 'c')"
        );
        for row in self.ask("constraints", &sql).await? {
            let (oid, contype, constraint, table) =
                (row.text(0), row.text(1), row.text(2), row.text(3));
            let Some(at) = graph.find("pg_class", row.text(4)) else {
                continue;
            };
            let named = format!("{constraint} on {table}");
            let commented = format!("CONSTRAINT {constraint} ON {table}");
            if contype == "c" {
                // The check itself is the table's.
                let check = graph.find("pg_constraint", oid);
                if row.get(9).is_some() {
                    let mut object = Object::new(Kind::Constraint, named);
                    object.comment(&commented, row.get(9));
                    let after = graph.free(object);
                    graph.edge(check.unwrap_or(at), after);
                }
                continue;
            }
            let is_foreign = contype == "f";
            // A partition gets its parent's foreign keys with being attached.
            if is_foreign && row.yes(7) {
                continue;
            }
            let kind = if is_foreign {
                Kind::ForeignKey
            } else {
                Kind::Constraint
            };
            let only = if is_foreign && row.text(8) == "p" {
                ""
            } else {
                "ONLY "
            };
            let mut object = Object::new(kind, named);
            object.part("definition", row.text(6));
            object.run(format!(
                "ALTER TABLE {only}{table} ADD CONSTRAINT {constraint} {}",
                row.text(6)
            ));
            if !is_foreign {
                let schema = row.text(14);
                if let Some(options) = row.get(10) {
                    object.part("options", options);
                    object.run(format!("ALTER INDEX {schema}.{constraint} SET ({options})"));
                }
                if row.yes(11) {
                    object.part("clustered", "yes");
                    object.run(format!("ALTER TABLE {table} CLUSTER ON {constraint}"));
                }
                if row.yes(12) {
                    object.part("replica identity", "yes");
                    object.run(format!(
                        "ALTER TABLE ONLY {table} REPLICA IDENTITY USING INDEX {constraint}"
                    ));
                }
            }
            object.comment(&commented, row.get(9));
            let node = graph.add("pg_constraint", oid, object);
            graph.edge(at, node);
            if !is_foreign {
                graph.also("pg_class", row.text(5), node);
            }
            if let Some(attach) = graph.find("attachment", row.text(4)) {
                graph.edge(attach, node);
            }
        }
        Ok(())
    }

    pub(super) async fn indexes(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select c.oid, {NAME}, x.indrelid, pg_get_indexdef(c.oid), x.indisvalid or \
             c.relkind = 'I', quote_literal(obj_description(c.oid, 'pg_class')), x.indisclustered, \
             x.indisreplident, x.indrelid::regclass, quote_ident(c.relname), \
             (select i.inhparent from pg_inherits i where i.inhrelid = c.oid), \
             (select i.inhparent::regclass from pg_inherits i where i.inhrelid = c.oid), \
             exists(select from pg_constraint k where k.conindid = c.oid \
             and k.contype in ('p', 'u', 'x')), \
             (select string_agg(a.attnum || ' SET STATISTICS ' || a.attstattarget, ';' \
             order by a.attnum) from pg_attribute a where a.attrelid = c.oid \
             and coalesce(a.attstattarget, -1) >= 0) \
             from pg_index x join pg_class c on c.oid = x.indexrelid \
             join pg_namespace n on n.oid = c.relnamespace where {OURS}"
        );
        let rows = self.ask("indexes", &sql).await?;
        for row in &rows {
            let (oid, name) = (row.text(0), row.text(1));
            if row.yes(12) {
                continue;
            }
            let Some(table) = graph.find("pg_class", row.text(2)) else {
                continue;
            };
            if !row.yes(4) {
                graph.left_out.push(format!(
                    "index {name}: it is invalid (a CREATE INDEX CONCURRENTLY that failed?)"
                ));
                continue;
            }
            let mut object = Object::whole(Kind::Index, name, row.text(3));
            for action in row.get(13).into_iter().flat_map(|s| s.split(';')) {
                object.part("statistics", action);
                object.run(format!("ALTER INDEX {name} ALTER COLUMN {action}"));
            }
            let table_name = row.text(8);
            if row.yes(6) {
                object.part("clustered", "yes");
                object.run(format!(
                    "ALTER TABLE {table_name} CLUSTER ON {}",
                    row.text(9)
                ));
            }
            if row.yes(7) {
                object.part("replica identity", "yes");
                object.run(format!(
                    "ALTER TABLE ONLY {table_name} REPLICA IDENTITY USING INDEX {}",
                    row.text(9)
                ));
            }
            object.comment(&format!("INDEX {name}"), row.get(5));
            let at = graph.add("pg_class", oid, object);
            graph.edge(table, at);
            if let Some(attach) = graph.find("attachment", row.text(2)) {
                graph.edge(attach, at);
            }
        }
        for row in &rows {
            let (Some(parent), Some(child)) = (
                row.get(10).and_then(|p| graph.find("pg_class", p)),
                graph.find("pg_class", row.text(0)),
            ) else {
                continue;
            };
            let mut object = Object::new(
                Kind::Attachment,
                format!("{} {}", row.text(11), row.text(1)),
            );
            object.run(format!(
                "ALTER INDEX {} ATTACH PARTITION {}",
                row.text(11),
                row.text(1)
            ));
            let at = graph.free(object);
            graph.edge(parent, at);
            graph.edge(child, at);
        }
        Ok(())
    }
}

/// SQL: what of the sequence `s` is not the default.
const SEQUENCE_OPTIONS: &str = "(\
    (case when s.seqstart <> (case when s.seqincrement > 0 then s.seqmin else s.seqmax end) \
      then ' START WITH ' || s.seqstart else '' end) || \
    (case when s.seqincrement <> 1 then ' INCREMENT BY ' || s.seqincrement else '' end) || \
    (case when s.seqmin <> (case when s.seqincrement > 0 then 1 when s.seqtypid = 'int2'::regtype \
      then -32768 when s.seqtypid = 'int4'::regtype then -2147483648 \
      else -9223372036854775808 end) then ' MINVALUE ' || s.seqmin else '' end) || \
    (case when s.seqmax <> (case when s.seqincrement < 0 then -1 when s.seqtypid = 'int2'::regtype \
      then 32767 when s.seqtypid = 'int4'::regtype then 2147483647 \
      else 9223372036854775807 end) then ' MAXVALUE ' || s.seqmax else '' end) || \
    (case when s.seqcache <> 1 then ' CACHE ' || s.seqcache else '' end) || \
    (case when s.seqcycle then ' CYCLE' else '' end))";
