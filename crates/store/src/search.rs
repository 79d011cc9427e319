//! The index of words over all logs: a database file of its own beside the other. It holds nothing that can't
//! be made anew from the logs: whoever removes the file loses an hour of a processor's time and nothing else.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::sync::Mutex;

use crate::StoreError;

/// File name of the index in the data folder.
pub const SEARCH_FILE: &str = "search.db";

/// Changes whenever what is written changes: then the file is made anew.
const FORMAT: i64 = 1;

/// An attempt has at most 2^20 blocks; the number of a block begins with that of its attempt.
const ATTEMPT_SHIFT: u32 = 20;

/// Blocks have no order of their own in the table of words: their number is that. Words come to it as they shall
/// be found, so its tokenizer only splits at spaces.
const SCHEMA: &str = "
create table attempts (id integer primary key) strict;
create table blocks (
    id integer primary key,
    step integer not null,
    first_row integer not null,
    rows integer not null
) strict;
create virtual table words using fts5 (
    text, content = '', contentless_delete = 1, detail = none, tokenize = \"ascii tokenchars '_'\"
);
";

/// The index; clones share everything.
#[derive(Debug, Clone)]
pub struct SearchIndex {
    pool: SqlitePool,
    writer: std::sync::Arc<Mutex<()>>,
    path: PathBuf,
}

/// Rows of a step that lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Its number: newer attempts have greater ones.
    pub id: i64,
    /// The attempt's row.
    pub attempt: i64,
    /// The step's index.
    pub step: i64,
    /// The first row, from 0.
    pub first_row: i64,
    /// How many rows.
    pub rows: i64,
}

/// A block to be written.
#[derive(Debug, Clone)]
pub struct NewBlock {
    /// The step's index.
    pub step: i64,
    /// The first row, from 0.
    pub first_row: i64,
    /// How many rows.
    pub rows: i64,
    /// Its words, in lower case, with spaces between.
    pub words: String,
}

/// The word by which blocks of one repository are found. No word of a log has this letter.
fn repo_word(repo: i64) -> String {
    format!("\u{1f50d}{repo}")
}

