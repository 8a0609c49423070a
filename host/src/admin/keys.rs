//! `/keys`: the keys of access tokens.

use hyper::header::IF_MATCH;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::Admin;
use super::envelope::{AuditedResult, allow, query, success};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};

impl Admin {
    pub(super) async fn keys(
        &self,
        request: &Request<Arriving>,
        path: &[&str],
        id: &str,
    ) -> Result<Response<Body>, AdminError> {
        query(request, &[])?;
        let changed = match *path {
            [] => {
                allow(request, &[Method::GET])?;
                Ok(())
            }
            ["rotate"] => {
                allow(request, &[Method::POST])?;
                self.platform.tokens.rotate_keys().await
            }
            [key] => {
                allow(request, &[Method::DELETE])?;
                // A key has no entity tag, so a condition can only be `*`.
                if request.headers().get(IF_MATCH).is_some_and(|tags| tags.as_bytes().trim_ascii() != b"*") {
                    return Err(AdminError::KeyHasNoTag);
                }
                self.platform.tokens.disable_key(key).await
            }
            _ => return Err(Error::NotFound.into()),
        };
        changed.map_err(|error| log(error.into(), id))?;
        Ok(self.list_keys())
    }

    fn list_keys(&self) -> Response<Body> {
        let keys = self.platform.tokens.keys();
        let mut response = success(&json!({ "count": keys.len(), "data": keys }));
        if let Some(signer) = keys.into_iter().next() {
            response.extensions_mut().insert(AuditedResult(signer.id));
        }
        response
    }
}

/// Logs a change of keys that failed half-way: the operator has to finish it.
fn log(error: AdminError, request_id: &str) -> AdminError {
    let row = error.row();
    if row.status == StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(request_id, error = row.message, "the change of the token keys is not complete");
    }
    error
}
