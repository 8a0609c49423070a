//! `POST /reload`: orders a reload of the manifest.

use hyper::{Method, Request, Response};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::Admin;
use super::envelope::{AuditedResult, allow, query, success};
use crate::body::{Arriving, Body};
use crate::deploy::{DeployError, ReloadError, Reloaded};
use crate::error::{AdminError, Error};

/// Orders reloads from the host, which performs them one after the other. Clones order from the same host.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<ReloadOrder>);

/// One order.
pub struct ReloadOrder {
    /// Check the manifest, and change nothing.
    pub only_check: bool,
    answer: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

impl Reloads {
    /// A channel from those who order to the host.
    pub fn new() -> (Self, mpsc::Receiver<ReloadOrder>) {
        let (orders, received) = mpsc::channel(1);
        (Self(orders), received)
    }

    /// Reloads the manifest, or only checks it.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(&self, only_check: bool) -> Result<Reloaded, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let stopping = || ReloadError::Deploy(DeployError::Stopping);
        self.0.send(ReloadOrder { only_check, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }
}

impl ReloadOrder {
    /// Sends the result to the caller of [`Reloads::reload`].
    pub fn answer(self, reloaded: Result<Reloaded, ReloadError>) {
        // The caller may be gone.
        let _ = self.answer.send(reloaded);
    }
}

impl Admin {
    pub(super) async fn reload(&self, request: &Request<Arriving>) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::POST])?;
        let only_check = match query(request, &["check"])?.get("check").map(String::as_str) {
            Some("true") => true,
            Some("false") | None => false,
            Some(_) => return Err(Error::BadRequest("check is true or false").into()),
        };
        let reloaded = self.reloads.reload(only_check).await?;
        let mut response = success(&json!({ "data": reloaded }));
        let revisions = reloaded.revisions.iter().map(|report| format!("{}@{}", report.service, report.to));
        response.extensions_mut().insert(AuditedResult(revisions.collect::<Vec<_>>().join(" ")));
        Ok(response)
    }
}
