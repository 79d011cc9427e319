//! What `needs` makes of the jobs: names that exist, and no circle.

use std::collections::HashMap;

use super::Named;
use crate::codes;
use crate::draft::JobDraft;
use crate::node::shorten;
use crate::problems::{Problem, Problems};
use crate::suggest;

/// Reports needs of unknown jobs, circles, and jobs that can never run.
pub(super) fn check(jobs: &[(Named, JobDraft)], problems: &mut Problems<'_>) {
    let names: Vec<&str> = jobs.iter().map(|(named, _)| named.name.as_str()).collect();
    let index: HashMap<&str, usize> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (*name, i))
        .collect();
    for (_, draft) in jobs {
        for need in &draft.needs {
            let name = need.value.job.as_str();
            if index.contains_key(name) || need.value.optional {
                continue;
            }
            let label = suggest::nearest(name, &names).map_or_else(
                || "no such job".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let shown = shorten(name, 40);
            problems.push(
                Problem::new(
                    codes::UNKNOWN_NEED,
                    need.span.clone(),
                    format!("there is no job `{shown}`"),
                )
                .label(label)
                .help(format!(
                    "the jobs are {}; `{shown}?` may be missing",
                    names.join(", ")
                )),
            );
        }
    }
    without_artifacts(jobs, &index, problems);
    circles(jobs, &index, problems);
}

/// Reports `artifacts: true` for a job that keeps none.
fn without_artifacts(
    jobs: &[(Named, JobDraft)],
    index: &HashMap<&str, usize>,
    problems: &mut Problems<'_>,
) {
    let needs = jobs.iter().flat_map(|(_, draft)| &draft.needs);
    for need in needs.filter(|need| need.value.artifacts) {
        let Some(&job) = index.get(need.value.job.as_str()) else {
            continue;
        };
        if !jobs[job].1.artifacts.is_empty() {
            continue;
        }
        let name = shorten(&need.value.job, 40);
        let message = format!("the job `{name}` keeps no artifacts");
        problems.push(
            Problem::new(codes::NO_ARTIFACTS, need.span.clone(), message)
                .label("there is nothing to put into the workspace")
                .help(format!("add `artifacts` to `{name}`, or take this away")),
        );
    }
}

/// Depth-first with three colours; each circle is reported once, drawn as one walks it.
fn circles(jobs: &[(Named, JobDraft)], index: &HashMap<&str, usize>, problems: &mut Problems<'_>) {
    #[derive(Clone, Copy, PartialEq)]
    enum Colour {
        New,
        Open,
        Done,
    }
    let mut colours = vec![Colour::New; jobs.len()];
    for start in 0..jobs.len() {
        // A path of jobs, each with the number of its need that is looked at next.
        let mut path: Vec<(usize, usize)> = Vec::new();
        if colours[start] == Colour::New {
            path.push((start, 0));
            colours[start] = Colour::Open;
        }
        while let Some((job, next)) = path.last_mut() {
            let Some(need) = jobs[*job].1.needs.get(*next) else {
                colours[*job] = Colour::Done;
                path.pop();
                continue;
            };
            *next += 1;
            let Some(&to) = index.get(need.value.job.as_str()) else {
                continue;
            };
            match colours[to] {
                Colour::Done => {}
                Colour::New => {
                    colours[to] = Colour::Open;
                    path.push((to, 0));
                }
                Colour::Open => {
                    let from = path.iter().position(|(job, _)| *job == to).unwrap_or(0);
                    let mut walk: Vec<&str> = path[from..]
                        .iter()
                        .map(|(job, _)| jobs[*job].0.name.as_str())
                        .collect();
                    walk.push(&jobs[to].0.name);
                    let message = match walk.len() {
                        2 => format!("the job `{}` needs itself", walk[0]),
                        _ => "jobs need each other in a circle".to_owned(),
                    };
                    problems.push(
                        Problem::new(codes::CYCLE, need.span.clone(), message)
                            .label(walk.join(" → "))
                            .help(
                                "take one of these needs away: none of the jobs could ever begin",
                            ),
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::testing::codes;

    #[test]
    fn circles_are_found_once_and_drawn() {
        let source = "jobs:\n  a: {needs: b, steps: [x]}\n  b: {needs: c, steps: [x]}\n  c: {needs: [a], steps: [x]}\n";
        let loaded = crate::load("windlass.yml", source.as_bytes());
        assert_eq!(loaded.diagnostics.len(), 1);
        assert_eq!(loaded.diagnostics[0].label, "a → b → c → a");
    }

    #[test]
    fn a_diamond_is_no_circle() {
        assert_eq!(
            codes(
                "jobs:\n  a: {steps: [x]}\n  b: {needs: a, steps: [x]}\n  c: {needs: a, steps: [x]}\n  d: {needs: [b, c], steps: [x]}"
            ),
            [""; 0]
        );
    }
}
