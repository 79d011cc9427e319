//! `include`: templates and jobs from other files.

use serde_json::json;
use windlass_model::Revision;

use crate::codes;
use crate::draft::SpecDraft;
use crate::include::Include;
use crate::key::{self, About, Key};
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// At the top level.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "include",
        required: false,
        summary: "files whose `templates` and `jobs` are taken over",
        details: "A path below the repository's root, a map, or a list of these; at most 20. An included file has \
                  `templates` and `jobs` and includes nothing itself. A file of another repository is named with \
                  the full commit id, so that nobody changes a build from elsewhere; on a server, that \
                  repository is on the same host as this one, and readable without a password.",
        example: "include:\n  - ci/rust.yml\n  - repo: https://git.example.org/ci/shared.git\n    revision: \
                  0123456789abcdef0123456789abcdef01234567\n    file: deploy.yml\njobs:\n  test:\n    steps: [make]\n",
        schema: || {
            let item = json!({ "anyOf": [{ "type": "string" }, schema::object(KEYS)] });
            json!({ "anyOf": [item, { "type": "array", "minItems": 1, "maxItems": MOST, "items": item }] })
        },
        inside: &[&FILE.about, &REPO.about, &REVISION.about],
    },
    lower,
};

/// More files than this nobody understands.
const MOST: usize = 20;

#[derive(Default)]
struct Draft {
    file: Option<String>,
    repo: Option<String>,
    revision: Option<Revision>,
}

const KEYS: &[Key<Draft>] = &[FILE, REPO, REVISION];

const FILE: Key<Draft> = Key {
    about: About {
        name: "file",
        required: true,
        summary: "the path below the repository's root",
        details: "Relative, without `..`.",
        example: "include: [{file: ci/rust.yml}]\njobs:\n  test:\n    steps: [make]\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |include, entry, problems| include.file = file(&entry.value, "`file`", problems),
};

const REPO: Key<Draft> = Key {
    about: About {
        name: "repo",
        required: false,
        summary: "the URL of another repository",
        details: "As `git clone` takes it. Goes with `revision`.",
        example: "include:\n  - repo: https://git.example.org/ci/shared.git\n    revision: \
                  0123456789abcdef0123456789abcdef01234567\n    file: deploy.yml\njobs:\n  test:\n    steps: [make]\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |include, entry, problems| {
        let text = value::line(&entry.value, "`repo`", "a URL", problems);
        include.repo = text.map(ToOwned::to_owned);
    },
};

const REVISION: Key<Draft> = Key {
    about: About {
        name: "revision",
        required: false,
        summary: "the full commit id in the other repository",
        details: "40 or 64 hexadecimal digits. Branches and tags can be moved, so they are not taken.",
        example: "include:\n  - repo: https://git.example.org/ci/shared.git\n    revision: \
                  0123456789abcdef0123456789abcdef01234567\n    file: deploy.yml\njobs:\n  test:\n    steps: [make]\n",
        schema: || json!({ "type": "string", "pattern": "^([0-9a-f]{40}|[0-9a-f]{64})$" }),
        inside: &[],
    },
    lower: |include, entry, problems| {
        let Some(text) = value::text(&entry.value, "`revision`", "a full commit id", problems)
        else {
            return;
        };
        match text.parse() {
            Ok(revision) => include.revision = Some(revision),
            Err(_) => problems.push(
                Problem::new(
                    codes::BAD_CHOICE,
                    entry.value.span.clone(),
                    format!("`{}` is not a full commit id", shorten(text, 60)),
                )
                .label("expected 40 or 64 hexadecimal digits")
                .help("`git ls-remote URL` shows them; put it in quotes if it is all digits"),
            ),
        }
    },
};

fn file(node: &Node, name: &str, problems: &mut Problems<'_>) -> Option<String> {
    let text = value::line(node, name, "a path below the root", problems)?;
    value::inside(text, &node.span, problems).then(|| text.to_owned())
}

fn lower(spec: &mut SpecDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let one = std::slice::from_ref(&entry.value);
    let items = match &entry.value.value {
        Value::List(items) => items.as_slice(),
        _ => one,
    };
    if let Some(beyond) = items.get(MOST) {
        let message = format!("{} files are too many", items.len());
        problems.push(
            Problem::new(codes::TOO_LONG, beyond.span.clone(), message)
                .label(format!("at most {MOST}"))
                .help("put some of them together"),
        );
        return;
    }
    for item in items {
        let Some(include) = include(item, problems) else {
            continue;
        };
        if spec.includes.iter().any(|known| known.value == include) {
            problems.push(
                Problem::new(codes::REPEATED, item.span.clone(), "the same file again")
                    .label("is included above")
                    .help("take one of them away"),
            );
            continue;
        }
        spec.includes.push(At {
            value: include,
            span: item.span.clone(),
        });
    }
}

fn include(item: &Node, problems: &mut Problems<'_>) -> Option<Include> {
    const PLACE: &str = "an item of `include`";
    let Value::Map(entries) = &item.value else {
        let file = file(item, "`include`", problems)?;
        return Some(Include { from: None, file });
    };
    let mut draft = Draft::default();
    key::lower_map(entries, KEYS, PLACE, &mut draft, problems);
    key::require(entries, KEYS, item.span.clone(), PLACE, problems);
    let has = |name: &str| entries.iter().any(|entry| entry.key == name);
    if has("repo") != has("revision") {
        let missing = if has("repo") { "revision" } else { "repo" };
        problems.push(
            Problem::new(
                codes::MISSING_KEY,
                item.span.clone(),
                format!("{PLACE} needs `{missing}`"),
            )
            .label(format!("`{missing}` is missing"))
            .help("another repository is named with `repo` and `revision`"),
        );
        return None;
    }
    let from = match (draft.repo, draft.revision) {
        (Some(repo), Some(revision)) => Some((repo, revision)),
        (None, None) if !has("repo") => None,
        _ => return None,
    };
    Some(Include {
        from,
        file: draft.file?,
    })
}
