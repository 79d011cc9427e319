//! Text cut into statements, as the database's own client cuts it: psql's rules for PostgreSQL
//! (dollar quotes, nested comments, `BEGIN ATOMIC`), `sqlite3_complete`'s for SQLite (triggers), the
//! `mysql` client's for MySQL and MariaDB (`DELIMITER`), where a compound statement also needs no
//! `DELIMITER`.

use super::Dialect;
use super::lexer::{Piece, Token, TokenKind, next};

/// How many tokens of one statement are kept for looking at: a long `INSERT` needs no more.
const TOKENS_KEPT: usize = 4096;

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// From its first token to its last, without the `;`.
    pub text: String,
    /// The line of its first token, from 1.
    pub line: usize,
    /// Its first tokens, 4,096 at most.
    pub tokens: Vec<Token>,
}

/// Text that can't be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SplitError {
    /// From 1.
    pub line: usize,
    /// In words.
    pub problem: String,
}

/// Where we are inside a statement that may hold semicolons of its own.
#[derive(Debug, Default)]
struct Nesting {
    parens: usize,
    /// Open `BEGIN`, `CASE`, `IF`, ... of a body.
    blocks: usize,
    /// What the statement's first words say that it is.
    body: Body,
    /// SQLite: the last tokens were `; END`, or `;`.
    tail: Tail,
    /// MySQL: the word after `END` belongs to it.
    after_end: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// Too few words seen, or nothing with a body.
    #[default]
    None,
    /// PostgreSQL's function or procedure.
    Routine,
    /// SQLite's trigger.
    Trigger,
    /// MySQL's trigger, routine, event; MariaDB's `BEGIN NOT ATOMIC`.
    Compound,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Tail {
    #[default]
    None,
    Semicolon,
    End,
}

/// Cuts `text`; `first_line` is the number of its first line, for messages.
///
/// # Errors
/// A quote or comment that never ends, and what only a client such as psql understands.
pub fn split(
    text: &str,
    dialect: Dialect,
    first_line: usize,
) -> Result<Vec<Statement>, SplitError> {
    let mut out = Vec::new();
    let mut delimiter = ";".to_owned();
    let mut at = 0;
    let mut lines = Lines {
        text,
        at: 0,
        line: first_line,
    };
    let mut current = Current::default();
    loop {
        if current.tokens == 0 {
            if dialect == Dialect::Mysql
                && let Some((word, end)) = delimiter_command(text, at)
            {
                delimiter = word.to_owned();
                at = end;
                continue;
            }
            if dialect == Dialect::Postgres && text[at..].starts_with('\\') {
                return Err(SplitError {
                    line: lines.of(at),
                    problem: "a backslash command is psql's, not the server's: remove it, or run \
                              this file with `windlass migrate run -- psql -f FILE`"
                        .to_owned(),
                });
            }
        }
        // The delimiter ends a statement wherever no body is open; a custom one always does.
        if text[at..].starts_with(&delimiter) && (delimiter != ";" || current.nesting.ends_here()) {
            current.finish(text, &mut lines, &mut out);
            at += delimiter.len();
            continue;
        }
        let piece = next(text, at, dialect).map_err(|e| SplitError {
            line: lines.of(at),
            problem: format!("{} that begins here never ends", e.0),
        })?;
        let Some((piece, end)) = piece else {
            break;
        };
        if let Piece::Token(kind) = piece {
            current.push(kind, text, at, end, dialect);
        }
        at = end;
    }
    current.finish(text, &mut lines, &mut out);
    Ok(out)
}

#[derive(Debug, Default)]
struct Current {
    start: usize,
    end: usize,
    tokens: usize,
    kept: Vec<Token>,
    nesting: Nesting,
}

impl Current {
    fn push(&mut self, kind: TokenKind, text: &str, start: usize, end: usize, dialect: Dialect) {
        if self.tokens == 0 {
            self.start = start;
        }
        self.end = end;
        self.tokens += 1;
        let token = Token {
            kind,
            text: text[start..end].to_owned(),
        };
        let before = self.kept.last();
        self.nesting.see(&token, before, &self.kept, dialect);
        if self.kept.len() == TOKENS_KEPT {
            // Only the last one is looked at from here on.
            self.kept.pop();
        }
        self.kept.push(token);
    }

    fn finish(&mut self, text: &str, lines: &mut Lines<'_>, out: &mut Vec<Statement>) {
        let done = std::mem::take(self);
        if done.tokens > 0 {
            out.push(Statement {
                text: text[done.start..done.end].to_owned(),
                line: lines.of(done.start),
                tokens: done.kept,
            });
        }
    }
}

impl Nesting {
    fn ends_here(&self) -> bool {
        match self.body {
            Body::Trigger => self.tail == Tail::End,
            _ => self.parens == 0 && self.blocks == 0,
        }
    }