impl SearchIndex {
    /// Opens the index, or makes an empty one: also in the place of one that is damaged or of another format.
    ///
    /// # Errors
    /// When the folder can't be written.
    pub async fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(SEARCH_FILE);
        if let Ok(index) = Self::try_open(&path).await {
            return Ok(index);
        }
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            match std::fs::remove_file(&name) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::File {
                        doing: "remove the old index",
                        path: name.into(),
                        source,
                    });
                }
                _ => {}
            }
        }
        Self::try_open(&path)
            .await
            .map_err(StoreError::db("make the index of words"))
    }

    async fn try_open(path: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // After a power cut the end may be missing: then the attempt is not listed, and written again.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(std::time::Duration::from_secs(20))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await?;
        let format: i64 = sqlx::query_scalar("pragma user_version")
            .fetch_one(&pool)
            .await?;
        if format == 0 {
            let mut tx = pool.begin().await?;
            sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
            let version = format!("pragma user_version = {FORMAT}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(version))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
        } else if format != FORMAT {
            pool.close().await;
            return Err(sqlx::Error::Configuration("another format".into()));
        }
        let sound: String = sqlx::query_scalar("pragma quick_check(1)")
            .fetch_one(&pool)
            .await?;
        if sound != "ok" {
            pool.close().await;
            return Err(sqlx::Error::Configuration(sound.into()));
        }
        Ok(Self {
            pool,
            writer: std::sync::Arc::default(),
            path: path.to_owned(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The attempts that are in it.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn attempts(&self) -> Result<Vec<i64>, StoreError> {
        sqlx::query_scalar("select id from attempts order by id")
            .fetch_all(&self.pool)
            .await
            .map_err(StoreError::db("read the index of words"))
    }

    /// Begins to write an attempt, in the place of what was there of it. Others read on, and wait to write.
    ///
    /// # Errors
    /// When the file can't be written.
    pub async fn begin(&self, attempt: i64, repo: i64) -> Result<Writing, StoreError> {
        let failed = StoreError::db("write the index of words");
        let turn = std::sync::Arc::clone(&self.writer).lock_owned().await;
        let begun = async {
            let mut tx = self.pool.begin_with("begin immediate").await?;
            remove(&mut tx, attempt).await?;
            Ok(tx)
        };
        Ok(Writing {
            tx: begun.await.map_err(failed)?,
            attempt,
            next: 0,
            repo: repo_word(repo),
            _turn: turn,
        })
    }

    /// Writes an attempt with all its blocks.
    ///
    /// # Errors
    /// When the file can't be written; then nothing changed.
    pub async fn put(
        &self,
        attempt: i64,
        repo: i64,
        blocks: &[NewBlock],
    ) -> Result<(), StoreError> {
        let mut writing = self.begin(attempt, repo).await?;
        for block in blocks {
            writing.add(block).await?;
        }
        writing.finish().await
    }

    /// Takes an attempt out. It counts as written, so that it is not written again.
    ///
    /// # Errors
    /// When the file can't be written.
    pub async fn remove(&self, attempt: i64) -> Result<(), StoreError> {
        self.put(attempt, 0, &[]).await
    }

    /// Blocks that have all these words (`true`: the word may go on), the newest attempts first, from below
    /// block `before`.
    ///
    /// # Errors
    /// When the file can't be read.
    pub async fn find(
        &self,
        words: impl Iterator<Item = (&str, bool)>,
        repo: Option<i64>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<IndexedBlock>, StoreError> {
        // Quoted, a word can't be an operator of the question's language.
        let quoted = |word: &str| format!("\"{}\"", word.replace('"', "\"\""));
        let mut wanted: Vec<String> = words
            .map(|(word, open)| format!("{}{}", quoted(word), if open { " *" } else { "" }))
            .collect();
        wanted.extend(repo.map(|repo| quoted(&repo_word(repo))));
        let rows = sqlx::query(
            "select b.id, b.step, b.first_row, b.rows from
             (select rowid from words where words match ? and rowid < ? order by rowid desc limit ?) w
             join blocks b on b.id = w.rowid order by b.id desc",
        )
        .bind(wanted.join(" AND "))
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::db("ask the index of words"))?;
        let block = |row: &sqlx::sqlite::SqliteRow| {
            let id: i64 = row.get("id");
            IndexedBlock {
                id,
                attempt: id >> ATTEMPT_SHIFT,
                step: row.get("step"),
                first_row: row.get("first_row"),
                rows: row.get("rows"),
            }
        };
        Ok(rows.iter().map(block).collect())
    }

    /// Writes what is left into the file and closes it.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// An attempt that is being written. Dropped, nothing of it was written.
#[derive(Debug)]
pub struct Writing {
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    attempt: i64,
    next: i64,
    repo: String,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Writing {
    /// Adds a block. Those beyond the most that an attempt can have (2^20) are left out.
    ///
    /// # Errors
    /// When the file can't be written.
    pub async fn add(&mut self, block: &NewBlock) -> Result<(), StoreError> {
        let failed = StoreError::db("write the index of words");
        if self.next >> ATTEMPT_SHIFT != 0 {
            return Ok(());
        }
        let id = self.attempt << ATTEMPT_SHIFT | self.next;
        self.next += 1;
        let adding = async {
            sqlx::query("insert into blocks (id, step, first_row, rows) values (?, ?, ?, ?)")
                .bind(id)
                .bind(block.step)
                .bind(block.first_row)
                .bind(block.rows)
                .execute(&mut *self.tx)
                .await?;
            sqlx::query("insert into words (rowid, text) values (?, ?)")
                .bind(id)
                .bind(format!("{} {}", self.repo, block.words))
                .execute(&mut *self.tx)
                .await
        };
        adding.await.map(drop).map_err(failed)
    }

    /// All of it is there, and found from now on.
    ///
    /// # Errors
    /// When the file can't be written.
    pub async fn finish(mut self) -> Result<(), StoreError> {
        let finishing = async {
            sqlx::query("insert into attempts (id) values (?)")
                .bind(self.attempt)
                .execute(&mut *self.tx)
                .await?;
            self.tx.commit().await
        };
        finishing
            .await
            .map_err(StoreError::db("write the index of words"))
    }
}

async fn remove(
    tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
    attempt: i64,
) -> Result<(), sqlx::Error> {
    let (first, end) = (attempt << ATTEMPT_SHIFT, (attempt + 1) << ATTEMPT_SHIFT);
    for delete in [
        "delete from words where rowid in (select id from blocks where id >= ? and id < ?)",
        "delete from blocks where id >= ? and id < ?",
    ] {
        sqlx::query(delete)
            .bind(first)
            .bind(end)
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query("delete from attempts where id = ?")
        .bind(attempt)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(step: i64, first_row: i64, words: &str) -> NewBlock {
        NewBlock {
            step,
            first_row,
            rows: 256,
            words: words.to_owned(),
        }
    }

    async fn found(
        index: &SearchIndex,
        words: &[(&str, bool)],
        repo: Option<i64>,
    ) -> Vec<(i64, i64)> {
        let blocks = index
            .find(words.iter().copied(), repo, None, 10)
            .await
            .unwrap();
        blocks.iter().map(|b| (b.attempt, b.first_row)).collect()
    }

    #[tokio::test]
    async fn words_lead_to_blocks_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let index = SearchIndex::open(dir.path()).await.unwrap();
        let first = [
            block(0, 0, "error e0308 größe"),
            block(0, 256, "and or not near"),
        ];
        index.put(7, 1, &first).await.unwrap();
        index
            .put(9, 2, &[block(1, 0, "error mismatched_types 日本")])
            .await
            .unwrap();
        assert_eq!(
            found(&index, &[("error", false)], None).await,
            [(9, 0), (7, 0)]
        );
        assert_eq!(found(&index, &[("error", false)], Some(1)).await, [(7, 0)]);
        assert_eq!(
            found(&index, &[("error", false), ("e0308", false)], None).await,
            [(7, 0)]
        );
        assert_eq!(found(&index, &[("mism", true)], None).await, [(9, 0)]);
        assert_eq!(found(&index, &[("mism", false)], None).await, []);
        assert_eq!(found(&index, &[("größe", false)], None).await, [(7, 0)]);
        assert_eq!(found(&index, &[("日本", false)], None).await, [(9, 0)]);
        assert_eq!(
            found(&index, &[("not", false), ("near", false)], None).await,
            [(7, 256)]
        );
        // Written again it is there once, and taken out it is not.
        index.put(7, 1, &first).await.unwrap();
        assert_eq!(found(&index, &[("e0308", false)], None).await, [(7, 0)]);
        index.remove(7).await.unwrap();
        assert_eq!(found(&index, &[("error", false)], None).await, [(9, 0)]);
        assert_eq!(index.attempts().await.unwrap(), [7, 9]);
        let rest = index
            .find([("error", false)].into_iter(), None, Some(9 << 20), 10)
            .await;
        assert_eq!(rest.unwrap(), []);
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SEARCH_FILE);
        std::fs::write(&path, "this is no database, and never was one").unwrap();
        let index = SearchIndex::open(dir.path()).await.unwrap();
        index.put(1, 1, &[block(0, 0, "word")]).await.unwrap();
        index.close().await;
        let index = SearchIndex::open(dir.path()).await.unwrap();
        assert_eq!(index.attempts().await.unwrap(), [1]);
        sqlx::raw_sql("pragma user_version = 99")
            .execute(&index.pool)
            .await
            .unwrap();
        index.close().await;
        let index = SearchIndex::open(dir.path()).await.unwrap();
        assert_eq!(index.attempts().await.unwrap(), [0_i64; 0]);
    }
}
