//! Every request that we send is one of Elasticsearch's, as Elastic's own description of its API
//! says (`tests/fixtures/elasticsearch`): path, parameters, body, and nothing that is not described.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use windlass_archive::Elasticsearch;
use windlass_archive::elasticsearch::SearchQuery;
use windlass_archive::testing::{FakeCluster, Recorded};

use crate::lab::{self, Lab, SEPTEMBER, name};

const DESCRIPTION: &str = include_str!("../fixtures/elasticsearch/openapi.json");

/// Described for the program that one runs oneself, not for Elastic's own service:
/// <https://www.elastic.co/docs/reference/elasticsearch/index-settings/index-modules>
const NOT_SERVERLESS: &str = "number_of_shards";

struct Description(Value);

impl Description {
    /// The operation's path with parameters in it, and the operation.
    fn operation(&self, request: &Recorded) -> Option<(&String, &Value)> {
        let method = request.method.to_lowercase();
        let segments: Vec<&str> = request.path.split('/').collect();
        let paths = self.0["paths"].as_object()?;
        let fits = |path: &str| {
            let wanted: Vec<&str> = path.split('/').collect();
            wanted.len() == segments.len()
                && wanted.iter().zip(&segments).all(|(wanted, given)| {
                    let free = wanted.starts_with('{') && !given.starts_with('_');
                    wanted == given || (free && !given.is_empty())
                })
        };
        paths
            .iter()
            .filter(|(path, _)| fits(path))
            .find_map(|(path, operations)| Some((path, operations.get(&method)?)))
    }

    /// What is wrong with a value.
    fn violations(&self, schema: &Value, value: &Value) -> Vec<String> {
        let whole = json!({"allOf": [schema], "components": self.0["components"]});
        let validator = jsonschema::validator_for(&whole).expect("a schema");
        let found = validator.iter_errors(value);
        found
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect()
    }

    fn check(&self, request: &Recorded) -> Vec<String> {
        let Some((path, operation)) = self.operation(request) else {
            return vec!["there is no such operation".to_owned()];
        };
        let mut wrong = Vec::new();
        let parameters = operation["parameters"].as_array().unwrap();
        for pair in request.query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            // One of all operations: specification/_spec_utils/behaviors.ts in Elastic's repository.
            if path.starts_with("/_cat/") && name == "format" && value == "json" {
                continue;
            }
            let found = parameters
                .iter()
                .find(|p| p["name"] == name && p["in"] == "query");
            let Some(found) = found else {
                wrong.push(format!("the parameter {name} is not described"));
                continue;
            };
            // A query is text; what it says may be a number or yes or no.
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            wrong.extend(self.violations(&found["schema"], &value));
        }
        let schema = &operation["requestBody"]["schema"];
        match (schema.is_null(), request.body.is_empty()) {
            (true, false) => wrong.push("there is a body, and none is described".to_owned()),
            (false, false) if path == "/_bulk" => wrong.extend(self.check_bulk(schema, request)),
            (false, false) => {
                assert_eq!(request.content_type, "application/json");
                let mut body: Value = serde_json::from_slice(&request.body).unwrap();
                let index = &mut body["template"]["settings"]["index"];
                if let Some(index) = index.as_object_mut() {
                    index.remove(NOT_SERVERLESS);
                } else if let Some(body) = body.as_object_mut() {
                    body.remove("template");
                }
                wrong.extend(self.violations(schema, &body));
            }
            _ => {}
        }
        wrong
    }

    /// Actions and documents in turn, each on its line.
    fn check_bulk(&self, schema: &Value, request: &Recorded) -> Vec<String> {
        assert_eq!(request.content_type, "application/x-ndjson");
        assert!(request.body.ends_with(b"\n"));
        let text = std::str::from_utf8(&request.body).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut wrong = self.violations(schema, &json!(lines));
        let action = json!({"$ref": "#/components/schemas/_global.bulk.OperationContainer"});
        for line in lines.iter().step_by(2) {
            wrong.extend(self.violations(&action, line));
        }
        wrong
    }
}

