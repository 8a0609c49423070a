//! `GET /requests`: the latest requests and calls.

use hyper::{Method, Request, Response};
use serde_json::json;

use super::Admin;
use super::envelope::{allow, query, success};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};
use crate::telemetry::Wanted;

/// The most requests of one answer.
const REQUESTS: usize = 500;

impl Admin {
    pub(super) fn requests(&self, request: &Request<Arriving>) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::GET])?;
        let mut query = query(request, &["service", "status", "revision", "id", "user", "calls", "limit"])?;
        let limit = query.remove("limit").map_or(Ok(REQUESTS), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=REQUESTS).contains(limit));
        let limit = limit.ok_or(Error::BadRequest("limit is a number from 1 to 500"))?;
        let with_calls = match query.remove("calls").as_deref() {
            Some("true") | None => true,
            Some("false") => false,
            Some(_) => return Err(Error::BadRequest("calls is true or false").into()),
        };
        let mut member = |name: &str| query.remove(name).filter(|text| !text.is_empty());
        let wanted = Wanted {
            service: member("service"),
            status: member("status"),
            revision: member("revision"),
            id: member("id"),
            user: member("user"),
            with_calls,
        };
        let found = self.metrics.recent.look(&wanted, limit);
        Ok(success(&json!({ "count": found.len(), "data": found })))
    }
}
