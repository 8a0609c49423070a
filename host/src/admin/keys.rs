//! The keys of access tokens, over HTTP.

use hyper::header::IF_MATCH;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use super::deploys::{query, success};
use super::{Admin, InCharge, json_answer, only};
use crate::body::{Arriving, Body};
use crate::error::Error;
use crate::tokens::KeyChangeError;

impl Admin {
    pub(super) async fn keys(
        &self,
        request: &Request<Arriving>,
        path: &[&str],
        id: &str,
    ) -> Result<Response<Body>, Error> {
        query(request, &[])?;
        let changed = match *path {
            [] => {
                only(request, &[Method::GET])?;
                return Ok(self.list_keys());
            }
            ["rotate"] => {
                only(request, &[Method::POST])?;
                self.platform.tokens.rotate_keys().await
            }
            [key] => {
                only(request, &[Method::DELETE])?;
                // A key has no entity tag, so only `*` names one.
                if request.headers().get(IF_MATCH).is_some_and(|tags| tags.as_bytes().trim_ascii() != b"*") {
                    return Ok(refuse(
                        StatusCode::PRECONDITION_FAILED,
                        "PRECONDITION_FAILED",
                        "A key has no entity tag",
                        id,
                    ));
                }
                self.platform.tokens.disable_key(key).await
            }
            _ => return Err(Error::NotFound),
        };
        Ok(match changed {
            Ok(()) => self.list_keys(),
            Err(error) => refusal(&error, id),
        })
    }

    fn list_keys(&self) -> Response<Body> {
        let keys = self.platform.tokens.keys();
        let mut answer = success(&json!({ "count": keys.len(), "data": keys }));
        if let Some(signer) = keys.into_iter().next() {
            answer.extensions_mut().insert(InCharge(signer.id));
        }
        answer
    }
}

fn refusal(error: &KeyChangeError, id: &str) -> Response<Body> {
    let (status, code) = match error {
        KeyChangeError::Unknown(_) => (StatusCode::NOT_FOUND, "UNKNOWN_KEY"),
        KeyChangeError::TooMany { .. } => (StatusCode::CONFLICT, "TOO_MANY_KEYS"),
        KeyChangeError::NotMade(_)
        | KeyChangeError::NotKept(_)
        | KeyChangeError::NotShared(_)
        | KeyChangeError::NotRemoved { .. }
        | KeyChangeError::NotSynced { .. } => {
            tracing::error!(request_id = id, %error, "the keys are not as the operator wants them");
            (StatusCode::SERVICE_UNAVAILABLE, "KEYS_UNAVAILABLE")
        }
    };
    refuse(status, code, &error.to_string(), id)
}

fn refuse(status: StatusCode, code: &str, message: &str, id: &str) -> Response<Body> {
    let error = json!({ "code": code, "message": message, "request_id": id });
    json_answer(status, &json!({ "success": false, "error": error }))
}
