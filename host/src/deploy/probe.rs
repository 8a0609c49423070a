//! Probes: checks that a revision works, by its health route and the probes that it declares, on real instances.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use tokio::time::Instant;

use super::Served;
use crate::body::RequestBody;
use crate::gate::ProbeRequest;
use crate::printable::excerpt;
use crate::revision::{FailureKind, Probe};
use crate::route::{Access, Route};

/// Maximum length of the reason why a probe failed, in bytes. The reason includes what the guest printed.
const WHY_BYTES: usize = 8 << 10;

/// Why a probe failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProbeFailure {
    /// The revision answered with an error, or not at all.
    Revision(String),
    /// A dependency failed (database, password queue, another service). Not counted against the revision.
    Dependency(String),
}

impl ProbeFailure {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Revision(reason) | Self::Dependency(reason) => reason,
        }
    }
}

/// Calls the health route and runs all probes, one after the other, within `time`. Returns their number.
pub(super) async fn all(served: &Served, time: Duration) -> Result<usize, ProbeFailure> {
    let deadline = Instant::now() + time;
    let mut probes = Vec::new();
    if let Some(health) = served.health() {
        probes.push(Probe { method: Method::GET, path: health.pattern.to_string(), caller: None, body: None });
    }
    probes.extend(served.description.iter().flat_map(|description| description.probes.iter().cloned()));
    for probe in &probes {
        let shown = format!("{} {}", probe.method, probe.path);
        match tokio::time::timeout_at(deadline, one(served, probe)).await {
            Ok(answered) => answered.map_err(|failure| match failure {
                ProbeFailure::Revision(why) => ProbeFailure::Revision(format!("the probe {shown} {why}")),
                ProbeFailure::Dependency(why) => ProbeFailure::Dependency(format!("the probe {shown} {why}")),
            })?,
            Err(_) => {
                return Err(ProbeFailure::Revision(format!("the probe {shown} was not answered within {time:?}")));
            }
        }
    }
    Ok(probes.len())
}

async fn one(served: &Served, probe: &Probe) -> Result<(), ProbeFailure> {
    let body = probe.body.clone().unwrap_or_default();
    let mut request = Request::new(());
    *request.method_mut() = probe.method.clone();
    *request.uri_mut() = probe.path.parse().map_err(|_| ProbeFailure::Revision("has an invalid path".to_owned()))?;
    if probe.body.is_some() {
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let route = Route {
        service: served.revision.service().into(),
        method: Some(probe.method.clone()),
        pattern: probe.path.as_str().into(),
        strip: None,
        access: Access::Public,
        headers: None,
        passes_credentials: false,
    };
    let body = RequestBody::from(bytes::Bytes::from(body));
    let request = ProbeRequest::new(&route, request.into_parts().0, body, probe.caller.as_deref());
    let (answer, failure) = served.revision.rehearse(request).await;
    let why = match answer {
        Ok(answer) if answer.response.status().is_success() => return Ok(()),
        Ok(answer) => {
            let printed = answer.output.map(|output| format!(" (it printed: {output})"));
            format!("was answered with {}{}", answer.response.status(), printed.unwrap_or_default())
        }
        Err(failure) if failure.kind == FailureKind::Busy => return Err(ProbeFailure::Dependency(failure.cause)),
        Err(failure) => {
            let printed = failure.output.map(|output| format!(" (it printed: {output})"));
            format!("failed: {}{}", failure.cause, printed.unwrap_or_default())
        }
    };
    let why = excerpt(&why, WHY_BYTES);
    Err(if failure.cause().is_some() { ProbeFailure::Dependency(why) } else { ProbeFailure::Revision(why) })
}
