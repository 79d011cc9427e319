//! Makes sure that the result is a spec: what the spec's own reader refuses never runs, and says so.

use super::pipeline::{Job, Pipeline, Step};
use super::when::When;
use super::{Dialect, Kind, Note, write};
use windlass_model::diagnostic::{Diagnostic, Severity};

/// How often something is taken out before everything is.
const ROUNDS: usize = 6;

/// Comments of a job that was taken out.
const COMMENTS: usize = 20;

/// The text of a spec without errors.
pub(super) fn spec(
    mut pipeline: Pipeline,
    dialect: Dialect,
    files: &[&str],
    notes: &mut Vec<Note>,
) -> String {
    for round in 0..=ROUNDS {
        let text = write::spec(&pipeline, dialect, files);
        let read = crate::read("windlass.yml", text.as_bytes());
        if read.spec.is_some() {
            return text;
        }
        let errors: Vec<Diagnostic> = read
            .diagnostics
            .into_iter()
            .filter(|d| d.severity == Severity::Error)
            .collect();
        let lines = jobs(&text, &pipeline);
        let mut outside = round == ROUNDS;
        for error in &errors {
            match lines.iter().rposition(|line| *line <= error.line) {
                Some(at) => refuse(&mut pipeline.jobs[at], error, files[0], notes),
                None => outside = true,
            }
        }
        if outside {
            everything(&mut pipeline, errors.first(), round, files[0], notes);
        }
    }
    let name = pipeline
        .jobs
        .first()
        .map_or("build", |job| job.name.as_str());
    format!(
        "# Nothing of it could be converted.\njobs:\n  {name}:\n    when: \"false\"\n    steps: [\"true\"]\n"
    )
}

/// The lines at which the jobs begin.
fn jobs(text: &str, pipeline: &Pipeline) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if line == "jobs:" {
            inside = true;
        } else if inside
            && let Some(job) = pipeline.jobs.get(lines.len())
            && line
                .strip_prefix("  ")
                .and_then(|line| line.strip_suffix(':'))
                .is_some_and(|name| name == job.name || name == format!("\"{}\"", job.name))
        {
            lines.push(number + 1);
        }
    }
    lines
}

/// A job that is only a name for those that need it.
fn refuse(job: &mut Job, error: &Diagnostic, file: &str, notes: &mut Vec<Note>) {
    let words = format!("it would be no spec: {} ({})", error.message, error.label);
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect();
    let note = Note {
        file: file.to_owned(),
        line: 1,
        what: job.name.clone(),
        kind: Kind::NotConverted,
        words: words.clone(),
    };
    if notes.iter().any(|known| {
        known.what == job.name && known.line == 1 && known.words.starts_with("it would be")
    }) {
        return;
    }
    notes.push(note);
    let mut comments = std::mem::take(&mut job.comments);
    comments.truncate(COMMENTS);
    comments.push(format!("NOT CONVERTED: {words}"));
    *job = Job {
        name: std::mem::take(&mut job.name),
        comments,
        when: When::never(),
        outputs: job
            .outputs
            .iter()
            .filter(|name| name.len() < 50)
            .cloned()
            .collect(),
        steps: vec![Step::of("true")],
        ..Job::default()
    };
}

/// The error is not in a job: what stands above them goes, at last all of it.
fn everything(
    pipeline: &mut Pipeline,
    error: Option<&Diagnostic>,
    round: usize,
    file: &str,
    notes: &mut Vec<Note>,
) {
    let message = error.map_or("it is no spec", |error| error.message.as_str());
    notes.push(Note {
        file: file.to_owned(),
        line: 1,
        what: "the whole file".to_owned(),
        kind: Kind::NotConverted,
        words: format!("what stands above the jobs is left out: {message}"),
    });
    pipeline.comments.truncate(COMMENTS);
    pipeline
        .comments
        .push("NOT CONVERTED: what stands above the jobs".to_owned());
    if pipeline.on.take().is_some() {
        pipeline
            .jobs
            .iter_mut()
            .for_each(|job| job.when = When::never());
    }
    pipeline.params.clear();
    pipeline.concurrency = None;
    pipeline.env.clear();
    if round < 2 {
        return;
    }
    for job in &mut pipeline.jobs {
        *job = Job {
            name: std::mem::take(&mut job.name),
            when: When::never(),
            steps: vec![Step::of("true")],
            ..Job::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, run: &str) -> Job {
        Job {
            name: name.to_owned(),
            steps: vec![Step::of(run)],
            ..Job::default()
        }
    }

    #[test]
    fn what_is_refused_never_runs() {
        let mut bad = job("bad", "x");
        bad.timeout = Some("soon".to_owned());
        let pipeline = Pipeline {
            jobs: vec![job("good", "make"), bad, job("other", "make")],
            ..Pipeline::default()
        };
        let mut notes = Vec::new();
        let text = spec(pipeline, Dialect::Gitlab, &["x"], &mut notes);
        assert!(crate::read("windlass.yml", text.as_bytes()).spec.is_some());
        assert_eq!(text.matches("- make").count(), 2, "{text}");
        assert!(text.contains("when: \"false\""), "{text}");
        assert_eq!(notes.len(), 1);
    }

    #[test]
    fn what_stands_above_the_jobs_can_be_wrong_too() {
        let pipeline = Pipeline {
            env: vec![("A B".to_owned(), String::new())],
            jobs: vec![job("a", "make")],
            ..Pipeline::default()
        };
        let text = spec(pipeline, Dialect::Gitlab, &["x"], &mut Vec::new());
        assert!(text.contains("- make"), "{text}");
    }
}
