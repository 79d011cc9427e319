//! `when`: under which conditions a job or a step runs.

use std::ops::Range;

use serde_json::{Value as Json, json};
use windlass_model::expression::{Compare, Expr, Function, Name, Value as Known};
use windlass_model::glob;
use windlass_model::plan::OnResult;

use crate::codes;
use crate::draft::{Alternative, ClauseDraft, JobDraft, StepDraft, WhenDraft};
use crate::expression::EVENTS;
use crate::key::{self, About, Key};
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::suggest;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "when",
        required: false,
        summary: "under which conditions the job runs",
        details: "A condition as text, or a map of which all must hold, or a list of maps of which one \
                  must hold. A job that is left out is shown as skipped, with the reason; \
                  `windlass plan --why JOB` says condition by condition how it is decided.\n\n\
                  A condition compares names and texts with `== != < <= > >= in && || !`:\n\n\
                  | name | what it is |\n| --- | --- |\n\
                  | `event` | `push`, `tag`, `pull_request`, `schedule`, `manual` or `api` |\n\
                  | `branch`, `tag` | what is built; empty if it is none; of a pull request, where it comes from |\n\
                  | `base` | the branch that a pull request wants to go into |\n\
                  | `revision`, `message`, `author`, `repo` | of the commit and the repository |\n\
                  | `fork` | whether strangers wrote the code: true or false |\n\
                  | `schedule` | the name of the schedule |\n\
                  | `params.NAME`, `matrix.NAME` | as the spec has them |\n\
                  | `needs.JOB.result` | `passed`, `failed`, `error`, `cancelled` or `skipped` |\n\
                  | `needs.JOB.outputs.NAME` | what the job wrote to `$WINDLASS_OUTPUT` |\n\n\
                  Functions: `glob(text, \"pattern\", …)`, `changed(\"pattern\", …)`, `contains(text, \"part\")`, \
                  `starts_with(text, \"…\")`, `ends_with(text, \"…\")`.",
        example: "jobs:\n  deploy:\n    when: branch == \"main\" && event == \"push\"\n    steps: [./deploy]\n",
        schema: when_schema,
        inside: &[
            &EVENT.about,
            &BRANCH.about,
            &TAG.about,
            &BASE.about,
            &PATHS.about,
            &RESULT.about,
            &IF.about,
        ],
    },
    lower: |job, entry, problems| job.when = lower(entry, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "when",
        required: false,
        summary: "under which conditions the step runs",
        details: "As `when` of a job; in short, `always` or `failure` is the same as `{result: always}`. \
                  A step runs if those before it went well; with `always` in any case, with `failure` \
                  only if one of them failed. What other jobs did can't be asked here.",
        example: "steps:\n  - make test\n  - run: cat test.log\n    when: failure\n",
        schema: when_schema,
        inside: &[],
    },
    lower: |step, entry, problems| step.when = lower(entry, problems),
};

const KEYS: &[Key<Alternative>] = &[EVENT, BRANCH, TAG, BASE, PATHS, RESULT, IF];

