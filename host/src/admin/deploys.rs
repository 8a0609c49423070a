//! `/services`: what is deployed, deploys, rollbacks and the history.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::Admin;
use super::envelope::{allow, in_task, query, report, share, success};
use crate::body::{self, Arriving, Body, BodyRefusal};
use crate::deploy::{DeployError, Order, Serving, Share};
use crate::error::{AdminError, Error};
use crate::gateway::refuse_codings;

/// How long the upload of a component may take.
const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// The signature of the component in the body, as `comptoir sign` prints it.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-comptoir-signature");

/// The longest name of a set, in bytes.
const SET_BYTES: usize = 64;

/// The most lines of a history.
const HISTORY_LINES: u32 = 100;

impl Admin {
    pub(super) async fn services(
        &self,
        request: Request<Arriving>,
        path: &[&str],
        serving: &Serving,
    ) -> Result<Response<Body>, AdminError> {
        match *path {
            [] => {
                allow(&request, &[Method::GET])?;
                let services = serving.stable().services().iter();
                let services = services.map(|(name, served)| self.service(name, served, serving));
                let vacant = serving.stable().vacant().keys().map(|name| self.vacant(name, serving));
                let services: Vec<Value> = services.chain(vacant).collect();
                Ok(success(&json!({ "count": services.len(), "data": services })))
            }
            [name] if request.method() == Method::PUT => self.deploy(request, name).await,
            [name] => {
                allow(&request, &[Method::GET, Method::PUT])?;
                self.one_service(name, serving)
            }
            [name, "rollback"] => {
                allow(&request, &[Method::POST])?;
                let mut query = query(&request, &["to", "reason"])?;
                let reason = query.remove("reason").unwrap_or_default();
                let (deployer, name, to) = (self.deployer.clone(), (*name).to_owned(), query.remove("to"));
                let done = in_task(async move { deployer.rollback(&name, to.as_deref(), &reason).await }).await?;
                Ok(report(&json!(done)))
            }
            [name, "history"] => {
                allow(&request, &[Method::GET])?;
                Ok(report(&json!(self.deployer.history(name, HISTORY_LINES)?)))
            }
            _ => Err(Error::NotFound.into()),
        }
    }

    fn one_service(&self, name: &str, serving: &Serving) -> Result<Response<Body>, AdminError> {
        if serving.stable().vacant().contains_key(name) {
            return Ok(success(&json!({ "data": self.vacant(name, serving) })));
        }
        let served = serving.stable().services().get(name);
        let served = served.ok_or_else(|| DeployError::UnknownService(name.to_owned()))?;
        let mut response = success(&json!({ "data": self.service(name, served, serving) }));
        if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", served.revision.digest())) {
            response.headers_mut().insert(ETAG, tag);
        }
        Ok(response)
    }

    /// Deploys the component in the body. Checks all of the request's head before it reads the body.
    async fn deploy(&self, request: Request<Arriving>, name: &str) -> Result<Response<Body>, AdminError> {
        let mut query = query(&request, &["digest", "force", "reason", "canary", "set"])?;
        let (force, canary) = (forces(&query)?, share(query.get("canary"))?);
        check_set(&query, canary)?;
        refuse_codings(request.headers())?;
        let replaces = self.replaces(name, request.headers());
        let signature =
            request.headers().get(SIGNATURE).map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        let limit = usize::try_from(self.deployer.component_limit_bytes()).unwrap_or(usize::MAX);
        let reason = query.remove("reason").unwrap_or_default();
        let body = match body::read(request.into_body(), limit, UPLOAD_TIME).await {
            // The history records this refusal like any other of a component.
            Err(BodyRefusal::TooLarge(_)) => return Ok(report(&json!(self.deployer.refuse_unread(name, &reason)?))),
            body => body?,
        };
        let order = Order {
            service: name.to_owned(),
            bytes: body.bytes().to_vec(),
            digest: query.remove("digest"),
            signature,
            replaces,
            force,
            canary,
            set: query.remove("set"),
            reason,
        };
        let deployer = self.deployer.clone();
        let deploy = async move {
            let (name, deployed) = (order.service.clone(), deployer.deploy(order).await);
            deployed.inspect_err(|error| {
                tracing::warn!(service = name, %error, "{name}: the deploy was refused, the active revision keeps serving");
            })
        };
        Ok(report(&json!(in_task(deploy).await?)))
    }

    /// The digest of the revision that a deploy may replace, from `If-Match`. None if it may replace any.
    ///
    /// `If-Match` may list several digests. If one of them is active now, that one counts. The deployer compares again before it
    /// switches, so it never replaces a revision that another deploy has just activated.
    fn replaces(&self, name: &str, headers: &HeaderMap) -> Option<String> {
        let wanted = headers.get(IF_MATCH).map(HeaderValue::as_bytes).filter(|tags| tags.trim_ascii() != b"*")?;
        let serving = self.deployer.current().load();
        let active = serving.stable().services().get(name).map(|served| served.revision.digest().to_owned());
        let named = strong_tags(wanted);
        // A list without a strong tag matches no revision.
        let other = || named.first().map_or("none", String::as_str).to_owned();
        Some(active.filter(|active| named.contains(active)).unwrap_or_else(other))
    }
}

/// The strong tags of a list, without their quotes. A digest contains no comma, so splitting at commas is safe.
fn strong_tags(list: &[u8]) -> Vec<String> {
    let list = String::from_utf8_lossy(list);
    let tags = list.split(',').map(|tag| tag.trim().trim_matches('"'));
    // `If-Match` compares strongly, so a weak tag matches nothing (RFC 9110, section 13.1.1).
    tags.filter(|tag| !tag.is_empty() && !tag.starts_with("W/")).map(str::to_owned).collect()
}

/// Checks the name of a set. Members of a set are staged for no caller, as a canary of 0%, until the set is complete.
fn check_set(query: &BTreeMap<String, String>, canary: Option<Share>) -> Result<(), Error> {
    let Some(name) = query.get("set") else { return Ok(()) };
    if name.is_empty() || name.len() > SET_BYTES || canary != Some(Share::NOBODY) {
        return Err(Error::BadRequest(
            "A set has a name of 1 to 64 bytes, and its members are staged with canary=0%25",
        ));
    }
    Ok(())
}

/// Whether to deploy even if the host has already reverted this component.
fn forces(query: &BTreeMap<String, String>) -> Result<bool, Error> {
    match query.get("force").map(String::as_str) {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(Error::BadRequest("force is true or false")),
    }
}
