//! Go: modules.

use super::{Kind, Root, Suggestion, step};

pub(super) fn look(root: &Root<'_>) -> Option<Suggestion> {
    root.has("go.mod").then(|| Suggestion {
        kind: Kind::Go,
        because: "go.mod".to_owned(),
        steps: vec![
            step("Build", "go build ./..."),
            step("Vet", "go vet ./..."),
            step("Test", "go test ./..."),
        ],
        notes: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::detect::tests::scripts;

    #[test]
    fn modules() {
        let scripts = scripts(&[("go.mod", "module example.org/x\n")]);
        assert_eq!(scripts, ["go build ./...", "go vet ./...", "go test ./..."]);
    }
}
