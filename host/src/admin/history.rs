//! `GET /history`: the changes of all services, the newest first.

use hyper::{Method, Request, Response};
use serde_json::json;

use super::Admin;
use super::envelope::{allow, query, success};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};

/// The most lines of one answer.
const LINES: u32 = 200;

impl Admin {
    pub(super) fn history(&self, request: &Request<Arriving>) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::GET])?;
        let query = query(request, &["before", "limit"])?;
        let number = |name: &str| query.get(name).map(|text| text.parse::<u32>()).transpose();
        let before = number("before").map_err(|_| Error::BadRequest("before is the id of a line"))?;
        let limit = number("limit").ok().filter(|limit| limit.is_none_or(|limit| (1..=LINES).contains(&limit)));
        let limit = limit.ok_or(Error::BadRequest("limit is a number from 1 to 200"))?.unwrap_or(LINES);
        let lines = self.deployer.history_of_all(before.map(i64::from), limit)?;
        Ok(success(&json!({ "count": lines.len(), "data": lines })))
    }
}
