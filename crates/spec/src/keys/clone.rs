//! `clone`: how the revision is brought into the workspace.

use serde_json::json;
use windlass_model::plan::ClonePlan;

use crate::draft::JobDraft;
use crate::key::{self, About, Key};
use crate::node::Entry;
use crate::problems::Problems;
use crate::schema;
use crate::value;

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "clone",
        required: false,
        summary: "how the revision is brought into the workspace",
        details: "A map, or `off` for an empty workspace. Without it, the one revision is fetched, \
                  without history, submodules and Git LFS files.",
        example: "clone:\n  depth: full\n  submodules: true\nsteps:\n  - git describe\n",
        schema: || json!({ "anyOf": [schema::object(KEYS), { "const": "off" }] }),
        inside: &[&DEPTH.about, &SUBMODULES.about, &LFS.about],
    },
    lower: |job, entry, problems| {
        if entry.value.plain() == Some("off") {
            job.clone.off = true;
            return;
        }
        let expected = "`off`, or a map with `depth`, `submodules`, `lfs`";
        if let Some(entries) = key::entries(&entry.value, "`clone`", expected, problems) {
            key::lower_map(entries, KEYS, "`clone`", &mut job.clone, problems);
        }
    },
};

const KEYS: &[Key<ClonePlan>] = &[DEPTH, SUBMODULES, LFS];

const DEPTH: Key<ClonePlan> = Key {
    about: About {
        name: "depth",
        required: false,
        summary: "how many commits of history are fetched",
        details: "A number from 1, or `full` for all of them with their tags. Default: 1. Programs \
                  that look at the history, such as `git describe`, need that.",
        example: "clone:\n  depth: 50\nsteps:\n  - git log --oneline\n",
        schema: || {
            json!({
                "anyOf": [
                    { "type": "integer", "minimum": 1, "maximum": MOST },
                    { "const": "full" },
                ],
            })
        },
        inside: &[],
    },
    lower: depth,
};

/// What git itself takes.
const MOST: u64 = 2_147_483_647;

const SUBMODULES: Key<ClonePlan> = Key {
    about: About {
        name: "submodules",
        required: false,
        summary: "whether submodules are checked out too, recursively",
        details: "`true` or `false`. Default: `false`.",
        example: "clone:\n  submodules: true\nsteps:\n  - make\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |clone, entry, problems| {
        if let Some(value) = value::truth(entry, problems) {
            clone.submodules = value;
        }
    },
};

const LFS: Key<ClonePlan> = Key {
    about: About {
        name: "lfs",
        required: false,
        summary: "whether Git LFS files are fetched",
        details: "`true` or `false`. Default: `false`. Needs `git-lfs` on the machine.",
        example: "clone:\n  lfs: true\nsteps:\n  - make\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |clone, entry, problems| {
        if let Some(value) = value::truth(entry, problems) {
            clone.lfs = value;
        }
    },
};

fn depth(clone: &mut ClonePlan, entry: &Entry, problems: &mut Problems<'_>) {
    let text = match &entry.value.value {
        crate::node::Value::Scalar(scalar) => scalar.text.as_str(),
        _ => "",
    };
    match text {
        "full" => clone.depth = None,
        "0" | "all" | "unlimited" | "infinite" => {
            let help = "write `full` for the whole history".to_owned();
            let expected = "a number from 1, or `full`";
            value::refuse_choice(&entry.value, "`depth`", expected, help, problems);
        }
        _ => {
            let number = value::number(entry, 1..=MOST, "a number from 1, or `full`", problems);
            if let Some(number) = number.and_then(|number| u32::try_from(number).ok()) {
                clone.depth = Some(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::{codes, job};

    #[test]
    fn history_submodules_and_lfs() {
        let clone = |text: &str| job(&format!("clone: {text}\nsteps: [x]")).clone;
        assert_eq!(job("steps: [x]").clone, ClonePlan::default());
        assert_eq!(clone("{depth: 50}").depth, Some(50));
        assert_eq!(clone("{depth: full}").depth, None);
        assert!(clone("{submodules: true}").submodules);
        assert!(clone("{lfs: true}").lfs);
        assert_eq!(clone("{}"), ClonePlan::default());
    }

    #[test]
    fn what_is_wrong() {
        let codes = |text: &str| codes(&format!("clone: {text}\nsteps: [x]"));
        assert_eq!(codes("full"), ["E0132"]);
        assert_eq!(codes("{depth: 0}"), ["E0138"]);
        assert_eq!(codes("{depth: -1}"), ["E0137"]);
        assert_eq!(codes("{depth: '5'}"), ["E0137"]);
        assert_eq!(codes("{depth: 99999999999}"), ["E0137"]);
        assert_eq!(codes("{depth: deep}"), ["E0132"]);
        assert_eq!(codes("{deph: 1}"), ["E0130"]);
        assert_eq!(
            codes("{submodules: recursive, lfs: no}"),
            ["E0132", "E0138"]
        );
    }
}
