//! `build`: a step that makes a container image.

use serde_json::{Value as Json, json};

use crate::codes;
use crate::draft::{BuildDraft, StepDraft};
use crate::key::{self, About, Key};
use crate::keys::env;
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "build",
        required: false,
        summary: "a container image that the step makes, instead of a script",
        details: "The folder that holds the `Dockerfile`, or a map. Docker's client on the server's machine makes \
                  the image, with BuildKit where that is there, on the daemon that also runs the jobs with an \
                  `image`. `push: true` pushes it with the repository's logins (`windlass registry set`), which no \
                  script can read: therefore a job with such a step has no other steps, and no `image`, `user` or \
                  `services`. What the image is made of comes from other jobs with `needs: [{job: …, artifacts: \
                  true}]`.\n\nThe job's `secrets` are BuildKit's secrets, by their names: `RUN \
                  --mount=type=secret,id=NAME …` reads `/run/secrets/NAME`. A job with `outputs: [digest]` hands on \
                  the digest of the last image that it pushed.",
        example: "jobs:\n  compile:\n    image: rust:1\n    steps: [cargo build --release]\n    artifacts: \
                  [target/release/app]\n  image:\n    needs: [{ job: compile, artifacts: true }]\n    steps:\n      \
                  - build:\n          context: .\n          tags: [\"ghcr.io/acme/app:${{ revision }}\"]\n          \
                  push: true\n",
        schema: whole_schema,
        inside: &[
            &CONTEXT.about,
            &FILE.about,
            &TARGET.about,
            &ARGS.about,
            &TAGS.about,
            &PUSH.about,
        ],
    },
    lower,
};

const KEYS: &[Key<BuildDraft>] = &[CONTEXT, FILE, TARGET, ARGS, TAGS, PUSH];

fn whole_schema() -> Json {
    json!({ "anyOf": [{ "type": "string", "minLength": 1 }, schema::object(KEYS)] })
}

fn lower(step: &mut StepDraft, entry: &Entry, problems: &mut Problems<'_>) {
    const EXPECTED: &str = "the folder of a Dockerfile, or a map";
    let mut draft = BuildDraft {
        span: entry.key_span.clone(),
        ..BuildDraft::default()
    };
    match &entry.value.value {
        Value::Map(entries) => {
            key::lower_map(entries, KEYS, "`build`", &mut draft, problems);
            if draft.push && draft.tags.is_empty() && !problems.is_cut_off() {
                problems.push(
                    Problem::new(
                        codes::MISSING_KEY,
                        entry.key_span.clone(),
                        "an image that is pushed needs a name",
                    )
                    .label("`tags` is missing")
                    .help("add `tags: registry.example.org/app:1`"),
                );
            }
        }
        Value::Scalar(_) => draft.context = path(&entry.value, "`build`", problems),
        Value::List(_) => value::wrong_type(&entry.value, "`build`", EXPECTED, None, problems),
    }
    step.build = Some(draft);
}

fn path(node: &Node, name: &str, problems: &mut Problems<'_>) -> Option<String> {
    let text = value::line(node, name, "a path", problems)?;
    value::inside(text, &node.span, problems).then(|| text.to_owned())
}

