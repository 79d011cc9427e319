//! The few fields of GitHub's payloads that Windlass needs ("Webhook events and payloads").
//!
//! Every field may be absent, and a field with an unexpected type counts as absent. What can't do
//! without one asks for it by name and says which one is missing.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use windlass_model::Revision;

use super::full_name;
use crate::incoming::{PayloadError, RepositoryIdentity};
use crate::people;

/// A delivery's body, whatever its event: one struct, because the names mean the same everywhere.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Payload {
    #[serde(deserialize_with = "lenient")]
    pub(super) action: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) repository: Option<Repository>,
    #[serde(deserialize_with = "lenient")]
    pub(super) sender: User,

    // ping
    #[serde(deserialize_with = "lenient")]
    pub(super) zen: String,

    // push
    #[serde(deserialize_with = "lenient")]
    pub(super) before: String,
    #[serde(rename = "ref", deserialize_with = "lenient")]
    pub(super) git_ref: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) after: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) deleted: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) forced: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) compare: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) head_commit: Option<Commit>,
    #[serde(deserialize_with = "lenient")]
    pub(super) pusher: User,

    // pull_request
    #[serde(deserialize_with = "lenient")]
    pub(super) number: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) pull_request: PullRequest,
    #[serde(deserialize_with = "lenient")]
    pub(super) changes: Changes,
}

/// A repository: of the delivery, or of one end of a pull request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Repository {
    #[serde(deserialize_with = "lenient")]
    pub(super) id: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    full_name: String,
    #[serde(deserialize_with = "lenient")]
    clone_url: String,
    #[serde(deserialize_with = "lenient")]
    ssh_url: String,
    #[serde(deserialize_with = "lenient")]
    html_url: String,
}

impl Repository {
    /// The repository for the outside. None if its name can't be one.
    pub(super) fn identity(&self) -> Option<RepositoryIdentity> {
        let plain = |url: &String| people::is_plain(url).then(|| url.clone());
        full_name::parts(&self.full_name)?;
        Some(RepositoryIdentity {
            full_name: self.full_name.clone(),
            id: self.id,
            clone_url: plain(&self.clone_url),
            ssh_url: plain(&self.ssh_url),
            html_url: people::link(&self.html_url),
        })
    }
}

/// A person or a bot. An account has a `login`; a pusher and a commit's author have a `name`, and
/// an author a `username` if the address belongs to an account.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User {
    #[serde(deserialize_with = "lenient")]
    login: String,
    #[serde(deserialize_with = "lenient")]
    username: String,
    #[serde(deserialize_with = "lenient")]
    name: String,
}

impl User {
    /// The first of `people` that has any name. Empty if none has.
    pub(super) fn first_name_of<'a>(people: impl IntoIterator<Item = &'a User>) -> String {
        people
            .into_iter()
            .flat_map(|user| [&user.login, &user.username, &user.name])
            .map(|name| people::one_line(name, people::NAME))
            .find(|name| !name.is_empty())
            .unwrap_or_default()
    }
}

/// The commit at the tip of a push.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Commit {
    #[serde(deserialize_with = "lenient")]
    pub(super) id: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) message: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) url: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) author: User,
}

/// A pull request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PullRequest {
    #[serde(deserialize_with = "lenient")]
    pub(super) number: u64,
    #[serde(deserialize_with = "lenient")]
    pub(super) title: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) html_url: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) merged: bool,
    #[serde(deserialize_with = "lenient")]
    pub(super) user: User,
    #[serde(deserialize_with = "lenient")]
    pub(super) head: End,
    #[serde(deserialize_with = "lenient")]
    pub(super) base: End,
}

/// One end of a pull request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct End {
    #[serde(rename = "ref", deserialize_with = "lenient")]
    pub(super) branch: String,
    #[serde(deserialize_with = "lenient")]
    pub(super) sha: String,
    /// Null when the repository was deleted.
    #[serde(deserialize_with = "lenient")]
    pub(super) repo: Option<Repository>,
}

/// What the action `edited` changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Changes {
    /// Something if the pull request goes into another branch now.
    #[serde(deserialize_with = "lenient")]
    pub(super) base: Option<Value>,
}

/// The value, or the default for a value of another type.
fn lenient<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(from)?;
    // A struct could be read from an array, field by field: that is another type, too.
    if value.is_array() {
        return Ok(T::default());
    }
    Ok(T::deserialize(value).unwrap_or_default())
}

/// The error for a field that is absent, or has an unexpected type, which is the same here.
pub(super) fn missing(event: &'static str, field: &'static str) -> PayloadError {
    wrong(event, field, "is missing")
}

/// The error for a field that can't be what it has to be.
pub(super) fn wrong(
    event: &'static str,
    field: &'static str,
    problem: impl Into<String>,
) -> PayloadError {
    PayloadError::Field {
        event,
        field,
        problem: problem.into(),
    }
}

/// The commit id in a field.
pub(super) fn revision(
    event: &'static str,
    field: &'static str,
    value: &str,
) -> Result<Revision, PayloadError> {
    if value.is_empty() {
        return Err(missing(event, field));
    }
    match value.parse::<Revision>() {
        Ok(revision) if !revision.is_zero() => Ok(revision),
        _ => Err(wrong(event, field, "is not a full commit id")),
    }
}
