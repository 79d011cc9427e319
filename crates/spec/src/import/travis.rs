//! Travis CI: the file is one job with a matrix; jobs that differ in more than values are their own.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | versions, `env`, `jobs.include` | `travis/matrix.rs` |
//! | `install`, `script`, `deploy`, and defaults of languages | `travis/phases.rs` |
//! | `if`, `branches` | `travis/condition.rs` |

mod condition;
mod matrix;
mod phases;

use super::container::usual_port;
use super::gitlab::condition::{Round, Truth, joined, negated};
use super::gitlab::regex;
use super::notes::Notes;
use super::pipeline::{Cache, Job, Need, Pipeline, Service, Vars, legal_name};
use super::source::Document;
use super::tree::Tree as _;
use super::when::{When, quoted};
use super::{Dialect, variables};
use crate::limits;
use crate::node::{Entry, Node};

use self::matrix::{Axes, Env};

/// A job while it is converted.
struct Around<'a> {
    document: &'a Document,
    what: String,
    line: usize,
    /// Variables that the file sets.
    own: &'a [String],
    /// Names of the matrix.
    axes: &'a [String],
}

/// Reads the file.
pub(super) fn read(documents: &[Document], notes: &mut Notes) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for (number, document) in documents.iter().enumerate() {
        if number == 0 {
            file(document, &mut pipeline, notes);
        } else {
            let line = document.line(&document.root.span);
            let words = "only the first document is converted";
            notes.lost(&mut pipeline.comments, line, "document", words);
        }
    }
    pipeline
}

fn file(document: &Document, pipeline: &mut Pipeline, notes: &mut Notes) {
    let root = &document.root;
    if root.entries().is_empty() {
        return;
    }
    let found = root.entries().iter().find(|entry| entry.key == "env");
    let env = found
        .map(|entry| matrix::env(&entry.value))
        .unwrap_or_default();
    if let Some(entry) = found {
        let line = document.line_of(entry);
        if env.secure > 0 {
            let words = "encrypted values can only be read by Travis: store them with `windlass secret set`, \
                         and list their names in `secrets`";
            notes.lost(&mut pipeline.comments, line, "env.secure", words);
        }
        notes.exact(line, "env");
    }
    pipeline.env = filled(&env.global, &mut pipeline.comments, notes);
    top(document, pipeline, notes);
    let jobs = root.get("jobs").or_else(|| root.get("matrix"));
    let whole = jobs_of(document, jobs, &env, pipeline, notes);
    pipeline.jobs = whole;
    if let Some(when) = builds(document, &mut pipeline.comments, notes) {
        for job in &mut pipeline.jobs {
            job.when = when.clone().and(std::mem::take(&mut job.when));
        }
    }
}

fn filled(vars: &Vars, comments: &mut Vec<String>, notes: &mut Notes) -> Vars {
    let mut all = Vars::new();
    for (name, value) in vars {
        let others: Vars = vars
            .iter()
            .filter(|(known, _)| known != name)
            .cloned()
            .collect();
        let (text, unknown) = variables::text(value, Dialect::Travis, &others, &[]);
        for variable in unknown {
            let words = format!("${variable} is not filled in here: the text stays as it is");
            notes.lost(comments, 1, format!("env.{name}"), words);
        }
        all.retain(|(known, _)| known != name);
        all.push((name.clone(), text));
    }
    all
}

/// Variables of a line that speak of others in it: a matrix has only values.
fn in_lines(env: &Env, comments: &mut Vec<String>, notes: &mut Notes) -> Env {
    let mut env = env.clone();
    for line in &mut env.lines {
        let known: Vars = env.global.iter().chain(line.iter()).cloned().collect();
        for (name, value) in line {
            let others: Vars = known
                .iter()
                .filter(|(other, _)| other != name)
                .cloned()
                .collect();
            let (text, unknown) = variables::text(value, Dialect::Travis, &others, &[]);
            if unknown.is_empty() && !text.contains("${{") {
                *value = text;
            } else {
                let words = format!("{value} is not filled in here: the text stays as it is");
                notes.lost(comments, 1, format!("env.{name}"), words);
            }
        }
    }
    env
}

