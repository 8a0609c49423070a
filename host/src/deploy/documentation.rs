//! A component's part of the OpenAPI 3.1 document that the gateway serves: operations, errors and JSON schemas.
//!
//! `wit/service.wit` defines the format. Every operation must be one of the component's routes, and every reference one of its schemas.
//! The host drops all members that `members` does not list, so that the document cannot lead clients to another server. Schema names get
//! the service's name as a prefix, as in `orders.Order`, so that two services may each have an `Order`.

mod members;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::revision::Description;
use crate::route::{Access, Route, normal_pattern};

/// The largest documentation of one component, in bytes.
const LIMIT_BYTES: usize = 256 << 10;

/// The largest size of all operations' errors, in bytes. Common errors count once for each operation.
const ERRORS_BYTES: usize = 1 << 20;

/// The prefix of references to schemas, in a component's documentation and in the whole document.
const SCHEMAS: &str = "#/components/schemas/";

/// The error codes of an operation and what each means, by status.
pub type Codes = BTreeMap<u16, BTreeMap<String, String>>;

/// The documentation of a component's routes. Empty if the component has none.
#[derive(Debug, Default)]
pub struct Documentation {
    operations: BTreeMap<String, Operation>,
    schemas: Map<String, Value>,
}

/// The documentation of one route.
#[derive(Debug, Default, Clone)]
pub struct Operation {
    /// An Operation Object of OpenAPI.
    pub object: Map<String, Value>,
    /// Its error codes.
    pub errors: Codes,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    operations: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    schemas: BTreeMap<String, Value>,
    /// Errors that all operations have in common.
    #[serde(default)]
    errors: Codes,
}

impl Documentation {
    /// Reads a component's documentation, if it has one.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence that begins with "its documentation".
    pub(super) fn read(service: &str, description: &Description) -> Result<Self, String> {
        let Some(text) = &description.documentation else { return Ok(Self::default()) };
        if text.len() > LIMIT_BYTES {
            return Err(format!("has {} bytes, more than the limit of {LIMIT_BYTES}", text.len()));
        }
        let written: Written = serde_json::from_str(text)
            .map_err(|error| format!("is not {{\"operations\": {{…}}, \"schemas\": {{…}}}} in JSON: {error}"))?;
        let names: HashSet<String> = written.schemas.keys().cloned().collect();
        let routes = operations(description);
        if bytes_of(&written.errors).saturating_mul(written.operations.len()) > ERRORS_BYTES {
            return Err(format!(
                "has common `errors` that take more than {ERRORS_BYTES} bytes for all {} operations together: move them to the \
                 operations that use them",
                written.operations.len()
            ));
        }
        let adopt = |value: &mut Value| adopt(value, service, &names);
        let mut documentation = Self::default();
        for (name, object) in written.operations {
            let name = normal(name);
            if !routes.contains(&name) {
                return Err(format!("has the operation `{name}`, which is not a route that clients may call"));
            }
            let operation = Operation::read(object, &written.errors, adopt);
            let operation = operation.map_err(|why| format!("of `{name}` {why}"))?;
            documentation.operations.insert(name, operation);
        }
        for (name, mut schema) in written.schemas {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(format!("names a schema `{name}`: use letters, digits and _"));
            }
            adopt(&mut schema).map_err(|why| format!("of the schema `{name}` {why}"))?;
            members::SCHEMA.keep_in(&mut schema);
            documentation.schemas.insert(format!("{service}.{name}"), schema);
        }
        Ok(documentation)
    }

    /// Whether it describes no route.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The documentation of a route, named like `POST /orders`.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    /// The schemas, under the names that the operations use.
    pub fn schemas(&self) -> &Map<String, Value> {
        &self.schemas
    }
}

