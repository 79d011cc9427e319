//! The JSON Schema of a spec, out of the table of keys: editors complete and check with it.

use serde_json::{Map, Value, json};

use crate::key::Key;
use crate::keys;

/// The JSON Schema (draft 7, which all editors know) of `windlass.yml`.
pub fn schema() -> Value {
    let mut schema = object(keys::JOB);
    let mut top = object(keys::SPEC);
    // A key of both, such as `concurrency`, means the whole spec at its top level.
    if let (Some(Value::Object(all)), Some(Value::Object(more))) =
        (schema.get_mut("properties"), top.get_mut("properties"))
    {
        all.append(more);
    }
    if let Value::Object(fields) = &mut schema {
        fields.remove("required");
        fields.insert(
            "anyOf".to_owned(),
            json!([{ "required": ["steps"] }, { "required": ["jobs"] }]),
        );
        fields.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        fields.insert("title".to_owned(), json!("Windlass build spec"));
    }
    schema
}

/// The schema of one text, or a list of texts.
pub(crate) fn texts() -> Value {
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }] })
}

/// The schema of a map with these keys and no others.
pub(crate) fn object<T>(keys: &[Key<T>]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        let about = &key.about;
        let mut schema = (about.schema)();
        if let Value::Object(fields) = &mut schema {
            fields.insert("description".to_owned(), json!(about.summary));
        }
        properties.insert(about.name.to_owned(), schema);
        if about.required {
            required.push(about.name);
        }
    }
    let mut object = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if let (Value::Object(fields), false) = (&mut object, required.is_empty()) {
        fields.insert("required".to_owned(), json!(required));
    }
    object
}
