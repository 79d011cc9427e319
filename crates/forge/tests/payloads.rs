//! What GitHub sends and what it means: GitHub's own example payloads, ours for what they don't
//! cover, and thousands of damaged ones.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use windlass_forge::{Incoming, Meaning, PayloadError, RepositoryIdentity, github};
use windlass_model::Event;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/github")
}

/// One of GitHub's examples (fixtures/github/NOTICE).
struct Example {
    name: String,
    event: String,
    payload: Value,
}

fn githubs_examples() -> Vec<Example> {
    let packed = fs::read(fixtures().join("examples.json.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    let all: Vec<Value> = serde_json::from_str(&text).unwrap();
    all.into_iter()
        .map(|mut example| {
            let event = example["event"].as_str().unwrap().to_owned();
            let from = example["from"].as_str().unwrap();
            Example {
                name: format!("{from} {event} {}", example["index"]),
                event,
                payload: example["payload"].take(),
            }
        })
        .collect()
}

/// Our own: the file's name begins with the event.
fn our_own() -> Vec<Example> {
    let mut all = Vec::new();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let event = if name.starts_with("push-") {
            "push"
        } else if name.starts_with("pull-request-") {
            "pull_request"
        } else {
            continue;
        };
        all.push(Example {
            name: name.trim_end_matches(".json").to_owned(),
            event: event.to_owned(),
            payload: serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap(),
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn read(event: &str, payload: &Value) -> Result<Incoming, PayloadError> {
    let body = serde_json::to_vec(payload).unwrap();
    github::read(event, Some("application/json"), &body)
}

/// A meaning in one line.
fn row(result: &Result<Incoming, PayloadError>) -> String {
    let incoming = match result {
        Ok(incoming) => incoming,
        Err(error) => return format!("error: {error}"),
    };
    let repository = incoming
        .repository
        .as_ref()
        .map_or("-", |repository| repository.full_name.as_str());
    let meaning = match &incoming.meaning {
        Meaning::Ping { zen } => format!("ping {zen:?}"),
        Meaning::Ignored { reason } => format!("ignored: {reason}"),
        Meaning::Build(trigger) => {
            let what = match &trigger.event {
                Event::Push { branch, forced } => {
                    format!("push {branch}{}", if *forced { " forced" } else { "" })
                }
                Event::Tag { tag } => format!("tag {tag}"),
                Event::PullRequest {
                    number,
                    title,
                    base,
                    head,
                    from_fork,
                } => {
                    let fork = if *from_fork { " from fork" } else { "" };
                    format!("pull request {number} {title:?} {head} -> {base}{fork}")
                }
                other => other.kind().to_owned(),
            };
            format!(
                "build {} {} | {what} | {:?} by {:?} | {}{}",
                trigger.revision.short(),
                trigger.git_ref,
                trigger.message,
                trigger.author,
                trigger.url.as_deref().unwrap_or("-"),
                match &trigger.skip {
                    Some(marker) => format!(" | left out: {marker}"),
                    None => String::new(),
                }
            )
        }
    };
    format!("{repository} | {meaning}")
}

fn table(examples: &[Example]) -> String {
    let mut table = String::new();
    for example in examples {
        let line = row(&read(&example.event, &example.payload));
        writeln!(table, "{}: {line}", example.name).unwrap();
    }
    table
}

#[test]
fn every_example_of_githubs_has_its_meaning() {
    let examples = githubs_examples();
    let mut count = BTreeMap::new();
    for example in &examples {
        *count.entry(example.event.as_str()).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([("ping", 11), ("pull_request", 46), ("push", 14)]);
    assert_eq!(count, expected);
    insta::assert_snapshot!(table(&examples));
}

#[test]
fn what_the_examples_do_not_cover_has_its_meaning_too() {
    let own = our_own();
    assert_eq!(own.len(), 15);
    insta::assert_snapshot!(table(&own));
}

#[test]
fn a_repository_is_identified_by_everything_that_the_payload_says() {
    let own = our_own();
    let incoming = read(&own[0].event, &own[0].payload).unwrap();
    let identity = RepositoryIdentity {
        full_name: "Codertocat/Hello-World".to_owned(),
        id: Some(186_853_002),
        clone_url: Some("https://github.com/Codertocat/Hello-World.git".to_owned()),
        ssh_url: Some("git@github.com:Codertocat/Hello-World.git".to_owned()),
        html_url: Some("https://github.com/Codertocat/Hello-World".to_owned()),
    };
    assert_eq!(incoming.repository, Some(identity));
}

#[test]
fn a_form_means_what_its_json_means() {
    for example in our_own() {
        let json = example.payload.to_string();
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &json)
            .finish();
        let content_type = Some("application/x-www-form-urlencoded");
        assert_eq!(
            github::read(&example.event, content_type, form.as_bytes()),
            read(&example.event, &example.payload),
            "{}",
            example.name
        );
    }
}

#[test]
fn every_event_that_is_not_built_is_ignored_whatever_it_holds() {
    for event in [
        "star",
        "create",
        "delete",
        "check_run",
        "workflow_job",
        "",
        "PUSH",
        "push ",
    ] {
        for payload in [
            json!({}),
            json!({"action": 7, "ref": [], "repository": "x"}),
        ] {
            let meaning = read(event, &payload).unwrap().meaning;
            let reason = format!("event '{}' starts no build", event.trim());
            assert_eq!(meaning, Meaning::Ignored { reason });
        }
    }
}

/// The places of all values in `value`, as JSON pointers.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, v)| (key.clone(), v)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(n, v)| (n.to_string(), v))
            .collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let key = key.replace('~', "~0").replace('/', "~1");
        let at = format!("{at}/{key}");
        places(child, &at, all);
        all.push(at);
    }
}

/// `payload` with the value at `place` replaced, or removed where there is nothing to put.
fn damaged(payload: &Value, place: &str, with: Option<&Value>) -> Value {
    let mut copy = payload.clone();
    if let Some(with) = with {
        *copy.pointer_mut(place).unwrap() = with.clone();
        return copy;
    }
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    match copy.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.remove(&key)),
        Value::Array(list) => drop(list.remove(key.parse().unwrap())),
        _ => unreachable!("only these have children"),
    }
    copy
}

/// Takes out the links that nobody here reads: half of every payload, and nothing but time.
fn without_links(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let read = ["clone_url", "ssh_url", "html_url"];
            map.retain(|key, _| !key.ends_with("_url") || read.contains(&key.as_str()));
            map.values_mut().for_each(without_links);
        }
        Value::Array(list) => list.iter_mut().for_each(without_links),
        _ => (),
    }
}

