//! What Woodpecker and Drone share: steps that are containers around one workspace.

use std::collections::BTreeSet;

use super::Dialect;
use super::notes::Notes;
use super::pipeline::{Job, Service, Step, Vars, is_inside, is_secret, is_variable, legal_name};
use super::source::Document;
use super::tree::Tree as _;
use super::variables;
use super::when::When;
use crate::node::{Entry, Node};

/// One pipeline while it is converted.
pub(super) struct Containers<'d> {
    pub(super) dialect: Dialect,
    pub(super) document: &'d Document,
    /// What its place is called in notes.
    pub(super) place: String,
    /// Names of the matrix, which are variables there.
    pub(super) matrix: Vec<String>,
    /// Reads `when` of a step.
    pub(super) when: fn(&Document, &Node, &str, &mut Vec<String>, &mut Notes) -> When,
}

/// A step's or service's own name and its map.
pub(super) type Named<'d> = (String, &'d Node, usize);

/// A list of maps with `name`, or a map of names.
pub(super) fn named<'d>(document: &Document, node: &'d Node) -> Vec<Named<'d>> {
    let of_entry = |entry: &'d Entry| (entry.key.clone(), &entry.value, document.line_of(entry));
    if !node.entries().is_empty() {
        return node.entries().iter().map(of_entry).collect();
    }
    let mut all = Vec::new();
    for (number, item) in node.list().into_iter().enumerate() {
        let name = item.text_of("name").map(ToOwned::to_owned);
        let name = name.unwrap_or_else(|| format!("step {}", number + 1));
        all.push((name, item, document.line(&item.span)));
    }
    all
}

/// In an order in which each comes after those that it depends on, else as in the file.
fn ordered(steps: Vec<Named<'_>>) -> Vec<Named<'_>> {
    let names: BTreeSet<String> = steps.iter().map(|(name, ..)| name.clone()).collect();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut rest = steps;
    let mut sorted = Vec::new();
    while !rest.is_empty() {
        let ready = |(_, node, _): &Named<'_>| {
            let needs = node.texts_of("depends_on");
            needs
                .iter()
                .all(|need| done.contains(need) || !names.contains(need))
        };
        // A circle is not ours to mend.
        let next = rest.iter().position(ready).unwrap_or(0);
        let step = rest.remove(next);
        done.insert(step.0.clone());
        sorted.push(step);
    }
    sorted
}