impl Operation {
    fn read(
        mut object: Map<String, Value>,
        common: &Codes,
        adopt: impl Fn(&mut Value) -> Result<(), String>,
    ) -> Result<Self, String> {
        let own = object.remove("errors").unwrap_or_else(|| Map::new().into());
        let own: Codes = serde_json::from_value(own)
            .map_err(|error| format!("has `errors` that are not {{\"400\": {{\"CODE\": \"why\"}}}}: {error}"))?;
        let mut errors = common.clone();
        for (status, codes) in own {
            errors.entry(status).or_default().extend(codes);
        }
        if let Some(status) = errors.keys().find(|status| !(400..600).contains(*status)) {
            return Err(format!("has `errors` with the status {status}: use 400 to 599"));
        }
        let fits = |name: &str, is: fn(&Value) -> bool| object.get(name).is_none_or(is);
        if !fits("responses", Value::is_object) || !fits("parameters", Value::is_array) {
            return Err("has `responses` that are not an object, or `parameters` that are not a list".to_owned());
        }
        object.values_mut().try_for_each(adopt)?;
        members::OPERATION.keep(&mut object);
        Ok(Self { object, errors })
    }
}

/// An operation's name, with its path in the form that routes have.
fn normal(name: String) -> String {
    match name.split_once(' ') {
        Some((method, path)) => format!("{method} {}", normal_pattern(path)),
        None => name,
    }
}

/// The names of the routes that clients may call, like `POST /orders`.
fn operations(description: &Description) -> HashSet<String> {
    let routes = description.routes.iter().filter(|route| route.access != Access::Internal);
    let method = |route: &Route| route.method.as_ref().map_or("*", hyper::Method::as_str).to_owned();
    routes.map(|route| format!("{} {}", method(route), route.pattern)).collect()
}

fn bytes_of(codes: &Codes) -> usize {
    codes.values().flatten().map(|(code, why)| code.len() + why.len()).sum()
}

/// Puts the service's name before every schema reference. The recursion is bounded, because serde_json refuses a depth above 128.
fn adopt(value: &mut Value, service: &str, names: &HashSet<String>) -> Result<(), String> {
    match value {
        Value::Array(values) => values.iter_mut().try_for_each(|value| adopt(value, service, names)),
        Value::Object(members) => members.iter_mut().try_for_each(|(name, member)| match member {
            Value::String(target) if name == "$ref" => {
                let schema = target.strip_prefix(SCHEMAS).filter(|schema| names.contains(*schema));
                let schema = schema.ok_or_else(|| {
                    format!("refers to `{target}`, which is not one of its schemas: write `{SCHEMAS}` and a name")
                })?;
                *target = format!("{SCHEMAS}{service}.{schema}");
                Ok(())
            }
            member => adopt(member, service, names),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(errors_bytes: usize, operations: usize) -> Result<Documentation, String> {
        let route = |number: usize| Route {
            service: "orders".into(),
            method: Some(hyper::Method::GET),
            pattern: format!("/orders/{number}").into(),
            strip: None,
            access: Access::User,
            headers: None,
            passes_credentials: false,
        };
        let named = |number: usize| (format!("GET /orders/{number}"), Value::Object(Map::new()));
        let written = serde_json::json!({
            "operations": (0..operations).map(named).collect::<Map<_, _>>(),
            "errors": { "400": { "WRONG": "x".repeat(errors_bytes) } },
        });
        let description = Description {
            name: "orders".to_owned(),
            version: "1".to_owned(),
            health: None,
            routes: (0..operations).map(route).collect(),
            migrations: Vec::new(),
            schema: (0, 0),
            probes: Vec::new(),
            documentation: Some(written.to_string()),
        };
        Documentation::read("orders", &description)
    }

    #[test]
    fn common_errors_are_bounded_over_all_operations() {
        let documentation = read(1_000, 1_000).unwrap();
        assert_eq!(documentation.operation("GET /orders/999").unwrap().errors[&400]["WRONG"].len(), 1_000);
        let refused = read(100_000, 1_000).unwrap_err();
        assert!(refused.contains("take more than 1048576 bytes"), "{refused}");
    }
}
