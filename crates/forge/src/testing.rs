//! A GitHub for tests: takes commit statuses like the real one, and checks every request against
//! GitHub's own OpenAPI description (tests/fixtures/github/statuses-openapi.json).
//!
//! Only with the feature `testing`. It runs in a thread of its own, so blocking tests and tests of
//! whole programs can use it as well as async ones.

mod schema;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use windlass_model::status::CommitStatus;

use schema::Description;

/// A status that the fake GitHub accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// `owner/name`, from the path.
    pub repository: String,
    /// The token that it was sent with.
    pub token: String,
    /// The status, its revision from the path. An absent context is `default`, as on GitHub.
    pub status: CommitStatus,
}

/// A running fake GitHub. Dropping it stops it, and panics if any request was not as GitHub
/// describes it: a test can't overlook that.
#[derive(Debug)]
pub struct FakeGithub {
    url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    description: Description,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    statuses: Vec<Recorded>,
    requests: usize,
    violations: Vec<String>,
    planned: VecDeque<Planned>,
}

/// An answer that a test asked for.
#[derive(Debug, Clone)]
enum Planned {
    Fail {
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    },
    Stall(Duration),
}

impl FakeGithub {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When the machine has no port, thread or runtime to give.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a listener for tokio");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            description: Description::load(),
            memory: Mutex::default(),
        });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                // Open connections are cut: a stalled answer must not hold up the test's end.
                tokio::select! {
                    result = axum::serve(listener, app) => result.expect("a server"),
                    _ = stopped => (),
                }
            });
        });
        Self {
            url: format!("http://{address}"),
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The API's base URL. With `/api/v3` behind it, it is an Enterprise Server's.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The accepted statuses, oldest first.
    pub fn statuses(&self) -> Vec<Recorded> {
        self.memory().statuses.clone()
    }

    /// How many requests came, whatever became of them.
    pub fn requests(&self) -> usize {
        self.memory().requests
    }

    /// Answers the next `n` requests with `status` and `headers` instead, and a body as GitHub
    /// sends it with an error. Comes after whatever was planned before.
    ///
    /// # Panics
    ///
    /// When `status` or a header can't be sent.
    pub fn fail_next(&self, n: usize, status: u16, headers: &[(&str, &str)]) {
        let body = json!({
            "message": message_for(status),
            "documentation_url": "https://docs.github.com/rest",
            "status": status.to_string(),
        });
        self.fail_next_with(n, status, headers, &body.to_string());
    }

    /// Like [`fail_next`](Self::fail_next), with a body of the test's own.
    ///
    /// # Panics
    ///
    /// When `status` or a header can't be sent.
    pub fn fail_next_with(&self, n: usize, status: u16, headers: &[(&str, &str)], body: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = name.parse::<axum::http::HeaderName>().expect("a name");
            map.append(name, value.parse().expect("a value"));
        }
        let planned = Planned::Fail {
            status: StatusCode::from_u16(status).expect("a status code"),
            headers: map,
            body: body.to_owned(),
        };
        let mut memory = self.memory();
        memory.planned.extend(std::iter::repeat_n(planned, n));
    }

    /// Makes the next `n` requests wait this long before they are taken.
    pub fn stall_next(&self, n: usize, time: Duration) {
        let planned = Planned::Stall(time);
        let mut memory = self.memory();
        memory.planned.extend(std::iter::repeat_n(planned, n));
    }

    /// What was wrong with the requests so far.
    pub fn violations(&self) -> Vec<String> {
        self.memory().violations.clone()
    }

    /// Like [`violations`](Self::violations), and forgets them: for tests that provoke some.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.memory().violations)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.shared.memory()
    }
}

impl Shared {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeGithub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was printed already.
            let _ = thread.join();
        }
        let violations = self.take_violations();
        if !std::thread::panicking() {
            assert!(
                violations.is_empty(),
                "requests that are not as GitHub describes them:\n{}",
                violations.join("\n")
            );
        }
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let checked = shared
        .description
        .check(&method, uri.path(), uri.query(), &headers, &body);
    let planned = {
        let mut memory = shared.memory();
        memory.requests += 1;
        if let Err(violations) = &checked {
            let wrong = |what: &String| format!("{method} {uri}: {what}");
            memory.violations.extend(violations.iter().map(wrong));
        }
        memory.planned.pop_front()
    };
    match planned {
        Some(Planned::Fail {
            status,
            headers,
            body,
        }) => return (status, headers, body).into_response(),
        Some(Planned::Stall(time)) => tokio::time::sleep(time).await,
        None => (),
    }
    let Ok(recorded) = checked else {
        let body = json!({ "message": "this is not as GitHub describes it" });
        return (StatusCode::BAD_REQUEST, body.to_string()).into_response();
    };
    let mut memory = shared.memory();
    let same = |other: &&Recorded| {
        let (a, b) = (&other.status, &recorded.status);
        a.revision == b.revision && a.context.eq_ignore_ascii_case(&b.context)
    };
    // The operation's description: "a limit of 1000 statuses per `sha` and `context`".
    if memory.statuses.iter().filter(same).count() >= 1000 {
        let body = json!({
            "message": "Validation Failed",
            "errors": ["This SHA and context has reached the maximum number of statuses."],
        });
        return (StatusCode::UNPROCESSABLE_ENTITY, body.to_string()).into_response();
    }
    memory.statuses.push(recorded);
    let (headers, body): (_, &Value) = shared.description.reply();
    (StatusCode::CREATED, headers, body.to_string()).into_response()
}

/// What GitHub says with an error of its own.
fn message_for(status: u16) -> &'static str {
    match status {
        401 => "Bad credentials",
        403 => "You have exceeded a secondary rate limit. Please wait a few minutes.",
        404 => "Not Found",
        422 => "No commit found for SHA",
        429 => "API rate limit exceeded",
        500..=599 => "Server Error",
        _ => "Moved Permanently",
    }
}