/// Keys of the whole file that make no job.
fn top(document: &Document, pipeline: &mut Pipeline, notes: &mut Notes) {
    let comments = &mut pipeline.comments;
    for entry in document.root.entries() {
        let (line, key) = (document.line_of(entry), entry.key.as_str());
        match key {
            "notifications" => {
                let words = "add a job with `when: {result: failure}` that tells people";
                notes.lost(comments, line, key, words);
            }
            "stages" => notes.near(
                comments,
                line,
                key,
                "jobs need those of the stage before instead",
            ),
            "import" | "conditions" | "version" | "vm" => {
                notes.lost(comments, line, key, "there is no such key here");
            }
            _ => {}
        }
    }
}

/// All jobs: the matrix, and those that are added.
fn jobs_of(
    document: &Document,
    node: Option<&Node>,
    env: &Env,
    pipeline: &mut Pipeline,
    notes: &mut Notes,
) -> Vec<Job> {
    let root = &document.root;
    let comments = &mut pipeline.comments;
    let env = &in_lines(env, comments, notes);
    let (axes, gone) = Axes::of(root, env);
    let linux =
        root.texts_of("os").is_empty() || root.texts_of("os").iter().any(|os| matrix::is_linux(os));
    if !gone.is_empty() {
        let words = format!(
            "there are no machines for {}: these jobs are left out",
            gone.join(", ")
        );
        notes.lost(comments, document.line(&root.span), "os", words);
    }
    let list = |key: &str| match node.filter(|node| !node.entries().is_empty()) {
        Some(node) => node.get(key).map(|node| node.list()).unwrap_or_default(),
        // `jobs:` may be the list itself.
        None if key == "include" => node.map(|node| node.list()).unwrap_or_default(),
        None => Vec::new(),
    };
    let values = |key: &str| -> Vec<Vars> {
        list(key)
            .iter()
            .map(|item| matrix::values(item.entries()))
            .collect()
    };
    let (exclude, allowed) = (values("exclude"), values("allow_failures"));
    if node.and_then(|node| node.get("fast_finish")).is_some() {
        let line = node.map_or(1, |node| document.line(&node.span));
        notes.near(
            comments,
            line,
            "jobs.fast_finish",
            "the build ends when all jobs have ended",
        );
    }
    let mut added: Vec<Vars> = Vec::new();
    let mut own: Vec<(usize, &Node)> = Vec::new();
    for (number, item) in list("include").into_iter().enumerate().take(limits::JOBS) {
        let line = document.line(&item.span);
        let os = item
            .text_of("os")
            .unwrap_or(if linux { "linux" } else { "osx" });
        if !matrix::is_linux(os) {
            let words = format!("there are no machines for {os}: the job is left out");
            notes.lost(comments, line, format!("jobs.include[{number}]"), words);
        } else if item
            .entries()
            .iter()
            .all(|entry| matrix::is_choice(&entry.key))
            && !axes.is_empty()
        {
            added.push(matrix::values(item.entries()));
            notes.exact(line, format!("jobs.include[{number}]"));
        } else {
            own.push((number, item));
        }
    }
    added.retain(|cell| !cell.is_empty());
    let mut jobs: Vec<(String, Job)> = Vec::new();
    // One combination alone gives way to the jobs that are added.
    if (own.is_empty() || axes.is_many()) && linux {
        let cells = axes.cells(&exclude);
        let base = |name: &str, cells: Vec<Vars>, added: Vec<Vars>, notes: &mut Notes| {
            let matrix = axes.matrix(cells, added);
            let names = matrix.names();
            let mut job = job(document, root.entries(), (name, 1), (env, &names), notes);
            for name in &names {
                if env.lines.iter().flatten().any(|(known, _)| known == name) {
                    job.env
                        .push((name.clone(), format!("${{{{ matrix.{name} }}}}")));
                }
            }
            job.matrix = Some(matrix);
            ("test".to_owned(), job)
        };
        let may_fail = |cell: &Vars| allowed.iter().any(|one| matrix::takes(one, cell));
        let (free, strict): (Vec<Vars>, Vec<Vars>) =
            cells.into_iter().partition(|cell| may_fail(cell));
        let (free_added, strict_added): (Vec<Vars>, Vec<Vars>) =
            added.into_iter().partition(|cell| may_fail(cell));
        if axes.is_empty() || !strict.is_empty() || !strict_added.is_empty() {
            jobs.push(base("build", strict, strict_added, notes));
        }
        if !free.is_empty() || !free_added.is_empty() {
            let (stage, mut job) = base("may-fail", free, free_added, notes);
            job.allow_failure = true;
            jobs.push((stage, job));
        }
    }
    let mut stage = "test".to_owned();
    for (number, item) in own {
        if let Some(text) = item
            .text_of("stage")
            .or_else(|| item.get("stage")?.text_of("name"))
        {
            stage = text.to_lowercase();
        }
        let line = document.line(&item.span);
        let entries = overlaid(root.entries(), item.entries());
        let name = item
            .text_of("name")
            .map_or_else(|| stage.clone(), ToOwned::to_owned);
        let what = format!("{name} {}", number + 1);
        let name = if item.text_of("name").is_some() {
            name
        } else {
            what
        };
        let mut job = job(document, &entries, (&name, line), (env, &[]), notes);
        let mut values = matrix::values(item.entries());
        for (name, value) in axes.first() {
            if !values.iter().any(|(known, _)| *known == name) {
                values.push((name, value));
            }
        }
        for (name, value) in values {
            let name = match matrix::VERSIONS.contains(&name.as_str()) {
                true => format!("MATRIX_{}", windlass_model::plan::variable(&name)),
                false => name,
            };
            let (text, _) = variables::text(&value, Dialect::Travis, &[], &[]);
            job.env.retain(|(known, _)| *known != name);
            job.env.push((name, text));
        }
        job.allow_failure = list("allow_failures").iter().any(|one| {
            let same = |entry: &Entry| item.text_of(&entry.key) == entry.value.text();
            !one.entries().is_empty() && one.entries().iter().all(same)
        });
        notes.exact(line, format!("jobs.include[{number}]"));
        jobs.push((stage.clone(), job));
    }
    staged(root, jobs)
}

