//! `uses`: what the best known actions stand for; others are told with what they were given.

use super::super::container::step_name;
use super::super::notes::Notes;
use super::super::pipeline::{Artifact, Cache, Job};
use super::super::tree::Tree as _;
use super::condition::{self, Place};
use super::expression::{Expr, Piece, parse, pieces};
use super::job::InJob;
use super::step::plain;
use super::value::{self, Scope};
use crate::node::Node;

/// A place in the file, and the action there.
struct Action<'a> {
    node: &'a Node,
    /// Without version: `actions/checkout`.
    name: &'a str,
    line: usize,
    what: String,
}

impl Action<'_> {
    /// A value of `with`.
    fn with(&self, key: &str) -> Option<&str> {
        self.node.get("with")?.text_of(key)
    }

    /// Lines of a value of `with`.
    fn lines(&self, key: &str) -> Vec<&str> {
        let text = self.with(key).unwrap_or_default();
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect()
    }
}

/// Reads a step that is an action.
pub(super) fn read(
    here: &mut InJob<'_>,
    node: &Node,
    uses: &Node,
    what: &str,
    job: &mut Job,
    notes: &mut Notes,
) {
    let text = uses.text().unwrap_or("?");
    let action = Action {
        node,
        name: text.split('@').next().unwrap_or(text),
        line: here.workflow.document.line(&uses.span),
        what: format!("{what}: {text}"),
    };
    match action.name {
        "actions/checkout" => checkout(here, &action, job, notes),
        "actions/cache" | "actions/cache/restore" => cache(here, &action, job, notes),
        "actions/upload-artifact" => upload(here, &action, job, notes),
        "actions/download-artifact" => download(here, &action, notes),
        "Swatinem/rust-cache" => rust_cache(here, &action, job, notes),
        "mikepenz/action-junit-report"
        | "dorny/test-reporter"
        | "EnricoMi/publish-unit-test-result-action" => reports(here, &action, job, notes),
        name => match tool(name) {
            Some(tool) => setup(here, &action, tool, notes),
            None => unknown(here, &action, notes),
        },
    }
}

fn checkout(here: &mut InJob<'_>, action: &Action<'_>, job: &mut Job, notes: &mut Notes) {
    let elsewhere = ["repository", "path", "ref"];
    let with = action.node.get("with");
    for entry in with
        .map(super::super::tree::Tree::entries)
        .unwrap_or_default()
    {
        let line = here.workflow.document.line_of(entry);
        let what = format!("{} with {}", action.what, entry.key);
        let value = entry.value.text().unwrap_or_default();
        match entry.key.as_str() {
            "fetch-depth" => match value.parse::<u32>() {
                Ok(0) => job.clone.depth = Some("full".to_owned()),
                Ok(1) | Err(_) => {}
                Ok(depth) => job.clone.depth = Some(depth.min(1_000_000).to_string()),
            },
            "submodules" => job.clone.submodules |= matches!(value, "true" | "recursive"),
            "lfs" => job.clone.lfs |= value == "true",
            key if elsewhere.contains(&key) => {
                let words = "only the revision of the build is cloned, into the workspace: use git for others";
                notes.lost(&mut here.pending, line, what, words);
                if key == "repository" {
                    return;
                }
                continue;
            }
            // How git is spoken to is the server's matter.
            _ => continue,
        }
        notes.exact(line, what);
    }
    here.checks_out = true;
    notes.exact(action.line, action.what.clone());
}

