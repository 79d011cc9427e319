//! A file to statements and directives.
//!
//! Splitting doesn't depend on a parser: a file that no parser reads still has its statements in
//! their places. A `;` in a body (`BEGIN ATOMIC` of PostgreSQL, triggers of SQLite, routines of
//! MySQL with or without `DELIMITER`, `StatementBegin` of goose) ends nothing. Sections for the
//! way down, of this tool, dbmate and goose, are left out.

use super::Span;
use super::dialect::Dialect;
use super::token::{Kind, Token, tokens};

/// A statement before it is understood.
#[derive(Debug)]
pub(crate) struct Raw {
    /// Its tokens, without comments.
    pub(crate) tokens: Vec<Token>,
    /// From its first to its last token.
    pub(crate) span: Span,
    /// Up to and with what ends it.
    pub(crate) end: usize,
}

/// `-- windlass: word rest`.
#[derive(Debug, Clone)]
pub(crate) struct Directive {
    pub(crate) word: String,
    pub(crate) rest: String,
    pub(crate) span: Span,
    /// How many statements stand before it.
    pub(crate) before: usize,
    /// Whether it stands behind a statement on the same line.
    pub(crate) trailing: bool,
}

/// A file, split.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) statements: Vec<Raw>,
    pub(crate) directives: Vec<Directive>,
    /// Whether the file says, in the words of this or another tool, that it runs outside a
    /// transaction.
    pub(crate) no_transaction: bool,
}

impl Script {
    /// The directives of a word.
    pub(crate) fn directives<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.directives.iter().filter(move |d| d.word == word)
    }
}

/// What a comment of one of the tools says.
enum Mark<'a> {
    Up,
    Down,
    Hold,
    Release,
    NoTransaction,
    Ours(&'a str, &'a str),
}

fn mark(comment: &str) -> Option<Mark<'_>> {
    let body = comment
        .strip_prefix("--")
        .or_else(|| comment.strip_prefix('#'))?;
    let body = body.trim();
    if let Some(rest) = body.strip_prefix("windlass:") {
        let rest = rest.trim();
        let end = rest
            .find(|c: char| c.is_whitespace() || c == '=')
            .unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        let rest = rest.trim_start_matches('=').trim();
        return Some(match (word, rest) {
            ("up", "") => Mark::Up,
            ("down" | "verify", "") => Mark::Down,
            ("no-transaction", "") | ("tx", "off") => Mark::NoTransaction,
            _ => Mark::Ours(word, rest),
        });
    }
    // dbmate and goose, as their documentation has them.
    if let Some(rest) = body.strip_prefix("migrate:") {
        return match rest.split_whitespace().next()? {
            "up" if rest.contains("transaction:false") => Some(Mark::NoTransaction),
            "up" => Some(Mark::Up),
            "down" => Some(Mark::Down),
            _ => None,
        };
    }
    if let Some(rest) = body.strip_prefix("+goose") {
        return match rest.trim().to_ascii_lowercase().as_str() {
            "up" => Some(Mark::Up),
            "down" => Some(Mark::Down),
            "statementbegin" => Some(Mark::Hold),
            "statementend" => Some(Mark::Release),
            "no transaction" => Some(Mark::NoTransaction),
            _ => None,
        };
    }
    // sqlx and Atlas.
    matches!(body, "no-transaction" | "atlas:txmode none").then_some(Mark::NoTransaction)
}

