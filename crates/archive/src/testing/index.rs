//! One index of the cluster for tests: documents, what is visible of them, mappings, queries.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

/// Lucene's limit for one term.
const MOST_TERM: usize = 32_766;
/// `index.max_result_window`.
const MOST_HITS: u64 = 10_000;

const TYPES: [&str; 10] = [
    "binary",
    "boolean",
    "date",
    "double",
    "integer",
    "keyword",
    "long",
    "match_only_text",
    "object",
    "text",
];

/// An error in Elasticsearch's form.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: u16,
    kind: Option<String>,
    reason: String,
    index: Option<String>,
}

impl Failure {
    pub(super) fn new(status: u16, kind: &str, reason: &str) -> Self {
        Self {
            status,
            kind: Some(kind.to_owned()),
            reason: reason.to_owned(),
            index: None,
        }
    }

    /// Some errors are a string only.
    pub(super) fn plain(status: u16, reason: &str) -> Self {
        Self {
            status,
            kind: None,
            reason: reason.to_owned(),
            index: None,
        }
    }

    pub(super) fn no_index(name: &str) -> Self {
        Self {
            index: Some(name.to_owned()),
            ..Self::new(
                404,
                "index_not_found_exception",
                &format!("no such index [{name}]"),
            )
        }
    }

    /// The error itself, as it stands in an item of a `_bulk`.
    pub(super) fn cause(&self) -> Value {
        let Some(kind) = &self.kind else {
            return self.reason.as_str().into();
        };
        let mut cause = json!({"type": kind, "reason": self.reason});
        if let Some(index) = &self.index {
            cause["index"] = index.as_str().into();
            cause["resource.type"] = "index_or_alias".into();
            cause["resource.id"] = index.as_str().into();
            cause["index_uuid"] = "_na_".into();
        }
        cause
    }

    pub(super) fn body(&self) -> Value {
        let mut error = self.cause();
        if error.is_object() {
            error["root_cause"] = json!([self.cause()]);
        }
        json!({"error": error, "status": self.status})
    }
}

pub(super) fn check_mapping(mapping: &Value) -> Result<(), Failure> {
    let properties = mapping["properties"].as_object();
    for (field, about) in properties.into_iter().flatten() {
        let kind = about["type"].as_str().unwrap_or("object");
        if !TYPES.contains(&kind) {
            let reason = format!(
                "Failed to parse mapping: No handler for type [{kind}] declared on field [{field}]"
            );
            return Err(Failure::new(400, "mapper_parsing_exception", &reason));
        }
    }
    Ok(())
}

pub(super) struct Index {
    pub(super) documents: BTreeMap<String, Arc<Value>>,
    /// As of the last refresh.
    visible: BTreeMap<String, Arc<Value>>,
    mapping: Value,
}

impl Index {
    pub(super) fn new(mapping: Value) -> Self {
        Self {
            documents: BTreeMap::new(),
            visible: BTreeMap::new(),
            mapping,
        }
    }

    pub(super) fn refresh(&mut self) {
        self.visible = self.documents.clone();
    }

    /// Says whether the document is new.
    pub(super) fn put(&mut self, id: &str, source: &[u8], create: bool) -> Result<bool, Failure> {
        if id.len() > 512 {
            let reason = format!("id is too long, must be no longer than 512 bytes: {id}");
            return Err(Failure::new(400, "illegal_argument_exception", &reason));
        }
        let exists = self.documents.contains_key(id);
        if create && exists {
            let reason =
                format!("[{id}]: version conflict, document already exists (current version [1])");
            return Err(Failure::new(
                409,
                "version_conflict_engine_exception",
                &reason,
            ));
        }
        let source: Value = serde_json::from_slice(source).map_err(|e| {
            let reason = format!("failed to parse: {e}");
            Failure::new(400, "document_parsing_exception", &reason)
        })?;
        self.check(&source)?;
        self.documents.insert(id.to_owned(), Arc::new(source));
        Ok(!exists)
    }

