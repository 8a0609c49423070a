//! What is tried on a share of the callers, over HTTP.

use std::sync::Arc;

use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::deploys::{apart, outcome, query, share, success, traffic};
use super::{Admin, only};
use crate::body::{Arriving, Body};
use crate::deploy::{Canary, Serving};
use crate::error::Error;

impl Admin {
    pub(super) async fn canary(
        &self,
        request: &Request<Arriving>,
        path: &[&str],
        serving: &Serving,
        id: &Arc<str>,
    ) -> Result<Response<Body>, Error> {
        match *path {
            [] if request.method() == Method::POST => {
                let share = share(query(request, &["share"])?.get("share"))?;
                let share = share.ok_or(Error::BadRequest("Give the share of the callers: ?share=20%25"))?;
                let deployer = self.deployer.clone();
                let set = apart(async move { deployer.set_canary_share(share).await }).await?;
                let serving = self.deployer.current().load_full();
                let now = serving.canary().map_or_else(|| json!({ "share": share }), canary);
                Ok(outcome(set.map(|()| now), id))
            }
            [] => {
                only(request, &[Method::GET, Method::POST])?;
                Ok(success(&json!({ "data": serving.canary().map(canary) })))
            }
            ["promote"] => {
                let (deployer, (reason, set)) = (self.deployer.clone(), end(request)?);
                let reports = apart(async move { deployer.promote(&reason, set.as_deref()).await }).await?;
                Ok(outcome(reports.map(|reports| json!(reports)), id))
            }
            ["abort"] => {
                let (deployer, (reason, set)) = (self.deployer.clone(), end(request)?);
                let aborted = apart(async move { deployer.abort(&reason, set.as_deref()).await }).await?;
                Ok(outcome(aborted.map(|services| json!({ "services": services })), id))
            }
            _ => Err(Error::NotFound),
        }
    }
}

/// Why a canary is ended, and which set is meant.
fn end(request: &Request<Arriving>) -> Result<(String, Option<String>), Error> {
    only(request, &[Method::POST])?;
    let mut query = query(request, &["reason", "set"])?;
    Ok((query.remove("reason").unwrap_or_default(), query.remove("set")))
}

fn canary(canary: &Canary) -> Value {
    let services: Vec<Value> = canary.candidates().keys().filter_map(|name| candidate(canary, name)).collect();
    json!({ "share": canary.share(), "services": services })
}

/// What of a canary concerns one service, if it has a candidate of it.
pub(super) fn candidate(canary: &Canary, name: &str) -> Option<Value> {
    let served = &canary.candidates().get(name)?.served;
    Some(json!({
        "service": name,
        "revision": served.revision.digest(),
        "version": served.description.as_ref().map(|description| &description.version),
        "share": canary.share(),
        "traffic": traffic(served),
    }))
}
