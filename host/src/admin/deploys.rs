//! What is deployed, and deploys, over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{Admin, InCharge, json_answer, only};
use crate::body::{self, Arriving, Body, BodyRefusal};
use crate::deploy::{DeployError, Order, Served, Serving, Share, ShareError, Step};
use crate::error::Error;
use crate::gateway::refuse_codings;
use crate::revision::RouteTraffic;

/// What sending a component may take.
const UPLOAD_TIME: Duration = Duration::from_secs(60);

/// The signature of the component in the body: a line as `comptoir sign` writes it.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-comptoir-signature");

/// Bytes of the name of a set.
const SET_BYTES: usize = 64;

/// Lines of a history.
const HISTORY_LINES: u32 = 100;

impl Admin {
    pub(super) async fn services(
        &self,
        request: Request<Arriving>,
        path: &[&str],
        serving: &Serving,
        id: &Arc<str>,
    ) -> Result<Response<Body>, Error> {
        match *path {
            [] => {
                only(&request, &[Method::GET])?;
                let services = serving.stable().services().iter();
                let services = services.map(|(name, served)| self.describe(name, served, serving));
                let vacant = serving.stable().vacant().keys().map(|name| self.vacant(name, serving));
                let services: Vec<Value> = services.chain(vacant).collect();
                Ok(success(&json!({ "count": services.len(), "data": services })))
            }
            [name] if request.method() == Method::PUT => self.deploy(request, name, id).await,
            [name] => {
                only(&request, &[Method::GET, Method::PUT])?;
                if serving.stable().vacant().contains_key(name) {
                    return Ok(success(&json!({ "data": self.vacant(name, serving) })));
                }
                let Some(served) = serving.stable().services().get(name) else {
                    return Ok(outcome(Err(DeployError::UnknownService(name.to_owned())), id));
                };
                let mut answer = success(&json!({ "data": self.describe(name, served, serving) }));
                if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", served.revision.digest())) {
                    answer.headers_mut().insert(ETAG, tag);
                }
                Ok(answer)
            }
            [name, "rollback"] => {
                only(&request, &[Method::POST])?;
                let mut query = query(&request, &["to", "reason"])?;
                let reason = query.remove("reason").unwrap_or_default();
                let (deployer, name, to) = (self.deployer.clone(), (*name).to_owned(), query.remove("to"));
                let report = apart(async move { deployer.rollback(&name, to.as_deref(), &reason).await }).await?;
                Ok(outcome(report.map(|report| json!(report)), id))
            }
            [name, "history"] => {
                only(&request, &[Method::GET])?;
                let lines = self.deployer.history(name, HISTORY_LINES);
                Ok(outcome(lines.map(|lines| json!(lines)), id))
            }
            _ => Err(Error::NotFound),
        }
    }

    async fn deploy(&self, request: Request<Arriving>, name: &str, id: &Arc<str>) -> Result<Response<Body>, Error> {
        let query = query(&request, &["digest", "force", "reason", "canary", "set"]);
        let query = query.and_then(|query| Ok((forces(&query)?, share(query.get("canary"))?, query)));
        let query = query.and_then(|query| set(&query.2, query.1).map(|()| query));
        let (force, canary, mut query) = query?;
        refuse_codings(request.headers())?;
        let replaces = self.replaces(name, request.headers());
        let signature =
            request.headers().get(SIGNATURE).map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        let limit = usize::try_from(self.deployer.component_limit_bytes()).unwrap_or(usize::MAX);
        let reason = query.remove("reason").unwrap_or_default();
        let body = match body::read(request.into_body(), limit, UPLOAD_TIME).await {
            Err(BodyRefusal::TooLarge(_)) => {
                let refused = self.deployer.refuse_unread(name, &reason);
                return Ok(outcome(refused.map(|report| json!(report)), id));
            }
            body => body?,
        };
        let order = Order {
            service: name.to_owned(),
            bytes: body.bytes.to_vec(),
            digest: query.remove("digest"),
            signature,
            replaces,
            force,
            canary,
            set: query.remove("set"),
            reason,
        };
        let deployer = self.deployer.clone();
        let report = apart(async move { deployer.deploy(order).await }).await?;
        Ok(outcome(report.map(|report| json!(report)), id))
    }

    /// The digest of the revision that a deploy may replace, by `If-Match`; none if it may replace any. Of several, the one that is
    /// active now counts: the deployer compares it again, so a revision that is activated meanwhile is not replaced.
    fn replaces(&self, name: &str, headers: &HeaderMap) -> Option<String> {
        let wanted = headers.get(IF_MATCH).map(HeaderValue::as_bytes).filter(|tags| tags.trim_ascii() != b"*")?;
        let serving = self.deployer.current().load();
        let active = serving.stable().services().get(name).map(|served| served.revision.digest().to_owned());
        let named = strong_tags(wanted);
        // A list without a strong tag names no revision.
        let other = || named.first().map_or("none", String::as_str).to_owned();
        Some(active.filter(|active| named.contains(active)).unwrap_or_else(other))
    }

    fn describe(&self, name: &str, served: &Served, serving: &Serving) -> Value {
        let description = served.description.as_deref();
        let route = |route: &crate::route::Route| {
            let method = route.method.as_ref().map_or("*", Method::as_str);
            json!({ "method": method, "path": &*route.pattern, "access": format!("{:?}", route.access).to_lowercase() })
        };
        json!({
            "service": name,
            "name": description.map(|description| &description.name),
            "version": description.map(|description| &description.version),
            "revision": served.revision.digest(),
            "kept": self.deployer.kept_digests(name),
            "handler": served.revision.handler_kind().interface(),
            "schema": description.map(|description| description.migrations.len()),
            "routes": served.routes.iter().map(route).collect::<Vec<_>>(),
            "grants": served.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
            "calls": served.calls,
            "instances": { "in_use": served.revision.slots().in_use(), "waiting": served.revision.slots().waiting() },
            "traffic": traffic(served),
            "canary": serving.canary().and_then(|canary| super::canary::candidate(canary, name)),
            "note": self.deployer.noted().get(name),
        })
    }

    /// A service without a revision.
    fn vacant(&self, name: &str, serving: &Serving) -> Value {
        json!({
            "service": name,
            "revision": null,
            "canary": serving.canary().and_then(|canary| super::canary::candidate(canary, name)),
            "note": self.deployer.noted().get(name),
        })
    }
}

