//! Python: a virtual environment, what is needed in it, and pytest or tox.

use serde_json::Value;

use super::{Kind, Root, Suggestion, step};
use crate::toml;

const PIP: &str = ".venv/bin/pip install";

pub(super) fn look(root: &Root<'_>) -> Option<Suggestion> {
    let requirements: Vec<&str> = root
        .0
        .iter()
        .map(|file| file.name)
        .filter(|name| is_requirements(name))
        .collect();
    let because = root
        .first(&["pyproject.toml", "setup.py", "requirements.txt", "tox.ini"])
        .or(requirements.first().copied())?;
    let tox = root
        .contents("tox.ini")
        .is_some_and(|tox| tox.contains("[testenv"));
    if because == "tox.ini" && !tox {
        // Other tools keep their options in it too.
        return None;
    }
    let pyproject = toml::to_json(root.contents("pyproject.toml").unwrap_or_default());
    let mut installs: Vec<String> = requirements
        .iter()
        .map(|name| format!("{PIP} -r {name}"))
        .collect();
    if let Some(extras) = package(root, &pyproject) {
        installs.push(format!("{PIP} {extras}"));
    }
    let mut notes = Vec::new();
    let test = if tox && installs.is_empty() {
        installs.push(format!("{PIP} tox"));
        notes.push("`-e py` is the Python of this machine.".to_owned());
        ".venv/bin/tox -e py"
    } else {
        // It may be named in a place that pip doesn't read; a second time does no harm. Where
        // nothing names it, it still runs unittest's tests too, and unlike unittest before Python
        // 3.12 it fails if it finds none: a test step that passes without tests helps nobody.
        installs.push(format!("{PIP} pytest"));
        if !uses_pytest(root) {
            notes.push("pytest runs tests written for unittest, too.".to_owned());
        }
        ".venv/bin/python -m pytest"
    };
    let mut steps = vec![step("Create environment", "python3 -m venv .venv")];
    match installs.len() {
        0 => {}
        1 => steps.push(step("Install", installs.remove(0))),
        _ => steps.push(step("Install", installs.join("\n"))),
    }
    steps.push(step("Test", test));
    Some(Suggestion {
        kind: Kind::Python,
        because: because.to_owned(),
        steps,
        notes,
    })
}

/// Names that need no quotes in a script.
fn is_requirements(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.starts_with("requirements") && name.ends_with(".txt") && name.chars().all(plain)
}

/// What to install of the repository itself, if it is a package: `.` or `'.[test]'`.
fn package(root: &Root<'_>, pyproject: &Value) -> Option<String> {
    let is_package = pyproject.get("project").is_some()
        || pyproject.get("build-system").is_some()
        || root.has("setup.py");
    if !is_package {
        return None;
    }
    let extras = pyproject
        .get("project")
        .and_then(|p| p.get("optional-dependencies"));
    let extra = ["test", "tests", "testing", "dev"]
        .into_iter()
        .find(|name| extras.is_some_and(|extras| extras.get(name).is_some()));
    Some(extra.map_or(".".to_owned(), |extra| format!("'.[{extra}]'")))
}

fn uses_pytest(root: &Root<'_>) -> bool {
    root.has("pytest.ini")
        || root.has("conftest.py")
        || root.0.iter().any(|file| {
            let may_say = is_requirements(file.name)
                || ["pyproject.toml", "setup.py", "setup.cfg", "tox.ini"].contains(&file.name);
            may_say && file.contents.contains("pytest")
        })
}

#[cfg(test)]
mod tests {
    use crate::detect::tests::scripts;

    const VENV: &str = "python3 -m venv .venv";

    #[test]
    fn requirements_with_pytest() {
        let scripts = scripts(&[("requirements.txt", "pytest==9\n")]);
        let install = ".venv/bin/pip install -r requirements.txt\n.venv/bin/pip install pytest\n";
        assert_eq!(scripts, [VENV, install, TEST]);
    }

    const TEST: &str = ".venv/bin/python -m pytest";

    #[test]
    fn pytest_also_where_nothing_names_it() {
        let scripts = scripts(&[("setup.py", ""), ("tests/", "")]);
        let install = ".venv/bin/pip install .\n.venv/bin/pip install pytest\n";
        assert_eq!(scripts, [VENV, install, TEST]);
    }

    #[test]
    fn a_package_with_its_extras() {
        let pyproject =
            "[project]\nname = 'x'\n[project.optional-dependencies]\ntest = ['pytest']\n";
        let scripts = scripts(&[("pyproject.toml", pyproject)]);
        assert_eq!(
            scripts[1],
            ".venv/bin/pip install '.[test]'\n.venv/bin/pip install pytest\n"
        );
    }

    #[test]
    fn options_of_tools_are_no_package() {
        let scripts = scripts(&[("pyproject.toml", "[tool.black]\nline-length = 100\n")]);
        assert_eq!(scripts, [VENV, ".venv/bin/pip install pytest", TEST]);
    }

    #[test]
    fn tox_if_nothing_else_says_how() {
        let tox = ("tox.ini", "[tox]\n[testenv]\ncommands = pytest\n");
        let tox_only = [VENV, ".venv/bin/pip install tox", ".venv/bin/tox -e py"];
        assert_eq!(scripts(&[tox]), tox_only);
        assert!(
            !scripts(&[tox, ("requirements.txt", "")])
                .concat()
                .contains("tox")
        );
        assert!(
            !scripts(&[("tox.ini", "[flake8]")])
                .concat()
                .contains("venv")
        );
    }
}
