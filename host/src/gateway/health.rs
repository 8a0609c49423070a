//! `GET /health` of the gateway: whether every service is healthy.

use std::sync::Arc;

use futures::future::join_all;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Gateway;
use crate::body::{Body, RequestBody, full};
use crate::deploy::{Deployment, Served};
use crate::gate::ProbeRequest;

impl Gateway {
    /// 200 if the health route of every service answers with success, else 503. The body has no envelope.
    pub(super) async fn health(self: &Arc<Self>, deployment: &Arc<Deployment>, id: &Arc<str>) -> Response<Body> {
        let (healthy, services) = self.health_of_services(deployment, id).await;
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let word = if healthy { "healthy" } else { "unhealthy" };
        let answer = json!({ "status": word, "service": "api-gateway", "services": services });
        let mut response = Response::new(full(answer.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// Calls the health routes of all services at once.
    ///
    /// A service without a health route is healthy if it has a revision. A service without a revision is unhealthy.
    pub async fn health_of_services(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        id: &Arc<str>,
    ) -> (bool, Map<String, Value>) {
        let services = deployment.services();
        let asked = join_all(services.values().map(|served| Self::is_healthy(served, id))).await;
        let vacant = deployment.vacant().keys();
        let healthy = !asked.is_empty() && vacant.len() == 0 && asked.iter().all(|healthy| *healthy);
        let asked = services.keys().zip(asked).chain(vacant.map(|name| (name, false)));
        let word = |healthy| Value::from(if healthy { "healthy" } else { "unhealthy" });
        (healthy, asked.map(|(name, healthy)| (name.to_string(), word(healthy))).collect())
    }

    /// Rehearses the health route: it can neither write nor send, because anybody may ask for the host's health.
    async fn is_healthy(served: &Served, id: &str) -> bool {
        let Some(route) = served.health() else { return true };
        let Ok(request) = Request::get(&*route.pattern).body(()) else { return false };
        let probe = ProbeRequest::new(&route, request.into_parts().0, RequestBody::default(), None);
        match served.revision.rehearse(probe).await.0 {
            Ok(answer) => answer.response.status().is_success(),
            Err(failure) => {
                let (service, output) = (&*route.service, failure.output);
                tracing::error!(
                    request_id = id,
                    service,
                    cause = failure.cause,
                    guest_output = output,
                    "{service}: the health check failed"
                );
                false
            }
        }
    }
}
