//! What every dialect is turned into: a build in our own words, with the comments for its reader.

use std::collections::{BTreeSet, HashMap};

use super::when::{Alternative, When};
use super::{Kind, Note};
use crate::limits;

/// A build.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipeline {
    pub(super) comments: Vec<String>,
    /// `None` is the default: every push, tag and pull request.
    pub(super) on: Option<On>,
    pub(super) params: Vec<Param>,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) env: Vars,
    pub(super) jobs: Vec<Job>,
}

/// Names and values in the order of the file.
pub(super) type Vars = Vec<(String, String)>;

/// What makes a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct On {
    pub(super) push: Option<Filter>,
    pub(super) pull_request: Option<Filter>,
    /// Patterns; an empty list is every tag.
    pub(super) tag: Option<Vec<String>>,
    pub(super) schedule: Vec<Schedule>,
    pub(super) manual: bool,
    pub(super) api: bool,
}

/// Which pushes or pull requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) branches: Vec<String>,
    pub(super) paths: Vec<String>,
}

/// Builds by the clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) cron: String,
    pub(super) timezone: Option<String>,
    pub(super) branch: Option<String>,
}

/// An input of a build by hand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Param {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) options: Vec<String>,
    pub(super) default: Option<String>,
    pub(super) description: Option<String>,
}

/// One at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Concurrency {
    pub(super) group: String,
    pub(super) cancel: bool,
}

/// A job.
#[derive(Debug, Clone, Default)]
pub(super) struct Job {
    /// As the file calls it; made a legal name at the end.
    pub(super) name: String,
    pub(super) comments: Vec<String>,
    pub(super) needs: Vec<Need>,
    pub(super) matrix: Option<Matrix>,
    pub(super) fail_fast: Option<bool>,
    pub(super) max_parallel: Option<u32>,
    pub(super) when: When,
    pub(super) approve: Option<String>,
    pub(super) image: Option<String>,
    pub(super) runs_on: Vec<String>,
    pub(super) env: Vars,
    pub(super) secrets: BTreeSet<String>,
    pub(super) shell: Option<Vec<String>>,
    pub(super) workdir: Option<String>,
    pub(super) user: Option<String>,
    pub(super) clone: Clone,
    pub(super) timeout: Option<String>,
    pub(super) retry: Option<Retry>,
    pub(super) allow_failure: bool,
    pub(super) concurrency: Option<Concurrency>,
    pub(super) services: Vec<Service>,
    pub(super) artifacts: Vec<Artifact>,
    pub(super) cache: Vec<Cache>,
    pub(super) reports: Vec<(&'static str, Vec<String>)>,
    pub(super) outputs: Vec<String>,
    pub(super) steps: Vec<Step>,
}

/// A job that must have ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) job: String,
    pub(super) optional: bool,
    pub(super) artifacts: bool,
}

impl Need {
    /// Just that job.
    pub(super) fn of(job: impl Into<String>) -> Self {
        Self {
            job: job.into(),
            ..Self::default()
        }
    }
}

/// Many variants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Matrix {
    pub(super) axes: Vec<(String, Vec<String>)>,
    pub(super) include: Vec<Vars>,
    pub(super) exclude: Vec<Vars>,
}

impl Matrix {
    /// All names.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.axes.iter().map(|(name, _)| name.clone()).collect();
        for (name, _) in self.include.iter().flatten() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Gives every cell of `include` every name, so that no variable is missing in one.
    pub(super) fn fill(&mut self) {
        let names = self.names();
        if self.include.is_empty() {
            return;
        }
        let own: Vec<&String> = self.axes.iter().map(|(name, _)| name).collect();
        let extra = names.iter().any(|name| !own.contains(&name));
        if extra && !self.axes.is_empty() {
            // Cells of the axes lack what only `include` has: write all of them down.
            let mut cells = self.product();
            cells.append(&mut self.include);
            *self = Self {
                include: cells,
                ..Self::default()
            };
        }
        for cell in &mut self.include {
            for name in &names {
                if !cell.iter().any(|(known, _)| known == name) {
                    cell.push((name.clone(), String::new()));
                }
            }
        }
    }

    /// The combinations of the axes that `exclude` leaves; at most as many as a spec may have.
    pub(super) fn product(&self) -> Vec<Vars> {
        if self.axes.is_empty() {
            return Vec::new();
        }
        let mut cells: Vec<Vars> = vec![Vec::new()];
        for (name, values) in &self.axes {
            let longer = cells.iter().flat_map(|cell| {
                values.iter().map(move |value| {
                    let mut cell = cell.clone();
                    cell.push((name.clone(), value.clone()));
                    cell
                })
            });
            cells = longer.take(limits::CELLS).collect();
        }
        cells.retain(|cell| {
            let out = |out: &Vars| !out.is_empty() && out.iter().all(|pair| cell.contains(pair));
            !self.exclude.iter().any(out)
        });
        cells
    }
}

