//! Repositories: what may be built, where it comes from, who may ask.

use std::str::FromStr;

use windlass_model::{RepoName, Secret};

use crate::db::now_ms;
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// Which protocol its deliveries and statuses speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgeKind {
    /// A git repository with a post-receive hook of ours; hears no statuses.
    Git,
    /// GitHub or GitHub Enterprise Server.
    Github,
}

impl ForgeKind {
    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Github => "github",
        }
    }
}

impl FromStr for ForgeKind {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "git" => Ok(Self::Git),
            "github" => Ok(Self::Github),
            _ => Err(format!("unknown forge {s:?}: use git or github")),
        }
    }
}

/// A repository.
#[derive(Debug, Clone)]
pub struct Repo {
    /// Row number.
    pub id: i64,
    /// Its name here.
    pub name: RepoName,
    /// What git fetches from. Holds no password.
    pub url: String,
    /// Which forge.
    pub forge: ForgeKind,
    /// `owner/name` on the forge.
    pub forge_name: Option<String>,
    /// Whether pull requests from forks are built.
    pub build_forks: bool,
    /// Whether a webhook secret is set.
    pub has_webhook_secret: bool,
    /// Whether a token for statuses is set.
    pub has_status_token: bool,
    /// The number of its newest build; 0 if there is none.
    pub last_build: i64,
    /// When it was added.
    pub created_ms: i64,
}

/// What `windlass repo add` knows.
#[derive(Debug, Clone)]
pub struct NewRepo {
    /// Its name here.
    pub name: RepoName,
    /// What git fetches from.
    pub url: String,
    /// Which forge.
    pub forge: ForgeKind,
    /// `owner/name` on the forge.
    pub forge_name: Option<String>,
    /// The webhook's secret.
    pub webhook_secret: Option<Secret>,
    /// The token for statuses (and for fetching over https).
    pub status_token: Option<Secret>,
    /// Whether pull requests from forks are built.
    pub build_forks: bool,
}

/// What `windlass repo set` changes; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct RepoChange {
    /// What git fetches from.
    pub url: Option<String>,
    /// The webhook's secret.
    pub webhook_secret: Option<Secret>,
    /// The token for statuses.
    pub status_token: Option<Secret>,
    /// Whether pull requests from forks are built.
    pub build_forks: Option<bool>,
}

const COLUMNS: &str = "select id, name, url, forge, forge_name, build_forks,
    webhook_secret is not null as has_secret, status_token is not null as has_token,
    last_build, created_ms from repos";

fn repo(row: &Row) -> Result<Repo, StoreError> {
    let name: String = row.get("name");
    let forge: String = row.get("forge");
    Ok(Repo {
        id: row.get("id"),
        name: name
            .parse()
            .map_err(|e| StoreError::corrupt("a repository's name", e))?,
        url: row.get("url"),
        forge: forge
            .parse()
            .map_err(|e: String| StoreError::corrupt("a repository's forge", e))?,
        forge_name: row.get("forge_name"),
        build_forks: row.get("build_forks"),
        has_webhook_secret: row.get("has_secret"),
        has_status_token: row.get("has_token"),
        last_build: row.get("last_build"),
        created_ms: row.get("created_ms"),
    })
}

fn secret_place(id: i64) -> String {
    format!("repos/{id}/webhook_secret")
}

fn token_place(id: i64) -> String {
    format!("repos/{id}/status_token")
}

impl Store {
    /// Adds a repository. One that was removed comes back under its old name with its builds.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if the name is taken.
    pub async fn add_repo(&self, new: &NewRepo) -> Result<Repo, StoreError> {
        let mut tx = self.write().await?;
        let taken = query("select id, removed_ms from repos where name = ?")
            .bind(new.name.as_str())
            .fetch_optional(tx.conn())
            .await
            .map_err(StoreError::db("look for the name"))?;
        let id: i64 = match taken {
            Some(row) if row.get::<Option<i64>, _>("removed_ms").is_none() => {
                return Err(StoreError::Conflict(format!(
                    "there is already a repository named {}",
                    new.name
                )));
            }
            Some(row) => {
                let id: i64 = row.get("id");
                query(
                    "update repos set url = ?, forge = ?, forge_name = ?, build_forks = ?,
                     webhook_secret = null, status_token = null, removed_ms = null where id = ?",
                )
                .bind(&new.url)
                .bind(new.forge.as_str())
                .bind(&new.forge_name)
                .bind(new.build_forks)
                .bind(id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("bring the repository back"))?;
                id
            }
            None => query_scalar(
                "insert into repos (name, url, forge, forge_name, build_forks, created_ms)
                 values (?, ?, ?, ?, ?, ?) returning id",
            )
            .bind(new.name.as_str())
            .bind(&new.url)
            .bind(new.forge.as_str())
            .bind(&new.forge_name)
            .bind(new.build_forks)
            .bind(now_ms())
            .fetch_one(tx.conn())
            .await
            .map_err(StoreError::db("add the repository"))?,
        };
        self.put_secrets(
            &mut tx,
            id,
            new.webhook_secret.as_ref(),
            new.status_token.as_ref(),
        )
        .await?;
        tx.commit("add_repo").await?;
        self.repo_by_name(&new.name).await
    }