/// The strong tags of a list, without their quotes. Digests have no comma, so none of theirs is cut in two.
fn strong_tags(list: &[u8]) -> Vec<String> {
    let list = String::from_utf8_lossy(list);
    let tags = list.split(',').map(|tag| tag.trim().trim_matches('"'));
    // A weak tag matches nothing here: the comparison is the strong one (RFC 9110, section 13.1.1).
    tags.filter(|tag| !tag.is_empty() && !tag.starts_with("W/")).map(str::to_owned).collect()
}

/// What a revision answered, route by route.
pub(super) fn traffic(served: &Served) -> Vec<Value> {
    let traffic = |route: &RouteTraffic| json!({ "route": route.route, "good": route.good, "bad": route.bad, "median_us": route.median_us() });
    served.revision.traffic().snapshot().iter().map(traffic).collect()
}

/// Does it apart, so that an order that panics is answered, and told to the audit log, like any other that failed.
pub(super) async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|_| Error::Internal)
}

/// The parameters of a query, of which none may be unknown: a misspelt `force` must not pass for its absence.
pub(super) fn query(request: &Request<Arriving>, known: &[&str]) -> Result<BTreeMap<String, String>, Error> {
    let pairs = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned();
    let query: BTreeMap<String, String> = pairs.collect();
    if query.keys().all(|name| known.contains(&name.as_str())) {
        return Ok(query);
    }
    Err(Error::BadRequest("The query has a parameter that is not known here"))
}

