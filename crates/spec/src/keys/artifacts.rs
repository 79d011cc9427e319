//! `artifacts`: files of a job that are kept.

use std::time::Duration;

use serde_json::{Value as Json, json};
use windlass_model::plan::ArtifactPlan;

use crate::codes;
use crate::draft::{ArtifactDraft, JobDraft};
use crate::key::{self, About, Key};
use crate::keys::timeout;
use crate::keys::when::RESULTS;
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "artifacts",
        required: false,
        summary: "files that are kept for people and for other jobs",
        details: "A pattern, or a list of patterns and maps. All plain patterns together are one artifact with \
                  the job's name; a map has a name of its own. Patterns are relative to the repository's root: \
                  `*` is any text without `/`, `**` any folders, `!pattern` takes files out, and a folder takes \
                  everything in it. Links, devices and whatever leads out of the workspace are left out, and the \
                  build says so. Files are on the build's page, and come by `curl`; \
                  other jobs get them with `needs: [{job: …, artifacts: true}]`.",
        example: "steps:\n  - make dist\nartifacts:\n  - dist/**\n  - name: docs\n    paths: [site, \"!site/**/*.map\"]\n    \
                  retention: 30d\n    required: false\n",
        schema: whole_schema,
        inside: &[
            &NAME.about,
            &PATHS.about,
            &RETENTION.about,
            &REQUIRED.about,
            &WHEN.about,
        ],
    },
    lower,
};

const KEYS: &[Key<ArtifactDraft>] = &[NAME, PATHS, RETENTION, REQUIRED, WHEN];

/// Ten years: more is "for ever", which is written by leaving the key out.
const MOST: Duration = Duration::from_secs(3650 * 86_400);

