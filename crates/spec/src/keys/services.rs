//! `services`: containers beside a job.

use serde_json::json;
use windlass_model::plan::ServicePlan;

use crate::draft::{JobDraft, ServiceDraft, values};
use crate::key::{self, About, Key};
use crate::keys::shell::Shell;
use crate::keys::{env, ready};
use crate::limits;
use crate::node::Entry;
use crate::problems::Problems;
use crate::schema;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "services",
        required: false,
        summary: "containers that run beside the job, such as a database",
        details: "A map of names; steps of a job with an `image` reach a service by its name. Each has an `image`, \
                  perhaps `env`, `command` and `ready`. A service is started before the first step, which waits until \
                  it is ready (without `ready`: until the image's own health check says so), and is stopped with the \
                  job. A job without an `image` is refused with a sentence that says so; there, a step with \
                  `background` can take the part of a service.",
        example: "services:\n  db:\n    image: postgres:17\n    env:\n      POSTGRES_PASSWORD: test\n    ready:\n      \
                  port: 5432\n      timeout: 60s\nsteps:\n  - make test\n",
        schema: || json!({ "type": "object", "additionalProperties": schema::object(KEYS) }),
        inside: &[&IMAGE.about, &ENV.about, &COMMAND.about, &READY.about],
    },
    lower: |job, entry, problems| {
        let expected = "a map of names";
        let Some(entries) = key::entries(&entry.value, "`services`", expected, problems) else {
            return;
        };
        for entry in entries.iter().take(limits::ITEMS) {
            one(job, entry, problems);
        }
    },
};

const KEYS: &[Key<ServiceDraft>] = &[IMAGE, ENV, COMMAND, READY];

const IMAGE: Key<ServiceDraft> = Key {
    about: About {
        name: "image",
        required: true,
        summary: "the container image",
        details: "A reference such as `postgres:17`.",
        example: "services:\n  cache: {image: redis:8}\nsteps: [make test]\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |service, entry, problems| {
        let text = value::line(&entry.value, "`image`", "a container image", problems);
        service.image = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};

const ENV: Key<ServiceDraft> = Key {
    about: About {
        name: "env",
        required: false,
        summary: "variables of the service",
        details: "As `env` of a job. They stand in the file: no place for a secret that matters.",
        example: "services:\n  db:\n    image: postgres:17\n    env: {POSTGRES_PASSWORD: test}\nsteps: [make test]\n",
        schema: env::schema,
        inside: &[],
    },
    lower: |service, entry, problems| service.env = env::lower(entry, problems),
};

const COMMAND: Key<ServiceDraft> = Key {
    about: About {
        name: "command",
        required: false,
        summary: "what the container runs, if not the image's own command",
        details: "A word or a list of words; no shell reads them.",
        example: "services:\n  db:\n    image: postgres:17\n    command: [postgres, -c, fsync=off]\nsteps: [make test]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |service, entry, problems| {
        let words = value::texts(&entry.value, "`command`", "a word", problems);
        service.command = words.into_iter().map(|word| word.value).collect();
    },
};

const READY: Key<ServiceDraft> = Key {
    about: About {
        name: "ready",
        required: false,
        summary: "when the first step may begin",
        details: "As `ready` of a step in the background; `run` is run inside of the service's container.",
        example: "services:\n  db:\n    image: postgres:17\n    ready: {run: pg_isready -U postgres}\nsteps: [make test]\n",
        schema: ready::schema_of,
        inside: &[],
    },
    lower: |service, entry, problems| service.ready = ready::lower(entry, problems),
};

fn one(job: &mut JobDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let good = value::word(&entry.key, &entry.key_span, "a service", problems);
    let place = format!("the service `{}`", crate::node::shorten(&entry.key, 40));
    let expected = "a map with `image`";
    let Some(entries) = key::entries(&entry.value, &place, expected, problems) else {
        return;
    };
    let mut draft = ServiceDraft {
        name: entry.key.clone(),
        ..ServiceDraft::default()
    };
    key::lower_map(entries, KEYS, &place, &mut draft, problems);
    key::require(entries, KEYS, entry.key_span.clone(), &place, problems);
    if good && draft.image.is_some() {
        job.services.push(draft);
    }
}

impl ServiceDraft {
    /// The plan, its texts not filled in yet.
    pub(crate) fn finish(self) -> ServicePlan {
        ServicePlan {
            name: self.name,
            image: self.image.map(|at| at.value).unwrap_or_default(),
            env: values(self.env),
            command: (!self.command.is_empty()).then_some(self.command),
            ready: self.ready.and_then(|ready| ready.finish(&Shell::default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::plan::ReadyCheck;

    use crate::value::testing::{codes, job, plan};

    #[test]
    fn services_have_images_and_checks() {
        let services = job(
            "services:\n  db: {image: 'postgres:17', env: {A: 1}, command: [postgres, -c, x], ready: {port: 5432}}\n  \
             cache: {image: redis}\nsteps: [x]",
        )
        .services;
        assert_eq!(services[0].name, "db");
        assert_eq!(services[0].command.as_ref().unwrap().len(), 3);
        let ready = services[0].ready.as_ref().unwrap();
        assert_eq!(
            (&ready.check, ready.timeout.as_secs()),
            (&ReadyCheck::Port(5432), 60)
        );
        assert!(services[1].ready.is_none() && services[1].command.is_none());
    }

    #[test]
    fn images_are_filled_in() {
        let plan = plan(
            "matrix: {pg: [16, 17]}\nservices:\n  db: {image: 'postgres:${{ matrix.pg }}'}\nsteps: [x]",
        );
        assert_eq!(plan.jobs[1].services[0].image, "postgres:17");
    }

    #[test]
    fn what_is_no_service() {
        let codes = |text: &str| codes(&format!("services: {text}\nsteps: [x]"));
        assert_eq!(codes("postgres"), ["E0132"]);
        assert_eq!(codes("{db: {}}"), ["E0131"]);
        assert_eq!(codes("{db: {image: x, port: 5}}"), ["E0130"]);
        assert_eq!(codes("{db: {image: x, ready: {}}}"), ["E0218"]);
        assert_eq!(codes("{'a b': {image: x}}"), ["E0203"]);
    }
}
