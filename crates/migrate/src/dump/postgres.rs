//! PostgreSQL's schema, from its catalog. Expressions and bodies are what the server's own
//! `pg_get_*` functions say, with an empty `search_path`, so every name in them is qualified.

mod others;
mod relations;
mod types;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::canonical::arrays;
use super::rows::{Inserts, Sink};
use super::{Kind, Object, Options, Schema, order};
use crate::database::postgres::Postgres;
use crate::database::{Conn as _, Database, Session as _};
use crate::error::Error;
use crate::sql::Dialect;

/// SQL: the schema `n` is nobody's but the user's.
const OURS: &str = "n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";

/// A session that reads, in one snapshot.
pub(super) struct Reader {
    session: Postgres,
    rows: bool,
    ours: bool,
    /// `setval` and `REFRESH`, to come last.
    last: Vec<String>,
}

/// One row of the catalog.
struct Row(Vec<Option<String>>);

impl Row {
    fn get(&self, i: usize) -> Option<&str> {
        self.0.get(i).and_then(|v| v.as_deref())
    }

    fn text(&self, i: usize) -> &str {
        self.get(i).unwrap_or("")
    }

    fn yes(&self, i: usize) -> bool {
        self.get(i) == Some("t")
    }
}

/// Where an object stands in the catalog: the catalog's name and the object's number.
type Address = (String, String);

/// The objects, and who needs whom.
#[derive(Default)]
struct Graph {
    objects: Vec<Object>,
    /// Also of what is part of an object: a table's row type, a constraint's index.
    by: HashMap<Address, usize>,
    edges: BTreeSet<(usize, usize)>,
    /// Sequences that a column owns: they come before its table.
    owned: HashSet<usize>,
    /// Tables by number, and what makes them owners.
    owners: Vec<(String, usize)>,
    /// What breaks a circle: tables and domains whose defaults and checks come by themselves, views
    /// that begin as empty ones.
    split: HashSet<String>,
    /// The number in `pg_class` or `pg_type` of what can be split.
    splittable: HashMap<usize, String>,
    /// Members of extensions.
    members: HashSet<Address>,
    left_out: Vec<String>,
}

fn address(catalog: &str, oid: &str) -> Address {
    (catalog.to_owned(), oid.to_owned())
}

impl Graph {
    fn add(&mut self, catalog: &str, oid: &str, object: Object) -> usize {
        let at = self.free(object);
        self.by.insert(address(catalog, oid), at);
        at
    }

    /// An object that nothing in the catalog stands for.
    fn free(&mut self, mut object: Object) -> usize {
        for statement in &mut object.statements {
            *statement = arrays(statement);
        }
        for part in &mut object.parts {
            part.is = arrays(&part.is);
        }
        self.objects.push(object);
        self.objects.len() - 1
    }

    fn also(&mut self, catalog: &str, oid: &str, at: usize) {
        self.by.insert(address(catalog, oid), at);
    }

    fn find(&self, catalog: &str, oid: &str) -> Option<usize> {
        self.by.get(&address(catalog, oid)).copied()
    }

    fn edge(&mut self, first: usize, then: usize) {
        if first != then {
            self.edges.insert((first, then));
        }
    }

    fn is_member(&self, catalog: &str, oid: &str) -> bool {
        self.members.contains(&address(catalog, oid))
    }
}

impl Object {
    /// `what`: `TABLE public.t`. `text`: an SQL literal, or nothing.
    fn comment(&mut self, what: &str, text: Option<&str>) {
        self.comment_as("comment", what, text);
    }

    fn comment_as(&mut self, part: &str, what: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.run(format!("COMMENT ON {what} IS {text}"));
            self.part(part, text);
        }
    }
}

