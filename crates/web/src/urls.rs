//! Every path of the server, as a function. Pages, the API, redirects, statuses for the forge and
//! the binary's output take their links from here; only `routes.rs` knows the patterns.
//!
//! Steps are counted from 0 in the store and from 1 in URLs and for people; attempts, builds and
//! lines from 1 everywhere. A `step` given here is the store's index.

use windlass_model::{BuildNumber, BuildState, RepoName};

/// A text as one segment of a path (RFC 3986, section 3.3): everything but letters, digits and
/// `-._~` as `%XX`.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The list of an artifact's files.
pub fn artifact(repo: &RepoName, number: BuildNumber, attempt: i64, name: &str) -> String {
    let name = encode(name);
    format!("/repos/{repo}/builds/{number}/artifacts/{attempt}/{name}")
}

/// All files of an artifact as `.tar.gz`.
pub fn artifact_archive(repo: &RepoName, number: BuildNumber, attempt: i64, name: &str) -> String {
    format!("{}/archive", artifact(repo, number, attempt, name))
}

/// One file of an artifact.
pub fn artifact_file(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    name: &str,
    path: &str,
) -> String {
    let path: Vec<String> = path.split('/').map(encode).collect();
    let artifact = artifact(repo, number, attempt, name);
    format!("{artifact}/files/{}", path.join("/"))
}

/// All builds.
pub fn builds() -> String {
    "/".to_owned()
}

/// All builds in one state, and those older than row `before`.
pub fn builds_where(state: Option<BuildState>, before: Option<i64>) -> String {
    with_query("/", state, before)
}

/// The repositories.
pub fn repos() -> String {
    "/repos".to_owned()
}

/// A repository.
pub fn repo(repo: &RepoName) -> String {
    format!("/repos/{repo}")
}

/// A repository's builds in one state, and those older than row `before`.
pub fn repo_where(repo: &RepoName, state: Option<BuildState>, before: Option<i64>) -> String {
    with_query(&self::repo(repo), state, before)
}

fn with_query(path: &str, state: Option<BuildState>, before: Option<i64>) -> String {
    match (state, before) {
        (None, None) => path.to_owned(),
        (Some(state), None) => format!("{path}?state={state}"),
        (None, Some(before)) => format!("{path}?before={before}"),
        (Some(state), Some(before)) => format!("{path}?state={state}&before={before}"),
    }
}

/// Where a build is asked for by hand (POST).
pub fn new_build(repo: &RepoName) -> String {
    format!("/repos/{repo}/builds")
}

/// A build, as it stands after its newest attempt.
pub fn build(repo: &RepoName, number: BuildNumber) -> String {
    format!("/repos/{repo}/builds/{number}")
}

/// One attempt at a build.
pub fn attempt(repo: &RepoName, number: BuildNumber, attempt: i64) -> String {
    format!("/repos/{repo}/builds/{number}?attempt={attempt}")
}

/// Where a build is cancelled (POST).
pub fn cancel(repo: &RepoName, number: BuildNumber) -> String {
    format!("/repos/{repo}/builds/{number}/cancel")
}

/// Where a build is tried again (POST).
pub fn retry(repo: &RepoName, number: BuildNumber) -> String {
    format!("/repos/{repo}/builds/{number}/retry")
}

/// Where a person agrees to a job that asks, or refuses (POST). Jobs are counted from 1 in URLs.
pub fn approve(repo: &RepoName, number: BuildNumber, job: i64) -> String {
    format!("/repos/{repo}/builds/{number}/jobs/{}/approve", job + 1)
}

/// The states of a build and its steps, live (server-sent events).
pub fn build_events(repo: &RepoName, number: BuildNumber) -> String {
    format!("/repos/{repo}/builds/{number}/events")
}

/// "Something changed", live, for lists (server-sent events).
pub fn events() -> String {
    "/events".to_owned()
}

/// A line of a step's log, with some lines before it, which are part of the story.
pub fn line(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64, line: u64) -> String {
    let from = line.saturating_sub(20).max(1);
    let page = step_from(repo, number, attempt, step, from);
    format!("{page}#L{line}")
}

/// A step of a build's newest attempt: its log. The link for statuses and chats.
pub fn step(repo: &RepoName, number: BuildNumber, step: i64) -> String {
    format!("/repos/{repo}/builds/{number}/steps/{}", step + 1)
}

/// A step of one attempt.
pub fn attempt_step(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64) -> String {
    format!("{}?attempt={attempt}", self::step(repo, number, step))
}

/// What the services of an attempt printed: one of them, or all with the steps in the order of time.
pub fn services(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    service: Option<&str>,
) -> String {
    let all = format!("{}/services?attempt={attempt}", build(repo, number));
    match service {
        // Names of services are letters, digits, `-` and `_`.
        Some(service) => format!("{all}&service={service}"),
        None => all,
    }
}

/// A step's log from a line (1 for the first) on.
pub fn step_from(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    step: i64,
    line: u64,
) -> String {
    format!("{}&from={line}", attempt_step(repo, number, attempt, step))
}

/// Some lines (1 for the first) of a step's log, marked on its page: works without a script.
pub fn step_lines(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    step: i64,
    first: u64,
    last: u64,
) -> String {
    let step = attempt_step(repo, number, attempt, step);
    format!("{step}&lines={first}-{last}")
}

/// The page with what a search finds in a step's log.
pub fn step_search(repo: &RepoName, number: BuildNumber, step: i64) -> String {
    format!("{}/search", self::step(repo, number, step))
}

