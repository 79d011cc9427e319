//! An Elasticsearch for tests: the endpoints that Windlass uses, with real error bodies, over real
//! HTTP. It is itself checked by Elastic's own JavaScript client
//! (`tests/archive/official_client.rs`).
//!
//! What it takes seriously because mistakes hide there: documents are found only after a refresh;
//! mappings are strict; `_bulk` answers 200 with refused items; indices that don't exist. What it
//! is not: no analysis beyond words in lower case, no scores, one shard, nothing durable.

mod index;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use index::{Failure, Index, Search};

/// Bodies larger than this are not kept in [`Recorded`].
const MOST_RECORDED: usize = 1 << 20;

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its method.
    pub method: String,
    /// Its path, decoded nowhere.
    pub path: String,
    /// Its query, or nothing.
    pub query: String,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its body, unless that was very large.
    pub body: Bytes,
}

/// Something that goes wrong, instead of an answer or with it.
#[derive(Debug, Clone)]
pub enum Fault {
    /// This status, with Elasticsearch's words for it.
    Status(u16),
    /// This status, with a `Retry-After` of so many seconds.
    RetryAfter(u16, u64),
    /// What a proxy says: 503 and HTML.
    Proxy,
    /// No answer for so long, then the answer.
    Slow(Duration),
    /// It is done, but the answer never comes: the connection breaks.
    Lost,
    /// Every item of a `_bulk` at an odd place is refused with this status.
    OddItems(u16),
    /// One of the shards does not answer.
    ShardFailed,
}

struct Planned {
    path: String,
    times: usize,
    fault: Fault,
}

struct State {
    version: String,
    distribution: Option<String>,
    templates: BTreeMap<String, Value>,
    indices: BTreeMap<String, Index>,
    faults: VecDeque<Planned>,
    requests: Vec<Recorded>,
    most_body: usize,
    authorization: Option<String>,
}

/// A cluster of one node, gone when it is dropped.
pub struct FakeCluster {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for FakeCluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeCluster {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        Self::listen("127.0.0.1:0".parse().expect("an address")).await
    }

    /// Listens here.
    ///
    /// # Panics
    /// If somebody else does.
    pub async fn listen(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State {
            version: "9.1.0".to_owned(),
            distribution: None,
            templates: BTreeMap::new(),
            indices: BTreeMap::new(),
            faults: VecDeque::new(),
            requests: Vec::new(),
            most_body: 100 * 1024 * 1024,
            authorization: None,
        }));
        let app = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a server");
        });
        Self {
            address,
            state,
            server,
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What it says that it is.
    pub fn pretend(&self, distribution: Option<&str>, version: &str) {
        let mut state = self.state();
        state.distribution = distribution.map(ToOwned::to_owned);
        version.clone_into(&mut state.version);
    }

    /// From now on only requests with this header are let in.
    pub fn ask_for(&self, authorization: &str) {
        self.state().authorization = Some(authorization.to_owned());
    }

    /// Larger bodies are answered with 413.
    pub fn take_at_most(&self, bytes: usize) {
        self.state().most_body = bytes;
    }

    /// The next so many requests whose path has this in it go wrong.
    pub fn fail(&self, path: &str, times: usize, fault: Fault) {
        self.state().faults.push_back(Planned {
            path: path.to_owned(),
            times,
            fault,
        });
    }

    /// Nothing goes wrong any more.
    pub fn recover(&self) {
        self.state().faults.clear();
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state().requests.clone()
    }

    /// Names of the indices, with how many documents each has, visible or not.
    pub fn indices(&self) -> BTreeMap<String, usize> {
        let state = self.state();
        let count = |(name, index): (&String, &Index)| (name.clone(), index.documents.len());
        state.indices.iter().map(count).collect()
    }

    /// All documents, by id.
    pub fn documents(&self) -> BTreeMap<String, Value> {
        let state = self.state();
        let all = state.indices.values().flat_map(|index| &index.documents);
        all.map(|(id, source)| (id.clone(), Value::clone(source)))
            .collect()
    }

    /// Somebody changes a document behind our back. It is visible at once.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        let holds = |index: &&mut Index| index.documents.contains_key(id);
        if let Some(index) = state.indices.values_mut().find(holds) {
            let mut source = Value::clone(&index.documents[id]);
            change(&mut source);
            index.documents.insert(id.to_owned(), Arc::new(source));
            index.refresh();
        }
    }

    /// Somebody removes a document behind our back.
    pub fn lose(&self, id: &str) {
        for index in self.state().indices.values_mut() {
            index.documents.remove(id);
            index.refresh();
        }
    }

    /// Somebody removes an index behind our back.
    pub fn drop_index(&self, name: &str) {
        self.state().indices.remove(name);
    }

    /// Somebody makes an index.
    pub fn make_index(&self, name: &str) {
        let mut state = self.state();
        let index = Index::new(mapping_for(&state.templates, name));
        state.indices.insert(name.to_owned(), index);
    }
}