    fn see(&mut self, token: &Token, before: Option<&Token>, head: &[Token], dialect: Dialect) {
        match token.text.as_str() {
            "(" => self.parens += 1,
            ")" => self.parens = self.parens.saturating_sub(1),
            _ => {}
        }
        if self.body == Body::None && head.len() <= 12 {
            self.body = body(token, head, dialect);
        }
        match self.body {
            Body::None => {}
            Body::Trigger => {
                self.tail = if token.is_sign(";") {
                    Tail::Semicolon
                } else if self.tail == Tail::Semicolon && token.is("END") {
                    Tail::End
                } else {
                    Tail::None
                };
            }
            Body::Routine => {
                let atomic = token.is("ATOMIC") && before.is_some_and(|t| t.is("BEGIN"));
                if atomic || (self.blocks > 0 && token.is("CASE")) {
                    self.blocks += 1;
                } else if token.is("END") {
                    self.blocks = self.blocks.saturating_sub(1);
                }
            }
            Body::Compound => self.see_compound(token, before),
        }
    }

    fn see_compound(&mut self, token: &Token, before: Option<&Token>) {
        if std::mem::take(&mut self.after_end)
            && ["IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR"]
                .iter()
                .any(|word| token.is(word))
        {
            return;
        }
        if token.is("END") {
            self.blocks = self.blocks.saturating_sub(1);
            self.after_end = true;
            return;
        }
        if token.is("CASE") {
            self.blocks += 1;
            return;
        }
        // `IF(...)` and `REPEAT(...)` are functions too: only where a statement may begin do
        // these words open a block.
        let begins = before.is_none_or(|t| {
            t.is_sign(";")
                || t.is_sign(":")
                || ["BEGIN", "THEN", "ELSE", "DO", "LOOP", "REPEAT"]
                    .iter()
                    .any(|word| t.is(word))
        });
        let opens = token.is("BEGIN")
            || (begins && self.blocks > 0)
                && ["IF", "LOOP", "WHILE", "REPEAT", "FOR"]
                    .iter()
                    .any(|word| token.is(word));
        if opens {
            self.blocks += 1;
        }
    }
}

/// What the statement is, once its first words (`head`, then `token`) say so.
fn body(token: &Token, head: &[Token], dialect: Dialect) -> Body {
    let created = head.first().is_some_and(|t| t.is("CREATE"));
    match dialect {
        Dialect::Postgres
            if created
                && (token.is("FUNCTION") || token.is("PROCEDURE"))
                && head[1..].iter().all(|t| t.is("OR") || t.is("REPLACE")) =>
        {
            Body::Routine
        }
        Dialect::Sqlite
            if created
                && token.is("TRIGGER")
                && head[1..].iter().all(|t| t.is("TEMP") || t.is("TEMPORARY")) =>
        {
            Body::Trigger
        }
        Dialect::Mysql
            if created
                && ["TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "PACKAGE"]
                    .iter()
                    .any(|word| token.is(word))
                // Between them stand OR REPLACE, DEFINER = user@host, AGGREGATE: no keyword of
                // another object.
                && !head[1..]
                    .iter()
                    .any(|t| ["TABLE", "VIEW", "INDEX", "DATABASE"].iter().any(|w| t.is(w))) =>
        {
            Body::Compound
        }
        Dialect::Mysql if token.is("NOT") && head.len() == 1 && head[0].is("BEGIN") => {
            Body::Compound
        }
        _ => Body::None,
    }
}

/// The `mysql` client's own `DELIMITER //`, at the beginning of a line: the word, and where the line
/// ends.
fn delimiter_command(text: &str, at: usize) -> Option<(&str, usize)> {
    let at_line_start = text[..at]
        .rsplit('\n')
        .next()
        .is_none_or(|line| line.trim().is_empty());
    let line = text[at..].lines().next()?;
    let word = line.split_whitespace().next()?;
    if !at_line_start || !line.starts_with(word) || !word.eq_ignore_ascii_case("delimiter") {
        return None;
    }
    let delimiter = line[word.len()..].split_whitespace().next()?;
    Some((delimiter, at + line.len()))
}

/// Line numbers for offsets that only grow.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn of(&mut self, offset: usize) -> usize {
        if offset > self.at {
            let between = &self.text.as_bytes()[self.at..offset];
            self.line += between.iter().filter(|b| **b == b'\n').count();
            self.at = offset;
        }
        self.line
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, dialect: Dialect) -> Vec<String> {
        let statements = split(text, dialect, 1).unwrap();
        statements.into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn quotes_comments_and_parentheses_keep_their_semicolons() {
        let text = "-- a; comment\nselect ';', \"a;b\" /* c; */ ; ; select (1;2);\n/* end */";
        assert_eq!(
            cut(text, Dialect::Postgres),
            ["select ';', \"a;b\"", "select (1;2)"]
        );
        let statements = split(text, Dialect::Postgres, 10).unwrap();
        assert_eq!(statements[0].line, 11);
        assert_eq!(cut("select 'it''s;'; x", Dialect::Sqlite).len(), 2);
    }

    #[test]
    fn postgres_dollar_quotes_escapes_and_nested_comments() {
        let text = "create function f() returns int language plpgsql as $b$ begin; $x$;$x$ end $b$;
            do $$ begin; end $$; select E'\\';', 'a\\'; select a$b$ from t$1; /* a /* ; */ ; */ select $1;";
        let found = cut(text, Dialect::Postgres);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].ends_with("end $b$"));
        assert_eq!(found[2], "select E'\\';', 'a\\'");
        assert_eq!(found[3], "select a$b$ from t$1");
        assert_eq!(found[4], "select $1");
    }

    #[test]
    fn postgres_begin_atomic_ends_with_its_own_end() {
        let text = "create or replace function f(a int) returns int begin atomic
              select case when a > 0 then 1 else 2 end; select 3; end;
            create table begin_atomic (atomic int); create procedure p() language sql as 'select 1; select 2';
            begin; commit;";
        let found = cut(text, Dialect::Postgres);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].ends_with("select 3; end"));
    }

    #[test]
    fn sqlite_triggers_end_with_end_after_a_semicolon() {
        let text = "create temp trigger if not exists t after insert on a begin
              update a set x = case when 1 then 2 end; delete from [b;c]; end;
            create table trigger_log (`a;b` int); select 1 /* open";
        let found = cut(text, Dialect::Sqlite);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].ends_with("end"));
        assert_eq!(found[2], "select 1");
    }

    #[test]
    fn mysql_delimiter_and_bodies_without_it() {
        let text = "DELIMITER //\ncreate trigger a before insert on t for each row begin set @a=1; end//\n\
            delimiter ;\nselect 1 # a; b\n; select 2--3; -- c; d\nselect '\\';', \"a;b\";";
        let found = cut(text, Dialect::Mysql);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].ends_with("end"));
        assert_eq!(found[2], "select 2--3");
        let text = "create definer=`a`@`b` procedure p(x int) begin
              declare i int default 0; if x > 0 then set i = if(x > 1, 2, 3); elseif x then set i=repeat('a',2); end if;
              l: while i < 3 do set i = i + 1; end while l; case i when 1 then select 1; else select 2; end case;
              set i = case when 1 then 2 end; repeat set i = i - 1; until i < 0 end repeat; end;
            /*!50003 create table x (a int) */; select 1";
        let found = cut(text, Dialect::Mysql);
        assert_eq!(found.len(), 3, "{found:#?}");
        assert!(found[0].ends_with("end repeat; end"));
        assert!(found[1].starts_with("/*!50003"));
    }

    #[test]
    fn what_never_ends_is_told_with_its_line() {
        let error = split("select 1;\n select 'abc", Dialect::Postgres, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2: a string that begins here never ends"
        );
        assert!(split("do $$ x", Dialect::Postgres, 1).is_err());
        assert!(split("/* /* */", Dialect::Postgres, 1).is_err());
        assert!(split("select 1;\n\\connect x", Dialect::Postgres, 1).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it_and_nothing_but_blanks_is_lost(text in "[a-z '\"$;/*\\\\\n()#-]{0,60}") {
            for dialect in [Dialect::Postgres, Dialect::Sqlite, Dialect::Mysql] {
                if let Ok(statements) = split(&text, dialect, 1) {
                    let mut at = 0;
                    for statement in statements {
                        let found = text[at..].find(&statement.text);
                        prop_assert!(found.is_some());
                        at += found.unwrap_or(0) + statement.text.len();
                    }
                }
            }
        }

        #[test]
        fn statements_joined_are_cut_at_the_same_places(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "select ';'", "do $$ ; $$", "create table a (b int)", "select \"a;b\"",
                    "create function f() returns int begin atomic select 1; end",
                ]),
                0..8,
            )
        ) {
            let text = parts.join(";\n");
            prop_assert_eq!(cut(&text, Dialect::Postgres), parts);
        }
    }
}