#[tokio::test]
async fn every_request_is_described() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let mut config = lab::config(&cluster.url());
    config.keep_days = Some(1);
    let es = Elasticsearch::new(config).unwrap();
    let (dir, meta) = lab.sealed("log", &b"line of a log\n".repeat(60_000));
    let of = name("demo", 1, 0);
    es.info().await.unwrap();
    es.write(&of, &dir).await.unwrap();
    let log = es.verify(&of, &meta.sha256).await.unwrap();
    es.restore(&log, &lab.path("back")).await.unwrap();
    let mut query = SearchQuery {
        words: "line".to_owned(),
        repo: Some("demo".to_owned()),
        instance: Some(of.instance.clone()),
        limit: 300,
        after: None,
        made_before_ms: Some(4_000_000_000_000),
    };
    query.after = es.search(&query).await.unwrap().next;
    assert!(query.after.is_some());
    es.search(&query).await.unwrap();
    es.remove(&of.selector()).await.unwrap();
    es.write(&of, &dir).await.unwrap();
    let dropped = es.drop_old(SEPTEMBER + 90 * 86_400_000).await.unwrap();
    assert_eq!(dropped.len(), 1);

    let description = Description(serde_json::from_str(DESCRIPTION).unwrap());
    let mut seen = BTreeSet::new();
    for request in cluster.requests() {
        let wrong = description.check(&request);
        assert!(
            wrong.is_empty(),
            "{} {}?{}\n{}\n{wrong:#?}",
            request.method,
            request.path,
            request.query,
            String::from_utf8_lossy(&request.body[..request.body.len().min(2000)])
        );
        if let Some((path, _)) = description.operation(&request) {
            seen.insert(format!("{} {path}", request.method));
        }
    }
    // Nothing was left out, neither here nor there.
    let described: BTreeSet<String> = description.0["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    assert_eq!(seen, described);
}

#[test]
fn what_is_not_described_is_noticed() {
    let description = Description(serde_json::from_str(DESCRIPTION).unwrap());
    let request = |method: &str, path: &str, query: &str, body: &str| Recorded {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: if path == "/_bulk" {
            "application/x-ndjson".to_owned()
        } else {
            "application/json".to_owned()
        },
        body: body.to_owned().into(),
    };
    let good = request("POST", "/a-*/_search", "timeout=1s", r#"{"size": 1}"#);
    assert_eq!(description.check(&good), [] as [String; 0]);
    for bad in [
        request("POST", "/_nonsense", "", ""),
        request("GET", "/a/_delete_by_query", "", ""),
        request("POST", "/a/_search", "allow_no_indexes=true", ""),
        request("POST", "/a/_search", "allow_no_indices=maybe", ""),
        request("POST", "/a/_search", "", r#"{"siez": 1}"#),
        request("POST", "/a/_search", "", r#"{"size": "many"}"#),
        request(
            "POST",
            "/a/_search",
            "",
            r#"{"query": {"term": {"a": {"valeu": 1}}}}"#,
        ),
        request(
            "POST",
            "/a/_search",
            "",
            r#"{"query": {"bool": {"filtre": []}}}"#,
        ),
        request("POST", "/a/_count", "", r#"{"sort": []}"#),
        request("DELETE", "/a", "", "{}"),
        request(
            "PUT",
            "/_index_template/a",
            "",
            r#"{"index_pattern": ["a"]}"#,
        ),
        request(
            "PUT",
            "/_index_template/a",
            "",
            r#"{"template": {"settings": {"index": {}}, "mappings": {"properties": {"a": {"type": "keyword", "ignore_below": 1}}}}}"#,
        ),
        request(
            "PUT",
            "/_index_template/a",
            "",
            r#"{"template": {"settings": {"index": {}}, "mappings": {"properties": {"a": {"type": "strnig"}}}}}"#,
        ),
        request("POST", "/_bulk", "", "{\"craete\": {}}\n{}\n"),
        request(
            "POST",
            "/_bulk",
            "",
            "{\"create\": {\"_idx\": \"a\"}}\n{}\n",
        ),
    ] {
        assert!(
            !description.check(&bad).is_empty(),
            "{bad:?} was let through"
        );
    }
}