fn lock(state: &Arc<Mutex<State>>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is answered: a status and JSON, or nothing at all.
type Reply = Result<Value, Failure>;

async fn handle(Shared(state): Shared<Arc<Mutex<State>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let most = lock(&state).most_body;
    let Ok(body) = to_bytes(body, most).await else {
        // Elasticsearch says no more than that.
        return response(
            StatusCode::PAYLOAD_TOO_LARGE,
            &parts.headers,
            Body::empty(),
            "",
        );
    };
    let (path, query) = (parts.uri.path().to_owned(), parts.uri.query());
    let query = query.unwrap_or_default().to_owned();
    let text = |name: &str| {
        let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let fault = {
        let mut state = lock(&state);
        state.requests.push(Recorded {
            method: parts.method.to_string(),
            path: path.clone(),
            query: query.clone(),
            content_type: text("content-type"),
            body: if body.len() <= MOST_RECORDED {
                body.clone()
            } else {
                Bytes::new()
            },
        });
        next_fault(&mut state, &path)
    };
    let head = &parts.headers;
    match &fault {
        Some(Fault::Status(status)) => return refuse(*status, head),
        Some(Fault::RetryAfter(status, seconds)) => {
            let mut answer = refuse(*status, head);
            answer
                .headers_mut()
                .insert("retry-after", HeaderValue::from(*seconds));
            return answer;
        }
        Some(Fault::Proxy) => {
            let page = Body::from("<html><h1>503 Service Unavailable</h1></html>");
            return response(StatusCode::SERVICE_UNAVAILABLE, head, page, "text/html");
        }
        Some(Fault::Slow(pause)) => tokio::time::sleep(*pause).await,
        _ => {}
    }
    let reply = {
        let mut state = lock(&state);
        let call = Call {
            method: &parts.method,
            path: &path,
            query: &query,
            content_type: &text("content-type"),
            authorization: &text("authorization"),
            body: &body,
        };
        answer(&mut state, &call, fault.as_ref())
    };
    if matches!(fault, Some(Fault::Lost)) {
        // A body that ends before it should breaks the connection.
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let broken = Body::from_stream(stream::iter([Err::<Bytes, _>(reset)]));
        return response(StatusCode::OK, head, broken, "application/json");
    }
    match reply {
        Ok(Value::Null) => response(StatusCode::OK, head, Body::empty(), ""),
        Ok(json) => response(
            StatusCode::OK,
            head,
            Body::from(json.to_string()),
            "application/json",
        ),
        Err(failure) => failure_response(&failure, head),
    }
}

fn next_fault(state: &mut State, path: &str) -> Option<Fault> {
    let planned = state.faults.iter_mut().find(|f| path.contains(&f.path))?;
    planned.times -= 1;
    let fault = planned.fault.clone();
    state.faults.retain(|f| f.times > 0);
    Some(fault)
}

fn refuse(status: u16, head: &HeaderMap) -> Response {
    let (kind, reason) = match status {
        429 => (
            "es_rejected_execution_exception",
            "rejected execution of coordinating operation",
        ),
        403 => (
            "cluster_block_exception",
            "index [x] blocked by: [FORBIDDEN/12/index read-only / allow delete (api)];",
        ),
        503 => (
            "cluster_block_exception",
            "blocked by: [SERVICE_UNAVAILABLE/1/state not recovered / initialized];",
        ),
        _ => ("exception", "something went wrong"),
    };
    failure_response(&Failure::new(status, kind, reason), head)
}

fn failure_response(failure: &Failure, head: &HeaderMap) -> Response {
    let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = Body::from(failure.body().to_string());
    let mut answer = response(status, head, body, "application/json");
    if failure.status == 401 {
        let asks = HeaderValue::from_static("Basic realm=\"security\" charset=\"UTF-8\"");
        answer.headers_mut().insert("www-authenticate", asks);
    }
    answer
}

/// Elasticsearch answers in the type that is asked for, and says what it is.
fn response(status: StatusCode, head: &HeaderMap, body: Body, kind: &str) -> Response {
    let accept = head.get("accept").and_then(|v| v.to_str().ok());
    let accept = accept.unwrap_or_default();
    let versioned = accept.split(',').find(|a| a.contains("vnd.elasticsearch"));
    let kind = match versioned {
        Some(versioned) if kind == "application/json" => versioned.trim(),
        _ => kind,
    };
    let mut builder = Response::builder()
        .status(status)
        .header("X-elastic-product", "Elasticsearch");
    if !kind.is_empty() {
        builder = builder.header("content-type", kind);
    }
    builder.body(body).expect("a response")
}

struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    content_type: &'a str,
    authorization: &'a str,
    body: &'a Bytes,
}

impl Call<'_> {
    fn says(&self, parameter: &str) -> bool {
        self.query.split('&').any(|p| p == parameter)
    }

    fn json(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            return Ok(json!({}));
        }
        serde_json::from_slice(self.body)
            .map_err(|e| Failure::new(400, "parsing_exception", &e.to_string()))
    }
}