/// A step's log as text.
pub fn log(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64) -> String {
    format!("{}/log?attempt={attempt}", self::step(repo, number, step))
}

/// Some lines (1 for the first) of a step's log as text.
pub fn log_lines(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    step: i64,
    first: u64,
    last: u64,
) -> String {
    format!("{}&lines={first}-{last}", log(repo, number, attempt, step))
}

/// A step's log, live from a byte on (server-sent events).
pub fn stream(
    repo: &RepoName,
    number: BuildNumber,
    attempt: i64,
    step: i64,
    offset: u64,
) -> String {
    format!(
        "{}/stream?attempt={attempt}&from={offset}",
        self::step(repo, number, step)
    )
}

/// Searching the output of all builds.
pub fn search(text: &str, repo: &str, before: Option<i64>) -> String {
    let mut url = format!("/search?q={}", encode(text));
    if !repo.is_empty() {
        url = format!("{url}&repo={}", encode(repo));
    }
    if let Some(before) = before {
        url = format!("{url}&before={before}");
    }
    url
}

/// The machines of the cluster.
pub fn nodes() -> String {
    "/nodes".to_owned()
}

/// What forges sent.
pub fn deliveries() -> String {
    "/deliveries".to_owned()
}

/// What forges sent before row `before`.
pub fn deliveries_before(before: i64) -> String {
    format!("/deliveries?before={before}")
}

/// Where a delivery is read once more (POST).
pub fn replay(delivery: i64) -> String {
    format!("/deliveries/{delivery}/replay")
}

/// The page on which one logs in, and where to go afterwards.
pub fn login(next: &str) -> String {
    format!("/login?next={}", encoded(next))
}

/// Where the login form is sent (POST).
pub fn login_form() -> String {
    "/login".to_owned()
}

/// Where one logs out (POST).
pub fn logout() -> String {
    "/logout".to_owned()
}

/// Answers whether the server works.
pub fn health() -> String {
    "/healthz".to_owned()
}

/// A file that never changes: its name holds the hash of what is in it.
pub fn asset(stem: &str, hash: &str, extension: &str) -> String {
    format!("/assets/{stem}-{hash}.{extension}")
}

/// Where GitHub sends its webhooks: to one URL for all repositories, or to one for each.
pub fn github_hook(repo: Option<&RepoName>) -> String {
    match repo {
        Some(repo) => format!("/hooks/github/{repo}"),
        None => "/hooks/github".to_owned(),
    }
}

/// The paths of the API.
pub mod api {
    use windlass_model::{BuildNumber, RepoName};

    /// The repositories, or one.
    pub fn repos(repo: Option<&RepoName>) -> String {
        match repo {
            Some(repo) => format!("/api/v1/repos/{repo}"),
            None => "/api/v1/repos".to_owned(),
        }
    }

    /// Builds of all repositories.
    pub fn builds() -> String {
        "/api/v1/builds".to_owned()
    }

    /// A build.
    pub fn build(repo: &RepoName, number: BuildNumber) -> String {
        format!("/api/v1/repos/{repo}/builds/{number}")
    }

    /// Where a build is asked for by hand (POST).
    pub fn new_build(repo: &RepoName) -> String {
        format!("/api/v1/repos/{repo}/builds")
    }

    /// A step's log as text.
    pub fn log(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64) -> String {
        format!(
            "{}/steps/{}/log?attempt={attempt}",
            build(repo, number),
            step + 1
        )
    }

    /// What went wrong in a step.
    pub fn findings(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64) -> String {
        let build = build(repo, number);
        format!("{build}/steps/{}/findings?attempt={attempt}", step + 1)
    }

    /// The rows of a step's log that no passing run printed.
    pub fn new_rows(repo: &RepoName, number: BuildNumber, attempt: i64, step: i64) -> String {
        let build = build(repo, number);
        format!("{build}/steps/{}/new?attempt={attempt}", step + 1)
    }

    /// Where a text stands in the logs of a repository.
    pub fn scan(repo: &RepoName, text: &str, ignore_case: bool, limit: usize) -> String {
        let case = if ignore_case { "&ignore_case=1" } else { "" };
        let text = super::encode(text);
        format!("/api/v1/repos/{repo}/scan?text={text}{case}&limit={limit}")
    }

    /// What a step's log page asks: `rows`, `search` or `groups`.
    pub fn log_part(
        repo: &RepoName,
        number: BuildNumber,
        attempt: i64,
        step: i64,
        part: &str,
    ) -> String {
        format!(
            "{}/steps/{}/log/{part}?attempt={attempt}",
            build(repo, number),
            step + 1
        )
    }

    /// What forges sent.
    pub fn deliveries() -> String {
        "/api/v1/deliveries".to_owned()
    }

    /// A delivery's body as it came.
    pub fn delivery_body(delivery: i64) -> String {
        format!("/api/v1/deliveries/{delivery}/body")
    }
}

/// Makes any text safe as the value of a query parameter.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_count_steps_from_one() {
        let demo = "demo".parse().unwrap();
        assert_eq!(step(&demo, 7, 0), "/repos/demo/builds/7/steps/1");
        assert_eq!(
            log_lines(&demo, 7, 2, 1, 10, 20),
            "/repos/demo/builds/7/steps/2/log?attempt=2&lines=10-20"
        );
    }

    #[test]
    fn a_place_to_return_to_is_one_parameter() {
        assert_eq!(login("/a?b=c&d#e"), "/login?next=/a%3Fb%3Dc%26d%23e");
    }
}
