//! `on`: which events make builds.

use serde_json::{Value as Json, json};
use windlass_model::expression::Name;

use crate::codes;
use crate::draft::{Alternative, OnDraft, ScheduleDraft, SpecDraft};
use crate::key::{self, About, Key};
use crate::keys::when::globs;
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schedules::{self, Schedule};
use crate::schema;
use crate::suggest;
use crate::value::{self, At};

/// At the top level.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "on",
        required: false,
        summary: "which events make builds",
        details: "An event, a list of events, or a map with conditions for each. Without `on`, every push, tag and \
                  pull request is built. With it, what is not named is shown as a skipped build, with the reason. \
                  Builds by hand and through the API are possible unless they are forbidden; schedules are only \
                  made here.",
        example: "on:\n  push:\n    branches: [main, release/*]\n  pull_request:\n    paths: [src/**]\n  tag:\n    tags: v*\n  \
                  schedule:\n    - name: nightly\n      cron: 0 3 * * *\n      timezone: Europe/Berlin\nsteps:\n  - make\n",
        schema: whole_schema,
        inside: &[
            &PUSH.about,
            &PULL_REQUEST.about,
            &TAG.about,
            &SCHEDULE.about,
            &MANUAL.about,
            &API.about,
        ],
    },
    lower,
};

const KEYS: &[Key<OnDraft>] = &[PUSH, PULL_REQUEST, TAG, SCHEDULE, MANUAL, API];

/// The events that can be named in a list.
const EVENTS: [&str; 5] = ["push", "pull_request", "tag", "manual", "api"];

const PUSH: Key<OnDraft> = Key {
    about: About {
        name: "push",
        required: false,
        summary: "commits that arrive on a branch",
        details: "Nothing (every branch), or a map with `branches` and `paths`.",
        example: "on:\n  push: {branches: main}\nsteps:\n  - make\n",
        schema: || json!({ "anyOf": [{ "type": "null" }, schema::object(PUSH_KEYS)] }),
        inside: &[&BRANCHES.about, &PATHS.about],
    },
    lower: |on, entry, problems| event(on, "push", PUSH_KEYS, entry, problems),
};

const PULL_REQUEST: Key<OnDraft> = Key {
    about: About {
        name: "pull_request",
        required: false,
        summary: "pull requests that are opened or have new commits",
        details: "Nothing (all), or a map with `branches` (those that they want to go into) and `paths`.",
        example: "on:\n  pull_request: {branches: main}\nsteps:\n  - make\n",
        schema: || json!({ "anyOf": [{ "type": "null" }, schema::object(PULL_KEYS)] }),
        inside: &[],
    },
    lower: |on, entry, problems| event(on, "pull_request", PULL_KEYS, entry, problems),
};

const TAG: Key<OnDraft> = Key {
    about: About {
        name: "tag",
        required: false,
        summary: "tags that are made",
        details: "Nothing (all), or a map with `tags`.",
        example: "on:\n  tag: {tags: v*}\nsteps:\n  - make release\n",
        schema: || json!({ "anyOf": [{ "type": "null" }, schema::object(TAG_KEYS)] }),
        inside: &[&TAGS.about],
    },
    lower: |on, entry, problems| event(on, "tag", TAG_KEYS, entry, problems),
};

const SCHEDULE: Key<OnDraft> = Key {
    about: About {
        name: "schedule",
        required: false,
        summary: "times at which a branch is built",
        details: "A list of maps. A schedule takes effect when this spec arrives on the schedule's own branch, and \
                  builds that branch as it then is. What was missed while the server was down is made up for \
                  once.",
        example: "on:\n  push:\n  schedule:\n    - name: nightly\n      cron: 0 3 * * mon-fri\n      timezone: \
                  Europe/Berlin\nsteps:\n  - make\n",
        schema: || json!({ "type": "array", "minItems": 1, "items": schema::object(SCHEDULE_KEYS) }),
        inside: &[&NAME.about, &CRON.about, &TIMEZONE.about, &BRANCH.about],
    },
    lower: schedule,
};

