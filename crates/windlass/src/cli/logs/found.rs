//! `windlass logs --errors`, `--new` and `--search`: lines out of logs instead of whole logs.

use std::io::{IsTerminal as _, Write as _};

use reqwest::Response;
use serde_json::Value;
use windlass_model::RepoName;
use windlass_web::urls;

use super::Step;
use crate::cli::{complain, say, wants_colour};
use crate::client::Client;
use crate::report::{EXIT_FAILED, EXIT_OK, Problem};

/// Rows that one search finds.
pub(super) const HITS: usize = 1000;

/// A step whose log is looked at.
pub(super) struct Place<'a> {
    pub(super) repo: &'a RepoName,
    pub(super) number: i64,
    pub(super) attempt: i64,
    pub(super) step: &'a Step,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn paint(code: &str, words: &str) -> String {
    if wants_colour() {
        format!("\x1b[{code}m{words}\x1b[0m")
    } else {
        words.to_owned()
    }
}

/// What a step's log says of errors: the first failure with the lines around it, then the others.
pub(super) async fn errors(client: &Client, place: &Place<'_>) -> Result<(), Problem> {
    let path = urls::api::findings(
        place.repo,
        place.number,
        place.attempt,
        place.step.number - 1,
    );
    let found = client.json(&path).await?;
    let none = Vec::new();
    let list = |key: &str| found.get(key).and_then(Value::as_array).unwrap_or(&none);
    let first = found.get("first").and_then(Value::as_u64);
    let all = list("findings");
    let first_lines = first_failure(&found);
    if !first_lines.is_empty() {
        for line in first_lines {
            say(line);
        }
        if let Some(url) = found.get("first_url").and_then(Value::as_str) {
            say(format_args!("  {url}"));
        }
    }
    for (at, one) in all.iter().enumerate() {
        if Some(at as u64) != first {
            say(finding(one));
        }
    }
    if all.is_empty() {
        complain("no line of this log looks like an error; its last words:");
        for line in list("last_words") {
            let n = number(line, "n");
            complain(format_args!("    {n:>6} | {}", text(line, "text")));
        }
    }
    let told = all.len() as u64;
    let sum = number(&found, "errors") + number(&found, "warnings") + number(&found, "notices");
    if sum > told {
        complain(format_args!(
            "and {} more, which are not listed",
            sum - told
        ));
    }
    if found.get("complete") == Some(&Value::Bool(false)) {
        complain("the log is so long that only its beginning was read");
    }
    Ok(())
}

/// The failure to read first, with the lines around it and why it is taken for that; nothing if there is none.
/// `found` is what [`windlass_logs::findings::Findings`] are as JSON.
pub(crate) fn first_failure(found: &Value) -> Vec<String> {
    let at = found.get("first").and_then(Value::as_u64);
    let all = found.get("findings").and_then(Value::as_array);
    let first = at.and_then(|at| all?.get(usize::try_from(at).ok()?));
    let Some(first) = first else {
        return Vec::new();
    };
    let mut lines = vec![format!("{} {}", paint("1;31", "first:"), finding(first))];
    let excerpt = found.get("excerpt").and_then(Value::as_array);
    for line in excerpt.into_iter().flatten() {
        let n = number(line, "n");
        let mark = if n == number(first, "line") { '>' } else { ' ' };
        lines.push(format!("  {mark} {n:>6} | {}", text(line, "text")));
    }
    lines.push(format!("  {}", text(first, "why")));
    lines
}

/// `line 15: error: src/lib.rs:17:9: assertion failed (rust panic, new)`
fn finding(one: &Value) -> String {
    let severity = text(one, "severity");
    let colour = match severity {
        "error" => "31",
        "warning" => "33",
        _ => "2",
    };
    let mut place = text(one, "file").to_owned();
    for key in ["file_line", "column"] {
        match number(one, key) {
            0 => break,
            _ if place.is_empty() => break,
            n => place.push_str(&format!(":{n}")),
        }
    }
    if !place.is_empty() {
        place.push_str(": ");
    }
    let code = match text(one, "code") {
        "" => String::new(),
        code => format!(" [{code}]"),
    };
    let new = match one.get("new").and_then(Value::as_bool) {
        Some(true) => ", new",
        Some(false) => ", a passing run printed it, too",
        None => "",
    };
    format!(
        "line {}: {}: {place}{}{code} ({}{new})",
        number(one, "line"),
        paint(colour, severity),
        text(one, "message"),
        text(one, "tool"),
    )
}