/// A job's own keys on top of the file's; what makes a matrix is not taken over.
fn overlaid(below: &[Entry], over: &[Entry]) -> Vec<Entry> {
    let is_own = |key: &str| over.iter().any(|entry| entry.key == key);
    let mut all: Vec<Entry> = below
        .iter()
        .filter(|entry| {
            !is_own(&entry.key)
                && !matches!(entry.key.as_str(), "if" | "jobs" | "matrix" | "stages")
        })
        .cloned()
        .collect();
    all.extend(over.iter().cloned());
    all
}

/// Each stage waits for the one before.
fn staged(root: &Node, jobs: Vec<(String, Job)>) -> Vec<Job> {
    let mut order: Vec<String> = Vec::new();
    for item in root
        .get("stages")
        .map(|node| node.list())
        .unwrap_or_default()
    {
        let name = item
            .text()
            .or_else(|| item.text_of("name"))
            .unwrap_or_default();
        order.push(name.to_lowercase());
    }
    for (stage, _) in &jobs {
        if !order.contains(stage) {
            order.push(stage.clone());
        }
    }
    let place = |stage: &String| order.iter().position(|known| known == stage).unwrap_or(0);
    let mut taken = std::collections::BTreeSet::new();
    let mut jobs = jobs;
    for (_, job) in &mut jobs {
        job.name = super::pipeline::free(&legal_name(&job.name), &taken);
        taken.insert(job.name.clone());
    }
    let all: Vec<(usize, String)> = jobs
        .iter()
        .map(|(stage, job)| (place(stage), job.name.clone()))
        .collect();
    let mut done = Vec::new();
    for (stage, mut job) in jobs {
        let mine = place(&stage);
        let earlier = all.iter().filter(|(stage, _)| *stage < mine);
        job.needs = earlier
            .take(limits::ITEMS)
            .map(|(_, name)| Need {
                // A job that its condition leaves out holds up nothing there.
                optional: true,
                ..Need::of(name.clone())
            })
            .collect();
        done.push(job);
    }
    done
}