/// One of each kind: the richest of GitHub's examples and all of ours.
fn to_be_damaged() -> Vec<Example> {
    let mut chosen = our_own();
    let wanted = [
        "api.github.com ping 0",
        "api.github.com push 0",
        "api.github.com push 4",
        "api.github.com pull_request 0",
    ];
    let examples = githubs_examples();
    chosen.extend(
        examples
            .into_iter()
            .filter(|e| wanted.contains(&e.name.as_str())),
    );
    assert_eq!(chosen.len(), 15 + wanted.len());
    chosen
}

/// Names the damage in a failed assertion; text is only made then.
#[derive(Debug)]
#[allow(dead_code, reason = "printed by Debug")]
struct Case<'a>(&'a str, &'a str, Option<&'a Value>);

#[test]
fn no_damage_to_a_single_field_panics_builds_nonsense_or_makes_a_fork_trusted() {
    let replacements = [
        None,
        Some(json!(null)),
        Some(json!(0)),
        Some(json!("main")),
        Some(json!([])),
        Some(json!({})),
        // From here on only for the small payloads: the large ones have a thousand fields each.
        Some(json!(-1)),
        Some(json!(1e300)),
        Some(json!(true)),
        Some(json!("")),
        Some(json!("--upload-pack=x")),
        Some(json!("../../etc/passwd\u{0}\n\u{1b}[2J")),
        Some(json!([1, "a"])),
        Some(json!({"id": 186_853_002})),
    ];
    let (mut tried, mut built) = (0, 0);
    for mut example in to_be_damaged() {
        without_links(&mut example.payload);
        let whole = read(&example.event, &example.payload).unwrap();
        let sent = example.payload.to_string();
        let mut all = Vec::new();
        places(&example.payload, "", &mut all);
        for place in &all {
            let few = if all.len() > 200 {
                6
            } else {
                replacements.len()
            };
            for with in &replacements[..few] {
                let payload = damaged(&example.payload, place, with.as_ref());
                let result = read(&example.event, &payload);
                tried += 1;
                let case = Case(&example.name, place, with.as_ref());
                if let Ok(Incoming {
                    repository: Some(repository),
                    ..
                }) = &result
                {
                    assert_eq!(repository.full_name.split('/').count(), 2, "{case:?}");
                }
                let Ok(Incoming {
                    meaning: Meaning::Build(trigger),
                    ..
                }) = result
                else {
                    continue;
                };
                built += 1;
                let revision = trigger.revision.as_str();
                let hex = revision.bytes().all(|b| b.is_ascii_hexdigit());
                assert!(
                    revision.len() == 40 && hex && !trigger.revision.is_zero(),
                    "{case:?}"
                );
                assert!(sent.contains(revision), "{case:?}");
                assert!(trigger.git_ref.starts_with("refs/"), "{case:?}");
                for text in [&trigger.git_ref, &trigger.message, &trigger.author] {
                    assert!(!text.contains(char::is_control), "{case:?}");
                    assert!(text.chars().count() <= 200, "{case:?}");
                }
                let untrusted = |meaning: &Meaning| matches!(meaning, Meaning::Build(trigger) if trigger.event.is_untrusted());
                // Saying of the head that it is the base is not damage, it is a lie, and GitHub
                // signs none.
                let lie = with == &replacements[13];
                if untrusted(&whole.meaning) && !lie {
                    assert!(trigger.event.is_untrusted(), "{case:?}");
                }
            }
        }
    }
    assert!(tried > 14_000, "{tried} {built}");
    assert!(built > 9_000, "{built}");
}