const MANUAL: Key<OnDraft> = Key {
    about: About {
        name: "manual",
        required: false,
        summary: "whether people may ask for builds",
        details: "`true` or `false`. Default: `true`. What they may choose is in `params`.",
        example: "on:\n  push:\n  manual: false\nsteps:\n  - make\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |on, entry, problems| on.manual = value::truth(entry, problems),
};

const API: Key<OnDraft> = Key {
    about: About {
        name: "api",
        required: false,
        summary: "whether programs may ask for builds",
        details: "`true` or `false`. Default: `true`.",
        example: "on:\n  push:\n  api: false\nsteps:\n  - make\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |on, entry, problems| on.api = value::truth(entry, problems),
};

const PUSH_KEYS: &[Key<Alternative>] = &[BRANCHES, PATHS];
const PULL_KEYS: &[Key<Alternative>] = &[BASES, PATHS];
const TAG_KEYS: &[Key<Alternative>] = &[TAGS];

const BRANCHES: Key<Alternative> = Key {
    about: About {
        name: "branches",
        required: false,
        summary: "which branches",
        details: "A pattern or a list of patterns, as `when.branch`.",
        example: "on:\n  push: {branches: [main, \"!tmp/**\"]}\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, Some(Name::Branch), problems),
};

const BASES: Key<Alternative> = Key {
    about: BRANCHES.about,
    lower: |when, entry, problems| globs(when, entry, Some(Name::Base), problems),
};

const TAGS: Key<Alternative> = Key {
    about: About {
        name: "tags",
        required: false,
        summary: "which tags",
        details: "A pattern or a list of patterns, as `when.tag`.",
        example: "on:\n  tag: {tags: [v*, \"!*-rc*\"]}\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, Some(Name::Tag), problems),
};

const PATHS: Key<Alternative> = Key {
    about: About {
        name: "paths",
        required: false,
        summary: "which changed paths",
        details: "A pattern or a list of patterns, as `when.paths`: one changed path that is taken is enough.",
        example: "on:\n  push: {paths: [src/**, \"!**/*.md\"]}\nsteps:\n  - make\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |when, entry, problems| globs(when, entry, None, problems),
};

const SCHEDULE_KEYS: &[Key<ScheduleDraft>] = &[NAME, CRON, TIMEZONE, BRANCH];

const NAME: Key<ScheduleDraft> = Key {
    about: About {
        name: "name",
        required: true,
        summary: "the schedule's name",
        details: "Letters, digits, `-` and `_`. Conditions ask for it: `when: schedule == \"nightly\"`.",
        example: "on:\n  schedule:\n    - {name: nightly, cron: \"@daily\"}\nsteps:\n  - make\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |schedule, entry, problems| {
        let span = entry.value.span.clone();
        if let Some(text) = value::text(&entry.value, "`name`", "a name", problems)
            && value::word(text, &span, "a schedule", problems)
        {
            let value = text.to_owned();
            schedule.name = Some(At { value, span });
        }
    },
};

const CRON: Key<ScheduleDraft> = Key {
    about: About {
        name: "cron",
        required: true,
        summary: "when, as crontab(5) has it",
        details: "Five fields: minute, hour, day of the month, month, day of the week; or `@hourly`, `@daily`, \
                  `@weekly`, `@monthly`, `@yearly`. `*/15 8-18 * * mon-fri` is every quarter of an hour on \
                  working days.",
        example: "on:\n  schedule:\n    - {name: often, cron: \"*/15 8-18 * * mon-fri\"}\nsteps:\n  - make\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |schedule, entry, problems| {
        let expected = "five fields such as `0 3 * * *`";
        let Some(text) = value::text(&entry.value, "`cron`", expected, problems) else {
            return;
        };
        match schedules::fields(text) {
            Ok(fields) => schedule.cron = Some(fields),
            Err(why) => {
                let message = format!("`{}` is not a schedule: {why}", shorten(text, 40));
                problems.push(
                    Problem::new(codes::BAD_CRON, entry.value.span.clone(), message)
                        .label("expected minute, hour, day of the month, month, day of the week")
                        .help("`0 3 * * *` is every night at three"),
                );
            }
        }
    },
};

const TIMEZONE: Key<ScheduleDraft> = Key {
    about: About {
        name: "timezone",
        required: false,
        summary: "whose clock counts",
        details: "A name of the IANA database, such as `Europe/Berlin`. Default: `UTC`.",
        example: "on:\n  schedule:\n    - {name: nightly, cron: \"@daily\", timezone: Asia/Tokyo}\nsteps:\n  - make\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |schedule, entry, problems| {
        let expected = "a time zone such as `Europe/Berlin`";
        let Some(text) = value::text(&entry.value, "`timezone`", expected, problems) else {
            return;
        };
        if schedules::is_timezone(text) {
            schedule.timezone = Some(text.to_owned());
            return;
        }
        let message = format!("there is no time zone `{}`", shorten(text, 40));
        let problem = Problem::new(codes::BAD_TIME_ZONE, entry.value.span.clone(), message);
        problems.push(match schedules::near_timezone(text) {
            Some(near) => problem
                .label(format!("did you mean `{near}`?"))
                .help(format!("write `{near}`")),
            None => problem
                .label(format!("expected {expected}"))
                .help("write a region and a city, or `UTC`"),
        });
    },
};

const BRANCH: Key<ScheduleDraft> = Key {
    about: About {
        name: "branch",
        required: false,
        summary: "which branch is built",
        details: "A branch. Default: the repository's default branch. Only the spec on this branch makes the \
                  schedule.",
        example: "on:\n  schedule:\n    - {name: lts, cron: \"@weekly\", branch: release/1}\nsteps:\n  - make\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |schedule, entry, problems| {
        let text = value::line(&entry.value, "`branch`", "a branch", problems);
        schedule.branch = text.map(ToOwned::to_owned);
    },
};

fn whole_schema() -> Json {
    json!({
        "anyOf": [
            { "enum": EVENTS },
            { "type": "array", "minItems": 1, "items": { "enum": EVENTS } },
            schema::object(KEYS),
        ],
    })
}

fn lower(spec: &mut SpecDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let mut on = OnDraft::default();
    if let Value::Map(entries) = &entry.value.value {
        key::lower_map(entries, KEYS, "`on`", &mut on, problems);
    } else {
        let items = value::texts(&entry.value, "`on`", "an event", problems);
        for item in items {
            match EVENTS.into_iter().find(|event| *event == item.value) {
                Some(event @ ("push" | "pull_request" | "tag")) => {
                    on.events.push((event, Alternative::default()));
                }
                // These are possible anyway; who writes it knows it now.
                Some(_) => {}
                None => problems.push(no_event(&item)),
            }
        }
    }
    spec.on = Some(on);
}

fn no_event(item: &At<String>) -> Problem {
    let shown = shorten(&item.value, 40);
    let message = format!("no event is called `{shown}`");
    let problem = Problem::new(codes::BAD_CHOICE, item.span.clone(), message);
    let near = match item.value.as_str() {
        "schedule" | "cron" => {
            return problem
                .label("a schedule needs times")
                .help("write a map: `schedule: [{name: nightly, cron: 0 3 * * *}]`");
        }
        "pr" | "merge_request" | "pull_requests" => Some("pull_request"),
        "workflow_dispatch" | "web" => Some("manual"),
        text => suggest::nearest(text, &EVENTS),
    };
    problem
        .label(near.map_or_else(
            || "not an event".to_owned(),
            |near| format!("did you mean `{near}`?"),
        ))
        .help(format!("the events are {}", EVENTS.join(", ")))
}

fn event(
    on: &mut OnDraft,
    name: &'static str,
    keys: &[Key<Alternative>],
    entry: &Entry,
    problems: &mut Problems<'_>,
) {
    let mut conditions = Alternative::default();
    match entry.value.plain() {
        _ if entry.value.is_nothing() => {}
        Some("true") => {}
        Some("false") => return,
        _ => {
            let place = format!("`{name}`");
            let expected = "nothing, or a map with conditions";
            if let Some(entries) = key::entries(&entry.value, &place, expected, problems) {
                key::lower_map(entries, keys, &place, &mut conditions, problems);
            }
        }
    }
    on.events.push((name, conditions));
}

fn schedule(on: &mut OnDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let Value::List(items) = &entry.value.value else {
        let expected = "a list of maps with `name` and `cron`";
        value::wrong_type(&entry.value, "`schedule`", expected, None, problems);
        return;
    };
    if !value::not_too_many(items, "`schedule`", problems) {
        return;
    }
    for item in items {
        one(on, item, problems);
    }
}

fn one(on: &mut OnDraft, item: &Node, problems: &mut Problems<'_>) {
    const PLACE: &str = "a schedule";
    let expected = "a map with `name` and `cron`";
    let Some(entries) = key::entries(item, PLACE, expected, problems) else {
        return;
    };
    let mut draft = ScheduleDraft::default();
    key::lower_map(entries, SCHEDULE_KEYS, PLACE, &mut draft, problems);
    key::require(entries, SCHEDULE_KEYS, item.span.clone(), PLACE, problems);
    let (Some(name), Some(cron)) = (draft.name, draft.cron) else {
        return;
    };
    if let Some((first, _)) = on
        .schedules
        .iter()
        .find(|(known, _)| known.value == name.value)
    {
        let (line, _) = problems.place(first.span.start);
        let message = format!("another schedule is named `{}`", shorten(&name.value, 40));
        problems.push(
            Problem::new(codes::DUPLICATE_SCHEDULE, name.span, message)
                .label(format!("the first one is on line {line}"))
                .help("give each a name of its own"),
        );
        return;
    }
    let schedule = Schedule {
        name: name.value.clone(),
        cron,
        timezone: draft.timezone.unwrap_or_else(|| "UTC".to_owned()),
        branch: draft.branch,
    };
    on.schedules.push((name, schedule));
}

#[cfg(test)]
mod tests {
    use windlass_model::{Event, Facts, Revision, Trigger};

    use crate::value::testing::codes;

    fn skipped(on: &str, event: Event, git_ref: &str) -> Option<String> {
        let source = format!("on: {on}\nsteps: [x]");
        let read = crate::read("windlass.yml", source.as_bytes());
        assert_eq!(read.diagnostics, [], "{on}");
        let trigger = Trigger::new(event, Revision::zero(), git_ref);
        let mut facts = Facts::new(trigger, "r");
        facts.changed = Some(vec!["docs/a.md".to_owned()]);
        read.spec.unwrap().plan(&facts).skipped
    }

    fn push(on: &str, branch: &str) -> Option<String> {
        let event = Event::Push {
            branch: branch.to_owned(),
            forced: false,
        };
        skipped(on, event, &format!("refs/heads/{branch}"))
    }

    #[test]
    fn what_is_not_named_is_skipped_with_the_reason() {
        assert_eq!(push("push", "main"), None);
        assert_eq!(push("[push, tag]", "main"), None);
        assert_eq!(push("{push: }", "main"), None);
        assert_eq!(push("{push: {branches: main}}", "main"), None);
        assert_eq!(
            push("{push: {branches: main}}", "x").unwrap(),
            "`on`: `branches: main` does not hold: branch is \"x\""
        );
        assert_eq!(push("tag", "main").unwrap(), "`on` does not name `push`");
        assert_eq!(push("{push: {paths: docs/**}}", "x"), None);
        assert!(push("{push: {paths: src/**}}", "x").is_some());
        let tag = Event::Tag {
            tag: "v1".to_owned(),
        };
        assert_eq!(
            skipped("{tag: {tags: v*}}", tag.clone(), "refs/tags/v1"),
            None
        );
        assert!(skipped("{tag: {tags: w*}}", tag, "refs/tags/v1").is_some());
    }

    #[test]
    fn people_may_ask_unless_it_is_forbidden() {
        assert_eq!(skipped("push", Event::Manual, "HEAD"), None);
        assert_eq!(skipped("push", Event::Api, "HEAD"), None);
        let forbidden = skipped("{push: , manual: false}", Event::Manual, "HEAD");
        assert_eq!(forbidden.unwrap(), "`on` says `manual: false`");
    }

    #[test]
    fn schedules() {
        let on = "{schedule: [{name: nightly, cron: '0 3 * * *', timezone: Europe/Berlin, branch: main}]}";
        let at = |name: &str| {
            let event = Event::Schedule {
                name: name.to_owned(),
            };
            skipped(on, event, "refs/heads/main")
        };
        assert_eq!(at("nightly"), None);
        assert!(at("other").is_some());
        let read = crate::read("windlass.yml", format!("on: {on}\nsteps: [x]").as_bytes());
        let spec = read.spec.unwrap();
        let schedule = &spec.schedules()[0];
        assert_eq!(schedule.branch.as_deref(), Some("main"));
        assert!(schedule.next_ms(0).is_some());
    }

    #[test]
    fn what_is_no_event() {
        let codes = |text: &str| codes(&format!("on: {text}\nsteps: [x]"));
        assert_eq!(codes("pusch"), ["E0138"]);
        assert_eq!(codes("[schedule]"), ["E0138"]);
        assert_eq!(codes("{pull: }"), ["E0130"]);
        assert_eq!(codes("{push: main}"), ["E0132"]);
        assert_eq!(codes("{push: {tags: v*}}"), ["E0130"]);
        let schedule = |text: &str| codes(&format!("{{schedule: [{text}]}}"));
        assert_eq!(schedule("{name: a, cron: x}"), ["E0213"]);
        assert_eq!(
            schedule("{name: a, cron: '@daily', timezone: Berlin}"),
            ["E0214"]
        );
        assert_eq!(schedule("{name: a}"), ["E0131"]);
        assert_eq!(
            schedule("{name: a, cron: '@daily'}, {name: a, cron: '@daily'}"),
            ["E0223"]
        );
    }
}