fn answer(state: &mut State, call: &Call<'_>, fault: Option<&Fault>) -> Reply {
    if let Some(wanted) = &state.authorization
        && wanted != call.authorization
    {
        let reason = format!(
            "missing authentication credentials for REST request [{}]",
            call.path
        );
        return Err(Failure::new(401, "security_exception", &reason));
    }
    let kind = call.content_type;
    let known = kind.starts_with("application/json")
        || kind.starts_with("application/x-ndjson")
        || kind.starts_with("application/vnd.elasticsearch+");
    if !call.body.is_empty() && !known {
        let reason = format!("Content-Type header [{kind}] is not supported");
        return Err(Failure::plain(406, &reason));
    }
    let segments: Vec<&str> = call.path.split('/').filter(|s| !s.is_empty()).collect();
    let method = call.method.as_str();
    match (method, segments.as_slice()) {
        ("GET" | "HEAD", []) => Ok(info(state)),
        ("PUT" | "POST", ["_index_template", name]) => put_template(state, name, call),
        ("GET", ["_index_template", name]) => match state.templates.get(*name) {
            Some(template) => Ok(json!({
                "index_templates": [{"name": name, "index_template": template}]
            })),
            None => Err(Failure::new(
                404,
                "resource_not_found_exception",
                &format!("index template matching [{name}] not found"),
            )),
        },
        ("POST" | "PUT", ["_bulk"]) => bulk(state, None, call, fault),
        ("POST" | "PUT", [index, "_bulk"]) => bulk(state, Some(index), call, fault),
        ("GET" | "POST", [index, "_search"]) => search(state, index, call, fault),
        ("GET" | "POST", [index, "_count"]) => count(state, index, call, fault),
        ("POST", [index, "_delete_by_query"]) => delete_by_query(state, index, call),
        ("GET" | "POST", [index, "_refresh"]) => {
            let names = resolve(state, index, call)?;
            for name in &names {
                if let Some(index) = state.indices.get_mut(name) {
                    index.refresh();
                }
            }
            Ok(json!({"_shards": shards(names.len(), None)}))
        }
        ("GET", ["_cat", "indices", pattern]) => {
            let names = resolve(state, pattern, call)?;
            let row = |name: &String| json!({"index": name});
            Ok(names.iter().map(row).collect())
        }
        ("DELETE", [index]) if !index.starts_with('_') => {
            if index.contains('*') {
                return Err(Failure::new(
                    400,
                    "illegal_argument_exception",
                    "Wildcard expressions or all indices are not allowed",
                ));
            }
            for name in resolve(state, index, call)? {
                state.indices.remove(&name);
            }
            Ok(json!({"acknowledged": true}))
        }
        _ => {
            let reason = format!(
                "no handler found for uri [{}] and method [{method}]",
                call.path
            );
            Err(Failure::plain(400, &reason))
        }
    }
}