#[test]
fn a_payload_that_breaks_off_is_an_error_wherever_it_does() {
    for example in our_own() {
        let whole = serde_json::to_vec(&example.payload).unwrap();
        for end in 0..whole.len() {
            let result = github::read(&example.event, None, &whole[..end]);
            assert!(
                matches!(result, Err(PayloadError::NotJson { .. })),
                "{end}: {result:?}"
            );
        }
    }
}

/// One of our own, with some of its values replaced.
fn own_with(name: &str, changes: &[(&str, Value)]) -> String {
    let mut own = our_own();
    let example = own.iter_mut().find(|example| example.name == name).unwrap();
    for (place, value) in changes {
        *example.payload.pointer_mut(place).unwrap() = value.clone();
    }
    let line = row(&read(&example.event, &example.payload));
    line.trim_start_matches("Codertocat/Hello-World | ")
        .to_owned()
}

#[test]
fn a_push_is_a_deletion_if_either_of_two_fields_says_so() {
    let zero = json!("0".repeat(40));
    for name in ["push-forced", "push-tag-annotated"] {
        let gone = if name == "push-forced" {
            "branch"
        } else {
            "tag"
        };
        for change in [("/deleted", json!(true)), ("/after", zero.clone())] {
            let expected = format!("ignored: {gone} deleted");
            assert_eq!(own_with(name, &[change]), expected);
        }
    }
}

#[test]
fn a_tag_without_a_commit_builds_what_the_tag_is() {
    for nothing in [json!(null), json!({}), json!({"id": "v1"})] {
        let line = own_with("push-tag-annotated", &[("/head_commit", nothing)]);
        assert!(
            line.starts_with("build 7a5c3f8d1e refs/tags/v1.0.0 | tag v1.0.0 | "),
            "{line}"
        );
    }
}

#[test]
fn what_a_build_needs_is_asked_for_by_name() {
    let zero = json!("0".repeat(40));
    let fork = "pull-request-fork";
    for (name, place, value, problem) in [
        ("push-forced", "/ref", json!(null), "`ref` is missing"),
        (
            "push-forced",
            "/ref",
            json!("main"),
            "`ref` does not start with refs/",
        ),
        ("push-forced", "/after", json!(7), "`after` is missing"),
        (
            "push-forced",
            "/after",
            json!("HEAD"),
            "`after` is not a full commit id",
        ),
        (fork, "/action", json!(null), "`action` is missing"),
        (
            fork,
            "/pull_request",
            json!(null),
            "`pull_request.number` is missing",
        ),
        (
            fork,
            "/pull_request/head/sha",
            zero,
            "`pull_request.head.sha` is not a full commit id",
        ),
        (
            fork,
            "/pull_request/base/ref",
            json!(""),
            "`pull_request.base.ref` is missing",
        ),
        (
            fork,
            "/pull_request/head/ref",
            json!("a b"),
            "`pull_request.head.ref` is not a name",
        ),
    ] {
        // The number stands in two places; both must be gone.
        let mut changes = vec![(place, value)];
        if place == "/pull_request" {
            changes.push(("/number", json!(null)));
        }
        let line = own_with(name, &changes);
        assert!(
            line.starts_with("error: ") && line.contains(problem),
            "{place}: {line}"
        );
    }
}

#[test]
fn a_fork_can_not_pass_for_the_repository_itself() {
    let array = json!([186_853_002, "Codertocat/Hello-World", "", "", ""]);
    for repo in [
        array,
        json!({}),
        json!({"id": "186853002"}),
        json!({"id": null}),
        json!("x"),
    ] {
        let line = own_with(
            "pull-request-draft",
            &[("/pull_request/head/repo", repo.clone())],
        );
        assert!(line.contains(" from fork "), "{repo}: {line}");
    }
    // And neither can two repositories without a number pass for one.
    let nothing = json!({});
    let changes = [
        ("/pull_request/head/repo", nothing.clone()),
        ("/pull_request/base/repo", nothing),
    ];
    assert!(own_with("pull-request-draft", &changes).contains(" from fork "));
    assert!(!own_with("pull-request-draft", &[]).contains(" from fork "));
}