fn job(
    document: &Document,
    entries: &[Entry],
    (name, line): (&str, usize),
    (env, axes): (&Env, &[String]),
    notes: &mut Notes,
) -> Job {
    let mut job = Job {
        name: name.to_owned(),
        // What is left out there is fifty commits and all submodules.
        clone: super::pipeline::Clone {
            depth: Some("50".to_owned()),
            submodules: true,
            ..Default::default()
        },
        shell: Some(vec!["bash".to_owned()]),
        ..Job::default()
    };
    let text_of = |key: &str| {
        let found = entries.iter().find(|entry| entry.key == key);
        found.and_then(|entry| entry.value.text())
    };
    let language = text_of("language").unwrap_or("ruby").to_ascii_lowercase();
    let mut own: Vec<String> = env.global.iter().map(|(name, _)| name.clone()).collect();
    own.extend(env.lines.iter().flatten().map(|(name, _)| name.clone()));
    let around = Around {
        document,
        what: name.to_owned(),
        line,
        own: &own,
        axes,
    };
    for entry in entries {
        key(&around, entry, &language, &mut job, notes);
    }
    phases::read(&around, entries, &language, &mut job, notes);
    job
}

fn key(around: &Around<'_>, entry: &Entry, language: &str, job: &mut Job, notes: &mut Notes) {
    let (line, node) = (around.document.line_of(entry), &entry.value);
    let here = format!("{}: {}", around.what, entry.key);
    match entry.key.as_str() {
        "language" => tools(around, line, here, language, job, notes),
        "if" => {
            // The file's own `if` is that of the build.
            let top = around
                .document
                .root
                .entries()
                .iter()
                .find(|top| top.key == "if");
            let is_top = top.is_some_and(|top| top.key_span == entry.key_span);
            if !is_top {
                job.when = condition_of(node, (line, &here), &mut job.comments, notes);
            }
        }
        "git" => git(around, node, &here, job, notes),
        "services" => services(node, (line, &here), job, notes),
        "cache" => cache(node, (line, &here), language, job, notes),
        "addons" => {
            let apt = node.get("apt");
            let packages = apt.map(|apt| match apt.entries() {
                [] => apt.texts(),
                _ => apt.texts_of("packages"),
            });
            let packages = packages.unwrap_or_default().join(", ");
            let others: Vec<&str> = node
                .entries()
                .iter()
                .map(|e| e.key.as_str())
                .filter(|key| *key != "apt")
                .collect();
            let words = format!(
                "must be on the machine or in the image: {packages} {}",
                others.join(", ")
            );
            notes.lost(&mut job.comments, line, here, words);
        }
        "dist" | "sudo" | "group" | "osx_image" | "arch" => {
            let words = "any Linux machine: see `runs-on` and `image`";
            notes.near(&mut job.comments, line, here, words);
        }
        "before_cache" | "workspaces" | "filter_secrets" | "trace" => {
            notes.lost(&mut job.comments, line, here, "jobs have no such key here");
        }
        key if matrix::VERSIONS.contains(&key) => notes.exact(line, here),
        "jobs" | "matrix" | "stages" | "stage" | "name" | "env" | "branches" | "notifications"
        | "import" | "conditions" | "version" | "vm" | "before_install" | "install"
        | "before_script" | "script" | "after_success" | "after_failure" | "after_script"
        | "before_deploy" | "deploy" | "after_deploy" => {}
        _ => notes.lost(&mut job.comments, line, here, "there is no such key here"),
    }
}

