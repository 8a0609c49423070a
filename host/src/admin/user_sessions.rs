//! `/sessions`: the sessions of the services' users. Those of the console are in `sessions`.

use hyper::{Method, Request, Response};
use serde_json::json;

use super::Admin;
use super::envelope::{AuditedResult, allow, query, success};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};

/// The most sessions of one answer.
const SESSIONS: usize = 500;

impl Admin {
    pub(super) async fn user_sessions(
        &self,
        request: &Request<Arriving>,
        path: &[&str],
    ) -> Result<Response<Body>, AdminError> {
        match *path {
            [] => {
                allow(request, &[Method::GET])?;
                let user = query(request, &["user"])?.remove("user").filter(|user| !user.is_empty());
                let found = self.platform.tokens.active_sessions(user.as_deref(), SESSIONS);
                Ok(success(&json!({ "count": found.len(), "data": found })))
            }
            [session] => {
                allow(request, &[Method::DELETE])?;
                query(request, &[])?;
                self.platform.tokens.revoke(session).await.map_err(AdminError::Session)?;
                let mut response = success(&json!({ "data": null }));
                response.extensions_mut().insert(AuditedResult(session.to_owned()));
                Ok(response)
            }
            _ => Err(Error::NotFound.into()),
        }
    }
}
