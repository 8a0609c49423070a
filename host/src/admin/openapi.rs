//! `GET /openapi.json`: the admin API, for programs that read such documents.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};

use super::envelope::allow;
use crate::body::{Arriving, Body, full};
use crate::error::AdminError;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn document(request: &Request<Arriving>) -> Result<Response<Body>, AdminError> {
    allow(request, &[Method::GET])?;
    let mut response = Response::new(full(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The rows of the table in the documentation of `admin`, as "GET /path".
    fn listed() -> BTreeSet<String> {
        let rows = include_str!("../admin.rs").lines().filter_map(|line| line.strip_prefix("//! | `"));
        let cells = rows.map(|row| row.split(" | ").next().unwrap());
        let mut operations = BTreeSet::new();
        for cell in cells {
            let mut method = "";
            for text in cell.split(['`', ',', ' ']).filter(|text| !text.is_empty()) {
                if text.starts_with('/') {
                    operations.insert(format!("{method} {text}"));
                } else {
                    method = text;
                }
            }
        }
        operations
    }

    #[test]
    fn the_document_has_the_same_operations_as_the_documentation_of_this_module() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let methods = ["get", "put", "post", "delete"];
        let paths = document["paths"].as_object().unwrap().iter();
        let operations = paths.flat_map(|(path, item)| {
            let methods = methods.iter().filter(|method| item.get(method).is_some());
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        assert_eq!(operations.collect::<BTreeSet<_>>(), listed());
    }

    #[test]
    fn each_path_that_needs_the_token_is_documented() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for first in super::super::PRIVATE {
            assert!(paths.keys().any(|path| path.split('/').nth(1) == Some(first)), "{first}");
        }
    }

    #[test]
    fn every_operation_has_a_name_a_summary_and_a_success() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut names = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name.to_owned()), "{name} is there twice");
                assert!(
                    operation["summary"].is_string() && operation["responses"]["200"].is_object(),
                    "{method} {name}"
                );
            }
        }
    }
}
