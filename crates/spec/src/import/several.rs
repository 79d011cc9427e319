//! Several files as one spec: each file's triggers become conditions of its jobs.

use std::collections::BTreeSet;

use super::pipeline::{Filter, On, Param, Pipeline, free};

/// Puts them into one.
pub(super) fn merge(mut pipelines: Vec<Pipeline>) -> Pipeline {
    if pipelines.len() < 2 {
        return pipelines.pop().unwrap_or_default();
    }
    let mut whole = Pipeline::default();
    let mut on: Option<On> = Some(On::default());
    let mut names: BTreeSet<String> = BTreeSet::new();
    let same_on = pipelines.windows(2).all(|pair| pair[0].on == pair[1].on);
    for mut pipeline in pipelines {
        rename(&mut pipeline, &mut names);
        schedules(&mut pipeline, on.as_ref());
        params(&mut pipeline, &mut whole.params);
        // A build of one file must not stop those of another: its group becomes its jobs'.
        if let Some(group) = pipeline.concurrency.take() {
            let words = "`concurrency` of a file is that of each of its jobs here";
            pipeline.comments.push(words.to_owned());
            for job in &mut pipeline.jobs {
                if job.concurrency.is_none() {
                    let mut group = group.clone();
                    group.group = format!("{} {}", group.group, job.name);
                    job.concurrency = Some(group);
                }
            }
        }
        for job in &mut pipeline.jobs {
            let missing =
                |(name, _): &&(String, String)| !job.env.iter().any(|(known, _)| known == name);
            let env: Vec<_> = pipeline.env.iter().filter(missing).cloned().collect();
            job.env.splice(0..0, env);
        }
        match (&pipeline.on, &mut on) {
            (Some(own), Some(all)) => join(all, own),
            (None, all) => *all = None,
            (Some(_), None) => {}
        }
        if !same_on && let Some(own) = &pipeline.on {
            for job in &mut pipeline.jobs {
                job.when = own.when().and(std::mem::take(&mut job.when));
            }
        }
        whole.comments.append(&mut pipeline.comments);
        whole.jobs.append(&mut pipeline.jobs);
    }
    whole.on = on;
    whole
}

fn rename(pipeline: &mut Pipeline, names: &mut BTreeSet<String>) {
    for at in 0..pipeline.jobs.len() {
        let old = pipeline.jobs[at].name.clone();
        let new = free(&old, names);
        names.insert(new.clone());
        if new == old {
            continue;
        }
        pipeline.jobs[at].name.clone_from(&new);
        let (from, to) = (format!("needs.{old}."), format!("needs.{new}."));
        for job in &mut pipeline.jobs {
            for need in &mut job.needs {
                if need.job == old {
                    need.job.clone_from(&new);
                }
            }
            for (_, value) in &mut job.env {
                *value = value.replace(&from, &to);
            }
            for one in &mut job.when.any {
                if let Some(expr) = &mut one.expr {
                    *expr = expr.replace(&from, &to);
                }
            }
        }
    }
}

/// Schedules of another time get names of their own.
fn schedules(pipeline: &mut Pipeline, all: Option<&On>) {
    let (Some(own), Some(all)) = (&mut pipeline.on, all) else {
        return;
    };
    let taken: BTreeSet<String> = all
        .schedule
        .iter()
        .map(|known| known.name.clone())
        .collect();
    let mut taken_now = taken.clone();
    for schedule in &mut own.schedule {
        if all.schedule.contains(schedule) {
            continue;
        }
        schedule.name = free(&schedule.name, &taken_now);
        taken_now.insert(schedule.name.clone());
    }
}

fn params(pipeline: &mut Pipeline, all: &mut Vec<Param>) {
    for param in std::mem::take(&mut pipeline.params) {
        match all.iter().find(|known| known.name == param.name) {
            None => all.push(param),
            Some(known) if *known == param => {}
            Some(known) => {
                let words = format!("the input {} is that of another file", known.name);
                pipeline.comments.push(words);
            }
        }
    }
}

/// Whatever makes a build of one of them.
fn join(all: &mut On, own: &On) {
    for (all, own) in [
        (&mut all.push, &own.push),
        (&mut all.pull_request, &own.pull_request),
    ] {
        match (all.as_mut(), own) {
            (Some(filter), Some(other)) if filter != other => *filter = Filter::default(),
            (None, Some(other)) => *all = Some(other.clone()),
            _ => {}
        }
    }
    match (all.tag.as_mut(), &own.tag) {
        (Some(tags), Some(others)) if tags != others => tags.clear(),
        (None, Some(others)) => all.tag = Some(others.clone()),
        _ => {}
    }
    for schedule in &own.schedule {
        if !all.schedule.contains(schedule) {
            all.schedule.push(schedule.clone());
        }
    }
    all.manual |= own.manual;
    all.api |= own.api;
}
