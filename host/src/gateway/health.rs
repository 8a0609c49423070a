//! `GET /health` of the gateway: whether every service can answer.

use std::sync::Arc;

use futures::future::join_all;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Gateway, own_body};
use crate::body::{Body, full};
use crate::deploy::{Deployment, Served};
use crate::gate::Origin;

impl Gateway {
    /// 200 when every service answers its own health question, or else 503. No envelope.
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

    /// Asks every service, all at once. A service that has no health route is healthy while it has a revision. A vacant one is
    /// unhealthy.
    pub async fn health_of_services(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        id: &Arc<str>,
    ) -> (bool, Map<String, Value>) {
        let services = deployment.services();
        let asked = join_all(services.values().map(|served| self.is_healthy(deployment, served, id))).await;
        let vacant = deployment.vacant().keys();
        let healthy = !asked.is_empty() && vacant.len() == 0 && asked.iter().all(|healthy| *healthy);
        let asked = services.keys().zip(asked).chain(vacant.map(|name| (name, false)));
        let word = |healthy| Value::from(if healthy { "healthy" } else { "unhealthy" });
        (healthy, asked.map(|(name, healthy)| (name.to_string(), word(healthy))).collect())
    }

    async fn is_healthy(self: &Arc<Self>, deployment: &Arc<Deployment>, served: &Served, id: &Arc<str>) -> bool {
        let Some(route) = served.health().map(Arc::new) else { return true };
        let Ok(request) = Request::get(&*route.pattern).body(()) else { return false };
        let origin =
            Origin { client: None, request_id: id, trace_parent: None, shows_session: false, secure: self.secure };
        let Ok(admitted) = self.gate.admit(&route, request.into_parts().0, origin) else { return false };
        let peers = self.peers(deployment, served, id, None, 0);
        match served.revision.answer(admitted, own_body(""), peers).await {
            Ok(answer) => answer.response.status().is_success(),
            Err(failure) => {
                let (service, output) = (&*route.service, failure.output);
                tracing::error!(
                    request_id = &**id,
                    service,
                    cause = failure.cause,
                    guest_output = output,
                    "a health check failed"
                );
                false
            }
        }
    }
}
