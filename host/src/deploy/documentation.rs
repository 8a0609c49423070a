//! What a component documents of its routes, for the document that the gateway serves: OpenAPI 3.1 and JSON Schema.
//!
//! `wit/service.wit` says how a component writes it. The operations are held to the routes and the references to the schemas, so
//! that what is served has neither an operation nor a reference that leads nowhere. Members that are not listed in `members` are
//! left out, so that nothing leads to another server. Schemas get their service's name in
//! front, `orders.Order`, so that two services may each have an `Order`.

mod members;

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};

use crate::revision::Description;
use crate::route::{Access, Route, normal_pattern};

/// Bytes of the text.
const LIMIT_BYTES: usize = 256 << 10;

/// Bytes of the errors of all operations. Those that are common to all count once for each.
const ERRORS_BYTES: usize = 1 << 20;

/// How a component refers to its schemas, and so does the whole document.
const SCHEMAS: &str = "#/components/schemas/";

/// The codes that an operation answers in the envelope of errors, each with its reason, by status.
pub type Codes = BTreeMap<u16, BTreeMap<String, String>>;

/// What a component says of its routes. Empty for one that says nothing.
#[derive(Debug, Default)]
pub struct Documentation {
    operations: BTreeMap<String, Operation>,
    schemas: Map<String, Value>,
}

/// What a component says of one route.
#[derive(Debug, Default, Clone)]
pub struct Operation {
    /// An Operation Object of OpenAPI.
    pub object: Map<String, Value>,
    /// How it refuses.
    pub errors: Codes,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    operations: BTreeMap<String, Map<String, Value>>,
    #[serde(default)]
    schemas: BTreeMap<String, Value>,
    /// Of every operation.
    #[serde(default)]
    errors: Codes,
}

impl Documentation {
    /// Reads what a component says, if it says anything.
    ///
    /// # Errors
    /// What is wrong with it, to be read after "its documentation".
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
                "has `errors` for each of its {} operations that come to more than {ERRORS_BYTES} bytes: write them where they \
                 belong",
                written.operations.len()
            ));
        }
        let adopt = |value: &mut Value| adopt(value, service, &names);
        let mut documentation = Self::default();
        for (name, object) in written.operations {
            let name = normal(name);
            if !routes.contains(&name) {
                return Err(format!("has the operation `{name}`, which is none of the routes that clients may call"));
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

    /// What is said of a route, named like `POST /orders`.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    /// The schemas, under the names that the operations refer to.
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
            return Err(format!("has `errors` of the status {status}: errors have 400 to 599"));
        }
        let fits = |name: &str, is: fn(&Value) -> bool| object.get(name).is_none_or(is);
        if !fits("responses", Value::is_object) || !fits("parameters", Value::is_array) {
            return Err("has `responses` that are no object, or `parameters` that are no list".to_owned());
        }
        object.values_mut().try_for_each(adopt)?;
        members::OPERATION.keep(&mut object);
        Ok(Self { object, errors })
    }
}

/// The names of the routes that clients may call, like `POST /orders`.
/// An operation's name with the path as its route has it.
fn normal(name: String) -> String {
    match name.split_once(' ') {
        Some((method, path)) => format!("{method} {}", normal_pattern(path)),
        None => name,
    }
}

fn operations(description: &Description) -> HashSet<String> {
    let routes = description.routes.iter().filter(|route| route.access != Access::Internal);
    let method = |route: &Route| route.method.as_ref().map_or("*", hyper::Method::as_str).to_owned();
    routes.map(|route| format!("{} {}", method(route), route.pattern)).collect()
}

fn bytes_of(codes: &Codes) -> usize {
    codes.values().flatten().map(|(code, why)| code.len() + why.len()).sum()
}

/// Puts the service's name before every schema that is referred to. JSON nests at most 128 deep, and so does this.
fn adopt(value: &mut Value, service: &str, names: &HashSet<String>) -> Result<(), String> {
    match value {
        Value::Array(values) => values.iter_mut().try_for_each(|value| adopt(value, service, names)),
        Value::Object(members) => members.iter_mut().try_for_each(|(name, member)| match member {
            Value::String(target) if name == "$ref" => {
                let schema = target.strip_prefix(SCHEMAS).filter(|schema| names.contains(*schema));
                let schema = schema.ok_or_else(|| {
                    format!("refers to `{target}`, which is none of its schemas: write `{SCHEMAS}` and a name")
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
            access: Access::User,
            headers: None,
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
    fn errors_that_are_common_to_many_operations_are_bounded_in_their_sum() {
        let documentation = read(1_000, 1_000).unwrap();
        assert_eq!(documentation.operation("GET /orders/999").unwrap().errors[&400]["WRONG"].len(), 1_000);
        let refused = read(100_000, 1_000).unwrap_err();
        assert!(refused.contains("come to more than 1048576 bytes"), "{refused}");
    }
}
