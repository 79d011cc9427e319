//! Secrets of a repository, which its steps get as variables; and its logins at registries, which no step
//! gets.

use std::collections::BTreeMap;

use windlass_model::Secret;

use crate::db::now_ms;
use crate::sql::query;
use crate::{Store, StoreError};

/// What stands before the host in the names of logins. No variable's name holds a colon.
const REGISTRY: &str = "registry:";

fn place(repo_id: i64, name: &str) -> String {
    format!("secrets/{repo_id}/{name}")
}

impl Store {
    /// Sets a secret, or replaces it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_secret(
        &self,
        repo_id: i64,
        name: &str,
        value: &Secret,
    ) -> Result<(), StoreError> {
        let sealed = self.sealer().seal(&place(repo_id, name), value)?;
        let mut tx = self.write().await?;
        query(
            "insert into secrets (repo_id, name, value, created_ms) values (?, ?, ?, ?)
             on conflict (repo_id, name)
             do update set value = excluded.value, created_ms = excluded.created_ms",
        )
        .bind(repo_id)
        .bind(name)
        .bind(sealed)
        .bind(now_ms())
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("keep the secret"))?;
        tx.commit("set_secret").await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_secret(&self, repo_id: i64, name: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = query("delete from secrets where repo_id = ? and name = ?")
            .bind(repo_id)
            .bind(name)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("remove the secret"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound(format!("secret named {name}")));
        }
        tx.commit("remove_secret").await
    }

    /// The names of a repository's secrets, with the time when each was set.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secret_names(&self, repo_id: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let rows = query("select name, created_ms from secrets where repo_id = ? order by name")
            .bind(repo_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the secrets"))?;
        let all = rows.iter().map(|row| (row.get(0), row.get(1)));
        Ok(all
            .filter(|(name, _): &(String, i64)| !name.contains(':'))
            .collect())
    }

    /// The values of the secrets with these names. Names that are not set are missing in the
    /// answer.
    ///
    /// # Errors
    /// When one can't be opened.
    pub async fn secret_values(
        &self,
        repo_id: i64,
        names: &[String],
    ) -> Result<BTreeMap<String, Secret>, StoreError> {
        let rows = query("select name, value from secrets where repo_id = ?")
            .bind(repo_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("read the secrets"))?;
        let mut values = BTreeMap::new();
        for row in rows {
            let name: String = row.get(0);
            if names.contains(&name) && !name.contains(':') {
                let sealed: Vec<u8> = row.get(1);
                let value = self.sealer().open_value(&place(repo_id, &name), &sealed)?;
                values.insert(name, value);
            }
        }
        Ok(values)
    }

    /// Sets the login with which the repository's images are pulled from a registry.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_registry(
        &self,
        repo_id: i64,
        host: &str,
        user: &str,
        password: &Secret,
    ) -> Result<(), StoreError> {
        // A user's name has no colon.
        let value = Secret::new(format!("{user}:{}", password.expose()));
        self.set_secret(repo_id, &format!("{REGISTRY}{host}"), &value)
            .await
    }

    /// Removes a login.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn remove_registry(&self, repo_id: i64, host: &str) -> Result<(), StoreError> {
        let removed = self
            .remove_secret(repo_id, &format!("{REGISTRY}{host}"))
            .await;
        removed.map_err(|error| match error {
            StoreError::NotFound(_) => StoreError::NotFound(format!("login at {host}")),
            other => other,
        })
    }

    /// The logins by host: users' names and passwords.
    ///
    /// # Errors
    /// When one can't be opened.
    pub async fn registries(
        &self,
        repo_id: i64,
    ) -> Result<BTreeMap<String, (String, Secret)>, StoreError> {
        let rows = query("select name, value from secrets where repo_id = ?")
            .bind(repo_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("read the logins"))?;
        let mut logins = BTreeMap::new();
        for row in rows {
            let name: String = row.get(0);
            let Some(host) = name.strip_prefix(REGISTRY) else {
                continue;
            };
            let sealed: Vec<u8> = row.get(1);
            let value = self.sealer().open_value(&place(repo_id, &name), &sealed)?;
            if let Some((user, password)) = value.expose().split_once(':') {
                logins.insert(host.to_owned(), (user.to_owned(), Secret::new(password)));
            }
        }
        Ok(logins)
    }
}
