//! Node.js: the package manager of the lock file, and the scripts that package.json has.

use serde_json::Value;

use super::{Kind, Root, Suggestion, step};

pub(super) fn look(root: &Root<'_>) -> Option<Suggestion> {
    // What isn't JSON has no scripts; that it is broken, the install step will say.
    let package: Value = serde_json::from_str(root.contents("package.json")?).unwrap_or_default();
    let (manager, install) = if root.has("pnpm-lock.yaml") {
        ("pnpm", "pnpm install --frozen-lockfile")
    } else if let Some(lock) = root.contents("yarn.lock") {
        // Yarn 2 and later mark their lock file, and have another option for the same.
        if lock.contains("__metadata:") || root.has(".yarnrc.yml") {
            ("yarn", "yarn install --immutable")
        } else {
            ("yarn", "yarn install --frozen-lockfile")
        }
    } else if root.has("package-lock.json") || root.has("npm-shrinkwrap.json") {
        ("npm", "npm ci")
    } else {
        ("npm", "npm install")
    };
    let mut steps = vec![step("Install", install)];
    let mut notes = Vec::new();
    if script(&package, "build").is_some() {
        steps.push(step("Build", format!("{manager} run build")));
    }
    match script(&package, "test") {
        // What `npm init` writes: it always fails.
        Some(test) if !test.contains("no test specified") => {
            steps.push(step("Test", format!("{manager} test")));
        }
        _ => notes.push("It has no script `test` yet; with one, add a step for it.".to_owned()),
    }
    Some(Suggestion {
        kind: Kind::Node,
        because: "package.json".to_owned(),
        steps,
        notes,
    })
}

fn script<'p>(package: &'p Value, name: &str) -> Option<&'p str> {
    package.get("scripts")?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use crate::detect::tests::scripts;

    const BOTH: (&str, &str) = (
        "package.json",
        r#"{"scripts": {"test": "node --test", "build": "tsc"}}"#,
    );

    #[test]
    fn the_lock_file_names_the_manager() {
        let with = |file: &str, contents: &str| scripts(&[BOTH, (file, contents)]);
        assert_eq!(
            scripts(&[BOTH]),
            ["npm install", "npm run build", "npm test"]
        );
        assert_eq!(with("package-lock.json", "{}")[0], "npm ci");
        let pnpm = [
            "pnpm install --frozen-lockfile",
            "pnpm run build",
            "pnpm test",
        ];
        assert_eq!(with("pnpm-lock.yaml", ""), pnpm);
        assert_eq!(
            with("yarn.lock", "# yarn lockfile v1")[0],
            "yarn install --frozen-lockfile"
        );
        assert_eq!(
            with("yarn.lock", "__metadata:\n")[0],
            "yarn install --immutable"
        );
    }

    #[test]
    fn only_scripts_that_are_there() {
        assert_eq!(scripts(&[("package.json", "{}")]), ["npm install"]);
        assert_eq!(scripts(&[("package.json", "no JSON")]), ["npm install"]);
        let init = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
        assert_eq!(scripts(&[("package.json", init)]), ["npm install"]);
    }
}
