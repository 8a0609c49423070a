//! `/overview` and `/traffic`: what the console shows first.

use hyper::Response;
use serde_json::{Value, json};

use super::Admin;
use super::describe::canary;
use super::envelope::success;
use super::samples::SAMPLE_TIME;
use crate::body::Body;
use crate::deploy::{Served, Serving};
use crate::version::Versions;

impl Admin {
    /// `GET /traffic`: the samples of the last 15 minutes.
    pub(super) fn traffic(&self) -> Response<Body> {
        success(&json!({ "data": { "seconds": SAMPLE_TIME.as_secs(), "services": self.samples.all() } }))
    }

    /// `GET /overview`, and what its subscribers get.
    pub(super) async fn overview(&self) -> Value {
        let serving = self.deployer.current().load_full();
        let services = serving.stable().services().iter().map(|(name, served)| self.card(name, served, &serving));
        let vacant = serving.stable().vacant().keys().map(|name| self.vacant(name, &serving));
        let newest = self.deployer.history_of_all(None, 1).ok().and_then(|lines| Some(lines.first()?.id));
        json!({
            "host": { "version": Versions::of_this_program().comptoir, "started": self.started },
            "warnings": self.warnings(&serving).await,
            "services": services.chain(vacant).collect::<Vec<_>>(),
            "canary": serving.canary().map(canary),
            "deploys": self.deployer.running_deploys(),
            "watches": self.deployer.running_watches(),
            "last_revert": self.deployer.last_revert().ok().flatten(),
            "newest_change": newest,
        })
    }

    /// A service in few words. `/services/{name}` says everything.
    fn card(&self, name: &str, served: &Served, serving: &Serving) -> Value {
        let description = served.description.as_deref();
        let slots = served.revision.slots();
        let activated = self.deployer.activation(name, served.revision.digest()).ok().flatten();
        json!({
            "service": name,
            "version": description.map(|description| &description.version),
            "revision": served.revision.digest(),
            "activated": activated,
            "kept": self.deployer.kept_digests(name).len(),
            "canary": serving.canary().and_then(|canary| canary.candidates().get(name)).map(|candidate| candidate.served.revision.digest()),
            "instances": { "in_use": slots.in_use(), "waiting": slots.waiting(), "limit": served.revision.limits().concurrency },
            "cache": served.revision.response_cache().map(|cache| cache.counts.read()),
            "sample": self.samples.latest(name),
        })
    }
}
