//! Checks a request against GitHub's description of the operation "Create a commit status".
//!
//! A validator for just what that description uses. A keyword that it doesn't know is a violation,
//! so that nothing passes for having been overlooked; so is a property that isn't described.

use axum::http::{HeaderMap, Method};
use serde_json::Value;
use windlass_model::status::{CommitStatus, StatusState};

use super::Recorded;

/// One operation, cut from GitHub's OpenAPI description with everything that it refers to. The
/// file beside it, NOTICE, says where from.
const DESCRIPTION: &str = include_str!("../../tests/fixtures/github/statuses-openapi.json");

/// The operation's path.
const PATH: &str = "/repos/{owner}/{repo}/statuses/{sha}";

/// What may stand in a schema without limiting the value.
const ANNOTATIONS: [&str; 6] = [
    "title",
    "description",
    "default",
    "example",
    "examples",
    "format",
];

#[derive(Debug)]
pub(super) struct Description {
    whole: Value,
}

impl Description {
    pub(super) fn load() -> Self {
        Self {
            whole: serde_json::from_str(DESCRIPTION).expect("the vendored description"),
        }
    }

    fn operation(&self) -> &Value {
        &self.whole["paths"][PATH]["post"]
    }

    /// The header `location` and the body of the reply: GitHub's own example.
    pub(super) fn reply(&self) -> ([(&'static str, String); 2], &Value) {
        let reply = &self.operation()["responses"]["201"];
        let example = &reply["content"]["application/json"]["examples"]["default"];
        let location = reply["headers"]["Location"]["example"].as_str();
        let headers = [
            ("content-type", "application/json; charset=utf-8".to_owned()),
            ("location", location.unwrap_or_default().to_owned()),
        ];
        (headers, &self.resolve(example)["value"])
    }

    /// The status in a request, or everything that is wrong with the request.
    pub(super) fn check(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Recorded, Vec<String>> {
        let mut wrong = Vec::new();
        if method != Method::POST {
            wrong.push("the method is not POST".to_owned());
        }
        if query.is_some() {
            wrong.push("there are query parameters, and none is described".to_owned());
        }
        let (owner, repo, sha) = self.check_path(path, &mut wrong);
        let token = check_headers(headers, &mut wrong);
        let body: Value = serde_json::from_slice(body).unwrap_or_else(|error| {
            wrong.push(format!("the body is not JSON: {error}"));
            Value::Null
        });
        let request = &self.operation()["requestBody"]["content"]["application/json"];
        self.validate(&request["schema"], &body, "body", &mut wrong);
        check_unwritten_rules(&body, &sha, &mut wrong);

        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let state = text("state").and_then(|state| state.parse::<StatusState>().ok());
        match state {
            Some(state) if wrong.is_empty() => Ok(Recorded {
                repository: format!("{owner}/{repo}"),
                token,
                status: CommitStatus {
                    revision: sha,
                    context: text("context").unwrap_or_else(|| "default".to_owned()),
                    state,
                    description: text("description").unwrap_or_default(),
                    target_url: text("target_url"),
                },
            }),
            _ => Err(wrong),
        }
    }

    /// Owner, repository and commit from the path, each checked against its parameter's schema.
    fn check_path(&self, path: &str, wrong: &mut Vec<String>) -> (String, String, String) {
        // An Enterprise Server's API has the same paths below this one.
        let path = path.strip_prefix("/api/v3").unwrap_or(path);
        let template: Vec<&str> = PATH.split('/').collect();
        let given: Vec<&str> = path.split('/').collect();
        let mut values = Vec::new();
        if given.len() != template.len() {
            wrong.push(format!("the path is not {PATH}"));
            return Default::default();
        }
        for (part, value) in template.iter().zip(given) {
            let Some(name) = part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) else {
                if *part != value {
                    wrong.push(format!("the path is not {PATH}"));
                }
                continue;
            };
            let parameters = self.operation()["parameters"].as_array();
            let described = parameters
                .into_iter()
                .flatten()
                .map(|parameter| self.resolve(parameter))
                .find(|parameter| parameter["in"] == "path" && parameter["name"] == name);
            match described {
                Some(parameter) => {
                    let text = Value::from(value);
                    self.validate(&parameter["schema"], &text, name, wrong);
                }
                None => wrong.push(format!("the parameter {name} is not described")),
            }
            if value.is_empty() {
                wrong.push(format!("the parameter {name} is empty"));
            }
            values.push(value.to_owned());
        }
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        (next(), next(), next())
    }

    /// What a `$ref` leads to, or the value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        let pointer = value["$ref"].as_str().and_then(|at| at.strip_prefix('#'));
        pointer.map_or(value, |pointer| {
            let target = self.whole.pointer(pointer);
            target.expect("the vendored description refers to nothing outside")
        })
    }

    /// Adds to `wrong` what `schema` (OpenAPI 3.0's) doesn't allow in `value`; `at` says where.
    fn validate(&self, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let Some(keywords) = schema.as_object() else {
            wrong.push(format!("{at}: there is no schema"));
            return;
        };
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "type" if !is_of_type(value, rule) => {
                    wrong.push(format!("{at}: {value} is not of the type {rule}"));
                }
                "enum" if rule.as_array().is_none_or(|all| !all.contains(value)) => {
                    wrong.push(format!("{at}: {value} is not one of {rule}"));
                }
                "required" => {
                    let names = rule.as_array().into_iter().flatten();
                    for name in names.filter_map(Value::as_str) {
                        if value.get(name).is_none() {
                            wrong.push(format!("{at}: {name} is missing"));
                        }
                    }
                }
                "properties" => {
                    for (name, member) in value.as_object().into_iter().flatten() {
                        let at = format!("{at}.{name}");
                        match rule.get(name) {
                            Some(schema) => self.validate(schema, member, &at, wrong),
                            None => wrong.push(format!("{at}: is not described")),
                        }
                    }
                }
                "items" => {
                    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.validate(rule, item, &format!("{at}[{n}]"), wrong);
                    }
                }
                "type" | "enum" | "nullable" => (),
                annotation if ANNOTATIONS.contains(&annotation) || annotation.starts_with("x-") => {
                }
                unknown => wrong.push(format!("{at}: the validator doesn't know {unknown}")),
            }
        }
    }
}

