//! `GET /readyz`: whether the host can do its work.

use std::sync::Arc;

use futures::future::join_all;
use hyper::{Response, StatusCode};
use serde_json::json;
use storage::folder::DataFolder;

use super::Admin;
use super::envelope::json_response;
use crate::body::Body;
use crate::clock::{self, Clock};
use crate::deploy::Deployment;

impl Admin {
    /// 200 if the disk and every database accept writes, every service is healthy, freed memory is reset safely, and the database's
    /// clock differs by at most a minute. Else 503.
    pub(super) async fn readiness(&self, deployment: &Arc<Deployment>, id: &Arc<str>) -> Response<Body> {
        let (mut healthy, mut services) = self.gateway.health_of_services(deployment, id).await;
        for service in self.refusing_writes(id).await {
            healthy = false;
            services.insert(service, "refuses writes".into());
        }
        let writable = self.disk_is_writable(id).await;
        let reset = self.platform.engines.reset();
        let difference = self.clock_difference(id).await;
        let (status, word) = if healthy && writable && reset.is_safe && !clock::is_too_large(difference) {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        };
        let disk = if writable { "writable" } else { "not writable" };
        let memory = json!({ "reset": reset.way(), "safe": reset.is_safe, "reason": reset.reason });
        let mut answer = json!({ "status": word, "services": services, "disk": disk, "memory": memory });
        if let Some(text) = clock::notable(difference) {
            answer["clock"] = text.into();
        }
        let notes = self.deployer.noted();
        if !notes.is_empty() {
            answer["notes"] = json!(notes);
        }
        json_response(status, &answer)
    }

    async fn disk_is_writable(&self, id: &Arc<str>) -> bool {
        let folder = self.platform.folder.clone();
        let checked = tokio::task::spawn_blocking(move || DataFolder::check_writes(&folder)).await;
        if let Ok(Err(error)) = &checked {
            tracing::error!(request_id = &**id, %error, "the data folder is not writable: make room on its disk");
        }
        matches!(checked, Ok(Ok(())))
    }

    /// How many seconds the clock of the database server is ahead of this host's. All services share one server.
    async fn clock_difference(&self, id: &Arc<str>) -> f64 {
        let Some((service, storage)) = self.deployer.storages().into_iter().next() else { return 0.0 };
        let read = Clock::default().difference(&*storage).await;
        read.unwrap_or_else(|error| {
            tracing::error!(request_id = &**id, service, %error, "{service}: cannot read the database's clock");
            0.0
        })
    }

    /// The services whose databases accept no writes.
    async fn refusing_writes(&self, id: &Arc<str>) -> Vec<String> {
        let checks = self.deployer.storages().into_iter().map(|(service, storage)| async move {
            let error = storage.check_writes().await.err()?;
            tracing::error!(request_id = &**id, service, %error, "{service}: the database accepts no writes");
            Some(service)
        });
        join_all(checks).await.into_iter().flatten().collect()
    }
}
