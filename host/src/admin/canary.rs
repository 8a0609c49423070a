//! `/canary`: shows the canary, changes its share, promotes or aborts it.

use hyper::{Method, Request, Response};
use serde_json::json;

use super::Admin;
use super::describe::canary;
use super::envelope::{allow, in_task, query, report, share, success};
use crate::body::{Arriving, Body};
use crate::deploy::Serving;
use crate::error::{AdminError, Error};

impl Admin {
    pub(super) async fn canary(
        &self,
        request: &Request<Arriving>,
        path: &[&str],
        serving: &Serving,
    ) -> Result<Response<Body>, AdminError> {
        let deployer = self.deployer.clone();
        match *path {
            [] if request.method() == Method::POST => {
                let share = share(query(request, &["share"])?.get("share"))?;
                let share = share.ok_or(Error::BadRequest("Give the share of the callers: ?share=20%25"))?;
                in_task(async move { deployer.set_canary_share(share).await }).await?;
                let serving = self.deployer.current().load_full();
                Ok(report(&serving.canary().map_or_else(|| json!({ "share": share }), canary)))
            }
            [] => {
                allow(request, &[Method::GET, Method::POST])?;
                Ok(success(&json!({ "data": serving.canary().map(canary) })))
            }
            ["promote"] => {
                let (reason, set) = end(request)?;
                let reports = in_task(async move { deployer.promote(&reason, set.as_deref()).await }).await?;
                Ok(report(&json!(reports)))
            }
            ["abort"] => {
                let (reason, set) = end(request)?;
                let services = in_task(async move { deployer.abort(&reason, set.as_deref()).await }).await?;
                Ok(report(&json!({ "services": services })))
            }
            _ => Err(Error::NotFound.into()),
        }
    }
}

/// The operator's reason to end the canary, and the name of the set that must be running.
fn end(request: &Request<Arriving>) -> Result<(String, Option<String>), Error> {
    allow(request, &[Method::POST])?;
    let mut query = query(request, &["reason", "set"])?;
    Ok((query.remove("reason").unwrap_or_default(), query.remove("set")))
}
