//! Rust: Cargo builds and tests, with the versions of the lock file if there is one.

use super::{Kind, Root, Suggestion, step};

pub(super) fn look(root: &Root<'_>) -> Option<Suggestion> {
    let manifest = root.contents("Cargo.toml")?;
    let mut options = String::new();
    if manifest
        .lines()
        .any(|line| line.trim().starts_with("[workspace"))
    {
        options.push_str(" --workspace");
    }
    if root.has("Cargo.lock") {
        options.push_str(" --locked");
    }
    Some(Suggestion {
        kind: Kind::Rust,
        because: "Cargo.toml".to_owned(),
        steps: vec![
            step("Build", format!("cargo build{options}")),
            step("Test", format!("cargo test{options}")),
        ],
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::detect::tests::scripts;

    #[test]
    fn locked_only_with_a_lock_file() {
        let cargo = ("Cargo.toml", "[package]\nname = \"x\"\n");
        assert_eq!(scripts(&[cargo]), ["cargo build", "cargo test"]);
        let locked = scripts(&[cargo, ("Cargo.lock", "")]);
        assert_eq!(locked, ["cargo build --locked", "cargo test --locked"]);
    }

    #[test]
    fn a_workspace_is_tested_as_a_whole() {
        let scripts = scripts(&[("Cargo.toml", "[workspace.package]\n"), ("Cargo.lock", "")]);
        assert_eq!(scripts[1], "cargo test --workspace --locked");
    }
}
