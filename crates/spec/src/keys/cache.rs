//! `cache`: files that make later builds faster.

use serde_json::json;
use windlass_model::plan::CachePlan;

use crate::codes;
use crate::draft::{CacheDraft, JobDraft};
use crate::key::{self, About, Key};
use crate::node::{Node, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "cache",
        required: false,
        summary: "files that are put back before the steps, to save time",
        details: "A map or a list of maps. Before the steps the cache of the key is unpacked, or the newest whose \
                  key begins with one of `restore`; after a success it is saved, if there is none of this key yet. \
                  A cache may be missing at any time: nothing may depend on it. Pull requests read caches and never \
                  write them.",
        example: "cache:\n  key: cargo\n  hash: Cargo.lock\n  paths: [target, ~/.cargo/registry]\n  restore: cargo\nsteps:\n  \
                  - cargo test\n",
        schema: || {
            let map = schema::object(KEYS);
            json!({ "anyOf": [map, { "type": "array", "minItems": 1, "items": map }] })
        },
        inside: &[
            &KEY.about,
            &HASH.about,
            &PATHS.about,
            &RESTORE.about,
            &READ_ONLY.about,
        ],
    },
    lower: |job, entry, problems| match &entry.value.value {
        Value::List(items) if !items.is_empty() => {
            if value::not_too_many(items, "`cache`", problems) {
                items.iter().for_each(|item| map(job, item, problems));
            }
        }
        _ => map(job, &entry.value, problems),
    },
};

const KEYS: &[Key<CacheDraft>] = &[KEY, HASH, PATHS, RESTORE, READ_ONLY];

const KEY: Key<CacheDraft> = Key {
    about: About {
        name: "key",
        required: true,
        summary: "the cache's name",
        details: "One line of at most 100 characters; it may have `${{ matrix.x }}` or `${{ branch }}`. With \
                  `hash`, the hash of those files is added.",
        example: "cache:\n  key: npm-${{ branch }}\n  paths: node_modules\nsteps: [npm ci]\n",
        schema: || json!({ "type": "string", "maxLength": 100 }),
        inside: &[],
    },
    lower: |cache, entry, problems| {
        let Some(text) = value::line(&entry.value, "`key`", "the cache's name", problems) else {
            return;
        };
        if text.len() > crate::limits::NAME {
            let message = format!("`{}` is too long for a key", shorten(text, 60));
            problems.push(
                Problem::new(codes::BAD_NAME, entry.value.span.clone(), message)
                    .label("expected at most 100 characters")
                    .help("put what changes into `hash`"),
            );
            return;
        }
        cache.key = Some(At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};

const HASH: Key<CacheDraft> = Key {
    about: About {
        name: "hash",
        required: false,
        summary: "files whose contents are part of the key",
        details: "A pattern or a list of patterns. When one of the files changes, there is a new cache.",
        example: "cache:\n  key: npm\n  hash: package-lock.json\n  paths: ~/.npm\nsteps: [npm ci]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |cache, entry, problems| {
        cache.hash = value::paths(&entry.value, "`hash`", false, problems);
        for pattern in &cache.hash {
            problems.expect_file(&pattern.value, &pattern.span);
        }
    },
};

const PATHS: Key<CacheDraft> = Key {
    about: About {
        name: "paths",
        required: true,
        summary: "what is kept",
        details: "A folder, file or pattern, or a list of them: relative to the repository's root, or to the home \
                  folder with `~/`.",
        example: "cache:\n  key: go\n  paths: [~/go/pkg/mod, ~/.cache/go-build]\nsteps: [go test ./...]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |cache, entry, problems| {
        cache.paths = value::paths(&entry.value, "`paths`", true, problems);
    },
};

const RESTORE: Key<CacheDraft> = Key {
    about: About {
        name: "restore",
        required: false,
        summary: "beginnings of other keys that are good enough to start from",
        details: "A text or a list of texts, best first: of the caches that begin with it, the newest is taken.",
        example: "cache:\n  key: cargo\n  hash: Cargo.lock\n  paths: target\n  restore: [cargo]\nsteps: [cargo test]\n",
        schema: schema::texts,
        inside: &[],
    },
    lower: |cache, entry, problems| {
        cache.restore = value::texts(
            &entry.value,
            "`restore`",
            "the beginning of a key",
            problems,
        );
    },
};

const READ_ONLY: Key<CacheDraft> = Key {
    about: About {
        name: "read-only",
        required: false,
        summary: "whether the cache is read and never written",
        details: "`true` or `false`. Default: `false`; for pull requests always `true`.",
        example: "cache:\n  key: data\n  paths: testdata\n  read-only: true\nsteps: [make test]\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |cache, entry, problems| {
        cache.read_only = value::truth(entry, problems).unwrap_or(false);
    },
};

fn map(job: &mut JobDraft, item: &Node, problems: &mut Problems<'_>) {
    let expected = "a map with `key` and `paths`";
    let Some(entries) = key::entries(item, "`cache`", expected, problems) else {
        return;
    };
    let mut draft = CacheDraft::default();
    key::lower_map(entries, KEYS, "`cache`", &mut draft, problems);
    key::require(entries, KEYS, item.span.clone(), "`cache`", problems);
    if draft.key.is_some() && !draft.paths.is_empty() {
        job.caches.push(draft);
    }
}

impl CacheDraft {
    /// The plan, its key not filled in yet.
    pub(crate) fn finish(self) -> CachePlan {
        let values = |all: Vec<At<String>>| all.into_iter().map(|at| at.value).collect();
        CachePlan {
            key: self.key.map(|at| at.value).unwrap_or_default(),
            hash: values(self.hash),
            paths: values(self.paths),
            restore: values(self.restore),
            read_only: self.read_only,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job, plan};

    #[test]
    fn one_or_many() {
        let caches = job("cache: {key: a, paths: [target, ~/.cargo]}\nsteps: [x]").caches;
        assert_eq!((caches[0].key.as_str(), caches[0].read_only), ("a", false));
        let caches = job(
            "cache: [{key: a, paths: b}, {key: c, hash: x.lock, paths: d, restore: [c, a], read-only: true}]\n\
             steps: [x]",
        )
        .caches;
        assert_eq!(caches[1].restore, ["c", "a"]);
        assert!(caches[1].read_only);
    }

    #[test]
    fn keys_are_filled_in() {
        let plan = plan(
            "matrix: {v: [1, 2]}\ncache: {key: 'k-${{ matrix.v }}', paths: p, restore: 'k-${{ matrix.v \
             }}'}\nsteps: [x]",
        );
        assert_eq!(plan.jobs[1].caches[0].key, "k-2");
        assert_eq!(plan.jobs[1].caches[0].restore, ["k-2"]);
    }

    #[test]
    fn what_is_no_cache() {
        let codes = |text: &str| codes(&format!("cache: {text}\nsteps: [x]"));
        assert_eq!(codes("target"), ["E0132"]);
        assert_eq!(codes("{key: a}"), ["E0131"]);
        assert_eq!(codes("{key: a, paths: ../x}"), ["E0212"]);
        assert_eq!(codes("{key: a, paths: x, hash: ~/x}"), ["E0212"]);
        assert_eq!(codes("{key: a, paths: x, readonly: true}"), ["E0130"]);
    }
}