/// A share of the callers, where one is given.
pub(super) fn share(text: Option<&String>) -> Result<Option<Share>, Error> {
    let share = text.map(|text| text.parse()).transpose();
    share.map_err(|_: ShareError| {
        Error::BadRequest("A share of the callers is written like 5% or 0.25%, as 5%25 in a URL")
    })
}

/// Checks the name of a set, and that its members are staged for nobody.
fn set(query: &BTreeMap<String, String>, canary: Option<Share>) -> Result<(), Error> {
    let Some(name) = query.get("set") else { return Ok(()) };
    if name.is_empty() || name.len() > SET_BYTES || canary != Some(Share::NOBODY) {
        return Err(Error::BadRequest(
            "A set has a name of 1 to 64 bytes, and its members are staged with canary=0%25",
        ));
    }
    Ok(())
}

/// Whether an order is to be done in spite of what the host found before.
fn forces(query: &BTreeMap<String, String>) -> Result<bool, Error> {
    match query.get("force").map(String::as_str) {
        Some("true") => Ok(true),
        Some("false") | None => Ok(false),
        Some(_) => Err(Error::BadRequest("force is true or false")),
    }
}

pub(super) fn success(members: &Value) -> Response<Body> {
    let mut answer = json!({ "success": true });
    if let (Some(answer), Some(members)) = (answer.as_object_mut(), members.as_object()) {
        answer.extend(members.clone());
    }
    json_answer(StatusCode::OK, &answer)
}

/// Those that a report, or each of several, says were put in charge or on trial, and who signed them.
fn revisions(data: &Value) -> InCharge {
    let reports = data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
    let revision = |report: &Value| {
        let signer = report["signer"].as_str().map_or_else(String::new, |key| format!(" signed by {key}"));
        report["to"].as_str().map(|digest| format!("{digest}{signer}"))
    };
    InCharge(reports.iter().filter_map(revision).collect::<Vec<_>>().join(" "))
}

/// What a deploy came to: its report, or why nothing changed, in the envelope.
pub(super) fn outcome(result: Result<Value, DeployError>, id: &str) -> Response<Body> {
    let error = match result {
        Ok(data) => {
            let mut answer = success(&json!({ "data": data }));
            answer.extensions_mut().insert(revisions(&data));
            return answer;
        }
        Err(error) => error,
    };
    let (status, code) = match &error {
        DeployError::UnknownService(_) => (StatusCode::NOT_FOUND, "UNKNOWN_SERVICE"),
        DeployError::Busy(_) => (StatusCode::CONFLICT, "DEPLOY_RUNNING"),
        DeployError::NothingBefore { .. } => (StatusCode::CONFLICT, "NOTHING_BEFORE"),
        DeployError::RolledBackFrom { .. } => (StatusCode::CONFLICT, "TARGET_NEEDED"),
        DeployError::Changed { .. } => (StatusCode::PRECONDITION_FAILED, "REVISION_CHANGED"),
        DeployError::Refused(refused) if refused.step == Step::Received => {
            (StatusCode::PAYLOAD_TOO_LARGE, "COMPONENT_TOO_LARGE")
        }
        DeployError::Refused(_) | DeployError::Crowded(_) => (StatusCode::UNPROCESSABLE_ENTITY, "DEPLOY_REFUSED"),
        DeployError::CanaryRunning(_) => (StatusCode::CONFLICT, "CANARY_RUNNING"),
        DeployError::SetRunning(_) => (StatusCode::CONFLICT, "SET_RUNNING"),
        DeployError::NoCanary => (StatusCode::CONFLICT, "NO_CANARY"),
        DeployError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "STOPPING"),
        DeployError::Record(_) => (StatusCode::SERVICE_UNAVAILABLE, "RECORD_UNAVAILABLE"),
    };
    let step = match &error {
        DeployError::Refused(refused) | DeployError::Crowded(refused) => json!(refused.step),
        _ => Value::Null,
    };
    let message = error.to_string();
    let error = json!({ "code": code, "message": message, "details": { "step": step }, "request_id": id });
    json_answer(status, &json!({ "success": false, "error": error }))
}