/// Actions that install something, and the image that has it.
fn tool(name: &str) -> Option<(&'static str, &'static [&'static str], &'static str)> {
    let found = match name {
        "actions/setup-node" => ("Node.js", &["node-version"][..], "node"),
        "actions/setup-python" => ("Python", &["python-version"][..], "python"),
        "actions/setup-go" => ("Go", &["go-version"][..], "golang"),
        "actions/setup-java" => ("Java", &["java-version"][..], "eclipse-temurin"),
        "actions/setup-dotnet" => (
            ".NET",
            &["dotnet-version"][..],
            "mcr.microsoft.com/dotnet/sdk",
        ),
        "ruby/setup-ruby" => ("Ruby", &["ruby-version"][..], "ruby"),
        "shivammathur/setup-php" => ("PHP", &["php-version"][..], "php"),
        "erlef/setup-beam" => ("Elixir", &["elixir-version", "otp-version"][..], "elixir"),
        "denoland/setup-deno" => ("Deno", &["deno-version"][..], "denoland/deno"),
        "oven-sh/setup-bun" => ("Bun", &["bun-version"][..], "oven/bun"),
        "pnpm/action-setup" => ("pnpm", &["version"][..], ""),
        "astral-sh/setup-uv" => ("uv", &["version"][..], ""),
        "dtolnay/rust-toolchain"
        | "actions-rs/toolchain"
        | "actions-rust-lang/setup-rust-toolchain" => ("Rust", &["toolchain"][..], "rust"),
        "docker/setup-buildx-action" | "docker/setup-qemu-action" => ("Docker", &[][..], ""),
        "hashicorp/setup-terraform" => (
            "Terraform",
            &["terraform_version"][..],
            "hashicorp/terraform",
        ),
        _ => return None,
    };
    Some(found)
}

fn setup(
    here: &mut InJob<'_>,
    action: &Action<'_>,
    (tool, keys, image): (&str, &[&str], &str),
    notes: &mut Notes,
) {
    let version = keys
        .iter()
        .find_map(|key| action.with(key))
        .map(ToOwned::to_owned);
    let of_name = || {
        let uses = action.node.text_of("uses")?;
        let (_, version) = uses.split_once('@')?;
        (tool == "Rust" && action.name.starts_with("dtolnay")).then(|| version.to_owned())
    };
    let version = version.or_else(of_name);
    let filled = version.map(|version| value::text(&version, &here.scope()));
    let version = filled
        .filter(|filled| filled.unknown.is_empty())
        .map(|filled| filled.text);
    let shown = version
        .clone()
        .map(|version| format!(" {version}"))
        .unwrap_or_default();
    let mut words = format!("{tool}{shown} must be on the machine");
    let tag = version.filter(|v| v.contains(|c: char| c.is_ascii_digit()) || v.contains("${{"));
    if !image.is_empty() {
        match tag {
            Some(version) => {
                words.push_str(&format!(", or in an image: `image: {image}:{version}`"));
            }
            None => words.push_str(&format!(", or in an image: `image: {image}`")),
        }
    }
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

/// A key of a cache: files that are hashed are told apart.
fn key_of(here: &InJob<'_>, text: &str) -> (String, Vec<String>) {
    let mut key = String::new();
    let mut hash = Vec::new();
    // What a job hands on is known only when it has ended.
    let scope = Scope {
        needs: &[],
        ..here.scope()
    };
    for piece in pieces(text) {
        let Piece::Expr(inside) = piece else {
            if let Piece::Text(text) = piece {
                key.push_str(&text.replace("${{", "$${{"));
            }
            continue;
        };
        match parse(inside) {
            Some(Expr::Call(name, arguments)) if name == "hashfiles" => {
                hash.extend(arguments.into_iter().filter_map(|argument| match argument {
                    Expr::Text(text) => Some(text),
                    _ => None,
                }));
            }
            _ => key.push_str(&value::text(&format!("${{{{ {inside} }}}}"), &scope).text),
        }
    }
    (
        tidy(&key),
        hash.into_iter().filter_map(|path| path_of(&path)).collect(),
    )
}

/// A key without what held its parts together.
fn tidy(key: &str) -> String {
    let mut key: String = key.chars().filter(|c| !c.is_control()).collect();
    while key.contains("--") {
        key = key.replace("--", "-");
    }
    let key = key.trim_matches(['-', '_', ' ', '.']).to_owned();
    if key.is_empty() || key.len() > 100 {
        "cache".to_owned()
    } else {
        key
    }
}

/// A path as ours; nothing if it leads out of the workspace.
fn path_of(path: &str) -> Option<String> {
    let (mark, bare) = match path.strip_prefix('!') {
        Some(rest) => ("!", rest),
        None => ("", path),
    };
    let bare = bare.trim_start_matches("./").trim_end_matches('/');
    let bad = bare.is_empty()
        || bare.starts_with('/')
        || bare.contains("${{")
        || bare.split('/').any(|part| part == "..")
        || bare.chars().any(char::is_control);
    let is_glob = windlass_model::glob::compile(bare.trim_start_matches("~/")).is_ok();
    (!bad && is_glob).then(|| format!("{mark}{bare}"))
}

/// Paths that can be used; the others are told.
fn paths(
    here: &mut InJob<'_>,
    action: &Action<'_>,
    key: &str,
    home: bool,
    notes: &mut Notes,
) -> Vec<String> {
    let mut good = Vec::new();
    for line in action.lines(key) {
        match path_of(line).filter(|path| home || !path.starts_with('~')) {
            Some(path) if !good.contains(&path) => good.push(path),
            Some(_) => {}
            None => {
                let words = format!("the path {} can't be used here", plain(line));
                notes.lost(&mut here.pending, action.line, action.what.clone(), words);
            }
        }
    }
    good
}

fn cache(here: &mut InJob<'_>, action: &Action<'_>, job: &mut Job, notes: &mut Notes) {
    let (key, hash) = key_of(here, action.with("key").unwrap_or_default());
    let paths = paths(here, action, "path", true, notes);
    if paths.iter().all(|path| path.starts_with('!')) {
        notes.lost(
            &mut here.pending,
            action.line,
            action.what.clone(),
            "no path can be kept",
        );
        return;
    }
    let restore = action.lines("restore-keys");
    let restore = restore
        .into_iter()
        .map(|line| key_of(here, line).0)
        .take(10)
        .collect();
    job.cache.push(Cache {
        key,
        hash,
        paths,
        restore,
        read_only: action.name.ends_with("/restore"),
    });
    let words = "it is put back before the first step, and saved after the last one";
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

fn rust_cache(here: &mut InJob<'_>, action: &Action<'_>, job: &mut Job, notes: &mut Notes) {
    let text = |text: &str| text.to_owned();
    job.cache.push(Cache {
        key: tidy(&format!("cargo-{}", legal(&here.name))),
        hash: vec![text("**/Cargo.lock")],
        paths: vec![
            text("target"),
            text("~/.cargo/registry"),
            text("~/.cargo/git"),
        ],
        restore: vec![tidy(&format!("cargo-{}", legal(&here.name)))],
        read_only: false,
    });
    let words = "it is put back before the first step, and saved after the last one";
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

fn legal(name: &str) -> String {
    super::super::pipeline::legal_name(name)
}

/// An artifact's name here.
fn artifact_name(here: &InJob<'_>, action: &Action<'_>) -> Option<String> {
    let scope = Scope {
        needs: &[],
        ..here.scope()
    };
    let filled = value::text(action.with("name").unwrap_or("artifact"), &scope);
    let name: String = filled
        .text
        .replace('/', "-")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    (filled.unknown.is_empty() && !name.trim().is_empty() && name.len() <= 100).then_some(name)
}

fn upload(here: &mut InJob<'_>, action: &Action<'_>, job: &mut Job, notes: &mut Notes) {
    let paths = paths(here, action, "path", false, notes);
    if paths.iter().all(|path| path.starts_with('!')) {
        notes.lost(
            &mut here.pending,
            action.line,
            action.what.clone(),
            "no path can be kept",
        );
        return;
    }
    let days = action
        .with("retention-days")
        .and_then(|days| days.parse::<u32>().ok());
    let mut artifact = Artifact {
        name: artifact_name(here, action),
        paths,
        retention: days
            .filter(|days| (1..=3650).contains(days))
            .map(|days| format!("{days}d")),
        required: Some(action.with("if-no-files-found") == Some("error")),
        when: None,
    };
    let mut words = "the files are kept after the last step".to_owned();
    if let Some(text) = action.node.text_of("if") {
        let found = condition::read(text, &here.scope(), Place::Step);
        artifact.when = found.when.result;
        if !found.when.any.is_empty() {
            words.push_str(&format!("; not only if {}", plain(text)));
        }
    }
    job.artifacts.push(artifact);
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

fn download(here: &mut InJob<'_>, action: &Action<'_>, notes: &mut Notes) {
    let wanted = match (action.with("name"), action.with("pattern")) {
        (Some(_), None) => artifact_name(here, action),
        _ => None,
    };
    here.downloads.push(wanted);
    let mut words = "the files of the jobs in `needs` are there before the first step".to_owned();
    if let Some(path) = action.with("path") {
        words.push_str(&format!(", at their own paths and not in {}", plain(path)));
    }
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

fn reports(here: &mut InJob<'_>, action: &Action<'_>, job: &mut Job, notes: &mut Notes) {
    let mut found = Vec::new();
    for key in ["report_paths", "path", "files"] {
        for line in action.lines(key) {
            for path in line.split(',').map(str::trim) {
                found.extend(path_of(path).filter(|path| !path.starts_with('~')));
            }
        }
    }
    if found.is_empty() {
        unknown(here, action, notes);
        return;
    }
    job.reports.push(("junit", found));
    let words = "the reports are on the build's page";
    notes.near(&mut here.pending, action.line, action.what.clone(), words);
}

/// An action that nothing here stands for.
fn unknown(here: &mut InJob<'_>, action: &Action<'_>, notes: &mut Notes) {
    let with = action.node.get("with");
    let given: Vec<String> = with
        .map(super::super::tree::Tree::entries)
        .unwrap_or_default()
        .iter()
        .map(|entry| {
            format!(
                "{}: {}",
                entry.key,
                plain(entry.value.text().unwrap_or("…"))
            )
        })
        .collect();
    let mut words = "write its commands here".to_owned();
    if !given.is_empty() {
        words.push_str(&format!(" ({})", given.join(", ")));
    }
    let name = action
        .node
        .text_of("name")
        .and_then(|name| step_name(&plain(name)));
    let what = match name {
        Some(name) => format!("{} «{name}»", action.what),
        None => action.what.clone(),
    };
    notes.lost(&mut here.pending, action.line, what, words);
}