    fn check(&self, source: &Value) -> Result<(), Failure> {
        for (field, value) in source.as_object().into_iter().flatten() {
            let about = &self.mapping["properties"][field];
            if about.is_null() {
                if self.mapping["dynamic"] == "strict" {
                    let reason = format!(
                        "[1:2] mapping set to strict, dynamic introduction of [{field}] within \
                         [_doc] is not allowed"
                    );
                    let kind = "strict_dynamic_mapping_exception";
                    return Err(Failure::new(400, kind, &reason));
                }
                continue;
            }
            let kind = about["type"].as_str().unwrap_or("object");
            let fits = match kind {
                "integer" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
                "long" => value.as_i64().is_some(),
                "date" => value.is_i64() || value.is_u64() || value.is_string(),
                "double" => value.is_number(),
                "boolean" => value.is_boolean(),
                "object" => value.is_object(),
                _ => value.is_string(),
            };
            if !fits && !value.is_null() {
                let reason = format!("[1:2] failed to parse field [{field}] of type [{kind}]");
                return Err(Failure::new(400, "document_parsing_exception", &reason));
            }
            let length = value.as_str().map_or(0, str::len);
            let ignored = about["ignore_above"].as_u64().is_some_and(|most| {
                value
                    .as_str()
                    .is_some_and(|text| text.chars().count() as u64 > most)
            });
            if kind == "keyword" && length > MOST_TERM && !ignored {
                let reason = format!(
                    "Document contains at least one immense term in field=\"{field}\" (whose \
                     UTF8 encoding is longer than the max length {MOST_TERM})"
                );
                return Err(Failure::new(400, "illegal_argument_exception", &reason));
            }
        }
        Ok(())
    }

    pub(super) fn matching(&self, query: &Value) -> Result<Vec<(&String, &Arc<Value>)>, Failure> {
        let mut found = Vec::new();
        for (id, source) in &self.visible {
            if self.holds(query, source)? {
                found.push((id, source));
            }
        }
        // An index without documents must not hide a query that is wrong.
        self.holds(query, &json!({}))?;
        Ok(found)
    }

    fn holds(&self, query: &Value, source: &Value) -> Result<bool, Failure> {
        if query.is_null() {
            return Ok(true);
        }
        let wrong = |reason: &str| Err(Failure::new(400, "parsing_exception", reason));
        let Some((kind, about)) = query.as_object().and_then(|q| q.iter().next()) else {
            return wrong("query malformed, empty clause found");
        };
        match kind.as_str() {
            "match_all" => Ok(true),
            "bool" => {
                let clauses = |name: &str| -> Vec<Value> {
                    match &about[name] {
                        Value::Array(all) => all.clone(),
                        Value::Null => Vec::new(),
                        one => vec![one.clone()],
                    }
                };
                let mut holds = true;
                for clause in clauses("filter").iter().chain(&clauses("must")) {
                    holds &= self.holds(clause, source)?;
                }
                for clause in &clauses("must_not") {
                    holds &= !self.holds(clause, source)?;
                }
                Ok(holds)
            }
            "term" => {
                let Some((field, about)) = about.as_object().and_then(|t| t.iter().next()) else {
                    return wrong("[term] query malformed");
                };
                let wanted = if about.is_object() {
                    &about["value"]
                } else {
                    about
                };
                Ok(!wanted.is_null() && source[field] == *wanted)
            }
            "match" => {
                let Some((field, about)) = about.as_object().and_then(|t| t.iter().next()) else {
                    return wrong("[match] query malformed");
                };
                let text = about["query"].as_str().or(about.as_str());
                let wanted = words(text.unwrap_or_default());
                let all = about["operator"].as_str().unwrap_or("or") == "and";
                let there = words(source[field].as_str().unwrap_or_default());
                let has = |word: &String| there.contains(word);
                Ok(!wanted.is_empty()
                    && if all {
                        wanted.iter().all(has)
                    } else {
                        wanted.iter().any(has)
                    })
            }
            "range" => {
                let Some((field, about)) = about.as_object().and_then(|t| t.iter().next()) else {
                    return wrong("[range] query malformed");
                };
                let Some(below) = about["lt"].as_i64() else {
                    return wrong("[range] query has no [lt]");
                };
                Ok(source[field].as_i64().is_some_and(|value| value < below))
            }
            other => wrong(&format!("unknown query [{other}]")),
        }
    }
}

/// About what the standard analyzer makes of a text.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

struct SortBy {
    field: String,
    descending: bool,
    /// An index without this field is no mistake.
    may_lack: bool,
}