/// Which programs the language stands for.
fn tools(
    around: &Around<'_>,
    line: usize,
    here: String,
    language: &str,
    job: &mut Job,
    notes: &mut Notes,
) {
    let (tool, axis, image) = match language {
        "python" => ("Python", "python", "python"),
        "node_js" => ("Node.js", "node_js", "node"),
        "rust" => ("Rust", "rust", "rust"),
        "go" => ("Go", "go", "golang"),
        "ruby" => ("Ruby", "rvm", "ruby"),
        "php" => ("PHP", "php", "php"),
        "java" | "groovy" | "kotlin" | "scala" => ("a JDK", "jdk", "eclipse-temurin"),
        "elixir" => ("Elixir", "elixir", "elixir"),
        "c" | "cpp" => ("a C compiler and make", "compiler", "gcc"),
        "generic" | "minimal" | "shell" | "bash" => {
            notes.exact(line, here);
            return;
        }
        other => (other, "", ""),
    };
    let mut words = format!("{tool} must be on the machine");
    if !image.is_empty() {
        let tag = match around.axes.iter().any(|name| name == axis) && axis != "compiler" {
            true => format!(":${{{{ matrix.{axis} }}}}"),
            false => String::new(),
        };
        words.push_str(&format!(", or in an image: `image: {image}{tag}`"));
    }
    notes.near(&mut job.comments, line, here, words);
}

fn git(around: &Around<'_>, node: &Node, here: &str, job: &mut Job, notes: &mut Notes) {
    for entry in node.entries() {
        let line = around.document.line_of(entry);
        let what = format!("{here}.{}", entry.key);
        let value = &entry.value;
        match entry.key.as_str() {
            "depth" => {
                job.clone.depth = match value.text().and_then(|text| text.parse::<u32>().ok()) {
                    Some(depth) if depth > 0 => Some(depth.min(1_000_000).to_string()),
                    _ => Some("full".to_owned()),
                };
            }
            "submodules" => job.clone.submodules = value.truth() != Some(false),
            "lfs_skip_smudge" => job.clone.lfs = value.truth() == Some(false),
            "clone" => job.clone.off = value.truth() == Some(false),
            "quiet" => {}
            _ => {
                notes.lost(
                    &mut job.comments,
                    line,
                    what,
                    "`clone` has no such key here",
                );
                continue;
            }
        }
        notes.exact(line, what);
    }
}

fn services(node: &Node, (line, here): (usize, &str), job: &mut Job, notes: &mut Notes) {
    for name in node.texts().into_iter().take(20) {
        let image = match name.as_str() {
            "postgresql" => "postgres",
            "mysql" => "mysql",
            "mariadb" => "mariadb",
            "redis" | "redis-server" => "redis",
            "mongodb" => "mongo",
            "memcached" => "memcached",
            "rabbitmq" => "rabbitmq",
            "elasticsearch" => "elasticsearch",
            other => {
                let words = format!("{other} must be on the machine");
                notes.lost(&mut job.comments, line, format!("{here}.{other}"), words);
                continue;
            }
        };
        let words = "the newest version of the image; choose one";
        notes.near(&mut job.comments, line, format!("{here}.{name}"), words);
        let legal = legal_name(&name);
        if !job.services.iter().any(|known| known.name == legal) {
            job.services.push(Service {
                name: legal,
                image: image.to_owned(),
                ready: usual_port(image).map(|port| (port, None)),
                ..Service::default()
            });
        }
    }
}