const CONTEXT: Key<BuildDraft> = Key {
    about: About {
        name: "context",
        required: false,
        summary: "the folder whose files the image can be made of",
        details: "Relative to the repository's root. Default: `.`, all of it. A `.dockerignore` in it counts.",
        example: "steps:\n  - build: { context: web, tags: web }\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| draft.context = path(&entry.value, "`context`", problems),
};

const FILE: Key<BuildDraft> = Key {
    about: About {
        name: "file",
        required: false,
        summary: "the file that says how the image is made",
        details: "Relative to the repository's root. Default: `Dockerfile` in the context.",
        example: "steps:\n  - build: { file: docker/app.Dockerfile, tags: app }\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| draft.file = path(&entry.value, "`file`", problems),
};

const TARGET: Key<BuildDraft> = Key {
    about: About {
        name: "target",
        required: false,
        summary: "the stage of the file that is wanted",
        details: "A name behind `AS` in the file. Default: the last stage.",
        example: "steps:\n  - build: { target: tests }\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        let text = value::line(&entry.value, "`target`", "a stage's name", problems);
        draft.target = text.map(ToOwned::to_owned);
    },
};

const ARGS: Key<BuildDraft> = Key {
    about: About {
        name: "args",
        required: false,
        summary: "values for the file's `ARG`s",
        details: "A map of names and values, which may have `${{ }}`. They can be read in the image's history: \
                  secrets don't belong here.",
        example: "steps:\n  - build: { args: { VERSION: \"${{ tag }}\" } }\n",
        schema: env::schema,
        inside: &[],
    },
    lower: |draft, entry, problems| draft.args = env::lower(entry, problems),
};

const TAGS: Key<BuildDraft> = Key {
    about: About {
        name: "tags",
        required: false,
        summary: "the image's names",
        details: "A name or a list of names, as `docker tag` takes them; they may have `${{ }}`. An image that is not \
                  pushed stays on the daemon under them, so that other jobs can name it as their `image`; one that \
                  is pushed does not. Without a name the image is made, and not kept.",
        example: "steps:\n  - build: { tags: [\"app:latest\", \"app:${{ revision }}\"] }\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |draft, entry, problems| {
        draft.tags = value::texts(&entry.value, "`tags`", "an image's name", problems);
        draft.tags.retain(|at| is_name(at, problems));
    },
};

/// Docker checks names again, when they are filled in.
fn is_name(at: &At<String>, problems: &mut Problems<'_>) -> bool {
    let text = &at.value;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:".contains(c);
    if text.contains("${{") || (!text.is_empty() && text.len() <= 255 && text.chars().all(plain)) {
        return true;
    }
    let message = format!("`{}` is not a name for an image", shorten(text, 60));
    problems.push(
        Problem::new(codes::BAD_NAME, at.span.clone(), message)
            .label("expected letters, digits and `.`, `_`, `-`, `/`, `:`")
            .help("write it as `docker tag` takes it: `registry.example.org/app:1`"),
    );
    false
}

const PUSH: Key<BuildDraft> = Key {
    about: About {
        name: "push",
        required: false,
        summary: "whether the image is pushed under all its names",
        details: "`true` or `false` (the default). Builds of forks never push, nor does `windlass run` without \
                  `--push`.",
        example: "steps:\n  - build: { tags: registry.example.org/app, push: true }\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        draft.push = value::truth(entry, problems).unwrap_or(false);
    },
};

#[cfg(test)]
mod tests {
    use windlass_model::plan::ImageBuild;

    use crate::value::testing::{codes, job};

    #[test]
    fn a_folder_or_a_map() {
        let short = job("steps: [{build: web}]").steps.remove(0);
        assert_eq!(short.name, "build web");
        assert_eq!(short.argv[3], "docker build -- web\n");
        let source = "steps: [{build: {file: a/D, target: t, args: {A: 1.10}, tags: [r/a, r/b:1], push: true}}]";
        let build = job(source).steps.remove(0).build.unwrap();
        assert_eq!(
            build,
            ImageBuild {
                context: ".".to_owned(),
                file: Some("a/D".to_owned()),
                target: Some("t".to_owned()),
                args: [("A".to_owned(), "1.10".to_owned())].into(),
                tags: vec!["r/a".to_owned(), "r/b:1".to_owned()],
                push: true,
            }
        );
    }

    #[test]
    fn names_are_filled_in_and_never_become_options() {
        let source = "matrix: {os: [a]}\nsteps: [{build: {tags: \"app:${{ matrix.os }}\", args: {X: \"${{ branch \
                      }}\"}}}]";
        let step = job(source).steps.remove(0);
        assert_eq!(step.build.unwrap().tags, ["app:a"]);
        assert!(step.script.contains("--tag=app:a"), "{}", step.script);
    }

    #[test]
    fn what_is_no_build() {
        let codes = |build: &str| codes(&format!("steps: [{{build: {build}}}]"));
        assert_eq!(codes("[a]"), ["E0132"]);
        assert_eq!(codes("../x"), ["E0212"]);
        assert_eq!(codes("/etc"), ["E0212"]);
        assert_eq!(codes("{file: /etc/shadow}"), ["E0212"]);
        assert_eq!(codes("{tags: [\"a b\"]}"), ["E0142"]);
        assert_eq!(codes("{push: true}"), ["E0131"]);
        assert_eq!(codes("{tag: x}"), ["E0130"]);
    }

    #[test]
    fn the_login_is_out_of_reach_of_scripts() {
        assert_eq!(codes("steps: [{build: .}, make]"), ["E0227"]);
        assert_eq!(codes("image: x\nsteps: [{build: .}]"), ["E0227"]);
        assert_eq!(codes("steps: [{build: ., run: make}]"), ["E0140"]);
        assert_eq!(codes("steps: [{build: ., env: {A: b}}]"), ["E0140"]);
        let inherited = "image: x\nuser: me\njobs: {a: {steps: [{build: .}]}, b: {steps: [make]}}";
        assert_eq!(codes(inherited), [""; 0]);
    }
}
