//! Make: a target `test` or `check`.

use super::{Kind, Root, Suggestion, step};

/// The names that make looks for, in its order.
pub(super) const NAMES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

pub(super) fn look(root: &Root<'_>) -> Option<Suggestion> {
    let name = root.first(&NAMES)?;
    let makefile = root.contents(name)?;
    let mut steps = Vec::new();
    if has_target(makefile, "build") {
        steps.push(step("Build", "make build"));
    }
    let test = ["test", "check"]
        .into_iter()
        .find(|target| has_target(makefile, target))?;
    steps.push(step("Test", format!("make {test}")));
    Some(Suggestion {
        kind: Kind::Make,
        because: name.to_owned(),
        steps,
        notes: Vec::new(),
    })
}

/// Whether a line `a target b: …` names it. `x := y` assigns, and recipes begin with a tab.
fn has_target(makefile: &str, target: &str) -> bool {
    makefile.lines().any(|line| {
        let Some((targets, rest)) = line.split_once(':') else {
            return false;
        };
        let assigns = rest.trim_start_matches(':').starts_with('=') || targets.contains('=');
        let is_rule = !line.starts_with(['\t', '#']) && !assigns;
        is_rule && targets.split_whitespace().any(|word| word == target)
    })
}

#[cfg(test)]
mod tests {
    use super::has_target;
    use crate::detect::tests::scripts;

    #[test]
    fn targets() {
        assert!(has_target("test:\n", "test"));
        assert!(has_target("all test check:: x y\n", "test"));
        for other in [
            "tests:",
            "test := x",
            "test ::= x",
            "\ttest:",
            "# test:",
            ".PHONY: test",
            "A=test:b",
        ] {
            assert!(!has_target(other, "test"), "{other}");
        }
    }

    #[test]
    fn test_is_better_than_check() {
        assert_eq!(
            scripts(&[("Makefile", "check:\ntest:\nbuild:\n")]),
            ["make build", "make test"]
        );
        assert_eq!(scripts(&[("GNUmakefile", "check:\n")]), ["make check"]);
        assert!(scripts(&[("Makefile", "all:\n")])[0].starts_with("echo"));
    }
}
