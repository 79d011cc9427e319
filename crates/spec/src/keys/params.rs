//! `params`: what a person or a program may choose when asking for a build.

use serde_json::json;
use windlass_model::expression::Value as Known;

use crate::codes;
use crate::draft::{ParamDraft, SpecDraft};
use crate::key::{self, About, Key};
use crate::limits;
use crate::node::{Entry, shorten};
use crate::params::{Param, ParamType};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// At the top level.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "params",
        required: false,
        summary: "typed inputs of builds that are asked for by hand or through the API",
        details: "A map of names; each has a `type`, a `default` and perhaps a `description`. Steps see \
                  them as variables `PARAM_<NAME>`, conditions as `params.name`, texts as `${{ params.name }}`. \
                  All other builds use the defaults.",
        example: "params:\n  target:\n    type: choice\n    options: [staging, production]\n    default: staging\n\
                  steps:\n  - ./deploy \"$PARAM_TARGET\"\n",
        schema: || json!({ "type": "object", "additionalProperties": schema::object(KEYS) }),
        inside: &[
            &TYPE.about,
            &DEFAULT.about,
            &OPTIONS.about,
            &DESCRIPTION.about,
        ],
    },
    lower: |spec, entry, problems| {
        let Some(entries) = key::entries(&entry.value, "`params`", "a map of names", problems)
        else {
            return;
        };
        for entry in entries.iter().take(limits::ITEMS) {
            let good = value::word(&entry.key, &entry.key_span, "a parameter", problems);
            if let (Some(param), true) = (lower(entry, problems), good) {
                spec.params.push(param);
            }
        }
    },
};

const KEYS: &[Key<ParamDraft>] = &[TYPE, DEFAULT, OPTIONS, DESCRIPTION];

const TYPE: Key<ParamDraft> = Key {
    about: About {
        name: "type",
        required: false,
        summary: "what may be given",
        details: "`text` (the default), `number`, `boolean` or `choice`.",
        example: "params:\n  count: {type: number, default: 3}\nsteps:\n  - make -j \"$PARAM_COUNT\"\n",
        schema: || json!({ "enum": ["text", "number", "boolean", "choice"] }),
        inside: &[],
    },
    lower: |param, entry, problems| {
        let words = [
            ("text", ParamType::Text),
            ("number", ParamType::Number),
            ("boolean", ParamType::Boolean),
            ("choice", ParamType::Choice),
        ];
        param.kind = value::choice(entry, &words, problems);
    },
};

const DEFAULT: Key<ParamDraft> = Key {
    about: About {
        name: "default",
        required: false,
        summary: "the value if none is given",
        details: "Default: an empty text, 0, `false`, or the first of the options.",
        example: "params:\n  dry: {type: boolean, default: true}\nsteps:\n  - ./deploy\n",
        schema: || json!({ "type": ["string", "number", "boolean"] }),
        inside: &[],
    },
    lower: |param, entry, problems| {
        let text = value::text(&entry.value, "`default`", "a value", problems);
        param.default = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};

const OPTIONS: Key<ParamDraft> = Key {
    about: About {
        name: "options",
        required: false,
        summary: "what can be chosen",
        details: "A list of texts, for `type: choice`.",
        example: "params:\n  target: {type: choice, options: [a, b]}\nsteps:\n  - ./deploy\n",
        schema: || json!({ "type": "array", "minItems": 1, "items": { "type": ["string", "number", "boolean"] } }),
        inside: &[],
    },
    lower: |param, entry, problems| {
        let options = value::texts(&entry.value, "`options`", "a text", problems);
        param.options = options.into_iter().map(|option| option.value).collect();
    },
};

const DESCRIPTION: Key<ParamDraft> = Key {
    about: About {
        name: "description",
        required: false,
        summary: "what it is for, in one line",
        details: "Shown beside the field of the form.",
        example: "params:\n  target: {description: Where to deploy}\nsteps:\n  - ./deploy\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |param, entry, problems| {
        let text = value::line(&entry.value, "`description`", "one line", problems);
        param.description = text.unwrap_or_default().to_owned();
    },
};

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<Param> {
    let mut draft = ParamDraft::default();
    let name = format!("`{}`", shorten(&entry.key, 40));
    let entries = key::entries(
        &entry.value,
        &name,
        "a map with `type` and `default`",
        problems,
    )?;
    key::lower_map(entries, KEYS, "a parameter", &mut draft, problems);
    let usual = if draft.options.is_empty() {
        ParamType::Text
    } else {
        ParamType::Choice
    };
    let kind = draft.kind.unwrap_or(usual);
    if (kind == ParamType::Choice) == draft.options.is_empty() {
        let (message, help) = if draft.options.is_empty() {
            ("a choice needs `options`", "add `options: [a, b]`")
        } else {
            (
                "only a choice has `options`",
                "write `type: choice`, or take `options` away",
            )
        };
        problems.push(
            Problem::new(codes::BAD_PARAM, entry.key_span.clone(), message)
                .label("not complete")
                .help(help),
        );
        return None;
    }
    let mut param = Param {
        name: entry.key.clone(),
        kind,
        options: draft.options,
        description: draft.description,
        default: Known::Bool(false),
    };
    let given = draft.default.as_ref().map(|at| at.value.clone());
    let text = given.unwrap_or_else(|| match kind {
        ParamType::Text => String::new(),
        ParamType::Number => "0".to_owned(),
        ParamType::Boolean => "false".to_owned(),
        ParamType::Choice => param.options[0].clone(),
    });
    match param.value(&text) {
        Ok(value) => param.default = value,
        Err(expected) => {
            let span = draft.default.map_or(entry.key_span.clone(), |at| at.span);
            problems.push(
                Problem::new(
                    codes::BAD_DEFAULT,
                    span,
                    format!("the default `{}` does not fit", shorten(&text, 40)),
                )
                .label(format!("expected {expected}"))
                .help("write a value that a person could give"),
            );
            return None;
        }
    }
    Some(param)
}