/// Splits a file.
pub(crate) fn split(text: &str, dialect: Dialect) -> Script {
    let mut splitter = Splitter {
        text,
        dialect,
        current: Vec::new(),
        block: Block::Unknown,
        depth: 0,
        held: false,
        script: Script {
            statements: Vec::new(),
            directives: Vec::new(),
            no_transaction: false,
        },
    };
    let mut down = false;
    for token in tokens(text, dialect) {
        if token.kind == Kind::Comment {
            match mark(
                text.get(token.span.start..token.span.end)
                    .unwrap_or_default(),
            ) {
                Some(Mark::Up) => {
                    splitter.finish(token.span.start);
                    down = false;
                }
                Some(Mark::Down) => {
                    splitter.finish(token.span.start);
                    down = true;
                }
                Some(Mark::Hold) => splitter.held = true,
                Some(Mark::Release) => {
                    splitter.held = false;
                    if !down {
                        splitter.finish(token.span.start);
                    }
                }
                Some(Mark::NoTransaction) => {
                    splitter.script.no_transaction = true;
                    down = false;
                }
                Some(Mark::Ours(word, rest)) => splitter.directive(word, rest, token.span),
                None => {}
            }
        } else if !down {
            splitter.token(token);
        }
    }
    splitter.finish(text.len());
    splitter.script
}

/// Whether a `;` may stand inside the statement.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    /// Not known yet: its first words say.
    Unknown,
    /// No.
    Plain,
    /// `BEGIN ... END` counts.
    Routine,
    /// Only `BEGIN ATOMIC ... END` counts.
    Atomic,
    /// Parentheses count.
    Rule,
}

struct Splitter<'a> {
    text: &'a str,
    dialect: Dialect,
    current: Vec<Token>,
    block: Block,
    depth: usize,
    held: bool,
    script: Script,
}