/// A search, as far as it is understood.
pub(super) struct Search {
    query: Value,
    size: usize,
    sort: Vec<SortBy>,
    after: Option<Vec<Value>>,
    source: Option<Vec<String>>,
}

impl Search {
    pub(super) fn parse(body: &Value) -> Result<Self, Failure> {
        let wrong = |reason: &str| Failure::new(400, "illegal_argument_exception", reason);
        let size = body["size"].as_u64().unwrap_or(10);
        if size > MOST_HITS {
            return Err(wrong(
                "Result window is too large, from + size must be less than or equal to: [10000]",
            ));
        }
        let mut sort = Vec::new();
        for part in body["sort"].as_array().into_iter().flatten() {
            let named = part.as_object().and_then(|p| p.iter().next());
            let Some((field, about)) = named else {
                return Err(wrong("malformed sort format"));
            };
            let order = about["order"].as_str().or(about.as_str());
            let may_lack = about["unmapped_type"].is_string();
            sort.push(SortBy {
                field: field.clone(),
                descending: order == Some("desc"),
                may_lack,
            });
        }
        let after = body["search_after"].as_array().cloned();
        if after.as_ref().is_some_and(|a| a.len() != sort.len()) {
            return Err(wrong(
                "search_after has a wrong number of values for the sort",
            ));
        }
        // A list, or an object with one.
        let shown = match &body["_source"] {
            Value::Object(filter) => filter.get("includes").cloned().unwrap_or_default(),
            other => other.clone(),
        };
        let source = shown.as_array().map(|fields| {
            let names = fields.iter().filter_map(Value::as_str);
            names.map(ToOwned::to_owned).collect()
        });
        Ok(Self {
            query: body["query"].clone(),
            size: usize::try_from(size).unwrap_or(0),
            sort,
            after,
            source,
        })
    }

    pub(super) fn run<'a>(
        &self,
        indices: impl Iterator<Item = (&'a str, &'a Index)>,
    ) -> Result<(usize, Vec<Value>), Failure> {
        let mut found: Vec<(Vec<Value>, Value)> = Vec::new();
        let mut total = 0;
        for (name, index) in indices {
            for SortBy {
                field, may_lack, ..
            } in &self.sort
            {
                let kind = index.mapping["properties"][field]["type"].as_str();
                let sortable = matches!(
                    kind,
                    Some("long" | "integer" | "date" | "keyword" | "double")
                );
                let lacks = kind.is_none() && *may_lack;
                if !sortable && !lacks {
                    let reason = format!("No mapping found for [{field}] in order to sort on");
                    return Err(Failure::new(400, "query_shard_exception", &reason));
                }
            }
            for (id, source) in index.matching(&self.query)? {
                total += 1;
                let key: Vec<Value> = self
                    .sort
                    .iter()
                    .map(|by| source[&by.field].clone())
                    .collect();
                if let Some(after) = &self.after
                    && self.compare(&key, after) != Ordering::Greater
                {
                    continue;
                }
                let shown = match &self.source {
                    None => Value::clone(source),
                    Some(fields) => {
                        let fields = fields.iter().filter(|f| !source[*f].is_null());
                        fields.map(|f| (f.clone(), source[f].clone())).collect()
                    }
                };
                let mut hit = json!({"_index": name, "_id": id, "_score": null, "_source": shown});
                if !self.sort.is_empty() {
                    hit["sort"] = key.clone().into();
                }
                found.push((key, hit));
            }
        }
        found.sort_by(|a, b| self.compare(&a.0, &b.0));
        let hits = found.into_iter().take(self.size).map(|(_, hit)| hit);
        Ok((total, hits.collect()))
    }

    fn compare(&self, a: &[Value], b: &[Value]) -> Ordering {
        for ((a, b), SortBy { descending, .. }) in a.iter().zip(b).zip(&self.sort) {
            let order = match (a, b) {
                (Value::Number(a), Value::Number(b)) => {
                    a.as_i64().cmp(&b.as_i64()).then(Ordering::Equal)
                }
                (Value::String(a), Value::String(b)) => a.cmp(b),
                // What has no value comes last.
                (Value::Null, Value::Null) => Ordering::Equal,
                (Value::Null, _) => return Ordering::Greater,
                (_, Value::Null) => return Ordering::Less,
                _ => a.to_string().cmp(&b.to_string()),
            };
            let order = if *descending { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}
