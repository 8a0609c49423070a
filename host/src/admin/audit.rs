//! `/audit`: the newest events of the audit log, and the check of its hash chain.

use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::Admin;
use super::envelope::{allow, query, success};
use crate::audit::{Verified, latest, verify};
use crate::body::{Arriving, Body};
use crate::error::{AdminError, Error};

/// The most events of one answer.
const EVENTS: usize = 200;

impl Admin {
    pub(super) async fn audit(&self, request: &Request<Arriving>, path: &[&str]) -> Result<Response<Body>, AdminError> {
        let folder = self.platform.folder.clone();
        match *path {
            [] => {
                allow(request, &[Method::GET])?;
                query(request, &[])?;
                self.platform.audit.flush().await;
                let lines = tokio::task::spawn_blocking(move || latest(&folder, EVENTS)).await;
                let lines = lines.ok().and_then(Result::ok).ok_or(Error::Internal)?;
                let events: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
                Ok(success(&json!({ "count": events.len(), "data": events })))
            }
            ["verify"] => {
                allow(request, &[Method::POST])?;
                let anchor = query(request, &["anchor"])?.remove("anchor").filter(|anchor| !anchor.is_empty());
                self.platform.audit.flush().await;
                let verified = tokio::task::spawn_blocking(move || verify(&folder, anchor.as_deref())).await;
                let verified = verified.map_err(|_| Error::Internal)?;
                let Verified { lines, last_hash } =
                    verified.map_err(|error| AdminError::AuditBroken(format!("{error:#}")))?;
                Ok(success(&json!({ "data": { "lines": lines, "last_hash": last_hash } })))
            }
            _ => Err(Error::NotFound.into()),
        }
    }
}
