//! Parameters of builds that are asked for: their types, and the check of what was given.

use std::collections::BTreeMap;

use windlass_model::expression::Value;

use crate::suggest;

/// What may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamType {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of the options.
    Choice,
}

/// A parameter that the spec declares.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// What may be given.
    pub kind: ParamType,
    /// What can be chosen, for a choice.
    pub options: Vec<String>,
    /// One line for people; may be empty.
    pub description: String,
    /// The value if none is given.
    pub default: Value,
}

/// A value that was given does not fit, or nobody asked for it. The message says what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadParam(String);

impl Param {
    /// The value that a text stands for.
    ///
    /// # Errors
    /// What would fit.
    pub fn value(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            ParamType::Text if text.len() <= crate::limits::TEXT / 2 && !text.contains('\0') => {
                Ok(Value::Text(text.to_owned()))
            }
            ParamType::Text => Err("a text of at most 60 KiB without NUL".to_owned()),
            ParamType::Number => text
                .parse()
                .map(Value::Number)
                .map_err(|_| "a whole number".to_owned()),
            ParamType::Boolean => match text {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err("`true` or `false`".to_owned()),
            },
            ParamType::Choice if self.options.iter().any(|option| option == text) => {
                Ok(Value::Text(text.to_owned()))
            }
            ParamType::Choice => Err(format!("one of {}", self.options.join(", "))),
        }
    }
}

/// The values of all parameters: those given, checked, and the defaults of the others.
///
/// # Errors
/// The first that does not fit or that the spec does not have.
pub fn values(
    params: &[Param],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Value>, BadParam> {
    let mut values: BTreeMap<String, Value> = params
        .iter()
        .map(|param| (param.name.clone(), param.default.clone()))
        .collect();
    for (name, text) in given {
        let Some(param) = params.iter().find(|param| param.name == *name) else {
            let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
            return Err(BadParam(
                match (suggest::nearest(name, &names), names.as_slice()) {
                    (Some(near), _) => {
                        format!("there is no parameter {name}; did you mean {near}?")
                    }
                    (None, []) => format!("there is no parameter {name}: the spec has none"),
                    (None, names) => format!(
                        "there is no parameter {name}; there are {}",
                        names.join(", ")
                    ),
                },
            ));
        };
        let value = param.value(text).map_err(|expected| {
            BadParam(format!(
                "the parameter {name} can't be {text:?}: expected {expected}"
            ))
        })?;
        values.insert(name.clone(), value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str) -> Vec<Param> {
        crate::read("windlass.yml", source.as_bytes())
            .spec
            .expect("a spec")
            .params()
            .to_vec()
    }

    #[test]
    fn what_is_given_is_checked() {
        let params = read(
            "params: {t: {options: [a, b]}, n: {type: number, default: 3}, d: {type: boolean}}\nsteps: [x]",
        );
        let given = |pairs: &[(&str, &str)]| {
            let given = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            values(&params, &given)
        };
        let usual = given(&[]).unwrap();
        assert_eq!(usual["t"], Value::Text("a".to_owned()));
        assert_eq!(usual["n"], Value::Number(3));
        assert_eq!(given(&[("d", "true")]).unwrap()["d"], Value::Bool(true));
        for bad in [("t", "c"), ("n", "x"), ("d", "yes"), ("z", "1")] {
            assert!(given(&[bad]).is_err(), "{bad:?}");
        }
        assert_eq!(
            given(&[("tt", "a")]).unwrap_err().to_string(),
            "there is no parameter tt; did you mean t?"
        );
    }

    #[test]
    fn what_is_no_parameter() {
        use crate::value::testing::codes;
        let codes = |text: &str| codes(&format!("params: {{p: {text}}}\nsteps: [x]"));
        assert_eq!(codes("{type: choice}"), ["E0222"]);
        assert_eq!(codes("{type: text, options: [a]}"), ["E0222"]);
        assert_eq!(codes("{type: number, default: x}"), ["E0215"]);
        assert_eq!(codes("{options: [a], default: b}"), ["E0215"]);
        assert_eq!(codes("{type: date}"), ["E0138"]);
        assert_eq!(codes("text"), ["E0132"]);
    }
}
