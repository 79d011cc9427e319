//! Statistics, rules, triggers, policies, event triggers; and a word on what no dump has.

use super::{Graph, OURS, Reader};
use crate::dump::{Kind, Object};
use crate::error::Error;

/// SQL: the name of the table `c` in the schema `n`.
const TABLE: &str = "quote_ident(n.nspname) || '.' || quote_ident(c.relname)";

impl Reader {
    pub(super) async fn statistics(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select s.oid, quote_ident(n.nspname) || '.' || quote_ident(s.stxname), \
             pg_get_statisticsobjdef(s.oid), quote_literal(obj_description(s.oid, \
             'pg_statistic_ext')), s.stxrelid from pg_statistic_ext s \
             join pg_namespace n on n.oid = s.stxnamespace where {OURS}"
        );
        for row in self.ask("statistics", &sql).await? {
            let Some(table) = graph.find("pg_class", row.text(4)) else {
                continue;
            };
            let name = row.text(1);
            let mut object = Object::whole(Kind::Statistics, name, row.text(2));
            object.comment(&format!("STATISTICS {name}"), row.get(3));
            let at = graph.add("pg_statistic_ext", row.text(0), object);
            graph.edge(table, at);
        }
        Ok(())
    }

    pub(super) async fn rules(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select r.oid, quote_ident(r.rulename), {TABLE}, pg_get_ruledef(r.oid), c.oid, \
             quote_literal(obj_description(r.oid, 'pg_rewrite')), case r.ev_enabled \
             when 'D' then 'DISABLE' when 'R' then 'ENABLE REPLICA' when 'A' then 'ENABLE ALWAYS' end \
             from pg_rewrite r join pg_class c on c.oid = r.ev_class \
             join pg_namespace n on n.oid = c.relnamespace \
             where {OURS} and r.rulename <> '_RETURN'"
        );
        for row in self.ask("rules", &sql).await? {
            let Some(table) = graph.find("pg_class", row.text(4)) else {
                continue;
            };
            let (rule, on) = (row.text(1), row.text(2));
            let mut object = Object::whole(
                Kind::Rule,
                format!("{rule} on {on}"),
                row.text(3).trim_end_matches(';'),
            );
            if let Some(state) = row.get(6) {
                object.part("state", state);
                object.run(format!("ALTER TABLE {on} {state} RULE {rule}"));
            }
            object.comment(&format!("RULE {rule} ON {on}"), row.get(5));
            let at = graph.add("pg_rewrite", row.text(0), object);
            graph.edge(table, at);
        }
        Ok(())
    }

    pub(super) async fn triggers(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select t.oid, quote_ident(t.tgname), {TABLE}, pg_get_triggerdef(t.oid), c.oid, \
             quote_literal(obj_description(t.oid, 'pg_trigger')), \
             case t.tgenabled when 'D' then 'DISABLE' when 'R' then 'ENABLE REPLICA' \
             when 'A' then 'ENABLE ALWAYS' end, t.tgparentid <> 0 and t.tgenabled is distinct from \
             (select p.tgenabled from pg_trigger p where p.oid = t.tgparentid), t.tgparentid <> 0 \
             from pg_trigger t join pg_class c on c.oid = t.tgrelid \
             join pg_namespace n on n.oid = c.relnamespace where {OURS} and not t.tgisinternal"
        );
        for row in self.ask("triggers", &sql).await? {
            let Some(table) = graph.find("pg_class", row.text(4)) else {
                continue;
            };
            let (trigger, on) = (row.text(1), row.text(2));
            // A partition has its parent's triggers; only their state may be its own.
            let inherited = row.yes(8);
            if inherited && !row.yes(7) {
                continue;
            }
            let mut object = Object::new(Kind::Trigger, format!("{trigger} on {on}"));
            if !inherited {
                object.part("definition", row.text(3));
                object.run(row.text(3));
            }
            if row.get(6).is_some() || inherited {
                let state = row.get(6).unwrap_or("ENABLE");
                object.part("state", state);
                object.run(format!("ALTER TABLE {on} {state} TRIGGER {trigger}"));
            }
            object.comment(&format!("TRIGGER {trigger} ON {on}"), row.get(5));
            let at = graph.add("pg_trigger", row.text(0), object);
            graph.edge(table, at);
            if let Some(attach) = graph.find("attachment", row.text(4)) {
                graph.edge(attach, at);
            }
        }
        Ok(())
    }

    pub(super) async fn policies(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = format!(
            "select p.oid, quote_ident(p.polname), {TABLE}, c.oid, p.polpermissive, \
             case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' \
             when 'd' then 'DELETE' else 'ALL' end, \
             (select string_agg(case when r.oid is null then 'PUBLIC' else quote_ident(r.rolname) end, \
             ', ' order by r.rolname) from unnest(p.polroles) x left join pg_roles r on r.oid = x), \
             pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), \
             quote_literal(obj_description(p.oid, 'pg_policy')) \
             from pg_policy p join pg_class c on c.oid = p.polrelid \
             join pg_namespace n on n.oid = c.relnamespace where {OURS}"
        );
        for row in self.ask("policies", &sql).await? {
            let Some(table) = graph.find("pg_class", row.text(3)) else {
                continue;
            };
            let (policy, on) = (row.text(1), row.text(2));
            let kind = if row.yes(4) { "" } else { " AS RESTRICTIVE" };
            let mut sql = format!(
                "CREATE POLICY {policy} ON {on}{kind} FOR {} TO {}",
                row.text(5),
                row.text(6)
            );
            if let Some(using) = row.get(7) {
                sql.push_str(&format!(" USING ({using})"));
            }
            if let Some(check) = row.get(8) {
                sql.push_str(&format!(" WITH CHECK ({check})"));
            }
            let mut object = Object::whole(Kind::Policy, format!("{policy} on {on}"), sql);
            object.comment(&format!("POLICY {policy} ON {on}"), row.get(9));
            let at = graph.add("pg_policy", row.text(0), object);
            graph.edge(table, at);
        }
        Ok(())
    }

    pub(super) async fn event_triggers(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let sql = "select e.oid, quote_ident(e.evtname), e.evtevent, \
             (select string_agg(quote_literal(t), ', ') from unnest(e.evttags) t), \
             e.evtfoid::regproc, case e.evtenabled when 'D' then 'DISABLE' \
             when 'R' then 'ENABLE REPLICA' when 'A' then 'ENABLE ALWAYS' end, \
             quote_literal(obj_description(e.oid, 'pg_event_trigger')) from pg_event_trigger e";
        for row in self.ask("event triggers", sql).await? {
            if graph.is_member("pg_event_trigger", row.text(0)) {
                continue;
            }
            let name = row.text(1);
            let tags = row
                .get(3)
                .map_or_else(String::new, |tags| format!(" WHEN TAG IN ({tags})"));
            let sql = format!(
                "CREATE EVENT TRIGGER {name} ON {}{tags} EXECUTE FUNCTION {}()",
                row.text(2),
                row.text(4)
            );
            let mut object = Object::whole(Kind::EventTrigger, name, sql);
            if let Some(state) = row.get(5) {
                object.part("state", state);
                object.run(format!("ALTER EVENT TRIGGER {name} {state}"));
            }
            object.comment(&format!("EVENT TRIGGER {name}"), row.get(6));
            graph.add("pg_event_trigger", row.text(0), object);
        }
        Ok(())
    }

    /// Objects that are there and that nothing here writes.
    pub(super) async fn what_is_left_out(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let named = |what: &str, catalog: &str, name: &str, schema: &str| {
            format!(
                "select '{what} ' || quote_ident(n.nspname) || '.' || o.{name}, \
                 '{catalog}', o.oid from {catalog} o join pg_namespace n on n.oid = o.{schema} \
                 where {OURS}"
            )
        };
        let bare = |what: &str, catalog: &str, name: &str| {
            format!(
                "select '{what} ' || {name}, '{catalog}', o.oid from {catalog} o \
                 where o.oid >= 16384 and not exists(select from pg_depend d \
                 where d.classid = '{catalog}'::regclass and d.objid = o.oid and d.deptype = 'i')"
            )
        };
        let sql = [
            named("operator", "pg_operator", "oprname", "oprnamespace"),
            named("operator class", "pg_opclass", "opcname", "opcnamespace"),
            named("operator family", "pg_opfamily", "opfname", "opfnamespace"),
            named("conversion", "pg_conversion", "conname", "connamespace"),
            named(
                "text search configuration",
                "pg_ts_config",
                "cfgname",
                "cfgnamespace",
            ),
            named(
                "text search dictionary",
                "pg_ts_dict",
                "dictname",
                "dictnamespace",
            ),
            named(
                "text search parser",
                "pg_ts_parser",
                "prsname",
                "prsnamespace",
            ),
            named(
                "text search template",
                "pg_ts_template",
                "tmplname",
                "tmplnamespace",
            ),
            named("foreign table", "pg_class", "relname", "relnamespace") + " and o.relkind = 'f'",
            bare(
                "cast",
                "pg_cast",
                "format_type(o.castsource, null) || ' as ' || format_type(o.casttarget, null)",
            ),
            bare("language", "pg_language", "o.lanname"),
            bare("access method", "pg_am", "o.amname"),
            bare(
                "foreign-data wrapper",
                "pg_foreign_data_wrapper",
                "o.fdwname",
            ),
            bare("foreign server", "pg_foreign_server", "o.srvname"),
            bare("publication", "pg_publication", "o.pubname"),
            bare("transform", "pg_transform", "format_type(o.trftype, null)"),
        ];
        let sql = format!("{} order by 1", sql.join(" union all "));
        for row in self.ask("other objects", &sql).await? {
            if !graph.is_member(row.text(1), row.text(2)) {
                graph.left_out.push(row.text(0).to_owned());
            }
        }
        let sql = "select count(*) from pg_largeobject_metadata";
        let count = self.ask("large objects", sql).await?;
        if let Some(count) = count.first().filter(|row| row.text(0) != "0" && self.rows) {
            graph
                .left_out
                .push(format!("{} large object(s)", count.text(0)));
        }
        Ok(())
    }
}