impl Containers<'_> {
    /// Adds the steps to the job.
    pub(super) fn steps(&self, steps: Vec<Named<'_>>, job: &mut Job, notes: &mut Notes) {
        let steps = ordered(steps);
        let has_commands = |node: &Node| !node.texts_of("commands").is_empty();
        job.image = steps
            .iter()
            .filter(|(_, node, _)| has_commands(node))
            .find_map(|(_, node, _)| node.text_of("image"))
            .map(|image| self.text(image, &job.env).0);
        let mut pending: Vec<String> = Vec::new();
        for (name, node, line) in steps {
            let what = format!("{}.{name}", self.place);
            if !has_commands(node) {
                self.plugin(&what, node, line, &mut pending, notes);
                continue;
            }
            let mut step = Step {
                name: step_name(&name),
                comments: std::mem::take(&mut pending),
                ..Step::default()
            };
            notes.exact(line, format!("{what}: commands"));
            for entry in node.entries() {
                self.step_key(entry, &what, &mut step, job, notes);
            }
            job.steps.push(step);
        }
        job.comments.append(&mut pending);
    }

    /// A step without commands: an image with settings.
    fn plugin(
        &self,
        what: &str,
        node: &Node,
        line: usize,
        pending: &mut Vec<String>,
        notes: &mut Notes,
    ) {
        let image = node.text_of("image").unwrap_or("no image");
        let mut keys: Vec<String> = Vec::new();
        for entry in node.entries() {
            match entry.key.as_str() {
                "name" | "image" => {}
                "settings" => keys.extend(entry.value.entries().iter().map(|e| {
                    let secret = e.value.text_of("from_secret");
                    match (secret, e.value.text()) {
                        (Some(secret), _) => format!("{}=secret {secret}", e.key),
                        (None, Some(text)) => format!("{}={text}", e.key),
                        (None, None) => e.key.clone(),
                    }
                })),
                key => keys.push(key.to_owned()),
            }
        }
        let words = format!(
            "the plugin {image} ({}): write its commands here",
            keys.join(", ")
        );
        notes.lost(pending, line, what, words);
    }

    fn step_key(
        &self,
        entry: &Entry,
        what: &str,
        step: &mut Step,
        job: &mut Job,
        notes: &mut Notes,
    ) {
        let line = self.document.line_of(entry);
        let node = &entry.value;
        let key = entry.key.as_str();
        let here = format!("{what}.{key}");
        match key {
            "name" | "depends_on" => {}
            "commands" => {
                let mut own: Vec<String> = job.env.iter().map(|(name, _)| name.clone()).collect();
                own.extend(step.env.iter().map(|(name, _)| name.clone()));
                let commands = node.texts().join("\n").replace("$$", "$");
                let place = (line, what);
                step.run = format!(
                    "{}{}",
                    step.run,
                    variables::script(
                        &commands,
                        self.dialect,
                        &own,
                        place,
                        &mut step.comments,
                        notes
                    )
                );
            }
            "image" => {
                let image = self.text(node.text().unwrap_or_default(), &job.env).0;
                match &job.image {
                    Some(first) if *first != image => notes.lost(
                        &mut step.comments,
                        line,
                        here,
                        format!("the step ran in {image}; a job has one image, here {first}"),
                    ),
                    _ => notes.exact(line, here),
                }
            }
            "environment" => {
                for (name, value) in self.environment(node, &here, job, &mut step.comments, notes) {
                    step.env.push((name, value));
                }
            }
            "secrets" => self.secrets(node, &here, job, &mut step.comments, notes),
            "when" => {
                step.when = (self.when)(self.document, node, &here, &mut step.comments, notes);
            }
            "failure" if node.text() == Some("ignore") => {
                step.run = format!("trap 'exit 0' EXIT\n{}", step.run);
                let words = "its failure is hidden by the trap in its first line";
                notes.near(&mut step.comments, line, here, words);
            }
            "failure" | "pull" => notes.exact(line, here),
            "detach" => {
                step.background = node.truth() == Some(true);
                let words = "it runs beside the following steps; what reached it by its name finds \
                             it at localhost";
                notes.near(&mut step.comments, line, here, words);
            }
            "directory" if node.text().is_some_and(is_inside) => {
                step.workdir = node.text().map(ToOwned::to_owned);
                notes.exact(line, here);
            }
            _ => {
                let words = "steps have no such key here";
                notes.lost(&mut step.comments, line, here, words);
            }
        }
    }

    fn text(&self, text: &str, env: &Vars) -> (String, Vec<String>) {
        variables::text(text, self.dialect, env, &self.matrix)
    }

    /// `environment`: a map or a list of `NAME=value`; secrets go to the job.
    pub(super) fn environment(
        &self,
        node: &Node,
        what: &str,
        job: &mut Job,
        comments: &mut Vec<String>,
        notes: &mut Notes,
    ) -> Vars {
        let mut vars = Vec::new();
        let mut add = |name: &str, value: &str, line: usize, notes: &mut Notes| {
            if !is_variable(name) {
                notes.lost(
                    comments,
                    line,
                    format!("{what}.{name}"),
                    "not a name of a variable",
                );
                return;
            }
            let (value, unknown) = self.text(value, &Vec::new());
            for name in unknown {
                let words = "variables are not filled in here: the text stays as it is";
                notes.lost(comments, line, format!("{what}: ${name}"), words);
            }
            vars.push((name.to_owned(), value));
            notes.exact(line, format!("{what}.{name}"));
        };
        for entry in node.entries() {
            let line = self.document.line_of(entry);
            match entry.value.text_of("from_secret") {
                None if !entry.value.entries().is_empty() => {
                    notes.lost(
                        &mut job.comments,
                        line,
                        what,
                        format!("{} is a map", entry.key),
                    );
                }
                None => add(
                    &entry.key,
                    entry.value.text().unwrap_or_default(),
                    line,
                    notes,
                ),
                Some(secret) => {
                    let (name, place) = (entry.key.clone(), format!("{what}.{}", entry.key));
                    add_secret(job, &name, secret, (line, &place), notes);
                }
            }
        }
        for item in node.list() {
            if let Some((name, value)) = item.text().and_then(|text| text.split_once('=')) {
                add(name, value, self.document.line(&item.span), notes);
            }
        }
        vars
    }

    fn secrets(
        &self,
        node: &Node,
        what: &str,
        job: &mut Job,
        comments: &mut Vec<String>,
        notes: &mut Notes,
    ) {
        for item in node.list() {
            let line = self.document.line(&item.span);
            let name = item.text().or_else(|| item.text_of("source"));
            let Some(name) = name else {
                notes.lost(comments, line, what, "the secret has no name");
                continue;
            };
            let target = item.text_of("target").unwrap_or(name).to_ascii_uppercase();
            add_secret(job, &target, name, (line, what), notes);
        }
    }

    /// Adds the services to the job.
    pub(super) fn services(&self, services: Vec<Named<'_>>, job: &mut Job, notes: &mut Notes) {
        for (name, node, line) in services {
            let what = format!("services.{name}");
            let mut service = Service {
                name: legal_name(&name),
                image: self
                    .text(node.text_of("image").unwrap_or_default(), &Vec::new())
                    .0,
                ..Service::default()
            };
            if service.image.is_empty() {
                notes.lost(&mut job.comments, line, what, "the service has no image");
                continue;
            }
            notes.exact(line, what.clone());
            let port = node
                .texts_of("ports")
                .first()
                .and_then(|port| port_of(port));
            service.ready = port
                .or_else(|| usual_port(&service.image))
                .map(|port| (port, None));
            let mut comments = Vec::new();
            for entry in node.entries() {
                let (line, value) = (self.document.line_of(entry), &entry.value);
                let here = format!("{what}.{}", entry.key);
                match entry.key.as_str() {
                    "name" | "image" | "ports" | "pull" => {}
                    "environment" => {
                        service.env = self.environment(value, &here, job, &mut comments, notes);
                    }
                    "command" | "commands" => {
                        service.command = command(value);
                        notes.exact(line, here);
                    }
                    _ => {
                        let words = "services have no such key here";
                        notes.lost(&mut comments, line, here, words);
                    }
                }
            }
            service.comments = comments;
            job.services.push(service);
        }
    }
}

