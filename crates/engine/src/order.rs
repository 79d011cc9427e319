//! A planned job as the order that the shim obeys.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use windlass_model::plan::{Background, OnResult, OutputMode, Ready, ReadyCheck, variable};
use windlass_model::{AttemptId, BuildNumber, Event, JobPlan, Secret, Trigger};
use windlass_shim::order as shim;

use crate::executor::{Inside, swarm};

/// How much output of a step is kept, if nobody says otherwise: 1 GiB.
pub const OUTPUT_KEPT: u64 = 1 << 30;

/// The most of the end of a step's output that is kept when there is more than that.
const TAIL_KEPT: u64 = 4 << 20;

/// The limit of a step's output, of `bytes` in all.
pub fn output_limit(bytes: u64) -> shim::OutputLimit {
    shim::OutputLimit {
        bytes,
        tail_bytes: TAIL_KEPT.min(bytes / 4),
    }
}

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
fn build_env(about: &About<'_>, workspace: &Path, tmp: &Path) -> BTreeMap<String, String> {
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
    set("WINDLASS_OUTPUT", &tmp.join(OUTPUT_FILE).to_string_lossy());
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
pub fn order(attempt: &AttemptId, job: &JobPlan, about: &About<'_>, inside: Inside) -> shim::Order {
    let Inside {
        workspace,
        tmp,
        mut env,
    } = inside;
    env.extend(build_env(about, &workspace, &tmp));
    env.insert("WINDLASS_JOB".to_owned(), job.name.clone());
    for (name, value) in &job.matrix {
        env.insert(
            format!("MATRIX_{}", variable(name)),
            value.replace('\0', ""),
        );
    }
    env.extend(job.env.clone());
    shim::Order {
        version: shim::ORDER_VERSION,
        attempt: attempt.to_string(),
        workspace,
        env,
        timeout_ms: Some(ms(job.timeout)),
        grace_ms: ms(GRACE),
        inherit_env: false,
        output: Some(output_limit(OUTPUT_KEPT)),
        limits: shim::Limits {
            memory_bytes: job.limits.memory_bytes,
            pids: job.limits.pids,
            cpu_millis: job.limits.cpu_millis,
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
                workdir: step
                    .workdir
                    .as_ref()
                    .or(job.workdir.as_ref())
                    .map(Into::into),
                skip: step.skipped.clone(),
                when: match step.on_result {
                    OnResult::Success => shim::When::Success,
                    OnResult::Failure => shim::When::Failure,
                    OnResult::Always => shim::When::Always,
                },
                expect: step.expect.clone(),
                background: step.background.as_ref().map(background),
            })
            .collect(),
    }
}

fn background(background: &Background) -> shim::Background {
    let ready = |ready: &Ready| shim::Ready {
        check: match &ready.check {
            ReadyCheck::Port(port) => shim::Check::Port(*port),
            ReadyCheck::Run(argv) => shim::Check::Run(argv.clone()),
            ReadyCheck::Output(text) => shim::Check::Output(text.clone()),
        },
        timeout_ms: ms(ready.timeout),
    };
    shim::Background {
        ready: background.ready.as_ref().map(ready),
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The labels (`runs-on`) that this machine has.
pub fn machine_labels() -> Vec<String> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = std::env::consts::OS;
    vec![
        os.to_owned(),
        arch.to_owned(),
        format!("os={os}"),
        format!("arch={arch}"),
    ]
}

/// What there is to run jobs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Here {
    /// Jobs with an image run on a Swarm.
    pub swarm: bool,
    /// What whoever runs this allows.
    pub grants: Grants,
}

/// Rights on the machine that jobs of a repository may ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Containers with all rights.
    pub privileged: bool,
    /// These paths of the machine, and none below them: whoever writes below one could lead us elsewhere by a
    /// link.
    pub mounts: Vec<String>,
}

/// What a job asks of [`Grants`] that it has not got.
fn not_granted(job: &JobPlan, grants: &Grants) -> Vec<String> {
    let mut refused = Vec::new();
    if job.privileged && !grants.privileged {
        refused.push(
            "`privileged` is not allowed to this build: whoever runs the server can allow it to the repository \
             (`--allow-privileged REPO`), but never to forks"
                .to_owned(),
        );
    }
    for mount in job
        .mounts
        .iter()
        .filter(|m| !grants.mounts.contains(&m.from))
    {
        refused.push(format!(
            "`mounts: {0}` is not allowed to this build: whoever runs the server can allow exactly this path to the \
             repository (`--allow-mount REPO:{0}`), but never to forks",
            mount.from
        ));
    }
    refused
}

