//! Files that a job keeps, and files that it takes from others.

use std::fmt::Write as _;

use windlass_model::JobPlan;
use windlass_model::plan::{ArtifactPlan, OnResult};

use super::Script;
use crate::by_hand::glob::path_regex;
use crate::by_hand::shell::{comment, line, quote};

/// What there is to take from: all files, without the repository's own.
const FILES: &str = "list_files | take_out '^\\.git/'";

impl Script<'_, '_> {
    /// Puts the artifacts of needed jobs into the workspace.
    pub(super) fn needed_artifacts(&self, text: &mut String, job: &JobPlan) {
        for need in job.needs.iter().filter(|need| need.artifacts) {
            for cell in self.by_hand.cells(&need.job) {
                let artifacts = &self.by_hand.plan.jobs[cell].artifacts;
                for (n, artifact) in (1..).zip(artifacts) {
                    let words = format!("The artifact {} of {}", artifact.name, need.job);
                    *text += &comment("    ", &line(&words));
                    let cell = cell + 1;
                    let _ = writeln!(text, "    put_in \"$root/artifacts-{cell}/{n}\" || return");
                }
            }
        }
    }

    /// Keeps what the job's globs take.
    pub(super) fn kept_artifacts(&self, text: &mut String, job: &JobPlan) {
        for (n, artifact) in (1..).zip(&job.artifacts) {
            let name = line(&artifact.name);
            let words = format!("Artifact {name}: {}", line(&artifact.paths.join(", ")));
            *text += &comment("    ", &words);
            let (pipe, unknown) = pipe(artifact);
            for pattern in &unknown {
                let words = format!(
                    "The pattern {} can't be said in a portable way: copy what it means yourself.",
                    line(pattern)
                );
                *text += &comment("    ", &words);
            }
            let when = match artifact.when {
                OnResult::Success => "success",
                OnResult::Failure => "failure",
                OnResult::Always => "always",
            };
            let required = if artifact.required && unknown.is_empty() {
                "required"
            } else {
                "optional"
            };
            let place = format!("{}/{}", folder(&job.name), folder(&artifact.name));
            let _ = writeln!(
                text,
                "    if keeps {when}; then\n        {pipe} >\"$folder/taken\"\n        keep_files \
                 \"$kept/{n}\" {} {} {required} <\"$folder/taken\"\n    fi",
                quote(&name),
                quote(&place)
            );
        }
    }
}

/// A name as that of one folder.
fn folder(name: &str) -> String {
    let name = line(name).replace('/', "_");
    if matches!(name.as_str(), "" | "." | "..") {
        return "_".to_owned();
    }
    name
}

/// The commands that print what the patterns take, the last one that matches counting; and the
/// patterns that could not be translated.
fn pipe(artifact: &ArtifactPlan) -> (String, Vec<String>) {
    let mut unknown = Vec::new();
    let paths = &artifact.paths;
    let only_out = !paths.is_empty() && paths.iter().all(|p| p.starts_with('!'));
    let names_git = |p: &String| p.trim_start_matches("./").split('/').next() == Some(".git");
    let files = if paths.iter().any(names_git) {
        "list_files"
    } else {
        FILES
    };
    let mut pipe = if only_out { files } else { ":" }.to_owned();
    for pattern in paths {
        let (glob, takes) = match pattern.strip_prefix('!') {
            Some(rest) => (rest, false),
            None => (pattern.as_str(), true),
        };
        let Some(regex) = path_regex(glob) else {
            unknown.push(pattern.clone());
            continue;
        };
        let regex = quote(&regex);
        if !takes {
            pipe = format!("{pipe} | take_out {regex}");
            continue;
        }
        pipe = match pipe.as_str() {
            ":" => format!("{files} | take {regex}"),
            before => format!("{{ {before}; {files} | take {regex}; }}"),
        };
    }
    (pipe, unknown)
}
