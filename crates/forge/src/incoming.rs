//! What every forge's delivery is turned into: who sent it, and what it means.

use windlass_model::Trigger;

/// One delivery, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The repository that the delivery is about. None when the payload names none (the ping of
    /// an organisation's hook) or when what it names can't be a repository.
    pub repository: Option<RepositoryIdentity>,
    /// What Windlass should do.
    pub meaning: Meaning,
}

/// A repository as its forge names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryIdentity {
    /// `owner/name`: two path segments, never more. Changes when the repository is renamed or
    /// given away, and another repository may take it then: compare `id` where both are known.
    pub full_name: String,
    /// The forge's own number. Stays when the repository is renamed or given away.
    pub id: Option<u64>,
    /// `https://host/owner/name.git`.
    pub clone_url: Option<String>,
    /// `git@host:owner/name.git`.
    pub ssh_url: Option<String>,
    /// The repository's page.
    pub html_url: Option<String>,
}

/// What a delivery means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The forge tries out whether the hook works.
    Ping {
        /// GitHub's "zen": a line for people. May be empty.
        zen: String,
    },
    /// Build this.
    Build(Box<Trigger>),
    /// There is nothing to do, and that is no mistake.
    Ignored {
        /// Why, for people: `branch deleted`. No capital letter, no full stop.
        reason: String,
    },
}

impl Meaning {
    /// An `Ignored` with this reason.
    pub(crate) fn ignored(reason: impl Into<String>) -> Self {
        Self::Ignored {
            reason: reason.into(),
        }
    }
}

/// Why a delivery can't be understood. The signature was good (it is checked first), so this is
/// a wrongly configured hook or a forge that Windlass doesn't know, not an attack.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// Neither of the two content types that GitHub offers.
    #[error(
        "content type {given:?} is not known: set the webhook's content type to application/json"
    )]
    ContentType {
        /// What the header said.
        given: String,
    },
    /// A form without its one field.
    #[error("the form has no field `payload`")]
    NoPayloadField,
    /// Not JSON, or JSON that isn't an object.
    #[error("the payload is not a JSON object: {detail}")]
    NotJson {
        /// Where and why the parser stopped.
        detail: String,
    },
    /// A field without which the event has no meaning is absent or can't be what it has to be.
    #[error("event {event:?}: field `{field}` {problem}")]
    Field {
        /// The event.
        event: &'static str,
        /// The path of the field: `pull_request.head.sha`.
        field: &'static str,
        /// `is missing`, or what is wrong with it.
        problem: String,
    },
    /// Not a line as git gives it to a post-receive hook.
    #[error("a post-receive line is `OLD NEW REF`, and this one isn't: {problem}")]
    HookLine {
        /// What is wrong with it.
        problem: String,
    },
}