/// What the executor of this job can't do of it, each as a sentence that says what to do. A job for
/// which this isn't empty is refused, not run in some other way.
pub fn refusals(job: &JobPlan, here: &Here) -> Vec<String> {
    if job.image.is_none() || job.executor.as_deref() == Some("process") {
        return process_refusals(job);
    }
    if here.swarm && job.executor.as_deref() != Some("docker") {
        let mut refused = swarm::refusals(job);
        refused.extend(not_granted(job, &here.grants));
        return refused;
    }
    let mut refused = not_granted(job, &here.grants);
    if job.limits.disk_bytes.is_some() {
        refused.push("`limits.disk` can't be kept by Docker here: take `disk` away".to_owned());
    }
    if let Some(executor) = job.executor.as_ref().filter(|name| *name != "docker") {
        refused.push(format!(
            "`executor: {executor}` is not here: write `executor: docker`, or take it away"
        ));
    }
    refused.extend(missing_labels(job));
    refused
}

fn missing_labels(job: &JobPlan) -> impl Iterator<Item = String> {
    let labels = machine_labels();
    let missing = job
        .runs_on
        .iter()
        .filter(move |label| !labels.contains(label));
    missing.map(|label| {
        format!(
            "`runs-on: {label}` is not a label of this machine, which has {}: take it away, or use one of these",
            machine_labels().join(", ")
        )
    })
}

/// [`refusals`] of the `process` executor, and of a person with a shell.
pub fn process_refusals(job: &JobPlan) -> Vec<String> {
    let mut refused = Vec::new();
    let mut refuse = |what: String, advice: &str| {
        refused.push(format!(
            "{what} needs containers, and jobs run as local processes here: {advice}"
        ));
    };
    if let Some(image) = &job.image {
        refuse(
            format!("`image: {image}`"),
            "take `image` away, and install what it holds on this machine",
        );
    }
    if let Some(service) = job.services.first() {
        refuse(
            format!("the service `{}`", service.name),
            "start what it holds in a step with `background: {ready: …}`",
        );
    }
    if let Some(user) = &job.user {
        refuse(format!("`user: {user}`"), "take `user` away");
    }
    for (asked, what) in [
        (job.privileged, "privileged"),
        (job.read_only, "read-only"),
        (!job.tmpfs.is_empty(), "tmpfs"),
        (!job.mounts.is_empty(), "mounts"),
    ] {
        if asked {
            refuse(format!("`{what}`"), &format!("take `{what}` away"));
        }
    }
    if !job.network {
        refuse("`network: none`".to_owned(), "take `network` away");
    }
    if job.limits.disk_bytes.is_some() {
        refuse("`limits.disk`".to_owned(), "take `disk` away");
    }
    refused.extend(missing_labels(job));
    let mut refuse = |what: String, advice: &str| {
        refused.push(format!(
            "{what} needs another executor, and jobs run as local processes here: {advice}"
        ));
    };
    if job.executor.as_deref() == Some("docker") {
        refused.push("`executor: docker` needs an `image`: name one".to_owned());
    } else if let Some(executor) = job.executor.as_ref().filter(|name| *name != "process") {
        refuse(
            format!("`executor: {executor}`"),
            "write `executor: process`, or take it away",
        );
    }
    refused
}

/// Where a job leaves the values that it hands on, in its folder for temporary files.
pub const OUTPUT_FILE: &str = "windlass-output";

/// The most that a job hands on.
pub const OUTPUT_LIMIT: u64 = 64 * 1024;

