//! `tmpfs`: folders of a container that lie in memory.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "tmpfs",
        required: false,
        summary: "folders of the container that lie in memory",
        details: "A path or a list of absolute paths. They are empty at first, count as memory of the job, and are gone \
                  with it.",
        example: "image: postgres\ntmpfs: [/var/lib/postgresql/data]\nsteps:\n  - ./test-with-database\n",
        schema: || {
            json!({ "anyOf": [
                { "type": "string", "pattern": "^/" },
                { "type": "array", "items": { "type": "string", "pattern": "^/" } },
            ] })
        },
        inside: &[],
    },
    lower: |job, entry, problems| {
        let mut paths = value::texts(&entry.value, "`tmpfs`", "an absolute path", problems);
        paths.retain(|at| super::mounts::is_place(&at.value, &at.span, problems));
        job.tmpfs = paths.into_iter().map(|at| at.value).collect();
    },
};

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn places_are_absolute_and_not_ours() {
        let job = job("image: x\ntmpfs: [/tmp, /var/cache]\nread-only: true\nsteps: [x]");
        assert_eq!(job.tmpfs, ["/tmp", "/var/cache"]);
        assert!(job.read_only);
        for bad in ["tmp", "/", "/a/../b", "/windlass/src", "/.windlass"] {
            let source = format!("image: x\ntmpfs: ['{bad}']\nsteps: [x]");
            assert_eq!(codes(&source).len(), 1, "{bad}");
        }
    }
}
