//! `/tokens`: access tokens for development, so that a developer needs no service with logins.

use std::sync::Arc;

use hyper::{Method, Request, Response};
use serde_json::json;

use super::envelope::{AuditedResult, allow, query, success};
use super::{Admin, OPERATOR};
use crate::audit::{Event, Note, Source};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};
use crate::tokens::IssueError;

/// The role of a token, if the query names none.
const DEFAULT_ROLE: &str = "user";

/// The prefix of the sessions of these tokens, by which the audit log shows them.
const SESSION: &str = "operator-";

impl Admin {
    /// Issues a token for any username, if the manifest allows it. It is as good as one that a service issued.
    pub(super) fn token(&self, request: &Request<Arriving>, id: &Arc<str>) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::POST])?;
        let query = query(request, &["user", "role"])?;
        if !self.deployer.manifest().development.tokens {
            return Err(AdminError::NoTokens);
        }
        let user = query.get("user").ok_or(Error::BadRequest("The query needs a username: user=ada"))?;
        let role = query.get("role").map_or(DEFAULT_ROLE, String::as_str);
        let session = getrandom::u64().map_err(|error| IssueError::Unavailable(error.to_string()))?;
        let session = format!("{SESSION}{session:016x}");
        let issued = self.platform.tokens.issue(user, role, &session)?;
        let source = Source { request_id: Some(id.clone()), client: None };
        let note = Note::new(Event::TokenCreated, OPERATOR, &source);
        self.platform.audit.tell(&Note { subject: Some(user), session: Some(&session), ..note });
        let data =
            json!({ "token": issued.token, "expires_in_seconds": issued.expires_in_seconds, "session": session });
        let mut response = success(&json!({ "data": data }));
        response.extensions_mut().insert(AuditedResult(session));
        Ok(response)
    }
}