/// The values that steps wrote to `$WINDLASS_OUTPUT`: lines `name=value`, the last of a name counts.
///
/// # Errors
/// A sentence that names the line that can't be understood.
pub fn read_outputs(text: &[u8], declared: &[String]) -> Result<BTreeMap<String, String>, String> {
    if text.len() as u64 > OUTPUT_LIMIT {
        return Err(format!(
            "the outputs have {} bytes, and at most {OUTPUT_LIMIT} are taken",
            text.len()
        ));
    }
    let text = std::str::from_utf8(text).map_err(|_| "the outputs are not UTF-8".to_owned())?;
    let mut outputs = BTreeMap::new();
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let number = number + 1;
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("line {number} of $WINDLASS_OUTPUT is not `name=value`"))?;
        if !declared.iter().any(|known| known == name) {
            return Err(format!(
                "the job wrote the output `{name}`, which is not in its `outputs`"
            ));
        }
        outputs.insert(name.to_owned(), value.replace('\0', ""));
    }
    Ok(outputs)
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
    use windlass_model::plan::StepPlan;

    use super::*;

    #[test]
    fn a_stranger_s_title_is_only_ever_a_variable() {
        let trigger = Trigger::new(
            Event::PullRequest {
                number: 7,
                title: "$(rm -rf /)".to_owned(),
                base: "main".to_owned(),
                head: "`id`\0".to_owned(),
                from_fork: true,
            },
            "a".repeat(40).parse().unwrap(),
            "refs/pull/7/head".to_owned(),
        );
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
    fn outputs_are_lines_that_were_announced() {
        let declared = ["a".to_owned(), "b".to_owned()];
        let read = |text: &str| read_outputs(text.as_bytes(), &declared);
        let outputs = read("a=1\n\nb=x=y\na=2\n").unwrap();
        assert_eq!((outputs["a"].as_str(), outputs["b"].as_str()), ("2", "x=y"));
        assert!(read("c=1").unwrap_err().contains("`c`"));
        assert!(read("nothing").unwrap_err().contains("line 1"));
        assert!(read(&"a".repeat(70_000)).is_err());
    }

    #[test]
    fn a_background_step_keeps_its_check() {
        let check = |check| {
            let ready = Ready {
                check,
                timeout: Duration::from_secs(30),
            };
            let step = StepPlan {
                background: Some(Background { ready: Some(ready) }),
                ..StepPlan::default()
            };
            let job = JobPlan {
                steps: vec![StepPlan::default(), step],
                ..JobPlan::default()
            };
            let attempt = "a1".parse().unwrap();
            let inside = Inside {
                workspace: "/w".into(),
                tmp: "/t".into(),
                env: BTreeMap::new(),
            };
            let trigger = Trigger::new(Event::Manual, "a".repeat(40).parse().unwrap(), "HEAD");
            let about = About {
                repo: "demo",
                number: 1,
                trigger: &trigger,
                url: None,
            };
            let mut order = order(&attempt, &job, &about, inside);
            assert_eq!(order.steps[0].background, None);
            order.steps.remove(1).background.and_then(|b| b.ready)
        };
        let argv = vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()];
        for (planned, ordered) in [
            (ReadyCheck::Port(80), shim::Check::Port(80)),
            (ReadyCheck::Run(argv.clone()), shim::Check::Run(argv)),
            (
                ReadyCheck::Output("up".to_owned()),
                shim::Check::Output("up".to_owned()),
            ),
        ] {
            let expected = shim::Ready {
                check: ordered,
                timeout_ms: 30_000,
            };
            assert_eq!(check(planned), Some(expected));
        }
    }

    #[test]
    fn what_needs_containers_is_refused_with_advice() {
        let mut job = JobPlan::default();
        assert_eq!(refusals(&job, &Here::default()), [""; 0]);
        job.network = false;
        assert_eq!(refusals(&job, &Here::default()).len(), 1);
        job.image = Some("rust".to_owned());
        assert_eq!(refusals(&job, &Here::default()), [""; 0]);
        job.limits.disk_bytes = Some(1);
        assert_eq!(refusals(&job, &Here::default()).len(), 1);
        job.limits.disk_bytes = None;
        let asks = JobPlan {
            image: Some("x".to_owned()),
            privileged: true,
            mounts: vec![windlass_model::plan::MountPlan {
                from: "/srv/cache".to_owned(),
                to: "/cache".to_owned(),
                read_only: false,
            }],
            ..JobPlan::default()
        };
        let mut here = Here::default();
        assert_eq!(refusals(&asks, &here).len(), 2);
        here.grants.privileged = true;
        here.grants.mounts = vec!["/srv".to_owned()];
        let refused = refusals(&asks, &here);
        assert!(refused[0].contains("--allow-mount REPO:/srv/cache"));
        here.grants.mounts.push("/srv/cache".to_owned());
        assert_eq!(refusals(&asks, &here), [""; 0]);
        here.swarm = true;
        assert_eq!(refusals(&asks, &here).len(), 1);
        let refused = process_refusals(&job);
        assert!(
            refused.len() == 2 && refused[0].contains("take `image` away"),
            "{refused:?}"
        );
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