fn cache(
    node: &Node,
    (line, here): (usize, &str),
    language: &str,
    job: &mut Job,
    notes: &mut Notes,
) {
    let mut paths: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        let known: &[&str] = match name {
            "pip" => &["~/.cache/pip"],
            "npm" => &["~/.npm"],
            "yarn" => &["~/.cache/yarn"],
            "cargo" => &["~/.cargo/registry", "~/.cargo/git", "target"],
            "bundler" => &["vendor/bundle"],
            "ccache" => &["~/.ccache"],
            _ => &[],
        };
        paths.extend(known.iter().map(|path| (*path).to_owned()));
    };
    for name in node.list().iter().filter_map(|item| item.text()) {
        add(name);
    }
    for item in node.list() {
        for entry in item.entries() {
            if entry.value.truth() == Some(true) {
                add(&entry.key);
            }
        }
    }
    for item in node.list() {
        for path in item.texts_of("directories") {
            let path = path.replace("$HOME/", "~/").replace("${HOME}/", "~/");
            let path = path
                .trim_start_matches("./")
                .trim_end_matches('/')
                .to_owned();
            let bad = path.contains('$')
                || path.starts_with('/')
                || path.split('/').any(|part| part == "..");
            let is_glob = windlass_model::glob::compile(path.trim_start_matches("~/")).is_ok();
            if bad || !is_glob || path.trim().is_empty() || path.chars().any(char::is_control) {
                let words = format!("the path {path} can't be used here");
                notes.lost(&mut job.comments, line, here, words);
            } else {
                paths.push(path);
            }
        }
    }
    paths.dedup();
    if paths.is_empty() {
        notes.exact(line, here);
        return;
    }
    notes.near(
        &mut job.comments,
        line,
        here,
        "one cache for all branches and cells",
    );
    job.cache.push(Cache {
        key: format!("travis-{}", legal_name(language)),
        paths,
        ..Cache::default()
    });
}

fn condition_of(
    node: &Node,
    (line, what): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> When {
    let text = node.text().unwrap_or_default();
    match condition::read(text) {
        Truth::Known(true) => {
            notes.exact(line, what);
            When::default()
        }
        Truth::Asked(text) => {
            notes.exact(line, what);
            When::of(text)
        }
        Truth::Known(false) => When::never(),
        Truth::Unknown => {
            let words = format!("{text} has no counterpart: it never runs because of this");
            notes.lost(comments, line, what, words);
            When::never()
        }
    }
}

/// `branches` and the file's `if`: which builds there are.
fn builds(document: &Document, comments: &mut Vec<String>, notes: &mut Notes) -> Option<When> {
    let root = &document.root;
    let mut when: Option<When> = None;
    let find = |key: &str| root.entries().iter().find(|entry| entry.key == key);
    if let Some(entry) = find("if") {
        let line = document.line_of(entry);
        when = Some(condition_of(&entry.value, (line, "if"), comments, notes));
    }
    let Some(entry) = find("branches") else {
        return when;
    };
    let line = document.line_of(entry);
    let (only, except) = (entry.value.texts_of("only"), entry.value.texts_of("except"));
    let mut all = Vec::new();
    if !only.is_empty() {
        let any = only.iter().map(|name| branch(name, Round::Down)).collect();
        all.push(joined(any, false, Round::Down));
    }
    for name in &except {
        let out = branch(name, Round::Up);
        all.push(negated(out));
    }
    let lost = all.contains(&Truth::Unknown);
    if lost {
        let words = "one of the patterns has no counterpart: nothing runs because of this";
        notes.lost(comments, line, "branches", words);
    } else {
        notes.exact(line, "branches");
    }
    let own = match joined(all, true, Round::Down) {
        Truth::Known(true) => return when,
        Truth::Asked(text) => When::of(text),
        _ => When::never(),
    };
    Some(when.unwrap_or_default().and(own))
}

/// A name, or an expression between slashes; tags are asked like branches.
fn branch(name: &str, round: Round) -> Truth {
    let pattern = name
        .strip_prefix('/')
        .and_then(|name| name.strip_suffix('/'));
    let test = match pattern {
        None => format!("== {}", quoted(name)),
        Some(_) if round == Round::Up && name.contains(['+', '*', '?', '.', '[', '\\', '(']) => {
            return Truth::Unknown;
        }
        Some(pattern) => match regex::glob(pattern) {
            None => return Truth::Unknown,
            Some(glob) => {
                let glob = quoted(&glob);
                return Truth::Asked(format!(
                    "(event == \"pull_request\" && glob(base, {glob}) || event != \"pull_request\" && branch != \"\" && \
                     glob(branch, {glob}) || tag != \"\" && glob(tag, {glob}))"
                ));
            }
        },
    };
    Truth::Asked(format!(
        "(event == \"pull_request\" && base {test} || event != \"pull_request\" && branch {test} || tag {test})"
    ))
}
