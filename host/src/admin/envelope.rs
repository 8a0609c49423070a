//! What the paths of the admin listener share: reading queries, running orders, and building responses.

use std::collections::BTreeMap;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::body::{Arriving, Body, full};
use crate::deploy::{DeployError, Share, ShareError};
use crate::error::{AdminError, Error};

/// The result of an order for the audit log: the digests of revisions with their signers, or the id of a key.
///
/// Travels with the response, in its extensions.
#[derive(Debug, Clone)]
pub(super) struct AuditedResult(pub(super) String);

/// Refuses a method that a path does not have. `GET` includes `HEAD`.
pub(super) fn allow(request: &Request<Arriving>, methods: &[Method]) -> Result<(), Error> {
    let wanted = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    if methods.contains(wanted) {
        return Ok(());
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    Err(Error::MethodNotAllowed { allow: names.join(", ").replace("GET", "GET, HEAD") })
}

/// The parameters of a query. Refuses unknown ones, so that a misspelt `force` is not silently ignored.
pub(super) fn query(request: &Request<Arriving>, known: &[&str]) -> Result<BTreeMap<String, String>, Error> {
    let pairs = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned();
    let query: BTreeMap<String, String> = pairs.collect();
    if query.keys().all(|name| known.contains(&name.as_str())) {
        return Ok(query);
    }
    Err(Error::BadRequest("The query has a parameter that this path does not know"))
}

/// The parameter `share` or `canary`, if there is one.
pub(super) fn share(text: Option<&String>) -> Result<Option<Share>, Error> {
    let share = text.map(|text| text.parse()).transpose();
    share.map_err(|_: ShareError| {
        Error::BadRequest("A share of the callers is written like 5% or 0.25%, as 5%25 in a URL")
    })
}

/// Runs an order in a task. If it panics, the operator and the audit log still get an answer.
pub(super) async fn in_task<T: Send + 'static>(
    order: impl Future<Output = Result<T, DeployError>> + Send + 'static,
) -> Result<T, AdminError> {
    let ended = tokio::spawn(order).await.map_err(|_| Error::Internal)?;
    Ok(ended?)
}

/// The response 200 with `success` and these members.
pub(super) fn success(members: &Value) -> Response<Body> {
    let mut envelope = json!({ "success": true });
    if let (Some(envelope), Some(members)) = (envelope.as_object_mut(), members.as_object()) {
        envelope.extend(members.clone());
    }
    json_response(StatusCode::OK, &envelope)
}

/// The response to an order: its report, or several, as `data`.
pub(super) fn report(data: &Value) -> Response<Body> {
    let mut response = success(&json!({ "data": data }));
    response.extensions_mut().insert(revisions(data));
    response
}

/// The revisions that reports name as new, with the keys that signed them.
fn revisions(data: &Value) -> AuditedResult {
    let reports = data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
    let revision = |report: &Value| {
        let signer = report["signer"].as_str().map_or_else(String::new, |key| format!(" signed by {key}"));
        report["to"].as_str().map(|digest| format!("{digest}{signer}"))
    };
    AuditedResult(reports.iter().filter_map(revision).collect::<Vec<_>>().join(" "))
}

/// A response with this JSON as it is.
pub(super) fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