impl Splitter<'_> {
    fn word(&self, token: Token) -> &str {
        self.text
            .get(token.span.start..token.span.end)
            .unwrap_or_default()
    }

    fn is(&self, index: usize, word: &str) -> bool {
        let token = self.current.get(index);
        token.is_some_and(|t| t.kind == Kind::Word && self.word(*t).eq_ignore_ascii_case(word))
    }

    fn directive(&mut self, word: &str, rest: &str, span: Span) {
        let before = self.script.statements.len() + usize::from(!self.current.is_empty());
        let line = self.text[..span.start].rfind('\n').map_or(0, |n| n + 1);
        let last = self.current.last().map(|t| t.span.end);
        let last = last.or_else(|| self.script.statements.last().map(|s| s.end));
        self.script.directives.push(Directive {
            word: word.to_owned(),
            rest: rest.to_owned(),
            span,
            before,
            trailing: last.is_some_and(|end| end > line),
        });
    }

    fn token(&mut self, token: Token) {
        match token.kind {
            Kind::End if !self.held && self.depth == 0 => self.finish(token.span.end),
            Kind::Client => {
                self.finish(token.span.start);
                // psql's own commands are a statement that nothing understands.
                if self.dialect == Dialect::Postgres {
                    self.current.push(token);
                    self.finish(token.span.end);
                }
            }
            _ => {
                self.current.push(token);
                self.blocks(token);
            }
        }
    }

    /// What kind of statement this is, by its first words.
    fn kind(&self) -> Block {
        if !self.is(0, "CREATE") {
            return Block::Plain;
        }
        let last = self.current.len() - 1;
        let is = |word| self.is(last, word);
        match self.dialect {
            Dialect::Sqlite if is("TRIGGER") => Block::Routine,
            Dialect::Postgres if is("RULE") => Block::Rule,
            Dialect::Postgres if is("FUNCTION") || is("PROCEDURE") => Block::Atomic,
            Dialect::Mysql
                if ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT"]
                    .into_iter()
                    .any(is) =>
            {
                Block::Routine
            }
            // `CREATE OR REPLACE DEFINER = a@b SQL SECURITY INVOKER ...`
            _ if self.current.len() > 14 => Block::Plain,
            _ if is("TABLE") || is("INDEX") || is("VIEW") => Block::Plain,
            _ => Block::Unknown,
        }
    }

    fn blocks(&mut self, token: Token) {
        if self.block == Block::Unknown {
            self.block = self.kind();
            return;
        }
        let last = self.current.len() - 1;
        match self.block {
            Block::Rule if token.kind == Kind::Punct => match self.word(token) {
                "(" => self.depth += 1,
                ")" => self.depth = self.depth.saturating_sub(1),
                _ => {}
            },
            Block::Atomic if self.is(last, "ATOMIC") && self.is(last - 1, "BEGIN") => {
                self.depth += 1;
            }
            Block::Atomic if self.depth == 0 => {}
            Block::Atomic | Block::Routine if token.kind == Kind::Word => {
                // `END IF`, `END LOOP`, ... close what was never counted.
                let closed = last > 0 && self.is(last - 1, "END");
                let opens = self.is(last, "BEGIN") && self.block == Block::Routine;
                if (opens || self.is(last, "CASE")) && !closed {
                    self.depth += 1;
                } else if self.is(last, "END") {
                    self.depth = self.depth.saturating_sub(1);
                } else if closed
                    && ["IF", "LOOP", "WHILE", "REPEAT"]
                        .iter()
                        .any(|w| self.is(last, w))
                {
                    self.depth += 1;
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self, end: usize) {
        let tokens = std::mem::take(&mut self.current);
        (self.block, self.depth) = (Block::Unknown, 0);
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return;
        };
        let span = Span {
            start: first.span.start,
            end: last.span.end,
        };
        let end = end.max(span.end);
        // Where a directive or a section ends the statement, blank space is no part of it.
        let end = span.end + self.text[span.end..end].trim_end().len();
        self.script.statements.push(Raw { tokens, span, end });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, dialect: Dialect) -> Vec<&str> {
        let script = split(text, dialect);
        let part = |raw: &Raw| &text[raw.span.start..raw.span.end];
        script.statements.iter().map(part).collect()
    }

    #[test]
    fn bodies_keep_their_semicolons() {
        let pg = "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC \
                  SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3;";
        assert_eq!(parts(pg, Dialect::Postgres).len(), 2);
        let rule =
            "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b); SELECT 1";
        assert_eq!(parts(rule, Dialect::Postgres).len(), 2);
        let sqlite = "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 \
                      THEN 2 END; DELETE FROM u; END; SELECT 1;";
        assert_eq!(parts(sqlite, Dialect::Sqlite).len(), 2);
        let mysql = "CREATE DEFINER = `a`@`b` PROCEDURE p() BEGIN IF 1 THEN SELECT 1; END IF; \
                     WHILE 1 DO SELECT 2; END WHILE; END; SELECT 3;";
        assert_eq!(parts(mysql, Dialect::Mysql).len(), 2);
        let delimiter =
            "DELIMITER //\nCREATE PROCEDURE p() BEGIN SELECT 1; END//\nDELIMITER ;\nSELECT 2;";
        assert_eq!(parts(delimiter, Dialect::Mysql).len(), 2);
    }

    #[test]
    fn the_way_down_is_left_out() {
        let dbmate = "-- migrate:up transaction:false\nSELECT 1;\n-- migrate:down\nDROP TABLE t;";
        let script = split(dbmate, Dialect::Postgres);
        assert!(script.no_transaction);
        assert_eq!(script.statements.len(), 1);
        let goose = "-- +goose Up\n-- +goose StatementBegin\nSELECT 1; SELECT 2;\n\
                     -- +goose StatementEnd\n-- +goose Down\nDROP TABLE t;";
        assert_eq!(parts(goose, Dialect::Sqlite).len(), 1);
    }

    #[test]
    fn directives_know_their_place() {
        let text = "-- windlass: phase contract\nSELECT 1; -- windlass: allow a: b\nSELECT 2;";
        let script = split(text, Dialect::Sqlite);
        let seen: Vec<(&str, usize, bool)> = script
            .directives
            .iter()
            .map(|d| (d.word.as_str(), d.before, d.trailing))
            .collect();
        assert_eq!(seen, [("phase", 0, false), ("allow", 1, true)]);
    }

    /// Statements whose ends are not easily seen.
    const POSTGRES: &[&str] = &[
        "select 1",
        "",
        "create table t (a int, b text default ';')",
        "create function f() returns int language sql begin atomic select case when true then 1 end; \
         select 2; end",
        "create or replace procedure p() begin atomic insert into t values (1); end",
        "create function g() returns int language sql return 1",
        "create rule r as on insert to t do also (delete from a; delete from b)",
        "create or replace rule r as on update to t do instead nothing",
        "do $$ begin perform 1; end $$",
        "select $a$ ; $$ ; $a$, $1, a$b$c from t",
        "select 'it''s; so', e'it\\'s; so', U&'x;', \"a;\"\"b\"",
        "/* ; /* ; */ ; */ select 2 /* ; */",
        "-- ; it's\nselect 3 -- ;",
        "create or replace function h() returns trigger language plpgsql as $f$begin return new; end;$f$",
        "create view v as select case when true then 1 end as begin_atomic",
        "select a::text, b from t where c = array[1, 2] and d ->> 'e;' = 'f'",
    ];
    const SQLITE: &[&str] = &[
        "select 1",
        "",
        "create table t (a int default (1), b text default ';', \"c;\" int, [d;] int, `e;` int)",
        "create trigger x after insert on t begin update t set a = case when 1 then 2 end; \
         delete from u; end",
        "create temp trigger if not exists y before update of a on t when new.a > 1 begin \
         select raise(abort, 'no; end'); end",
        "select 'it''s; so', x'00', \"a;b\" /* ; */",
        "-- ; it's\nselect 3 -- ;",
        "/* ; */ create view v as select case when 1 then 2 end",
        "pragma foreign_keys = off",
    ];
    const MYSQL: &[&str] = &[
        "select 1",
        "",
        "create table t (a int default 1 comment 'it\\'s;', `b;` int)",
        "create definer = `a`@`b` procedure p() begin if 1 then select 1; end if; while 1 do select 2; \
         end while; end",
        "create trigger x before insert on t for each row begin set new.a = if(new.b, 1, 2); \
         case new.a when 1 then set new.b = 2; end case; end",
        "create trigger z before insert on t for each row set new.a = 1",
        "create or replace function f() returns int deterministic return repeat('a;', 2)",
        "create procedure q() l: loop select case when 1 then 2 end; leave l; end loop",
        "create event e on schedule every 1 day do begin delete from t; repeat select 1; until 1 end repeat; end",
        "# ; it's\nselect \"a;\\\"b\", 'c''d;' -- ;",
        "/* ; */ select 2 /* ; */",
        "\ndelimiter //\ncreate procedure d() begin select 1; end//\ndelimiter ;\nselect 2",
        "begin not atomic select 1; select 2; end",
    ];

    fn cut_alike(text: &str, dialect: Dialect) {
        let runner = match dialect {
            Dialect::Postgres => crate::sql::Dialect::Postgres,
            Dialect::Sqlite => crate::sql::Dialect::Sqlite,
            Dialect::Mysql => crate::sql::Dialect::Mysql,
        };
        let run = crate::sql::split(text, runner, 1).unwrap();
        let run: Vec<&str> = run
            .iter()
            .map(|statement| statement.text.as_str())
            .collect();
        assert_eq!(parts(text, dialect), run, "{dialect:?}: {text}");
    }

    proptest::proptest! {
        /// What the linter judges is what the runner sends. (But what MySQL runs in a comment: the
        /// linter looks into it, and the runner sends it as it is.)
        #[test]
        fn the_linter_and_the_runner_cut_alike(
            which in proptest::collection::vec((0_usize..100, 0_usize..3), 1..8)
        ) {
            for (dialect, all) in [
                (Dialect::Postgres, POSTGRES),
                (Dialect::Sqlite, SQLITE),
                (Dialect::Mysql, MYSQL),
            ] {
                let mut text = String::new();
                for (statement, end) in &which {
                    text.push_str(all[statement % all.len()]);
                    // What ends in a comment needs its line end.
                    text.push_str(["\n;\n", "\n; ", "\n;;\n\n-- Next; it's.\n"][*end]);
                }
                cut_alike(&text, dialect);
                cut_alike(text.trim_end().trim_end_matches(';'), dialect);
            }
        }
    }
}
