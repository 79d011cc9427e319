//! The event that `plan` and `run` suppose: what the checkout says, unless an option says otherwise.

use std::collections::BTreeMap;

use clap::Args as ClapArgs;
use windlass_engine::local::WorkingTree;
use windlass_model::{Event, Facts, Revision, Trigger};
use windlass_spec::{Spec, params};

use crate::report::Problem;

/// What happened, supposedly.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct EventArgs {
    /// Suppose this event: push, tag, pull_request, schedule, manual or api
    #[arg(long, value_name = "EVENT", value_parser = ["push", "tag", "pull_request", "schedule", "manual", "api"])]
    event: Option<String>,
    /// Suppose this branch
    #[arg(long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Suppose this tag
    #[arg(long, value_name = "TAG", conflicts_with = "branch")]
    tag: Option<String>,
    /// Suppose a pull request into this branch
    #[arg(long, value_name = "BRANCH")]
    base: Option<String>,
    /// Suppose that the time of this schedule has come
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Suppose that this path changed, and no others than those given (may be given several times)
    #[arg(long, value_name = "PATH")]
    changed: Vec<String>,
    /// A parameter of the spec: NAME=VALUE (may be given several times)
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = name_and_value)]
    params: Vec<(String, String)>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EventArgs {
    /// What is known of a build of `revision`. `branch` is the checkout's, if it has one.
    pub(crate) fn trigger(&self, branch: Option<&str>, revision: Revision) -> Trigger {
        let branch = self.branch.as_deref().or(branch);
        let usual = match (&self.tag, &self.base, branch) {
            _ if self.schedule.is_some() => "schedule",
            (Some(_), ..) => "tag",
            (_, Some(_), _) => "pull_request",
            (.., Some(_)) => "push",
            _ => "manual",
        };
        let branch = branch.unwrap_or("main").to_owned();
        let tag = self.tag.clone().unwrap_or_else(|| "v0".to_owned());
        let (event, git_ref) = match self.event.as_deref().unwrap_or(usual) {
            "push" => {
                let git_ref = format!("refs/heads/{branch}");
                (
                    Event::Push {
                        branch,
                        forced: false,
                    },
                    git_ref,
                )
            }
            "tag" => {
                let git_ref = format!("refs/tags/{tag}");
                (Event::Tag { tag }, git_ref)
            }
            "pull_request" => {
                let git_ref = format!("refs/heads/{branch}");
                let event = Event::PullRequest {
                    number: 1,
                    title: String::new(),
                    base: self.base.clone().unwrap_or_else(|| "main".to_owned()),
                    head: branch,
                    from_fork: false,
                };
                (event, git_ref)
            }
            other => {
                let event = match other {
                    "schedule" => Event::Schedule {
                        name: self.schedule.clone().unwrap_or_default(),
                    },
                    "api" => Event::Api,
                    _ => Event::Manual,
                };
                let git_ref = match &self.tag {
                    Some(tag) => format!("refs/tags/{tag}"),
                    None => format!("refs/heads/{branch}"),
                };
                (event, git_ref)
            }
        };
        Trigger {
            params: self.params.iter().cloned().collect(),
            ..Trigger::new(event, revision, git_ref)
        }
    }

    /// The facts for planning.
    pub(crate) fn facts(
        &self,
        spec: &Spec,
        trigger: Trigger,
        repo: &str,
    ) -> Result<Facts, Problem> {
        let mut facts = facts(spec, trigger, repo)?;
        if !self.changed.is_empty() {
            facts.changed = Some(self.changed.clone());
        }
        Ok(facts)
    }
}

/// The facts of a trigger, its parameters checked.
pub(crate) fn facts(spec: &Spec, trigger: Trigger, repo: &str) -> Result<Facts, Problem> {
    let given: &BTreeMap<String, String> = &trigger.params;
    let values = params::values(spec.params(), given).map_err(|bad| {
        Problem::new(bad.to_string()).hint("`params` in the spec says what can be given")
    })?;
    let mut facts = Facts::new(trigger, repo);
    facts.params = values;
    Ok(facts)
}

/// The name of a checkout's repository: that of its folder.
pub(crate) fn repo_name(tree: &WorkingTree) -> String {
    let name = tree.root.file_name();
    name.map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}