fn info(state: &State) -> Value {
    let mut version = json!({
        "number": state.version,
        "build_flavor": "default",
        "build_type": "docker",
        "build_hash": "0000000000000000000000000000000000000000",
        "build_date": "2026-01-01T00:00:00.000000000Z",
        "build_snapshot": false,
        "lucene_version": "10.2.2",
        "minimum_wire_compatibility_version": "8.19.0",
        "minimum_index_compatibility_version": "8.0.0",
    });
    if let Some(distribution) = &state.distribution {
        version["distribution"] = distribution.as_str().into();
    }
    json!({
        "name": "fake",
        "cluster_name": "windlass-tests",
        "cluster_uuid": "AAAAAAAAAAAAAAAAAAAAAA",
        "version": version,
        "tagline": "You Know, for Search",
    })
}

fn put_template(state: &mut State, name: &str, call: &Call<'_>) -> Reply {
    let template = call.json()?;
    if !template["index_patterns"].is_array() {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: index patterns are missing;",
        ));
    }
    index::check_mapping(&template["template"]["mappings"])?;
    state.templates.insert(name.to_owned(), template);
    Ok(json!({"acknowledged": true}))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

fn mapping_for(templates: &BTreeMap<String, Value>, name: &str) -> Value {
    let fits = |template: &&Value| {
        let patterns = template["index_patterns"].as_array();
        let mut patterns = patterns.into_iter().flatten().filter_map(Value::as_str);
        patterns.any(|pattern| matches(pattern, name))
    };
    let best = templates
        .values()
        .filter(fits)
        .max_by_key(|template| template["priority"].as_u64());
    best.map_or(Value::Null, |best| best["template"]["mappings"].clone())
}

/// Names of the indices that are meant.
fn resolve(state: &State, expression: &str, call: &Call<'_>) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for part in expression.split(',') {
        let part = part.replace("%2A", "*").replace("%2a", "*");
        let mut found: Vec<String> = state
            .indices
            .keys()
            .filter(|name| matches(&part, name))
            .cloned()
            .collect();
        if found.is_empty() && !part.contains('*') && !call.says("ignore_unavailable=true") {
            return Err(Failure::no_index(&part));
        }
        names.append(&mut found);
    }
    Ok(names)
}