fn is_of_type(value: &Value, rule: &Value) -> bool {
    match rule.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => false,
    }
}

/// The headers that GitHub asks for ("Getting started with the REST API"). Returns the token.
fn check_headers(headers: &HeaderMap, wrong: &mut Vec<String>) -> String {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    for (name, expected) in [
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
        ("content-type", "application/json"),
    ] {
        if header(name) != expected {
            wrong.push(format!("the header {name} is not {expected}"));
        }
    }
    if !header("user-agent").starts_with("windlass/") {
        wrong.push("the header user-agent doesn't name windlass".to_owned());
    }
    let token = header("authorization").strip_prefix("Bearer ");
    let token = token.unwrap_or_default();
    if token.is_empty() {
        wrong.push("the header authorization bears no token".to_owned());
    }
    token.to_owned()
}

/// What GitHub refuses though its description doesn't say so.
fn check_unwritten_rules(body: &Value, sha: &str, wrong: &mut Vec<String>) {
    let hex = sha.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex || !matches!(sha.len(), 40 | 64) {
        wrong.push(format!("{sha:?} is not a full commit id"));
    }
    let description = body["description"].as_str().unwrap_or_default();
    if description.chars().count() > 140 {
        wrong.push("the description is longer than 140 characters".to_owned());
    }
    let url = body["target_url"].as_str().unwrap_or("https://");
    if !url.starts_with("https://") && !url.starts_with("http://") {
        wrong.push("the target_url is not http(s)".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn violations(description: &Description, body: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let content = &description.operation()["requestBody"]["content"]["application/json"];
        description.validate(&content["schema"], body, "body", &mut wrong);
        wrong
    }

    #[test]
    fn githubs_own_examples_fit_githubs_own_schemas() {
        let description = Description::load();
        let content = &description.operation()["requestBody"]["content"]["application/json"];
        let example = &content["examples"]["default"]["value"];
        assert!(example.is_object());
        assert_eq!(violations(&description, example), [""; 0]);

        let (_, reply) = description.reply();
        let schema =
            &description.operation()["responses"]["201"]["content"]["application/json"]["schema"];
        let mut wrong = Vec::new();
        description.validate(schema, reply, "reply", &mut wrong);
        assert_eq!(wrong, [""; 0]);
        let mut broken = reply.clone();
        broken["creator"]["id"] = json!("one");
        broken["node_id"].take();
        description.validate(schema, &broken, "reply", &mut wrong);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn every_kind_of_wrong_body_is_noticed() {
        let description = Description::load();
        for body in [
            json!(null),
            json!([]),
            json!({}),
            json!({"state": "passed"}),
            json!({"state": null}),
            json!({"state": "success", "context": null}),
            json!({"state": "success", "description": 7}),
            json!({"state": "success", "targetUrl": "https://h"}),
        ] {
            assert!(
                !violations(&description, &body).is_empty(),
                "{body} was accepted"
            );
        }
        for body in [
            json!({"state": "error"}),
            json!({"state": "pending", "target_url": null, "description": null}),
        ] {
            assert_eq!(violations(&description, &body), [""; 0], "{body}");
        }
    }
}