const NAME: Key<ArtifactDraft> = Key {
    about: About {
        name: "name",
        required: false,
        summary: "the artifact's name",
        details: "One line of at most 100 characters. Default: the job's name. Names may have \
                  `${{ matrix.x }}`.",
        example: "steps: [make]\nartifacts:\n  - name: wheels\n    paths: dist/*.whl\n",
        schema: || json!({ "type": "string", "maxLength": 100 }),
        inside: &[],
    },
    lower: |artifact, entry, problems| {
        let Some(name) = value::line(&entry.value, "`name`", "the artifact's name", problems)
        else {
            return;
        };
        if name.len() > crate::limits::NAME || name.contains('/') {
            let message = format!("an artifact can't be named `{}`", shorten(name, 60));
            problems.push(
                Problem::new(codes::BAD_NAME, entry.value.span.clone(), message)
                    .label("expected at most 100 characters without `/`")
                    .help("take a shorter name, without `/`"),
            );
            return;
        }
        artifact.name = Some(At {
            value: name.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};

const PATHS: Key<ArtifactDraft> = Key {
    about: About {
        name: "paths",
        required: true,
        summary: "which files",
        details: "A pattern or a list of patterns, relative to the repository's root.",
        example: "steps: [make]\nartifacts:\n  - name: all\n    paths: [dist/**, \"!dist/tmp/**\"]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |artifact, entry, problems| {
        artifact.paths = value::paths(&entry.value, "`paths`", false, problems);
    },
};

const RETENTION: Key<ArtifactDraft> = Key {
    about: About {
        name: "retention",
        required: false,
        summary: "how long the files are kept",
        details: "Days or a duration: `30d`, `12h`. Default: as long as the build.",
        example: "steps: [make]\nartifacts:\n  - name: nightly\n    paths: dist\n    retention: 14d\n",
        schema: || json!({ "type": "string", "pattern": "^([0-9]+d|([0-9]+h)?([0-9]+m)?([0-9]+s)?)$" }),
        inside: &[],
    },
    lower: |artifact, entry, problems| {
        let days = entry
            .value
            .plain()
            .and_then(|text| text.strip_suffix('d'))
            .and_then(|days| days.parse::<u64>().ok());
        artifact.retention = match days {
            Some(days @ 1..=3650) => Some(Duration::from_secs(days * 86_400)),
            _ => timeout::duration(entry, MOST, "3650d", problems),
        };
    },
};

const REQUIRED: Key<ArtifactDraft> = Key {
    about: About {
        name: "required",
        required: false,
        summary: "whether the job fails when no file matches",
        details: "`true` or `false`. Default: `true`.",
        example: "steps: [make]\nartifacts:\n  - name: core\n    paths: core.*\n    required: false\n    when: always\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |artifact, entry, problems| {
        artifact.optional = value::truth(entry, problems).is_some_and(|required| !required);
    },
};

const WHEN: Key<ArtifactDraft> = Key {
    about: About {
        name: "when",
        required: false,
        summary: "after which end of the steps the files are kept",
        details: "`success` (the default), `failure` or `always`. A cancelled job keeps nothing.",
        example: "steps: [make test]\nartifacts:\n  - name: screenshots\n    paths: shots\n    when: failure\n    \
                  required: false\n",
        schema: || json!({ "enum": ["success", "failure", "always"] }),
        inside: &[],
    },
    lower: |artifact, entry, problems| {
        artifact.when = value::choice(entry, &RESULTS, problems).unwrap_or_default();
    },
};

fn whole_schema() -> Json {
    let item = json!({ "anyOf": [{ "type": "string" }, schema::object(KEYS)] });
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": item }] })
}

fn lower(job: &mut JobDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let one = std::slice::from_ref(&entry.value);
    let items = match &entry.value.value {
        Value::List(items) if !items.is_empty() => items.as_slice(),
        Value::Scalar(_) => one,
        _ => {
            let expected = "a pattern, or a list of patterns and maps";
            value::wrong_type(&entry.value, "`artifacts`", expected, None, problems);
            return;
        }
    };
    if !value::not_too_many(items, "`artifacts`", problems) {
        return;
    }
    let mut plain = ArtifactDraft::default();
    for item in items {
        match &item.value {
            Value::Map(_) => map(job, item, problems),
            _ => plain.paths.extend(value::some_paths(
                item,
                "an item of `artifacts`",
                false,
                problems,
            )),
        }
    }
    plain.paths = value::not_only_out(plain.paths, "`artifacts`", problems);
    if !plain.paths.is_empty() {
        job.artifacts.insert(0, plain);
    }
}

fn map(job: &mut JobDraft, item: &Node, problems: &mut Problems<'_>) {
    const PLACE: &str = "an item of `artifacts`";
    let Value::Map(entries) = &item.value else {
        return;
    };
    let mut draft = ArtifactDraft::default();
    key::lower_map(entries, KEYS, PLACE, &mut draft, problems);
    key::require(entries, KEYS, item.span.clone(), PLACE, problems);
    if let Some(name) = &draft.name
        && let Some(first) = job
            .artifacts
            .iter()
            .filter_map(|known| known.name.as_ref())
            .find(|known| known.value == name.value)
    {
        let (line, _) = problems.place(first.span.start);
        problems.push(
            Problem::new(
                codes::DUPLICATE_ARTIFACT,
                name.span.clone(),
                format!("another artifact is named `{}`", shorten(&name.value, 60)),
            )
            .label(format!("the first one is on line {line}"))
            .help("give each a name of its own"),
        );
    }
    if !draft.paths.is_empty() {
        job.artifacts.push(draft);
    }
}

impl ArtifactDraft {
    /// The plan; an artifact without a name gets the job's.
    pub(crate) fn finish(self) -> ArtifactPlan {
        ArtifactPlan {
            name: self.name.map(|at| at.value).unwrap_or_default(),
            paths: self.paths.into_iter().map(|at| at.value).collect(),
            retention: self.retention,
            required: !self.optional,
            when: self.when,
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_model::plan::OnResult;

    use crate::value::testing::{codes, job, plan};

    #[test]
    fn patterns_and_maps() {
        let artifacts = job("artifacts: dist/**\nsteps: [x]").artifacts;
        assert_eq!(artifacts[0].name, "build");
        assert_eq!(artifacts[0].paths, ["dist/**"]);
        assert!(artifacts[0].required && artifacts[0].when == OnResult::Success);
        let artifacts = job(
            "artifacts: [a, '!a/b', {name: w, paths: [c], retention: 30d, required: false, when: always}]\n\
             steps: [x]",
        )
        .artifacts;
        assert_eq!(artifacts[0].paths, ["a", "!a/b"]);
        assert_eq!(artifacts[1].name, "w");
        assert_eq!(artifacts[1].retention.unwrap().as_secs(), 30 * 86_400);
        assert!(!artifacts[1].required && artifacts[1].when == OnResult::Always);
    }

    #[test]
    fn names_and_paths_are_filled_in() {
        let plan = plan(
            "matrix: {os: [a, b]}\nartifacts: [{name: 'bin-${{ matrix.os }}', paths: 'out/${{ matrix.os \
             }}/**'}]\nsteps: [x]",
        );
        let names: Vec<&str> = plan
            .jobs
            .iter()
            .map(|job| job.artifacts[0].name.as_str())
            .collect();
        assert_eq!(names, ["bin-a", "bin-b"]);
        assert_eq!(plan.jobs[1].artifacts[0].paths, ["out/b/**"]);
    }

    #[test]
    fn what_is_no_artifact() {
        let codes = |text: &str| codes(&format!("artifacts: {text}\nsteps: [x]"));
        assert_eq!(codes("[]"), ["E0132"]);
        assert_eq!(codes("{a: b}"), ["E0132"]);
        assert_eq!(codes("/etc/passwd"), ["E0212"]);
        assert_eq!(codes("['[a']"), ["E0211"]);
        assert_eq!(codes("['!a']"), ["E0225"]);
        assert_eq!(codes("[{name: a}]"), ["E0131"]);
        assert_eq!(
            codes("[{name: a, paths: b}, {name: a, paths: c}]"),
            ["E0216"]
        );
        assert_eq!(codes("[{name: a/b, paths: b}]"), ["E0142"]);
        assert_eq!(codes("[{paths: b, retention: 30}]"), ["E0135"]);
    }
}
