//! Extensions, schemas, collations, types, functions.

use super::{Graph, OURS, Reader, Row};
use crate::dump::{Kind, Object};
use crate::error::Error;

impl Reader {
    pub(super) async fn extensions(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "extensions",
                "select e.oid, quote_ident(e.extname), quote_ident(n.nspname), e.extname \
                 from pg_extension e join pg_namespace n on n.oid = e.extnamespace",
            )
            .await?;
        for row in rows {
            // It is in every new database.
            if row.text(3) == "plpgsql" {
                continue;
            }
            let (name, schema) = (row.text(1), row.text(2));
            let sql = if schema == "pg_catalog" {
                format!("CREATE EXTENSION IF NOT EXISTS {name}")
            } else {
                format!("CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA {schema}")
            };
            let at = graph.add(
                "pg_extension",
                row.text(0),
                Object::whole(Kind::Extension, name, sql),
            );
            graph.also("pg_extension", row.text(0), at);
        }
        let rows = self
            .ask(
                "members of extensions",
                "select classid::regclass, objid, refobjid from pg_depend where deptype = 'e'",
            )
            .await?;
        for row in rows {
            let member = super::address(row.text(0), row.text(1));
            if let Some(extension) = graph.find("pg_extension", row.text(2)) {
                graph.by.insert(member.clone(), extension);
            }
            graph.members.insert(member);
        }
        Ok(())
    }

    pub(super) async fn schemas(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "schemas",
                &format!(
                    "select n.oid, quote_ident(n.nspname), \
                     quote_literal(nullif(obj_description(n.oid, 'pg_namespace'), \
                     'standard public schema')) from pg_namespace n where {OURS}"
                ),
            )
            .await?;
        for row in rows {
            if graph.is_member("pg_namespace", row.text(0)) {
                continue;
            }
            let name = row.text(1);
            let mut object = if name == "public" {
                // It is in every new database.
                let mut object = Object::new(Kind::Schema, name);
                object.part("definition", "CREATE SCHEMA public");
                object
            } else {
                Object::whole(Kind::Schema, name, format!("CREATE SCHEMA {name}"))
            };
            object.comment(&format!("SCHEMA {name}"), row.get(2));
            graph.add("pg_namespace", row.text(0), object);
        }
        Ok(())
    }

    pub(super) async fn collations(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "collations",
                &format!(
                    "select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.collname), \
                     c.collprovider::text, quote_literal(c.collcollate), quote_literal(c.collctype), \
                     quote_literal(coalesce(to_jsonb(c) ->> 'colllocale', \
                     to_jsonb(c) ->> 'colliculocale')), c.collisdeterministic, \
                     quote_literal(to_jsonb(c) ->> 'collicurules'), \
                     quote_literal(obj_description(c.oid, 'pg_collation')) \
                     from pg_collation c join pg_namespace n on n.oid = c.collnamespace where {OURS}"
                ),
            )
            .await?;
        for row in rows {
            if graph.is_member("pg_collation", row.text(0)) {
                continue;
            }
            let provider = match row.text(2) {
                "i" => "icu",
                "b" => "builtin",
                _ => "libc",
            };
            let mut options = vec![format!("provider = {provider}")];
            if row.text(2) == "c" {
                options.push(format!("lc_collate = {}", row.text(3)));
                options.push(format!("lc_ctype = {}", row.text(4)));
            } else if let Some(locale) = row.get(5).or(row.get(3)) {
                options.push(format!("locale = {locale}"));
            }
            if !row.yes(6) {
                options.push("deterministic = false".to_owned());
            }
            options.extend(row.get(7).map(|rules| format!("rules = {rules}")));
            let name = row.text(1);
            let sql = format!("CREATE COLLATION {name} ({})", options.join(", "));
            let mut object = Object::whole(Kind::Collation, name, sql);
            object.comment(&format!("COLLATION {name}"), row.get(8));
            graph.add("pg_collation", row.text(0), object);
        }
        Ok(())
    }

    pub(super) async fn types(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "types",
                &format!(
                    "select t.oid, t.oid::regtype, t.typtype::text, t.typarray, t.typrelid, \
                     quote_literal(coalesce(obj_description(t.oid, 'pg_type'), \
                     obj_description(nullif(t.typrelid, 0), 'pg_class'))), \
                     format_type(t.typbasetype, t.typtypmod), t.typnotnull, \
                     coalesce(pg_get_expr(t.typdefaultbin, 0), quote_literal(t.typdefault)), \
                     case when t.typcollation <> coalesce((select b.typcollation from pg_type b \
                     where b.oid = t.typbasetype), t.typcollation) then t.typcollation::regcollation \
                     end, (select string_agg(quote_literal(e.enumlabel), ', ' order by \
                     e.enumsortorder) from pg_enum e where e.enumtypid = t.oid), \
                     (select c.relkind::text from pg_class c where c.oid = t.typrelid) \
                     from pg_type t join pg_namespace n on n.oid = t.typnamespace \
                     where {OURS} and (t.typtype in ('e', 'd', 'r', 'b', 'p') and t.typelem = 0 \
                     or t.typtype = 'c')"
                ),
            )
            .await?;
        for row in rows {
            let oid = row.text(0);
            if graph.is_member("pg_type", oid) {
                continue;
            }
            // Row types of tables belong to those.
            if row.text(2) == "c" && row.text(11) != "c" {
                continue;
            }
            let name = row.text(1);
            let mut object = match row.text(2) {
                "e" => Object::whole(
                    Kind::Type,
                    name,
                    format!("CREATE TYPE {name} AS ENUM ({})", row.text(10)),
                ),
                "d" => self.domain(graph, &row).await?,
                "c" => self.composite(graph, &row).await?,
                "r" => self.range(graph, &row).await?,
                _ => {
                    let note = format!("type {name}: a base type, written in C");
                    graph.left_out.push(note);
                    continue;
                }
            };
            let what = if row.text(2) == "d" { "DOMAIN" } else { "TYPE" };
            object.comment(&format!("{what} {name}"), row.get(5));
            let at = graph.add("pg_type", oid, object);
            graph.also("pg_type", row.text(3), at);
            graph.splittable.insert(at, oid.to_owned());
            if row.text(2) == "c" {
                graph.also("pg_class", row.text(4), at);
            }
            if row.text(2) == "d" {
                self.domain_checks(graph, oid, name, at).await?;
            }
            if row.text(2) == "r" {
                let sql = format!(
                    "select m.oid, m.typarray from pg_type m, pg_range r where r.rngtypid = {oid} \
                     and m.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid"
                );
                for row in self.ask("ranges", &sql).await? {
                    graph.also("pg_type", row.text(0), at);
                    graph.also("pg_type", row.text(1), at);
                }
            }
        }
        Ok(())
    }

    async fn checks_of_domain(&mut self, oid: &str) -> Result<Vec<Row>, Error> {
        let sql = format!(
            "select oid, quote_ident(conname), pg_get_constraintdef(oid), convalidated, \
             quote_literal(obj_description(oid, 'pg_constraint')) from pg_constraint \
             where contypid = {oid} and contype = 'c' order by conname"
        );
        self.ask("domains", &sql).await
    }

    async fn domain(&mut self, graph: &Graph, row: &Row) -> Result<Object, Error> {
        let mut sql = format!("CREATE DOMAIN {} AS {}", row.text(1), row.text(6));
        if let Some(collation) = row.get(9) {
            sql.push_str(&format!(" COLLATE {collation}"));
        }
        if let Some(default) = row.get(8) {
            sql.push_str(&format!(" DEFAULT {default}"));
        }
        if row.yes(7) {
            sql.push_str(" NOT NULL");
        }
        let mut object = Object::new(Kind::Type, row.text(1));
        object.part("definition", sql.clone());
        for check in self.checks_of_domain(row.text(0)).await? {
            object.part(format!("check {}", check.text(1)), check.text(2));
            if check.yes(3) && !graph.split.contains(row.text(0)) {
                sql.push_str(&format!(
                    "\n    CONSTRAINT {} {}",
                    check.text(1),
                    check.text(2)
                ));
            }
        }
        object.run(sql);
        Ok(object)
    }

    async fn domain_checks(
        &mut self,
        graph: &mut Graph,
        oid: &str,
        name: &str,
        domain: usize,
    ) -> Result<(), Error> {
        for check in self.checks_of_domain(oid).await? {
            let what = check.text(1);
            if check.yes(3) && !graph.split.contains(oid) {
                graph.also("pg_constraint", check.text(0), domain);
            } else {
                let mut object = Object::new(Kind::Addition, format!("{name} {what}"));
                object.run(format!(
                    "ALTER DOMAIN {name} ADD CONSTRAINT {what} {}",
                    check.text(2)
                ));
                let at = graph.add("pg_constraint", check.text(0), object);
                graph.edge(domain, at);
            }
            if let Some(text) = check.get(4) {
                let mut object = Object::new(Kind::Addition, format!("{name} {what} comment"));
                object.run(format!(
                    "COMMENT ON CONSTRAINT {what} ON DOMAIN {name} IS {text}"
                ));
                let at = graph.free(object);
                let check = graph.find("pg_constraint", check.text(0));
                graph.edge(check.unwrap_or(domain), at);
            }
        }
        Ok(())
    }

    async fn composite(&mut self, _: &Graph, row: &Row) -> Result<Object, Error> {
        let name = row.text(1);
        let sql = format!(
            "select quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), \
             case when a.attcollation <> t.typcollation then a.attcollation::regcollation end, \
             quote_literal(col_description(a.attrelid, a.attnum)) \
             from pg_attribute a join pg_type t on t.oid = a.atttypid \
             where a.attrelid = {} and a.attnum > 0 and not a.attisdropped order by a.attnum",
            row.text(4)
        );
        let mut object = Object::new(Kind::Type, name);
        let mut lines = Vec::new();
        let mut comments = Vec::new();
        for column in self.ask("composite types", &sql).await? {
            let mut is = column.text(1).to_owned();
            if let Some(collation) = column.get(2) {
                is.push_str(&format!(" COLLATE {collation}"));
            }
            lines.push(format!("\n    {} {is}", column.text(0)));
            object.part(format!("attribute {}", column.text(0)), is);
            comments.push((column.text(0).to_owned(), column.get(3).map(str::to_owned)));
        }
        object.run(format!("CREATE TYPE {name} AS ({}\n)", lines.join(",")));
        for (column, text) in comments {
            object.comment_as(
                &format!("comment on attribute {column}"),
                &format!("COLUMN {name}.{column}"),
                text.as_deref(),
            );
        }
        Ok(object)
    }

    async fn range(&mut self, _: &Graph, row: &Row) -> Result<Object, Error> {
        let name = row.text(1);
        let sql = format!(
            "select format_type(r.rngsubtype, null), \
             (select quote_ident(n.nspname) || '.' || quote_ident(o.opcname) from pg_opclass o \
             join pg_namespace n on n.oid = o.opcnamespace where o.oid = r.rngsubopc \
             and not o.opcdefault), case when r.rngcollation <> t.typcollation \
             then r.rngcollation::regcollation end, nullif(r.rngcanonical::oid, 0)::regproc, \
             nullif(r.rngsubdiff::oid, 0)::regproc, (select quote_ident(n.nspname) || '.' || \
             quote_ident(m.typname) from pg_type m join pg_namespace n on n.oid = m.typnamespace \
             where m.oid = (to_jsonb(r) ->> 'rngmultitypid')::oid) \
             from pg_range r join pg_type t on t.oid = r.rngsubtype where r.rngtypid = {}",
            row.text(0)
        );
        let rows = self.ask("ranges", &sql).await?;
        let Some(range) = rows.first() else {
            return Err(Error::Refused(format!("the range type {name} is gone")));
        };
        let words = [
            "SUBTYPE",
            "SUBTYPE_OPCLASS",
            "COLLATION",
            "CANONICAL",
            "SUBTYPE_DIFF",
            "MULTIRANGE_TYPE_NAME",
        ];
        let options: Vec<String> = words
            .iter()
            .enumerate()
            .filter_map(|(i, word)| Some(format!("{word} = {}", range.get(i)?)))
            .collect();
        Ok(Object::whole(
            Kind::Type,
            name,
            format!("CREATE TYPE {name} AS RANGE ({})", options.join(", ")),
        ))
    }

    pub(super) async fn functions(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "functions",
                &format!(
                    "select p.oid, quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '(' \
                     || pg_get_function_identity_arguments(p.oid) || ')', p.prokind::text, \
                     case when p.prokind <> 'a' then pg_get_functiondef(p.oid) end, \
                     quote_literal(obj_description(p.oid, 'pg_proc')), \
                     quote_ident(n.nspname) || '.' || quote_ident(p.proname) \
                     from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS} \
                     and not exists(select from pg_depend d where d.classid = 'pg_proc'::regclass \
                     and d.objid = p.oid and d.deptype = 'i')"
                ),
            )
            .await?;
        for row in rows {
            if graph.is_member("pg_proc", row.text(0)) {
                continue;
            }
            let name = match (row.text(2), row.text(1).strip_suffix("()")) {
                ("a", Some(name)) => &format!("{name}(*)"),
                _ => row.text(1),
            };
            let (kind, word) = match row.text(2) {
                "a" => (Kind::Aggregate, "AGGREGATE"),
                "p" => (Kind::Procedure, "PROCEDURE"),
                _ => (Kind::Function, "FUNCTION"),
            };
            let mut object = if kind == Kind::Aggregate {
                self.aggregate(row.text(0), name, row.text(5)).await?
            } else {
                Object::whole(kind, name, row.text(3).trim_end())
            };
            object.comment(&format!("{word} {name}"), row.get(4));
            graph.add("pg_proc", row.text(0), object);
        }
        Ok(())
    }

    async fn aggregate(&mut self, oid: &str, name: &str, bare: &str) -> Result<Object, Error> {
        let function = |column: &str| format!("nullif(a.{column}::oid, 0)::regproc");
        let sql = format!(
            "select a.aggtransfn::regproc, format_type(a.aggtranstype, null), \
             nullif(a.aggtransspace, 0), {}, case when a.aggfinalextra then '' end, \
             case a.aggfinalmodify when 's' then 'SHAREABLE' when 'w' then 'READ_WRITE' \
             when 'r' then case when a.aggkind = 'n' then null else 'READ_ONLY' end end, {}, {}, {}, \
             {}, {}, case when a.aggmtransfn::oid <> 0 then format_type(a.aggmtranstype, null) end, \
             nullif(a.aggmtransspace, 0), {}, case when a.aggmfinalextra then '' end, \
             quote_literal(a.agginitval), quote_literal(a.aggminitval), \
             (select 'operator(' || quote_ident(n.nspname) || '.' || o.oprname || ')' \
             from pg_operator o join pg_namespace n on n.oid = o.oprnamespace \
             where o.oid = a.aggsortop), case p.proparallel when 's' then 'SAFE' \
             when 'r' then 'RESTRICTED' end, a.aggkind::text, pg_get_function_arguments(p.oid) \
             from pg_aggregate a join pg_proc p on p.oid = a.aggfnoid where a.aggfnoid = {oid}",
            function("aggfinalfn"),
            function("aggcombinefn"),
            function("aggserialfn"),
            function("aggdeserialfn"),
            function("aggmtransfn"),
            function("aggminvtransfn"),
            function("aggmfinalfn"),
        );
        let words = [
            "SFUNC",
            "STYPE",
            "SSPACE",
            "FINALFUNC",
            "FINALFUNC_EXTRA",
            "FINALFUNC_MODIFY",
            "COMBINEFUNC",
            "SERIALFUNC",
            "DESERIALFUNC",
            "MSFUNC",
            "MINVFUNC",
            "MSTYPE",
            "MSSPACE",
            "MFINALFUNC",
            "MFINALFUNC_EXTRA",
            "INITCOND",
            "MINITCOND",
            "SORTOP",
            "PARALLEL",
        ];
        let rows = self.ask("aggregates", &sql).await?;
        let Some(row) = rows.first() else {
            return Err(Error::Refused(format!("the aggregate {name} is gone")));
        };
        let mut options: Vec<String> = Vec::new();
        for (i, word) in words.iter().enumerate() {
            match row.get(i) {
                None => {}
                Some("") => options.push(format!("\n    {word}")),
                Some(is) => options.push(format!("\n    {word} = {is}")),
            }
        }
        if row.text(19) == "h" {
            options.push("\n    HYPOTHETICAL".to_owned());
        }
        let arguments = match row.text(20) {
            "" => "*",
            some => some,
        };
        Ok(Object::whole(
            Kind::Aggregate,
            name,
            format!(
                "CREATE AGGREGATE {bare}({arguments}) ({}\n)",
                options.join(",")
            ),
        ))
    }
}
