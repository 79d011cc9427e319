//! `mounts`: folders of the machine in a container.

use std::ops::Range;

use serde_json::json;
use windlass_model::plan::MountPlan;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::node::shorten;
use crate::problems::{Problem, Problems};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "mounts",
        required: false,
        summary: "files and folders of the machine in the container",
        details: "A list of `HOST:CONTAINER` or `HOST:CONTAINER:ro`, absolute paths. Whoever runs the server must \
                  allow exactly this path of the machine for the repository (`windlass serve --allow-mount \
                  REPO:PATH`), and builds of forks never have any.",
        example: "image: docker:cli\nmounts: [\"/var/run/docker.sock:/var/run/docker.sock\"]\nsteps:\n  - docker build -t app .\n",
        schema: || json!({ "type": "array", "items": { "type": "string", "pattern": "^/[^:]*:/[^:]*(:ro)?$" } }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        for item in value::texts(&entry.value, "`mounts`", "HOST:CONTAINER", problems) {
            let parts: Vec<&str> = item.value.split(':').collect();
            let (from, to, read_only) = match parts[..] {
                [from, to] => (from, to, false),
                [from, to, "ro"] => (from, to, true),
                _ => {
                    let message = format!("`{}` is not a mount", shorten(&item.value, 60));
                    problems.push(
                        Problem::new(codes::BAD_PATH, item.span, message)
                            .label("expected HOST:CONTAINER or HOST:CONTAINER:ro")
                            .help("write two absolute paths with a colon between them"),
                    );
                    continue;
                }
            };
            if is_absolute(from, &item.span, problems) && is_place(to, &item.span, problems) {
                job.mounts.push(MountPlan {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    read_only,
                });
            }
        }
    },
};

/// Whether it is an absolute path without detours.
fn is_absolute(path: &str, span: &Range<usize>, problems: &mut Problems<'_>) -> bool {
    let parts = path.split('/').skip(1);
    let direct = parts.clone().all(|part| !matches!(part, "" | "." | ".."));
    if path.starts_with('/') && direct && !path.contains("${{") {
        return true;
    }
    let message = format!("`{}` can't be used as a path here", shorten(path, 60));
    problems.push(
        Problem::new(codes::BAD_PATH, span.clone(), message)
            .label("expected an absolute path")
            .help("write it from `/` on, without `.`, `..` and a slash at the end"),
    );
    false
}

/// Whether something may be put there in a container: not where Windlass has its own files.
pub(super) fn is_place(path: &str, span: &Range<usize>, problems: &mut Problems<'_>) -> bool {
    if !is_absolute(path, span, problems) {
        return false;
    }
    let first = path.split('/').nth(1).unwrap_or_default();
    if first != "windlass" && first != ".windlass" {
        return true;
    }
    let message = format!("`{}` is Windlass's own", shorten(path, 60));
    problems.push(
        Problem::new(codes::BAD_PATH, span.clone(), message)
            .label("holds the workspace and what runs the steps")
            .help("take another path of the container"),
    );
    false
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn a_mount_has_two_places() {
        let job = job("image: x\nprivileged: true\nmounts: ['/a/b:/c', '/d:/e:ro']\nsteps: [x]");
        assert!(job.privileged);
        let seen: Vec<_> = job
            .mounts
            .iter()
            .map(|m| (&*m.from, &*m.to, m.read_only))
            .collect();
        assert_eq!(seen, [("/a/b", "/c", false), ("/d", "/e", true)]);
        for bad in [
            "/a",
            "/a:b",
            "a:/b",
            "/a/../b:/c",
            "/a:/b:rw",
            "/a:/windlass/src",
            "/a//b:/c",
        ] {
            let source = format!("image: x\nmounts: ['{bad}']\nsteps: [x]");
            assert_eq!(codes(&source).len(), 1, "{bad}");
        }
    }
}
