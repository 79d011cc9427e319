//! The language: every key, one file each. A new key is a file here and a line in a table.

use crate::draft::{JobDraft, SpecDraft, StepDraft};
use crate::key::{About, Key};

pub(crate) mod allow_failure;
pub(crate) mod approve;
pub(crate) mod artifacts;
pub(crate) mod background;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod clone;
pub(crate) mod concurrency;
pub(crate) mod env;
pub(crate) mod executor;
pub(crate) mod expect;
pub(crate) mod fail_fast;
pub(crate) mod image;
pub(crate) mod include;
pub(crate) mod jobs;
pub(crate) mod limits;
pub(crate) mod matrix;
pub(crate) mod max_parallel;
pub(crate) mod mounts;
pub(crate) mod name;
pub(crate) mod needs;
pub(crate) mod network;
pub(crate) mod on;
pub(crate) mod output;
pub(crate) mod outputs;
pub(crate) mod params;
pub(crate) mod privileged;
pub(crate) mod read_only;
pub(crate) mod ready;
pub(crate) mod reports;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod runs_on;
pub(crate) mod secrets;
pub(crate) mod services;
pub(crate) mod shell;
pub(crate) mod steps;
pub(crate) mod templates;
pub(crate) mod timeout;
pub(crate) mod tmpfs;
pub(crate) mod tty;
pub(crate) mod use_template;
pub(crate) mod user;
pub(crate) mod when;
pub(crate) mod workdir;

/// What a person calls the map of the whole file.
pub(crate) const TOP: &str = "the spec";
/// What a person calls a step's map.
pub(crate) const IN_STEP: &str = "a step";

/// What a person calls a job's map.
pub(crate) const IN_JOB: &str = "a job";

/// The keys that only the top level has, in the order of the reference.
pub(crate) const SPEC: &[Key<SpecDraft>] = &[
    on::SPEC,
    jobs::SPEC,
    templates::SPEC,
    include::SPEC,
    params::SPEC,
    concurrency::SPEC,
];

/// The keys of a job, in the order of the reference. A spec of one job has them at its top level.
pub(crate) const JOB: &[Key<JobDraft>] = &[
    steps::JOB,
    needs::JOB,
    when::JOB,
    matrix::JOB,
    fail_fast::JOB,
    max_parallel::JOB,
    env::JOB,
    secrets::JOB,
    outputs::JOB,
    artifacts::JOB,
    cache::JOB,
    reports::JOB,
    timeout::JOB,
    retry::JOB,
    allow_failure::JOB,
    approve::JOB,
    concurrency::JOB,
    shell::JOB,
    output::JOB,
    workdir::JOB,
    clone::JOB,
    limits::JOB,
    image::JOB,
    services::JOB,
    user::JOB,
    network::JOB,
    tmpfs::JOB,
    read_only::JOB,
    mounts::JOB,
    privileged::JOB,
    executor::JOB,
    runs_on::JOB,
    use_template::JOB,
];

/// The keys of a job that may stand above all jobs, as their default.
pub(crate) const DEFAULTS: &[&str] = &[
    "env", "secrets", "timeout", "shell", "output", "clone", "limits", "image", "executor",
    "runs-on", "workdir", "user", "network", "retry",
];

/// The keys of a step, in the order of the reference.
pub(crate) const STEP: &[Key<StepDraft>] = &[
    run::STEP,
    name::STEP,
    env::STEP,
    timeout::STEP,
    shell::STEP,
    output::STEP,
    tty::STEP,
    when::STEP,
    expect::STEP,
    workdir::STEP,
    background::STEP,
    build::STEP,
];

/// The documentation of all keys with the place where they belong.
pub(crate) fn all() -> Vec<(String, &'static About)> {
    let top = SPEC.iter().map(|key| (TOP.to_owned(), &key.about));
    let job = JOB.iter().map(|key| (IN_JOB.to_owned(), &key.about));
    let step = STEP.iter().map(|key| (IN_STEP.to_owned(), &key.about));
    let mut all: Vec<_> = top.chain(job).chain(step).collect();
    let mut next = 0;
    while let Some((_, about)) = all.get(next) {
        next += 1;
        let place = format!("`{}`", about.name);
        all.extend(about.inside.iter().map(|inner| (place.clone(), *inner)));
    }
    all
}

/// Where a key belongs, if there is one of this name anywhere.
pub(crate) fn place_of(name: &str) -> Option<String> {
    all()
        .into_iter()
        .find(|(_, about)| about.name == name)
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_is_a_whole_spec_that_shows_its_key() {
        for (place, about) in all() {
            let source = about.example.as_bytes();
            let part = || Ok(b"templates: {a: {}}".to_vec());
            let included = crate::includes("windlass.yml", source)
                .into_iter()
                .map(|include| (include, part()))
                .scan(false, |seen, (include, part)| {
                    // Two files with one template would be a mistake.
                    let part = if *seen {
                        Ok(b"jobs: {}".to_vec())
                    } else {
                        part
                    };
                    *seen = true;
                    Some((include, part))
                })
                .collect();
            let loaded = crate::read_with("windlass.yml", source, &included);
            assert_eq!(loaded.diagnostics, [], "{} in {place}", about.name);
            assert!(
                about.example.contains(about.name),
                "{} in {place}",
                about.name
            );
        }
    }

    #[test]
    fn no_place_has_a_key_twice() {
        let mut seen = std::collections::HashSet::new();
        for (place, about) in all() {
            assert!(
                seen.insert((place.clone(), about.name)),
                "{} in {place}",
                about.name
            );
            assert!(!about.summary.ends_with('.'), "{}", about.summary);
        }
    }
}
