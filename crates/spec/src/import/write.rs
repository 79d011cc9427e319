//! From a build in our own words to the text of a `windlass.yml`.

use super::pipeline::{
    Artifact, Cache, Clone, Concurrency, Filter, Job, Matrix, Need, On, Param, Pipeline, Service,
    Step,
};
use super::when::{Alternative, When};
use super::yaml_text::{Text, flow, flow_list, flow_map};
use super::{Dialect, not_yet};

/// The whole text.
pub(super) fn spec(pipeline: &Pipeline, dialect: Dialect, files: &[&str]) -> String {
    let mut out = Text::default();
    let files: Vec<String> = files
        .iter()
        .map(|file| file.chars().filter(|c| !c.is_control()).collect())
        .collect();
    out.comments(&[
        format!("Imported from {} ({}).", files.join(", "), dialect.title()),
        "Lines in comments are those of the original. Try it: windlass check && windlass run"
            .to_owned(),
    ]);
    out.comments(&pipeline.comments);
    out.empty_line();
    if let Some(on) = pipeline.on.as_ref().filter(|on| **on != On::default()) {
        unless_accepted(&mut out, "on", |out| self::on(out, on));
        out.empty_line();
    }
    if !pipeline.params.is_empty() {
        out.map("params", |out| {
            for param in &pipeline.params {
                self::param(out, param);
            }
        });
        out.empty_line();
    }
    if let Some(group) = &pipeline.concurrency {
        concurrency(&mut out, group);
        out.empty_line();
    }
    if !pipeline.env.is_empty() {
        out.vars("env", &pipeline.env);
        out.empty_line();
    }
    out.map("jobs", |out| {
        for (number, job) in pipeline.jobs.iter().enumerate() {
            if number > 0 {
                out.empty_line();
            }
            out.comments(&job.comments);
            out.map(&job.name, |out| self::job(out, job));
        }
    });
    out.into_string()
}

/// A key and what is below it: as a comment while specs don't have the key.
fn section(out: &mut Text, key: &str, inside: impl FnOnce(&mut Text)) {
    unless_accepted(out, key, |out| out.map(key, inside));
}

fn unless_accepted(out: &mut Text, key: &str, inside: impl FnOnce(&mut Text)) {
    if not_yet::accepts(key) {
        inside(out);
    } else {
        out.commented(inside);
    }
}

fn on(out: &mut Text, on: &On) {
    out.map("on", |out| {
        let mut filtered = |key: &str, filter: &Option<Filter>| match filter {
            None => {}
            Some(filter) if *filter == Filter::default() => out.map(key, |_| {}),
            Some(filter) => out.map(key, |out| {
                if !filter.branches.is_empty() {
                    out.list("branches", &filter.branches);
                }
                if !filter.paths.is_empty() {
                    out.list("paths", &filter.paths);
                }
            }),
        };
        filtered("push", &on.push);
        filtered("pull_request", &on.pull_request);
        match on.tag.as_deref() {
            None => {}
            Some([]) => out.map("tag", |_| {}),
            Some(tags) => out.map("tag", |out| out.list("tags", tags)),
        }
        if !on.schedule.is_empty() {
            out.map("schedule", |out| {
                for schedule in &on.schedule {
                    out.item(|out| {
                        out.value("name", &schedule.name);
                        out.raw("cron", &flow(&schedule.cron));
                        if let Some(timezone) = &schedule.timezone {
                            out.value("timezone", timezone);
                        }
                        if let Some(branch) = &schedule.branch {
                            out.value("branch", branch);
                        }
                    });
                }
            });
        }
        // Without a word about them both are possible.
        for (is, key) in [(on.manual, "manual"), (on.api, "api")] {
            if !is {
                if key == "manual" {
                    let words = "Take these two away if builds may be asked for";
                    out.comments(&[words.to_owned()]);
                }
                out.raw(key, "false");
            }
        }
    });
}

fn param(out: &mut Text, param: &Param) {
    out.map(&param.name, |out| {
        out.raw("type", param.kind);
        if !param.options.is_empty() {
            out.list("options", &param.options);
        }
        match (&param.default, param.kind) {
            (Some(default), "number" | "boolean") => out.raw("default", default),
            (Some(default), _) => out.value("default", default),
            (None, _) => {}
        }
        if let Some(description) = &param.description {
            out.value("description", description);
        }
    });
}