/// A command as words.
pub(super) fn command(node: &Node) -> Vec<String> {
    match node.text() {
        Some(text) => vec!["sh".to_owned(), "-c".to_owned(), text.to_owned()],
        None => node.texts(),
    }
}

/// A name of one line, short enough.
pub(super) fn step_name(name: &str) -> Option<String> {
    let words: Vec<&str> = name
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let name: String = words.join(" ").chars().take(crate::limits::NAME).collect();
    let name = name.trim().to_owned();
    (!name.is_empty()).then_some(name)
}

/// A secret that the steps get as the variable `name`.
pub(super) fn add_secret(
    job: &mut Job,
    name: &str,
    secret: &str,
    (line, what): (usize, &str),
    notes: &mut Notes,
) {
    if !is_secret(name) {
        let upper = windlass_model::plan::variable(name);
        let words = format!("secrets have names in capital letters: it is ${upper} here");
        notes.lost(&mut job.comments, line, what, words);
        if is_secret(&upper) {
            job.secrets.insert(upper);
        }
        return;
    }
    job.secrets.insert(name.to_owned());
    if name.eq_ignore_ascii_case(secret) {
        notes.exact(line, what);
    } else {
        let words = format!("store the secret {secret} under the name {name}");
        notes.near(&mut job.comments, line, what, words);
    }
}

/// `8080:5432/tcp` is 5432.
pub(super) fn port_of(text: &str) -> Option<u16> {
    let text = text.split('/').next()?;
    let port: u16 = text.rsplit(':').next()?.trim().parse().ok()?;
    (port > 0).then_some(port)
}

/// The port at which the program of an image usually listens.
pub(super) fn usual_port(image: &str) -> Option<u16> {
    let name = image.rsplit('/').next()?.split([':', '@']).next()?;
    let port = match name {
        "postgres" | "postgresql" | "postgis" => 5432,
        "mysql" | "mariadb" | "percona" => 3306,
        "redis" | "valkey" => 6379,
        "mongo" | "mongodb" => 27017,
        "memcached" => 11211,
        "rabbitmq" => 5672,
        "elasticsearch" | "opensearch" => 9200,
        "etcd" => 2379,
        "minio" => 9000,
        "nats" => 4222,
        "cassandra" => 9042,
        _ => return None,
    };
    Some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!(port_of("5432"), Some(5432));
        assert_eq!(port_of("8080:80/tcp"), Some(80));
        assert_eq!(port_of("x"), None);
        assert_eq!(usual_port("docker.io/library/postgres:17"), Some(5432));
        assert_eq!(usual_port("busybox"), None);
    }

    #[test]
    fn names_are_one_line() {
        assert_eq!(step_name(" a\n b ").as_deref(), Some("a b"));
        assert_eq!(step_name("\n"), None);
    }
}