fn bulk(state: &mut State, index: Option<&str>, call: &Call<'_>, fault: Option<&Fault>) -> Reply {
    if !call.body.ends_with(b"\n") {
        return Err(Failure::new(
            400,
            "illegal_argument_exception",
            "The bulk request must be terminated by a newline [\\n]",
        ));
    }
    let mut lines = call.body.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    let (mut items, mut errors) = (Vec::new(), false);
    while let Some(action) = lines.next() {
        let action: Value = serde_json::from_slice(action).map_err(|_| {
            Failure::new(
                400,
                "illegal_argument_exception",
                "Malformed action/metadata line, expected START_OBJECT",
            )
        })?;
        let Some((kind, about)) = action.as_object().and_then(|a| a.iter().next()) else {
            return Err(Failure::new(
                400,
                "illegal_argument_exception",
                "Malformed action/metadata line",
            ));
        };
        if kind != "create" && kind != "index" {
            return Err(Failure::new(
                400,
                "illegal_argument_exception",
                &format!("this cluster knows create and index only, not [{kind}]"),
            ));
        }
        let source = lines.next().unwrap_or_default();
        let name = about["_index"].as_str().or(index).unwrap_or_default();
        let id = about["_id"].as_str().map(ToOwned::to_owned);
        let id = id.unwrap_or_else(|| format!("auto-{}", state.requests.len() + items.len()));
        let refused = match fault {
            Some(Fault::OddItems(status)) if items.len() % 2 == 1 => Some(Failure::new(
                *status,
                "es_rejected_execution_exception",
                "rejected execution of primary operation",
            )),
            _ => None,
        };
        let made = match refused {
            Some(failure) => Err(failure),
            None => {
                if !state.indices.contains_key(name) {
                    let index = Index::new(mapping_for(&state.templates, name));
                    state.indices.insert(name.to_owned(), index);
                }
                let index = state.indices.get_mut(name);
                index
                    .ok_or_else(|| Failure::no_index(name))
                    .and_then(|index| index.put(&id, source, kind == "create"))
            }
        };
        let mut item = json!({"_index": name, "_id": id});
        match made {
            Ok(created) => {
                item["_version"] = 1.into();
                item["result"] = if created { "created" } else { "updated" }.into();
                item["_shards"] = json!({"total": 1, "successful": 1, "failed": 0});
                item["_seq_no"] = 0.into();
                item["_primary_term"] = 1.into();
                item["status"] = if created { 201 } else { 200 }.into();
            }
            Err(failure) => {
                errors = true;
                item["status"] = failure.status.into();
                item["error"] = failure.cause();
            }
        }
        items.push(json!({kind: item}));
    }
    if call.says("refresh=true") {
        for index in state.indices.values_mut() {
            index.refresh();
        }
    }
    Ok(json!({"took": 1, "errors": errors, "items": items}))
}

fn shards(indices: usize, fault: Option<&Fault>) -> Value {
    let failed = usize::from(matches!(fault, Some(Fault::ShardFailed)));
    json!({
        "total": indices,
        "successful": indices.saturating_sub(failed),
        "skipped": 0,
        "failed": failed,
    })
}

fn search(state: &State, index: &str, call: &Call<'_>, fault: Option<&Fault>) -> Reply {
    let names = resolve(state, index, call)?;
    let search = Search::parse(&call.json()?)?;
    let indices = names
        .iter()
        .filter_map(|name| Some((name.as_str(), state.indices.get(name)?)));
    let (total, hits) = search.run(indices)?;
    Ok(json!({
        "took": 1,
        "timed_out": false,
        "_shards": shards(names.len(), fault),
        "hits": {
            "total": {"value": total, "relation": "eq"},
            "max_score": null,
            "hits": hits,
        },
    }))
}

fn count(state: &State, index: &str, call: &Call<'_>, fault: Option<&Fault>) -> Reply {
    let names = resolve(state, index, call)?;
    let query = call.json()?;
    let mut found = 0;
    for name in &names {
        if let Some(index) = state.indices.get(name) {
            found += index.matching(&query["query"])?.len();
        }
    }
    Ok(json!({"count": found, "_shards": shards(names.len(), fault)}))
}

fn delete_by_query(state: &mut State, index: &str, call: &Call<'_>) -> Reply {
    let names = resolve(state, index, call)?;
    let query = call.json()?;
    if !query["query"].is_object() {
        return Err(Failure::new(
            400,
            "action_request_validation_exception",
            "Validation Failed: 1: query is missing;",
        ));
    }
    let mut deleted = 0;
    for name in &names {
        let Some(index) = state.indices.get_mut(name) else {
            continue;
        };
        let found = index.matching(&query["query"])?;
        let ids: Vec<String> = found.into_iter().map(|(id, _)| id.clone()).collect();
        deleted += ids.len();
        for id in ids {
            index.documents.remove(&id);
        }
        if call.says("refresh=true") {
            index.refresh();
        }
    }
    Ok(json!({
        "took": 1,
        "timed_out": false,
        "total": deleted,
        "deleted": deleted,
        "batches": 1,
        "version_conflicts": 0,
        "noops": 0,
        "retries": {"bulk": 0, "search": 0},
        "throttled_millis": 0,
        "requests_per_second": -1.0,
        "throttled_until_millis": 0,
        "failures": [],
    }))
}