fn concurrency(out: &mut Text, group: &Concurrency) {
    if !group.cancel {
        out.value("concurrency", &group.group);
        return;
    }
    out.map("concurrency", |out| {
        out.value("group", &group.group);
        out.raw("cancel-in-progress", "true");
    });
}

fn job(out: &mut Text, job: &Job) {
    needs(out, &job.needs);
    if let Some(matrix) = &job.matrix {
        self::matrix(out, matrix);
    }
    if let Some(fail_fast) = job.fail_fast {
        out.raw("fail-fast", if fail_fast { "true" } else { "false" });
    }
    if let Some(most) = job.max_parallel {
        out.raw("max-parallel", &most.to_string());
    }
    when(out, &job.when);
    if let Some(question) = &job.approve {
        out.value("approve", question);
    }
    let single = [("image", &job.image), ("user", &job.user)];
    for (key, value) in single {
        if let Some(value) = value {
            out.value(key, value);
        }
    }
    if !job.runs_on.is_empty() {
        out.list("runs-on", &job.runs_on);
    }
    out.vars("env", &job.env);
    if !job.secrets.is_empty() {
        let secrets: Vec<String> = job.secrets.iter().cloned().collect();
        out.list("secrets", &secrets);
    }
    shell(out, job.shell.as_deref());
    if let Some(folder) = &job.workdir {
        out.value("workdir", folder);
    }
    clone(out, &job.clone);
    if let Some(timeout) = &job.timeout {
        out.raw("timeout", timeout);
    }
    if let Some(retry) = &job.retry {
        if retry.on.is_empty() {
            out.raw("retry", &retry.count.to_string());
        } else {
            let on = flow_list(&retry.on);
            out.raw("retry", &format!("{{count: {}, on: {on}}}", retry.count));
        }
    }
    if job.allow_failure {
        out.raw("allow-failure", "true");
    }
    if let Some(group) = &job.concurrency {
        concurrency(out, group);
    }
    if !job.services.is_empty() {
        section(out, "services", |out| {
            for service in &job.services {
                self::service(out, service);
            }
        });
    }
    if !job.artifacts.is_empty() {
        section(out, "artifacts", |out| {
            for artifact in &job.artifacts {
                out.item(|out| self::artifact(out, artifact, &job.name));
            }
        });
    }
    if !job.cache.is_empty() {
        section(out, "cache", |out| {
            for cache in &job.cache {
                out.item(|out| self::cache(out, cache));
            }
        });
    }
    if !job.reports.is_empty() {
        section(out, "reports", |out| {
            for (kind, paths) in &job.reports {
                out.texts(kind, paths);
            }
        });
    }
    if !job.outputs.is_empty() {
        out.list("outputs", &job.outputs);
    }
    out.map("steps", |out| {
        for step in &job.steps {
            self::step(out, step);
        }
    });
}

/// Also says which files are taken along.
fn needs(out: &mut Text, needs: &[Need]) {
    if needs.is_empty() {
        return;
    }
    let simple = |need: &Need| {
        let mark = if need.optional { "?" } else { "" };
        format!("{}{mark}", need.job)
    };
    if needs.iter().all(|need| !need.artifacts) {
        let names: Vec<String> = needs.iter().map(simple).collect();
        out.list("needs", &names);
        return;
    }
    out.map("needs", |out| {
        for need in needs {
            if !need.artifacts {
                out.text_item(&simple(need));
                continue;
            }
            out.item(|out| {
                out.value("job", &need.job);
                if need.optional {
                    out.raw("optional", "true");
                }
                out.raw("artifacts", "true");
            });
        }
    });
}

fn matrix(out: &mut Text, matrix: &Matrix) {
    out.map("matrix", |out| {
        for (name, values) in &matrix.axes {
            out.list(name, values);
        }
        for (key, cells) in [("include", &matrix.include), ("exclude", &matrix.exclude)] {
            if cells.is_empty() {
                continue;
            }
            out.map(key, |out| {
                for cell in cells {
                    let line = flow_map(cell);
                    if line.chars().count() < 80 {
                        out.item(|out| out.verbatim(&line));
                    } else {
                        out.item(|out| {
                            for (name, value) in cell {
                                out.value(name, value);
                            }
                        });
                    }
                }
            });
        }
    });
}