/// How the revision comes into the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Clone {
    pub(super) off: bool,
    /// `full` or a number.
    pub(super) depth: Option<String>,
    pub(super) submodules: bool,
    pub(super) lfs: bool,
}

/// When to try again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) count: u32,
    pub(super) on: Vec<String>,
}

/// A container beside the job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) comments: Vec<String>,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) env: Vars,
    pub(super) command: Vec<String>,
    /// Port and time limit.
    pub(super) ready: Option<(u16, Option<String>)>,
}

/// Files that are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Artifact {
    pub(super) name: Option<String>,
    pub(super) paths: Vec<String>,
    pub(super) retention: Option<String>,
    pub(super) required: Option<bool>,
    pub(super) when: Option<&'static str>,
}

/// Files that are kept for speed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cache {
    pub(super) key: String,
    pub(super) hash: Vec<String>,
    pub(super) paths: Vec<String>,
    pub(super) restore: Vec<String>,
    pub(super) read_only: bool,
}

/// A step.
#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) comments: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) run: String,
    pub(super) env: Vars,
    pub(super) shell: Option<Vec<String>>,
    pub(super) workdir: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) when: When,
    pub(super) background: bool,
}

impl Step {
    /// These commands.
    pub(super) fn of(run: impl Into<String>) -> Self {
        Self {
            run: run.into(),
            ..Self::default()
        }
    }
}

impl On {
    /// The same as conditions of a job.
    pub(super) fn when(&self) -> When {
        let mut any = Vec::new();
        let mut filtered = |event: &str, filter: &Option<Filter>| {
            if let Some(filter) = filter {
                let mut one = Alternative::event(&[event]);
                one.paths.clone_from(&filter.paths);
                match event {
                    "push" => one.branch.clone_from(&filter.branches),
                    _ => one.base.clone_from(&filter.branches),
                }
                any.push(one);
            }
        };
        filtered("push", &self.push);
        filtered("pull_request", &self.pull_request);
        if let Some(tags) = &self.tag {
            let mut one = Alternative::event(&["tag"]);
            one.tag.clone_from(tags);
            any.push(one);
        }
        for schedule in &self.schedule {
            let mut one = Alternative::event(&["schedule"]);
            one.expr = Some(format!(
                "schedule == {}",
                super::when::quoted(&schedule.name)
            ));
            any.push(one);
        }
        let asked: Vec<&str> = [(self.manual, "manual"), (self.api, "api")]
            .into_iter()
            .filter_map(|(is, word)| is.then_some(word))
            .collect();
        if !asked.is_empty() {
            any.push(Alternative::event(&asked));
        }
        if any.is_empty() {
            return When::never();
        }
        When::any(any)
    }
}

/// Letters, digits, `-` and `_`, a letter first.
pub(super) fn legal_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_end_matches('-');
    let name = match name.chars().next() {
        Some(c) if c.is_ascii_alphabetic() => name.to_owned(),
        Some(_) => format!("job-{}", name.trim_start_matches(['_', '-'])),
        None => "job".to_owned(),
    };
    let name: String = name.chars().take(limits::WORD - 4).collect();
    name.trim_end_matches('-').to_owned()
}

/// Whether a text can be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(legal)
        && name.len() <= 256
        && name != "WINDLASS_ATTEMPT"
}

/// Whether a text can be the name of a secret.
pub(super) fn is_secret(name: &str) -> bool {
    is_variable(name) && !name.contains(|c: char| c.is_ascii_lowercase())
}

/// Whether a path stays below the workspace.
pub(super) fn is_inside(path: &str) -> bool {
    !path.trim().is_empty()
        && !path.starts_with(['/', '~', '\\'])
        && !path.split('/').any(|part| part == "..")
        && !path.contains("${")
        && !path.chars().any(char::is_control)
        && path.len() <= 1000
}

impl Pipeline {
    /// Makes it something that can be checked: legal names, no empty job, no name twice.
    pub(super) fn finish(&mut self) {
        self.jobs.truncate(limits::JOBS);
        let mut names: HashMap<String, String> = HashMap::new();
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for job in &mut self.jobs {
            let legal = free(&legal_name(&job.name), &taken);
            taken.insert(legal.clone());
            names.insert(std::mem::replace(&mut job.name, legal.clone()), legal);
        }
        for job in &mut self.jobs {
            for need in &mut job.needs {
                if let Some(name) = names.get(&need.job) {
                    need.job.clone_from(name);
                }
            }
            job.finish();
        }
    }

