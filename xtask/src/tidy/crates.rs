//! Which crate may use which: the edges that are absent are the design. Only what ends up in the
//! product counts; tests may use what they like.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Complaint;
use crate::command::{cargo, output};

/// Each crate and those of ours that it uses. Another edge needs an ADR.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("spec", &["model"]),
    ("shim", &[]),
    ("engine", &["model", "shim"]),
    ("logs", &["model", "shim"]),
    ("migrate", &[]),
    ("store", &["model", "migrate"]),
    ("forge", &["model"]),
    ("archive", &["model", "logs"]),
    ("web", &["model", "store", "logs", "forge"]),
    (
        "windlass",
        &[
            "model", "spec", "shim", "engine", "logs", "migrate", "store", "forge", "archive",
            "web",
        ],
    ),
    ("xtask", &[]),
];

/// Crates of others that only some of ours may use: whoever reads a page needs no SQL in mind.
const ONLY: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "migrate"]),
    // Object storage has one place.
    ("rusty-s3", &["archive"]),
    // Pages and API are web's; the binary has the door for the nodes of a Swarm.
    ("axum", &["web", "windlass"]),
    ("reqwest", &["forge", "archive", "windlass"]),
    ("granit-parser", &["spec"]),
];

/// Whole programs made of tests: everything in them is a test.
const TESTS: &[&str] = &["e2e"];

pub(super) fn check() -> Result<Vec<Complaint>> {
    let metadata = cargo(&[
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]);
    let metadata = output(metadata)?;
    complaints(&serde_json::from_str(&metadata).context("reading what cargo metadata prints")?)
}

/// `windlass-web` is called `web` here.
fn short(package: &str) -> &str {
    package.strip_prefix("windlass-").unwrap_or(package)
}

fn complaints(metadata: &Value) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let packages = metadata["packages"].as_array();
    for package in packages.context("cargo metadata lists no packages")? {
        let name = short(text(&package["name"])?);
        if TESTS.contains(&name) {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(known, _)| *known == name) else {
            let here = "xtask/src/tidy/crates.rs";
            complaints.push(format!(
                "{name} is a new crate: say in {here} what it may use"
            ));
            continue;
        };
        let mut ours = Vec::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let used = text(&dependency["name"])?;
            if !dependency["path"].is_null() {
                ours.push(short(used));
            }
            // A forge or a cluster for tests is a web server. The product is built without it.
            let for_tests = matches!(name, "forge" | "archive") && dependency["optional"] == true;
            let only = ONLY.iter().find(|(limited, _)| *limited == used);
            if let Some((_, who)) = only
                && !who.contains(&name)
                && !for_tests
            {
                complaints.push(format!(
                    "{name} uses {used}: only {} may",
                    who.join(" and ")
                ));
            }
        }
        for used in ours.iter().filter(|used| !allowed.contains(used)) {
            complaints.push(format!(
                "{name} uses {used}: that edge is not in the design"
            ));
        }
        for unused in allowed.iter().filter(|edge| !ours.contains(edge)) {
            complaints.push(format!(
                "{name} does not use {unused}: remove the edge from xtask"
            ));
        }
    }
    Ok(complaints)
}

fn text(value: &Value) -> Result<&str> {
    value
        .as_str()
        .context("cargo metadata has a package without a name")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(name: &str, dependencies: Value) -> Vec<Complaint> {
        let packages = json!({"packages": [{"name": name, "dependencies": dependencies}]});
        complaints(&packages).expect("it is well-formed")
    }

    fn ours(name: &str, kind: Value) -> Value {
        json!({"name": name, "path": "/x", "kind": kind, "optional": false})
    }

    fn theirs(name: &str, optional: bool) -> Value {
        json!({"name": name, "kind": null, "optional": optional})
    }

    #[test]
    fn a_wrong_edge_is_found() {
        let model = ours("windlass-model", Value::Null);
        let store = ours("windlass-store", Value::Null);
        let found = of("windlass-spec", json!([model, store]));
        assert_eq!(found, ["spec uses store: that edge is not in the design"]);
        let build = ours("windlass-shim", json!("build"));
        assert_eq!(of("windlass-model", json!([build])).len(), 1);
        let found = of("windlass-spec", json!([]));
        assert_eq!(
            found,
            ["spec does not use model: remove the edge from xtask"]
        );
        assert!(of("windlass-new", json!([]))[0].contains("new crate"));
    }

    #[test]
    fn a_crate_of_others_in_the_wrong_place_is_found() {
        let found = of("windlass-shim", json!([theirs("sqlx", false)]));
        assert_eq!(found, ["shim uses sqlx: only store and migrate may"]);
        assert_eq!(of("windlass-model", json!([theirs("axum", true)])).len(), 1);
    }

    #[test]
    fn tests_are_free() {
        let model = ours("windlass-model", Value::Null);
        assert!(
            of(
                "windlass-spec",
                json!([model, ours("windlass-store", json!("dev"))])
            )
            .is_empty()
        );
        assert!(of("windlass-forge", json!([model, theirs("axum", true)])).is_empty());
        assert!(of("windlass-e2e", json!([ours("windlass-web", Value::Null)])).is_empty());
    }
}