const EVENT: Key<Alternative> = Key {
    about: About {
        name: "event",
        required: false,
        summary: "which events",
        details: "One or a list of `push`, `tag`, `pull_request`, `schedule`, `manual`, `api`.",
        example: "when:\n  event: [push, tag]\nsteps:\n  - make\n",
        schema: || json!({ "anyOf": [{ "enum": EVENTS }, { "type": "array", "items": { "enum": EVENTS } }] }),
        inside: &[],
    },
    lower: |when, entry, problems| {
        let mut events = Vec::new();
        for item in value::texts(&entry.value, "`event`", "an event", problems) {
            if EVENTS.contains(&item.value.as_str()) {
                events.push(Known::Text(item.value));
                continue;
            }
            let shown = shorten(&item.value, 40);
            let problem = Problem::new(
                codes::BAD_CHOICE,
                item.span,
                format!("no event is called `{shown}`"),
            );
            let near = match item.value.as_str() {
                "pr" | "merge_request" => Some("pull_request"),
                "cron" => Some("schedule"),
                text => suggest::nearest(text, &EVENTS),
            };
            let label = near.map_or_else(
                || "not an event".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            problems.push(
                problem
                    .label(label)
                    .help(format!("the events are {}", EVENTS.join(", "))),
            );
        }
        let list = Expr::Value(Known::List(events));
        let expr = Expr::In(Box::new(Expr::Name(Name::Event)), Box::new(list));
        when.add(entry, expr);
    },
};

const BRANCH: Key<Alternative> = Key {
    about: About {
        name: "branch",
        required: false,
        summary: "which branches",
        details: "A pattern or a list of patterns; `!pattern` takes out what one before it took in. `*` is \
                  any text without `/`, `**` with it.",
        example: "when:\n  branch: [main, release/*]\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, Some(Name::Branch), problems),
};

const TAG: Key<Alternative> = Key {
    about: About {
        name: "tag",
        required: false,
        summary: "which tags",
        details: "A pattern or a list of patterns, as for `branch`. What isn't a tag doesn't match.",
        example: "when:\n  tag: v*\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, Some(Name::Tag), problems),
};

const BASE: Key<Alternative> = Key {
    about: About {
        name: "base",
        required: false,
        summary: "into which branches a pull request wants to go",
        details: "A pattern or a list of patterns, as for `branch`.",
        example: "when:\n  base: main\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, Some(Name::Base), problems),
};

const PATHS: Key<Alternative> = Key {
    about: About {
        name: "paths",
        required: false,
        summary: "which changed paths",
        details: "A pattern or a list of patterns for paths from the repository's root: one changed path \
                  that is taken is enough. Where it can't be known what changed (the first push of a \
                  branch, a build by hand), everything counts as changed.",
        example: "when:\n  paths: [src/**, Cargo.*, \"!**/*.md\"]\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, None, problems),
};

const RESULT: Key<Alternative> = Key {
    about: About {
        name: "result",
        required: false,
        summary: "how what came before must have ended",
        details: "`success` (the default), `failure` (at least one of the needed jobs failed) or `always` (in \
                  any case, but not when the build was cancelled).",
        example: "jobs:\n  test:\n    steps: [make test]\n  tell:\n    needs: test\n    when: {result: failure}\n    \
                  steps: [./tell]\n",
        schema: || json!({ "enum": ["success", "failure", "always"] }),
        inside: &[],
    },
    lower: |when, entry, problems| {
        when.result = value::choice(entry, &RESULTS, problems).map(|value| At {
            value,
            span: entry.value.span.clone(),
        });
    },
};

const IF: Key<Alternative> = Key {
    about: About {
        name: "if",
        required: false,
        summary: "a condition as text",
        details: "As `when` itself when it is a text.",
        example: "when:\n  branch: main\n  if: '!contains(message, \"draft\")'\nsteps:\n  - make\n",
        schema: || json!({ "type": ["string", "boolean"] }),
        inside: &[],
    },
    lower: |when, entry, problems| {
        if let Some(clause) = text(&entry.value, "`if`", problems) {
            when.clauses.push(clause);
        }
    },
};

/// The ends that can be asked for.
pub(crate) const RESULTS: [(&str, OnResult); 3] = [
    ("success", OnResult::Success),
    ("failure", OnResult::Failure),
    ("always", OnResult::Always),
];

fn when_schema() -> Json {
    let map = schema::object(KEYS);
    json!({
        "anyOf": [{ "type": ["string", "boolean"] }, map, { "type": "array", "minItems": 1, "items": map }],
    })
}

impl Alternative {
    fn add(&mut self, entry: &Entry, expr: Expr) {
        self.clauses.push(ClauseDraft {
            text: format!("{}: {}", entry.key, value::shown(&entry.value)),
            span: entry.value.span.clone(),
            expr: Some(expr),
        });
    }
}

/// A condition on a name (`None`: on changed paths).
pub(crate) fn globs(
    when: &mut Alternative,
    entry: &Entry,
    name: Option<Name>,
    problems: &mut Problems<'_>,
) {
    let patterns = value::globs(entry, problems);
    if patterns.is_empty() {
        return;
    }
    if name.is_none() {
        for pattern in &patterns {
            problems.expect_file(&pattern.value, &pattern.span);
        }
    }
    let mut arguments: Vec<Expr> = patterns
        .into_iter()
        .map(|pattern| Expr::Value(Known::Text(pattern.value)))
        .collect();
    let expr = match name {
        None => Expr::Call(Function::Changed, arguments),
        Some(name) => {
            arguments.insert(0, Expr::Name(name.clone()));
            let matches = Expr::Call(Function::Glob, arguments);
            // `!v1` alone takes every other tag, but not what is no tag at all.
            let empty = Expr::Value(Known::Text(String::new()));
            let there = Expr::Compare(
                Compare::NotEqual,
                Box::new(Expr::Name(name)),
                Box::new(empty),
            );
            Expr::And(vec![there, matches])
        }
    };
    when.add(entry, expr);
}

fn text(node: &Node, name: &str, problems: &mut Problems<'_>) -> Option<ClauseDraft> {
    let text = value::text(
        node,
        name,
        "a condition such as `branch == \"main\"`",
        problems,
    )?;
    Some(ClauseDraft {
        text: text.trim().to_owned(),
        span: node.span.clone(),
        expr: None,
    })
}

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<WhenDraft> {
    let mut when = WhenDraft::default();
    match &entry.value.value {
        Value::Map(entries) => {
            let mut one = Alternative::default();
            key::lower_map(entries, KEYS, "`when`", &mut one, problems);
            when.result = one.result.take();
            when.alternatives.push(one);
        }
        Value::List(items) if !items.is_empty() => {
            for item in items {
                let mut one = Alternative::default();
                let expected = "a map such as `{event: push, branch: main}`";
                let Some(entries) = key::entries(item, "an item of `when`", expected, problems)
                else {
                    continue;
                };
                key::lower_map(entries, KEYS, "`when`", &mut one, problems);
                if let Some(result) = one.result.take() {
                    problems.push(
                        Problem::new(
                            codes::RESULT_IN_LIST,
                            result.span,
                            "`result` can't differ from item to item",
                        )
                        .label("in a list of conditions")
                        .help("write `when` as one map, and the rest as a condition in `if`"),
                    );
                }
                when.alternatives.push(one);
            }
        }
        Value::Scalar(scalar) if RESULTS.iter().any(|(word, _)| *word == scalar.text) => {
            let (_, value) = RESULTS.into_iter().find(|(word, _)| *word == scalar.text)?;
            when.result = Some(At {
                value,
                span: entry.value.span.clone(),
            });
        }
        _ => {
            let clause = text(&entry.value, "`when`", problems)?;
            when.alternatives.push(Alternative {
                clauses: vec![clause],
                result: None,
            });
        }
    }
    Some(when)
}

/// Whether a text is a pattern; says so if not.
pub(crate) fn is_glob(text: &str, span: &Range<usize>, problems: &mut Problems<'_>) -> bool {
    let Err(bad) = glob::check(text.trim_start_matches('!')) else {
        return true;
    };
    let message = format!("`{}` is not a pattern: {bad}", shorten(text, 40));
    problems.push(
        Problem::new(codes::BAD_GLOB, span.clone(), message)
            .label("can't be understood")
            .help("`*`, `**`, `?`, `[a-z]` and `{a,b}` have a meaning; `\\` takes it away"),
    );
    false
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job, plan};
    use windlass_model::plan::OnResult;

    #[test]
    fn what_an_event_decides_is_decided_in_the_plan() {
        // The tests' event is a build by hand, of no branch.
        let skipped = |when: &str| job(&format!("when: {when}\nsteps: [x]")).skipped;
        assert_eq!(skipped("event == \"manual\""), None);
        assert_eq!(skipped("{event: manual}"), None);
        assert_eq!(skipped("{paths: src/**}"), None);
        assert_eq!(skipped("[{event: push}, {event: manual}]"), None);
        assert!(skipped("{branch: main}").unwrap().contains("branch"));
        assert!(skipped("[{event: push}, {tag: v*}]").is_some());
    }

    #[test]
    fn patterns_are_held_against_the_files_that_are_there() {
        let files = ["src/main.rs", "docs/index.md", "Cargo.lock"].map(ToOwned::to_owned);
        let warned = |patterns: &str| {
            let source = format!("when: {{paths: {patterns}}}\nsteps: [x]");
            let included = crate::Included::new();
            let loaded = crate::load_in("windlass.yml", source.as_bytes(), &included, Some(&files));
            let codes = loaded.diagnostics.into_iter().map(|d| d.code);
            codes.collect::<Vec<_>>()
        };
        assert_eq!(warned("[src/**, docs, '*.lock', '!**/*.md']"), [""; 0]);
        assert_eq!(warned("[source/**, src/*.c]"), ["W0165", "W0165"]);
    }

    #[test]
    fn what_other_jobs_decide_is_left_for_later() {
        let plan = plan(
            "jobs:\n  a: {steps: [x], outputs: [o]}\n  b:\n    needs: a\n    when: {result: always, if: \
             'needs.a.outputs.o == \"1\" && event == \"manual\"'}\n    steps: [x]\n",
        );
        assert_eq!(plan.jobs[1].on_result, OnResult::Always);
        assert_eq!(
            plan.jobs[1].when[0].expr.to_string(),
            "needs.a.outputs.o == \"1\""
        );
    }

    #[test]
    fn what_is_no_condition() {
        let codes = |when: &str| codes(&format!("when: {when}\nsteps: [x]"));
        assert_eq!(codes("{event: pr}"), ["E0138"]);
        assert_eq!(codes("{branch: '[a'}"), ["E0211"]);
        assert_eq!(codes("{result: sometimes}"), ["E0138"]);
        assert_eq!(codes("[{result: always}]"), ["E0221"]);
        assert_eq!(codes("branch = main"), ["E0160"]);
        assert_eq!(codes("{brunch: main}"), ["E0130"]);
        assert_eq!(codes("[]"), ["E0132"]);
    }
}