impl Reader {
    pub(super) async fn open(database: &Database, options: &Options) -> Result<Self, Error> {
        let mut session = Postgres::connect(database, &options.table)
            .await
            .map_err(Error::database("connect to the database"))?;
        if session.version() < 130_000 {
            return Err(Error::Refused(
                "that PostgreSQL is older than 13: its catalog is not known here".to_owned(),
            ));
        }
        session.find_schema().await.or_else(|e| match e {
            // No schema to create ours in: then there is nothing of ours.
            Error::Refused(_) => Ok(()),
            other => Err(other),
        })?;
        let begin = "begin isolation level repeatable read, read only; \
            set local search_path = ''; set local datestyle = 'ISO'; set local timezone = 'UTC'; \
            set local intervalstyle = 'postgres'; set local extra_float_digits = 3; \
            set local bytea_output = 'hex'; set local xmlbinary = 'base64'; \
            set local quote_all_identifiers = off; set local row_security = off; \
            set local statement_timeout = 0; set local lock_timeout = '30s'; \
            set local idle_in_transaction_session_timeout = 0; \
            set local standard_conforming_strings = on; set local client_encoding = 'UTF8'";
        session
            .conn()
            .execute(begin)
            .await
            .map_err(Error::database("begin a snapshot"))?;
        Ok(Self {
            session,
            rows: options.rows,
            ours: options.ours,
            last: Vec::new(),
        })
    }

    async fn ask(&mut self, what: &str, sql: &str) -> Result<Vec<Row>, Error> {
        let rows = self.session.conn().texts(sql).await;
        let rows = rows.map_err(Error::database(format_args!("read the catalog's {what}")))?;
        Ok(rows.into_iter().map(Row).collect())
    }

    /// SQL: the relation `c` in the schema `n` is one of our own tables.
    fn own(&self) -> String {
        if self.ours {
            return "false".to_owned();
        }
        let tables = self.session.tables();
        format!(
            "(n.nspname = '{}' and c.relname in ({}))",
            tables.schema.as_deref().unwrap_or_default(),
            tables.names()
        )
    }

    pub(super) async fn count(&mut self, sql: &str) -> Result<u64, Error> {
        let rows = self.session.conn().texts(sql).await;
        Ok(super::first_number(
            &rows.map_err(Error::database("count rows"))?,
        ))
    }

    pub(super) async fn schema(&mut self) -> Result<Schema, Error> {
        let mut split = HashSet::new();
        loop {
            let mut graph = Graph {
                split,
                ..Graph::default()
            };
            self.read(&mut graph).await?;
            match order::sort(&mut graph.objects, &graph.edges) {
                Ok(order) => {
                    let mut objects: Vec<_> = graph.objects.into_iter().map(Some).collect();
                    return Ok(Schema {
                        dialect: Dialect::Postgres,
                        objects: order.iter().filter_map(|&i| objects[i].take()).collect(),
                        left_out: graph.left_out,
                    });
                }
                Err(circle) => split = broken(graph, &circle)?,
            }
        }
    }

    async fn read(&mut self, graph: &mut Graph) -> Result<(), Error> {
        self.extensions(graph).await?;
        self.schemas(graph).await?;
        self.collations(graph).await?;
        self.types(graph).await?;
        self.functions(graph).await?;
        self.sequences(graph).await?;
        self.tables(graph).await?;
        self.views(graph).await?;
        self.constraints(graph).await?;
        self.indexes(graph).await?;
        self.statistics(graph).await?;
        self.rules(graph).await?;
        self.triggers(graph).await?;
        self.policies(graph).await?;
        self.event_triggers(graph).await?;
        self.what_is_left_out(graph).await?;
        self.dependencies(graph).await
    }

    async fn dependencies(&mut self, graph: &mut Graph) -> Result<(), Error> {
        let rows = self
            .ask(
                "dependencies",
                "select distinct classid::regclass, objid, refclassid::regclass, refobjid, \
                 deptype::text from pg_depend where objid >= 16384 and refobjid >= 16384 \
                 and deptype <> 'e'",
            )
            .await?;
        for row in rows {
            let then = graph.find(row.text(0), row.text(1));
            let first = graph.find(row.text(2), row.text(3));
            if let (Some(first), Some(then)) = (first, then) {
                // A sequence that its column owns comes before the table, whose default names it.
                let owned = graph.owned.contains(&then) && row.text(4) == "a";
                if !owned {
                    graph.edge(first, then);
                }
            }
        }
        Ok(())
    }

    /// From here on nobody can change these tables' definitions.
    pub(super) async fn lock_tables(&mut self, schema: &Schema) -> Result<(), Error> {
        let tables: Vec<&str> = schema
            .objects
            .iter()
            .filter(|o| o.kind == Kind::Table)
            .map(|o| o.name.as_str())
            .collect();
        for some in tables.chunks(500) {
            let sql = format!(
                "lock table only {} in access share mode",
                some.join(", only ")
            );
            self.session
                .conn()
                .execute(&sql)
                .await
                .map_err(Error::database("lock the tables against changes"))?;
        }
        Ok(())
    }

