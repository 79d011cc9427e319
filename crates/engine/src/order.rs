//! A planned job as the order that the shim obeys.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use windlass_model::plan::OutputMode;
use windlass_model::{AttemptId, BuildNumber, Event, JobPlan, Secret, Trigger};
use windlass_shim::order as shim;

/// How long a process tree has between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(10);

/// Variables of the machine that steps of the `process` executor may see: where people and their
/// tools live, nothing else. Everything else must be asked for with `--pass-env`.
pub const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TZ",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "GOPATH",
    "GOROOT",
    "JAVA_HOME",
    "NVM_DIR",
    "PYENV_ROOT",
];

/// What a step can know about the build that it belongs to.
#[derive(Debug, Clone)]
pub struct About<'a> {
    /// The repository's name.
    pub repo: &'a str,
    /// The build's number; 0 for `windlass run`.
    pub number: BuildNumber,
    /// Why it is built.
    pub trigger: &'a Trigger,
    /// The build's page, if there is one.
    pub url: Option<&'a str>,
}

/// The variables of the machine that steps get: [`PASSED_ON`] and `further`, where they are set.
pub fn machine_env(further: &[String]) -> BTreeMap<String, String> {
    let names = PASSED_ON
        .iter()
        .copied()
        .chain(further.iter().map(String::as_str));
    let mut env: BTreeMap<String, String> = names
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect();
    env.entry("PATH".to_owned()).or_insert_with(|| {
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()
    });
    env.entry("LANG".to_owned())
        .or_insert_with(|| "C.UTF-8".to_owned());
    env
}

/// The variables that tell a step what it is part of. Texts that strangers wrote (branch, title)
/// travel only here, never inside a script.
pub fn build_env(about: &About<'_>, workspace: &Path, tmp: &Path) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        // A variable can't hold NUL; nothing that we name here should.
        env.insert(name.to_owned(), value.replace('\0', ""));
    };
    set("CI", "true");
    set("WINDLASS", "true");
    set("WINDLASS_REPO", about.repo);
    set("WINDLASS_BUILD", &about.number.to_string());
    set("WINDLASS_EVENT", about.trigger.event.kind());
    set("WINDLASS_REVISION", about.trigger.revision.as_str());
    set("WINDLASS_REF", &about.trigger.git_ref);
    set("WINDLASS_WORKSPACE", &workspace.to_string_lossy());
    set("TMPDIR", &tmp.to_string_lossy());
    if let Some(url) = about.url {
        set("WINDLASS_URL", url);
    }
    match &about.trigger.event {
        Event::Push { branch, .. } => set("WINDLASS_BRANCH", branch),
        Event::Tag { tag } => set("WINDLASS_TAG", tag),
        Event::PullRequest {
            number, base, head, ..
        } => {
            set("WINDLASS_PULL_REQUEST", &number.to_string());
            set("WINDLASS_BRANCH", head);
            set("WINDLASS_BASE_BRANCH", base);
        }
        Event::Schedule { name } => {
            set("WINDLASS_SCHEDULE", name);
            set("WINDLASS_BRANCH", about.trigger.branch());
        }
        Event::Manual | Event::Api => {
            for (name, value) in [
                ("WINDLASS_BRANCH", about.trigger.branch()),
                ("WINDLASS_TAG", about.trigger.tag()),
            ] {
                if !value.is_empty() {
                    set(name, value);
                }
            }
        }
    }
    env
}

/// The order for `job`: the machine's variables, then the build's, then the job's own.
pub fn order(
    attempt: &AttemptId,
    job: &JobPlan,
    workspace: &Path,
    mut env: BTreeMap<String, String>,
) -> shim::Order {
    env.extend(job.env.clone());
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    shim::Order {
        version: shim::ORDER_VERSION,
        attempt: attempt.to_string(),
        workspace: workspace.to_path_buf(),
        env,
        timeout_ms: Some(ms(job.timeout)),
        grace_ms: ms(GRACE),
        limits: shim::Limits {
            memory_bytes: job.limits.memory_bytes,
            pids: job.limits.pids,
        },
        steps: job
            .steps
            .iter()
            .map(|step| shim::StepOrder {
                argv: step.argv.clone(),
                env: step.env.clone(),
                timeout_ms: step.timeout.map(ms),
                output: match step.output {
                    OutputMode::Merged => shim::OutputMode::Merged,
                    OutputMode::Separate => shim::OutputMode::Separate,
                    OutputMode::Tty => shim::OutputMode::Tty,
                },
            })
            .collect(),
    }
}

/// The secrets as the shim takes them: variables for the steps, all masked, and `further` values
/// that are only masked.
pub fn secrets(env: &BTreeMap<String, Secret>, further: &[Secret]) -> shim::Secrets {
    shim::Secrets {
        env: env
            .iter()
            .map(|(k, v)| (k.clone(), v.expose().to_owned()))
            .collect(),
        mask: further.iter().map(|s| s.expose().to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_s_title_is_only_ever_a_variable() {
        let trigger = Trigger {
            event: Event::PullRequest {
                number: 7,
                title: "$(rm -rf /)".to_owned(),
                base: "main".to_owned(),
                head: "`id`\0".to_owned(),
                from_fork: true,
            },
            revision: "a".repeat(40).parse().unwrap(),
            git_ref: "refs/pull/7/head".to_owned(),
            message: String::new(),
            author: String::new(),
            url: None,
            before: None,
            skip: None,
            params: BTreeMap::new(),
        };
        let about = About {
            repo: "demo",
            number: 3,
            trigger: &trigger,
            url: None,
        };
        let env = build_env(&about, Path::new("/w"), Path::new("/t"));
        assert_eq!(env["WINDLASS_BRANCH"], "`id`");
        assert_eq!(env["WINDLASS_PULL_REQUEST"], "7");
        assert_eq!(env["TMPDIR"], "/t");
    }

    #[test]
    fn only_known_variables_of_the_machine_are_passed_on() {
        let env = machine_env(&["CARGO_MANIFEST_DIR".to_owned()]);
        assert!(env.contains_key("PATH") && env.contains_key("LANG"));
        assert!(env.contains_key("CARGO_MANIFEST_DIR"));
        let known = |k: &String| PASSED_ON.contains(&k.as_str()) || k == "CARGO_MANIFEST_DIR";
        assert!(env.keys().all(known), "{env:?}");
    }
}
