//! The language: every key, one file each. A new key is a file here and a line in a table.

use crate::draft::{JobDraft, StepDraft};
use crate::key::{About, Key};

pub(crate) mod clone;
pub(crate) mod env;
pub(crate) mod limits;
pub(crate) mod name;
pub(crate) mod output;
pub(crate) mod run;
pub(crate) mod secrets;
pub(crate) mod shell;
pub(crate) mod steps;
pub(crate) mod timeout;
pub(crate) mod tty;

/// What a person calls the map of the whole file.
pub(crate) const TOP: &str = "the spec";
/// What a person calls a step's map.
pub(crate) const IN_STEP: &str = "a step";

/// The keys of the top level, in the order of the reference.
pub(crate) const JOB: &[Key<JobDraft>] = &[
    steps::JOB,
    env::JOB,
    secrets::JOB,
    timeout::JOB,
    shell::JOB,
    output::JOB,
    clone::JOB,
    limits::JOB,
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
];

/// The documentation of all keys with the place where they belong.
pub(crate) fn all() -> Vec<(String, &'static About)> {
    let top = JOB.iter().map(|key| (TOP.to_owned(), &key.about));
    let step = STEP.iter().map(|key| (IN_STEP.to_owned(), &key.about));
    let mut all: Vec<_> = top.chain(step).collect();
    for (_, about) in all.clone() {
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
            let loaded = crate::load("windlass.yml", about.example.as_bytes());
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
