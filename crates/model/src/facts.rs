//! What is known about a build when it is planned.

use std::collections::BTreeMap;

use crate::expression::{Lookup, Name, Value};
use crate::trigger::{Event, Trigger};

/// What conditions may ask for at planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Why, and which revision.
    pub trigger: Trigger,
    /// The repository's name.
    pub repo: String,
    /// The paths that the event changed; `None` when that can't be known (a first push, a build
    /// by hand): then every path may have changed.
    pub changed: Option<Vec<String>>,
    /// The parameters' values, checked, defaults filled in.
    pub params: BTreeMap<String, Value>,
}

impl Facts {
    /// Facts of a trigger without knowledge of changed paths and with no parameters.
    pub fn new(trigger: Trigger, repo: impl Into<String>) -> Self {
        Self {
            trigger,
            repo: repo.into(),
            changed: None,
            params: BTreeMap::new(),
        }
    }
}

impl Lookup for Facts {
    fn value(&self, name: &Name) -> Option<Value> {
        let event = &self.trigger.event;
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match name {
            Name::Event => text(event.kind()),
            Name::Branch => text(self.trigger.branch()),
            Name::Tag => text(self.trigger.tag()),
            Name::Base => text(match event {
                Event::PullRequest { base, .. } => base,
                _ => "",
            }),
            Name::Revision => text(self.trigger.revision.as_str()),
            Name::Message => text(&self.trigger.message),
            Name::Author => text(&self.trigger.author),
            Name::Fork => Some(Value::Bool(event.is_untrusted())),
            Name::Schedule => text(match event {
                Event::Schedule { name } => name,
                _ => "",
            }),
            Name::Repo => text(&self.repo),
            Name::Param(name) => self.params.get(name).cloned(),
            Name::Matrix(_) | Name::NeedResult(_) | Name::NeedOutput(..) => None,
        }
    }

    fn changed(&self, patterns: &[String]) -> Option<bool> {
        let Some(paths) = &self.changed else {
            return Some(true);
        };
        Some(paths.iter().any(|path| crate::glob::any(patterns, path)))
    }
}
