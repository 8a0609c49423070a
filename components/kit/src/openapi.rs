//! The OpenAPI description of a service, from its route table and its types. Only native tests make it.
//!
//! The component embeds the document as a text, because an instance that made it would cost more memory. The test that
//! [`service!`](macro@crate::service) adds fails if the text is stale. With the environment variable `UPDATE_OPENAPI`, it writes the file
//! instead. `wit/service.wit` describes the format.

mod operation;
mod schema;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::Service;
use crate::service::{Access, Route, method_token};

pub use operation::{Documented, Operation};
use schema::Schemas;

/// Error codes with their meaning, by status.
type Codes = BTreeMap<u16, BTreeMap<&'static str, String>>;

/// Fails if `embedded` is not the document of a service. With `UPDATE_OPENAPI`, writes it to `file`.
///
/// # Panics
///
/// If the document is stale, or if the file cannot be written.
pub fn check(service: &Service, embedded: &str, file: &str) {
    let current = document(service);
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, current).expect("the file can be written");
    } else {
        assert!(embedded == current, "{file} does not match the route table: run this test with UPDATE_OPENAPI=1");
    }
}

/// The document of a service, with a line for each operation and each schema.
pub fn document(service: &Service) -> String {
    let mut schemas = Schemas::default();
    let mut operations = Map::new();
    for route in service.routes.iter().filter(|route| route.access() != Access::Internal) {
        let Some(documented) = route.documentation() else { continue };
        let operation = documented.describe(schemas, route.headers());
        let (object, returned) = operation.finish(documented);
        schemas = returned;
        operations.insert(name(route), object);
    }
    let errors = if service.database.is_some() { storage_errors() } else { Codes::new() };
    let lines = |members: &Map<String, Value>| {
        let lines: Vec<String> = members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        lines.join(",\n")
    };
    format!(
        "{{\"operations\":{{\n{}\n}},\n\"errors\":{},\n\"schemas\":{{\n{}\n}}}}\n",
        lines(&operations),
        json!(errors),
        lines(&schemas.into_definitions())
    )
}

fn name(route: &Route) -> String {
    format!("{} {}", method_token(route.method()), route.path)
}

/// The errors of every service with a database, see [`Failure`](crate::Failure).
fn storage_errors() -> Codes {
    let codes = [
        ("STORAGE_BUSY", "Too many writes are waiting."),
        ("STORAGE_TIMED_OUT", "The database took too long."),
        ("STORAGE_UNAVAILABLE", "The database is not available now."),
    ];
    Codes::from([(503, codes.map(|(code, why)| (code, why.to_owned())).into())])
}