    /// Tables that hold rows of their own: name, columns, and what to order by.
    async fn row_tables(&mut self) -> Result<Vec<RowTable>, Error> {
        let own = self.own();
        let rows = self
            .ask(
                "tables with rows",
                &format!(
                    "select quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
                     (select string_agg(quote_ident(a.attname), ', ' order by a.attnum) \
                      from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 \
                      and not a.attisdropped and a.attgenerated = ''), \
                     exists(select from pg_attribute a where a.attrelid = c.oid \
                      and a.attidentity <> ''), \
                     (select string_agg(quote_ident(a.attname), ', ' order by k.n) \
                      from pg_index i, unnest(i.indkey) with ordinality k(attnum, n), \
                      pg_attribute a where i.indrelid = c.oid and i.indisprimary \
                      and a.attrelid = c.oid and a.attnum = k.attnum), c.oid \
                     from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                     where c.relkind = 'r' and {OURS} and not {own} and not exists(select \
                     from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid \
                     and d.deptype = 'e') order by 1"
                ),
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| RowTable {
                name: row.text(0).to_owned(),
                columns: row.text(1).to_owned(),
                identity: row.yes(2),
                key: row.get(3).map(str::to_owned),
            })
            .collect())
    }

    pub(super) async fn rows(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        for table in self.row_tables().await? {
            if table.columns.is_empty() {
                continue;
            }
            let over = if table.identity {
                " OVERRIDING SYSTEM VALUE"
            } else {
                ""
            };
            let mut inserts = Inserts::new(
                &table.name,
                format!(
                    "INSERT INTO {} ({}){over} VALUES",
                    table.name, table.columns
                ),
            );
            let sql = table.select();
            inserts.postgres(self.session.conn(), &sql, sink).await?;
        }
        Ok(())
    }

    /// Sequences where they stand, and materialized views filled.
    pub(super) async fn last_statements(&mut self) -> Result<Vec<String>, Error> {
        let rows = self
            .ask(
                "sequences",
                &format!(
                    "select quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
                     from pg_sequence s join pg_class c on c.oid = s.seqrelid \
                     join pg_namespace n on n.oid = c.relnamespace where {OURS} order by 1"
                ),
            )
            .await?;
        let mut out = Vec::new();
        for row in rows {
            let sql = format!(
                "select format('SELECT pg_catalog.setval(%L, %s, %L)', {}, last_value, is_called) \
                 from {}",
                crate::database::literal(row.text(0), Dialect::Postgres),
                row.text(0)
            );
            let set = self.ask("sequences", &sql).await?;
            out.extend(set.first().map(|r| r.text(0).to_owned()));
        }
        out.append(&mut self.last);
        Ok(out)
    }
}

/// A table and what to read of it.
struct RowTable {
    name: String,
    /// As SQL, without generated ones.
    columns: String,
    identity: bool,
    key: Option<String>,
}

impl RowTable {
    fn select(&self) -> String {
        let order = self
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!(" ORDER BY {key}"));
        format!("SELECT {} FROM ONLY {}{order}", self.columns, self.name)
    }
}

/// What to split so that this circle is none.
fn broken(graph: Graph, circle: &[usize]) -> Result<HashSet<String>, Error> {
    let candidates = |kinds: &[Kind]| -> Vec<String> {
        circle
            .iter()
            .filter(|&&i| kinds.contains(&graph.objects[i].kind))
            .filter_map(|i| graph.splittable.get(i))
            .filter(|oid| !graph.split.contains(*oid))
            .cloned()
            .collect()
    };
    let mut found = candidates(&[Kind::Table, Kind::Type]);
    if found.is_empty() {
        found = candidates(&[Kind::View]);
    }
    if found.is_empty() {
        let names: Vec<String> = circle
            .iter()
            .map(|&i| format!("{} {}", graph.objects[i].kind.word(), graph.objects[i].name))
            .collect();
        return Err(Error::Refused(format!(
            "these depend on each other in a circle that no order of statements builds: {}",
            names.join(", ")
        )));
    }
    let mut split = graph.split;
    split.extend(found);
    Ok(split)
}