fn when(out: &mut Text, when: &When) {
    match (when.result, &when.any[..]) {
        (None, []) => {}
        (Some(result), []) => out.map("when", |out| out.raw("result", result)),
        (result, [one]) => {
            let only_expr = Alternative {
                expr: one.expr.clone(),
                ..Alternative::default()
            };
            if let (None, Some(expr), true) = (result, &one.expr, only_expr == *one) {
                out.value("when", expr);
                return;
            }
            out.map("when", |out| {
                if let Some(result) = result {
                    out.raw("result", result);
                }
                alternative(out, one);
            });
        }
        (None, several) => out.map("when", |out| {
            for one in several {
                out.item(|out| alternative(out, one));
            }
        }),
        // A list can't say how what came before must have ended.
        (Some(result), _) => out.map("when", |out| {
            out.raw("result", result);
            out.value("if", &when.expr(false));
        }),
    }
}

fn alternative(out: &mut Text, one: &Alternative) {
    for (key, patterns) in [
        ("event", &one.event),
        ("branch", &one.branch),
        ("tag", &one.tag),
        ("base", &one.base),
        ("paths", &one.paths),
    ] {
        if !patterns.is_empty() {
            out.texts(key, patterns);
        }
    }
    if let Some(expr) = &one.expr {
        out.value("if", expr);
    }
}

fn shell(out: &mut Text, shell: Option<&[String]>) {
    match shell {
        None | Some([]) => {}
        Some([one]) => out.value("shell", one),
        Some(words) => out.raw("shell", &flow_list(words)),
    }
}

fn clone(out: &mut Text, clone: &Clone) {
    if clone.off {
        out.raw("clone", "off");
        return;
    }
    if *clone == Clone::default() {
        return;
    }
    out.map("clone", |out| {
        if let Some(depth) = &clone.depth {
            out.raw("depth", depth);
        }
        for (is, key) in [(clone.submodules, "submodules"), (clone.lfs, "lfs")] {
            if is {
                out.raw(key, "true");
            }
        }
    });
}

fn service(out: &mut Text, service: &Service) {
    out.comments(&service.comments);
    out.map(&service.name, |out| {
        out.value("image", &service.image);
        out.vars("env", &service.env);
        if !service.command.is_empty() {
            out.list("command", &service.command);
        }
        if let Some((port, timeout)) = &service.ready {
            out.map("ready", |out| {
                out.raw("port", &port.to_string());
                if let Some(timeout) = timeout {
                    out.raw("timeout", timeout);
                }
            });
        }
    });
}

fn artifact(out: &mut Text, artifact: &Artifact, job: &str) {
    out.value("name", artifact.name.as_deref().unwrap_or(job));
    out.list("paths", &artifact.paths);
    if let Some(retention) = &artifact.retention {
        out.raw("retention", retention);
    }
    if let Some(required) = artifact.required {
        out.raw("required", if required { "true" } else { "false" });
    }
    if let Some(when) = artifact.when {
        out.raw("when", when);
    }
}

fn cache(out: &mut Text, cache: &Cache) {
    out.value("key", &cache.key);
    if !cache.hash.is_empty() {
        out.list("hash", &cache.hash);
    }
    out.list("paths", &cache.paths);
    if !cache.restore.is_empty() {
        out.list("restore", &cache.restore);
    }
    if cache.read_only {
        out.raw("read-only", "true");
    }
}

fn step(out: &mut Text, step: &Step) {
    out.comments(&step.comments);
    let is_short = step.name.is_none()
        && step.env.is_empty()
        && step.shell.is_none()
        && step.workdir.is_none()
        && step.timeout.is_none()
        && step.when.is_default()
        && !step.background;
    if is_short {
        out.text_item(&step.run);
        return;
    }
    out.item(|out| {
        if let Some(name) = &step.name {
            out.value("name", name);
        }
        out.value("run", &step.run);
        match (step.when.result, &step.when.any[..]) {
            (Some(result), []) => out.raw("when", result),
            _ => when(out, &step.when),
        }
        if step.background {
            out.raw("background", "true");
        }
        out.vars("env", &step.env);
        shell(out, step.shell.as_deref());
        if let Some(folder) = &step.workdir {
            out.value("workdir", folder);
        }
        if let Some(timeout) = &step.timeout {
            out.raw("timeout", timeout);
        }
    });
}