/// The lines of a step's log that no passing run printed.
pub(super) async fn new(client: &Client, place: &Place<'_>) -> Result<(), Problem> {
    let (repo, at) = (place.repo, place.step.number - 1);
    let path = urls::api::findings(repo, place.number, place.attempt, at);
    let found = client.json(&path).await?;
    let Some(novelty) = found.get("novelty").filter(|n| !n.is_null()) else {
        complain(format_args!(
            "step {} has no earlier run that passed: there is nothing to compare it with",
            place.step.number
        ));
        return Ok(());
    };
    let runs = novelty.get("against").and_then(Value::as_array);
    let runs: Vec<&str> = runs
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    complain(format_args!(
        "{} of {} lines are new against {}",
        number(novelty, "rows"),
        number(&found, "rows"),
        runs.join(", ")
    ));
    let path = urls::api::new_rows(repo, place.number, place.attempt, at);
    let answer = client.get(&path).await?;
    let mut last = 0;
    each_line(answer, |row| {
        let n = number(row, "line");
        if last > 0 && n > last + 1 {
            say("     …");
        }
        last = n;
        say(format_args!("{n:>6} | {}", text(row, "text")));
    })
    .await?;
    if novelty.get("more") == Some(&Value::Bool(true)) {
        complain("and more, which are not listed");
    }
    Ok(())
}

/// Lines with a text in the logs of all builds, the newest first. Like `grep`: the exit code is 1
/// when there is none.
pub(super) async fn search(
    client: &Client,
    repo: &RepoName,
    wanted: &str,
    ignore_case: bool,
    limit: usize,
) -> Result<u8, Problem> {
    let path = urls::api::scan(repo, wanted, ignore_case, limit);
    let answer = client.get(&path).await?;
    let (mut hits, mut sum) = (0_u64, None);
    each_line(answer, |row| {
        if row.get("done").is_some() {
            sum = Some(row.clone());
            return;
        }
        hits += 1;
        let log = match row.get("service").and_then(Value::as_str) {
            Some(service) => format!("service {service}"),
            None => format!("step {}", number(row, "step")),
        };
        let place = format!(
            "{repo}/{} attempt {} {log}:{}:",
            number(row, "build"),
            number(row, "attempt"),
            number(row, "line")
        );
        say(format_args!(
            "{} {}",
            paint("36", &place),
            text(row, "text")
        ));
    })
    .await?;
    let Some(sum) = sum else {
        return Err(Problem::new("the search broke off before its end")
            .hint("the server may have been restarted; run the command again"));
    };
    complain(format_args!(
        "{hits} {} in {} builds; a scan through {} logs, {:.1} MB, in {:.1} s",
        if hits == 1 { "line" } else { "lines" },
        number(&sum, "builds"),
        number(&sum, "logs"),
        number(&sum, "bytes") as f64 / 1e6,
        number(&sum, "ms") as f64 / 1e3,
    ));
    if let (logs, Some(why)) = (
        number(&sum, "elsewhere"),
        sum.get("archive_away").and_then(Value::as_str),
    ) {
        complain(format_args!(
            "{logs} logs that are only in the archive were not searched: {why}"
        ));
    }
    if sum.get("more") == Some(&Value::Bool(true)) {
        complain("there may be more in older builds: ask for them with --limit N");
    }
    Ok(if hits > 0 { EXIT_OK } else { EXIT_FAILED })
}

/// Calls `tell` with each object of an NDJSON answer, as it comes.
async fn each_line(mut answer: Response, mut tell: impl FnMut(&Value)) -> Result<(), Problem> {
    let mut pending = Vec::new();
    loop {
        let chunk = answer.chunk().await.map_err(|e| {
            Problem::new(format!("the answer broke off: {e}"))
                .hint("the server may have been restarted; run the command again")
        })?;
        let Some(chunk) = chunk else { return Ok(()) };
        pending.extend_from_slice(&chunk);
        let whole = pending
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        for line in pending[..whole]
            .split(|b| *b == b'\n')
            .filter(|l| !l.is_empty())
        {
            let row = serde_json::from_slice(line)
                .map_err(|e| Problem::new(format!("the server's answer is not JSON: {e}")))?;
            tell(&row);
        }
        pending.drain(..whole);
        if std::io::stdout().is_terminal() {
            // Each hit when it is found.
            std::io::stdout().flush()?;
        }
    }
}
