//! What a person may have meant by a key that we don't know.

use crate::codes;
use crate::keys;
use crate::node::{Entry, looks_like_number, shorten};
use crate::problems::Problem;

/// Keys of other systems, and what to write here. The second is our key that does it, if any.
const ELSEWHERE: &[(&str, Option<&str>, &str)] = &[
    (
        "after_script",
        Some("steps"),
        "put the commands at the end of `steps`",
    ),
    (
        "before_script",
        Some("steps"),
        "put the commands at the beginning of `steps`",
    ),
    ("cmd", Some("run"), "write `run` for a step's script"),
    ("command", Some("run"), "write `run` for a step's script"),
    (
        "commands",
        Some("run"),
        "write `run: |` and the commands on the lines below",
    ),
    (
        "continue-on-error",
        Some("allow-failure"),
        "write `allow-failure: true` in the job, or end the command with `|| true`",
    ),
    ("environment", Some("env"), "write `env` for variables"),
    (
        "install",
        Some("steps"),
        "put the commands at the beginning of `steps`",
    ),
    (
        "interpreter",
        Some("shell"),
        "write `shell` for the interpreter",
    ),
    ("pipeline", Some("steps"), "put the commands under `steps`"),
    (
        "script",
        None,
        "write `steps` and one command per item, or `run` inside of a step",
    ),
    (
        "stages",
        Some("steps"),
        "steps run in the order of the list: put them under `steps`",
    ),
    ("timeout-minutes", Some("timeout"), "write `timeout: 10m`"),
    ("timeout_minutes", Some("timeout"), "write `timeout: 10m`"),
    (
        "uses",
        Some("run"),
        "a step runs a command: write it under `run`",
    ),
    ("variables", Some("env"), "write `env` for variables"),
    (
        "with",
        None,
        "a step runs a command: put what it needs into `env` or its arguments",
    ),
    ("working-directory", None, "write `workdir`"),
];

/// Our key for another system's.
pub(crate) fn instead(key: &str) -> Option<&'static str> {
    ELSEWHERE
        .iter()
        .find(|(name, ..)| *name == key)
        .and_then(|(_, ours, _)| *ours)
}

/// The name that is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    // Nobody mistypes a whole script into a key, and comparing it would take long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&word, &name.replace('-', "_"));
    let best = names.iter().copied().min_by_key(|name| distance(name))?;
    let most = match best.chars().count() {
        0..=3 => 1,
        4..=6 => 2,
        _ => 3,
    };
    (distance(best) <= most).then_some(best)
}

/// The message for a key that isn't in the table.
pub(crate) fn unknown_key(entry: &Entry, known: &[&str], place: &str) -> Problem {
    let shown = shorten(&entry.key, 40);
    let problem = Problem::new(
        codes::UNKNOWN_KEY,
        entry.key_span.clone(),
        format!("unknown key `{shown}` in {place}"),
    );
    if let Some((.., help)) = ELSEWHERE.iter().find(|(name, ..)| *name == entry.key) {
        return problem.label("not a key of a spec").help(*help);
    }
    if let Some(near) = nearest(&entry.key, known) {
        return problem
            .label(format!("did you mean `{near}`?"))
            .help(format!("write `{near}`"));
    }
    if let Some(other) = keys::place_of(&entry.key) {
        return if other == keys::TOP {
            problem
                .label("belongs to the top level")
                .help("write it at the top level")
        } else if other == keys::IN_JOB {
            problem
                .label("belongs to a job, or to the top level of a spec with one job")
                .help("move it out of here")
        } else {
            problem
                .label(format!("belongs to {other}"))
                .help(format!("put it in {other}"))
        };
    }
    if entry.key.contains(' ') || looks_like_number(&entry.key) {
        return problem.label("a colon and a space make a key of this").help(
            "put the whole command in quotes, or write `run: |` and the command on the next line",
        );
    }
    let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    problem
        .label("nothing is known by this name")
        .help(format!("the keys of {place} are {}", list.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let names = ["steps", "env", "timeout"];
        assert_eq!(nearest("stesp", &names), Some("steps"));
        assert_eq!(nearest("Steps", &names), Some("steps"));
        assert_eq!(nearest("time-out", &names), Some("timeout"));
        assert_eq!(nearest("envs", &names), Some("env"));
        assert_eq!(nearest("banana", &names), None);
        assert_eq!(nearest(&"x".repeat(100_000), &names), None);
    }

    #[test]
    fn no_key_of_ours_is_listed_as_foreign() {
        for (foreign, ours, _) in ELSEWHERE {
            // A key inside of another one, such as `retry.on`, is no answer at the top level.
            let place = keys::place_of(foreign).filter(|place| !place.starts_with('`'));
            assert_eq!(place, None, "{foreign}");
            if let Some(ours) = ours {
                assert!(keys::place_of(ours).is_some(), "{ours}");
            }
        }
    }
}