    async fn put_secrets(
        &self,
        tx: &mut crate::db::WriteTx,
        id: i64,
        webhook_secret: Option<&Secret>,
        status_token: Option<&Secret>,
    ) -> Result<(), StoreError> {
        if let Some(secret) = webhook_secret {
            let sealed = self.sealer().seal(&secret_place(id), secret)?;
            query("update repos set webhook_secret = ? where id = ?")
                .bind(sealed)
                .bind(id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("keep the webhook secret"))?;
        }
        if let Some(token) = status_token {
            let sealed = self.sealer().seal(&token_place(id), token)?;
            query("update repos set status_token = ? where id = ?")
                .bind(sealed)
                .bind(id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("keep the status token"))?;
        }
        Ok(())
    }

    /// Changes a repository.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn change_repo(&self, id: i64, change: &RepoChange) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update repos set url = coalesce(?, url), build_forks = coalesce(?, build_forks)
             where id = ? and removed_ms is null",
        )
        .bind(&change.url)
        .bind(change.build_forks)
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("change the repository"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("repository {id}")));
        }
        self.put_secrets(
            &mut tx,
            id,
            change.webhook_secret.as_ref(),
            change.status_token.as_ref(),
        )
        .await?;
        // What could not be sent with the old token may go with the new one.
        if change.status_token.is_some() {
            query("update outbox set next_ms = 0 where repo_id = ? and state = 'waiting'")
                .bind(id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("wake the statuses"))?;
        }
        tx.commit("change_repo").await
    }

    /// Removes a repository: no delivery and no person starts a build of it any more. Its builds
    /// and their logs stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_repo(&self, id: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update repos set removed_ms = ?, webhook_secret = null, status_token = null
             where id = ?",
        )
        .bind(now_ms())
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("remove the repository"))?;
        tx.commit("remove_repo").await
    }

    /// All repositories that are not removed, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn repos(&self) -> Result<Vec<Repo>, StoreError> {
        query(format!("{COLUMNS} where removed_ms is null order by name"))
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the repositories"))?
            .iter()
            .map(repo)
            .collect()
    }

    /// The repository of this name; removed ones are found too, since their builds have pages.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn repo_by_name(&self, name: &RepoName) -> Result<Repo, StoreError> {
        query(format!("{COLUMNS} where name = ?"))
            .bind(name.as_str())
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the repository"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("repository named {name}"))),
                |row| repo(&row),
            )
    }

    /// The repository of this row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn repo(&self, id: i64) -> Result<Repo, StoreError> {
        query(format!("{COLUMNS} where id = ?"))
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the repository"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("repository {id}"))),
                |row| repo(&row),
            )
    }

    /// Every webhook secret of a forge, with the repositories that use it: a delivery is checked
    /// against these before it is parsed, so before it is known which repository it is about.
    ///
    /// # Errors
    /// When a secret can't be opened.
    pub async fn webhook_secrets(
        &self,
        forge: ForgeKind,
    ) -> Result<Vec<(Secret, Vec<i64>)>, StoreError> {
        let rows = query(
            "select id, webhook_secret from repos
             where forge = ? and webhook_secret is not null and removed_ms is null order by id",
        )
        .bind(forge.as_str())
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("read the webhook secrets"))?;
        let mut secrets: Vec<(Secret, Vec<i64>)> = Vec::new();
        for row in rows {
            let id: i64 = row.get(0);
            let sealed: Vec<u8> = row.get(1);
            let secret = self.sealer().open_value(&secret_place(id), &sealed)?;
            match secrets.iter_mut().find(|(known, _)| *known == secret) {
                Some((_, repos)) => repos.push(id),
                None => secrets.push((secret, vec![id])),
            }
        }
        Ok(secrets)
    }

    /// The webhook secret of one repository, if one is set.
    ///
    /// # Errors
    /// When it can't be opened.
    pub async fn webhook_secret(&self, repo_id: i64) -> Result<Option<Secret>, StoreError> {
        let sealed: Option<Vec<u8>> = query_scalar("select webhook_secret from repos where id = ?")
            .bind(repo_id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("read the webhook secret"))?
            .flatten();
        sealed
            .map(|s| self.sealer().open_value(&secret_place(repo_id), &s))
            .transpose()
    }

    /// The token for statuses and for fetching, if one is set.
    ///
    /// # Errors
    /// When it can't be opened.
    pub async fn status_token(&self, repo_id: i64) -> Result<Option<Secret>, StoreError> {
        let sealed: Option<Vec<u8>> = query_scalar("select status_token from repos where id = ?")
            .bind(repo_id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("read the status token"))?
            .flatten();
        sealed
            .map(|s| self.sealer().open_value(&token_place(repo_id), &s))
            .transpose()
    }
}
