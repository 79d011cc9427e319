//! A store in a folder of its own, and things to put into it.

use windlass_model::status::{CommitStatus, StatusState};
use windlass_model::{BuildState, Event, JobPlan, Plan, Secret, StepPlan, Trigger};
use windlass_store::OnPending;
use windlass_store::builds::dedupe_key;
use windlass_store::queue::Finish;
use windlass_store::{Build, ForgeKind, NewBuild, NewRepo, Place, Repo, Store, Submitted};

pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) repo: Repo,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = crate::home::place(dir.path()).await;
        let store = open(place.clone()).await;
        let repo = store.add_repo(&new_repo("r")).await.unwrap();
        Self {
            dir,
            place,
            store,
            repo,
        }
    }

    /// Another handle on the same database, as another process would have.
    pub(crate) async fn other(&self) -> Store {
        open(self.place.clone()).await
    }

    pub(crate) async fn submit(&self, trigger: Trigger) -> Submitted {
        let new = NewBuild {
            repo_id: self.repo.id,
            dedupe: dedupe_key(&trigger),
            trigger: trigger.clone(),
            delivery_id: None,
        };
        let status = |_| Some(status(&trigger, StatusState::Pending));
        self.store.submit(&new, status).await.unwrap()
    }

    pub(crate) async fn manual(&self) -> Build {
        let Submitted::New(number) = self.submit(trigger(Event::Manual, 'a')).await else {
            panic!("a manual build is always new");
        };
        self.store.build(&self.repo.name, number).await.unwrap()
    }
}

pub(crate) async fn open(place: impl Into<Place>) -> Store {
    Store::open(place, OnPending::Refuse).await.unwrap()
}

pub(crate) fn new_repo(name: &str) -> NewRepo {
    NewRepo {
        name: name.parse().unwrap(),
        url: "https://github.com/acme/app.git".to_owned(),
        forge: ForgeKind::Github,
        forge_name: Some("acme/app".to_owned()),
        webhook_secret: Some(Secret::new("a webhook secret")),
        status_token: Some(Secret::new("ghp_sealed_token")),
        build_forks: false,
    }
}

pub(crate) fn trigger(event: Event, digit: char) -> Trigger {
    Trigger {
        message: "a message".to_owned(),
        author: "ada".to_owned(),
        ..Trigger::new(
            event,
            digit.to_string().repeat(40).parse().unwrap(),
            "refs/heads/main",
        )
    }
}

pub(crate) fn push(branch: &str) -> Event {
    Event::Push {
        branch: branch.to_owned(),
        forced: false,
    }
}

pub(crate) fn pull(number: u64, head: &str, from_fork: bool) -> Event {
    let (title, base) = ("A change".to_owned(), "main".to_owned());
    Event::PullRequest {
        number,
        title,
        base,
        head: head.to_owned(),
        from_fork,
    }
}

pub(crate) fn status(trigger: &Trigger, state: StatusState) -> CommitStatus {
    CommitStatus {
        revision: trigger.revision.to_string(),
        context: "windlass".to_owned(),
        state,
        description: state.to_string(),
        target_url: None,
    }
}

pub(crate) fn plan() -> Plan {
    let step = |name: &str| StepPlan {
        name: name.to_owned(),
        argv: vec!["true".to_owned()],
        script: "true".to_owned(),
        ..Default::default()
    };
    let job = JobPlan {
        name: "build".to_owned(),
        steps: vec![step("one"), step("two")],
        ..Default::default()
    };
    Plan {
        jobs: vec![job],
        ..Default::default()
    }
}

pub(crate) fn finish(state: BuildState) -> Finish {
    Finish {
        state,
        summary: state.to_string(),
        failed_step: None,
        error: None,
        hint: None,
        spec_problems: None,
    }
}