    /// Makes sure that every need is that of a job that is there; one may stand in another file.
    pub(super) fn join(&mut self, file: &str, notes: &mut Vec<Note>) {
        let names: BTreeSet<String> = self.jobs.iter().map(|job| job.name.clone()).collect();
        let keeps = self.jobs.iter().filter(|job| !job.artifacts.is_empty());
        let keepers: BTreeSet<String> = keeps.map(|job| job.name.clone()).collect();
        for job in &mut self.jobs {
            let mut seen = BTreeSet::new();
            let mut gone = Vec::new();
            job.needs.retain_mut(|need| {
                if !names.contains(&need.job) {
                    let legal = legal_name(&need.job);
                    if !names.contains(&legal) {
                        gone.push((need.job.clone(), need.optional));
                        return false;
                    }
                    need.job = legal;
                }
                need.artifacts &= keepers.contains(&need.job);
                need.job != job.name && seen.insert(need.job.clone())
            });
            for (name, _) in gone.into_iter().filter(|(_, optional)| !optional) {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
                let words = "there is no such job here, so it never runs: import its file too, or take the need away";
                job.comments
                    .push(format!("NOT CONVERTED: needs {shown}: {words}"));
                job.when = When::never();
                notes.push(Note {
                    file: file.to_owned(),
                    line: 1,
                    what: format!("{}: needs {shown}", job.name),
                    kind: Kind::NotConverted,
                    words: words.to_owned(),
                });
            }
        }
    }
}

/// A name that is not taken yet.
pub(super) fn free(name: &str, taken: &BTreeSet<String>) -> String {
    if !taken.contains(name) {
        return name.to_owned();
    }
    let mut number = 2;
    while taken.contains(&format!("{name}-{number}")) {
        number += 1;
    }
    format!("{name}-{number}")
}

impl Job {
    fn finish(&mut self) {
        for mut step in std::mem::take(&mut self.steps) {
            if step.run.trim().is_empty() {
                self.comments.append(&mut step.comments);
            } else {
                self.steps.push(step);
            }
        }
        if self.steps.is_empty() {
            let mut step = Step::of("true");
            step.comments.push(
                "Nothing of the original could be converted: write here what to run".to_owned(),
            );
            self.steps.push(step);
        }
        self.steps.truncate(limits::STEPS);
        if let Some(matrix) = &mut self.matrix {
            matrix.fill();
            if matrix.axes.is_empty() && matrix.include.is_empty() {
                self.matrix = None;
            }
        }
        if self.matrix.is_none() {
            (self.fail_fast, self.max_parallel) = (None, None);
        }
        if self.when.result == Some("failure") && self.needs.is_empty() {
            self.comments
                .push("It ran after a failure, but needs no other job: it never runs".to_owned());
            self.when = When::never();
        }
        if let Some(first) = self.steps.first_mut()
            && first.when.result == Some("failure")
        {
            first.comments.push(
                "It ran after a failure, but no step comes before it: it never runs".to_owned(),
            );
            first.when = When::never();
        }
        // A secret of the name counts; the file must not hide it.
        let secrets = &self.secrets;
        self.env.retain(|(name, _)| !secrets.contains(name));
        let mut names = BTreeSet::new();
        for artifact in &mut self.artifacts {
            let name = artifact.name.clone().unwrap_or_else(|| self.name.clone());
            let unique = free(&name, &names);
            if unique != name {
                artifact.name = Some(unique.clone());
            }
            names.insert(unique);
        }
        for step in &mut self.steps {
            step.env.retain(|(name, _)| !secrets.contains(name));
            if step.run.contains("${{") {
                // A shell can't read it either; our specs refuse what looks like an expression.
                step.run = step.run.replace("${{", "$ {{");
                let words =
                    "The script had the characters that begin an expression; they are parted here";
                step.comments.push(words.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_legal() {
        assert_eq!(legal_name("build: linux / amd64"), "build-linux-amd64");
        assert_eq!(legal_name("2nd"), "job-2nd");
        assert_eq!(legal_name("日本"), "job");
        assert!(legal_name(&"x".repeat(200)).len() <= limits::WORD);
        let taken = BTreeSet::from(["a".to_owned(), "a-2".to_owned()]);
        assert_eq!(free("a", &taken), "a-3");
    }

    #[test]
    fn every_cell_has_every_name() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut matrix = Matrix {
            axes: vec![("os".to_owned(), vec!["a".to_owned(), "b".to_owned()])],
            include: vec![vec![pair("os", "c"), pair("extra", "1")]],
            exclude: vec![vec![pair("os", "b")]],
        };
        matrix.fill();
        assert!(matrix.axes.is_empty());
        assert_eq!(matrix.include[0], [pair("os", "a"), pair("extra", "")]);
        assert_eq!(matrix.include[1], [pair("os", "c"), pair("extra", "1")]);
    }
}
