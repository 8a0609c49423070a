//! Services, revisions and the canary, as JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};
use storage::Usage;

use super::Admin;
use crate::deploy::{Canary, Served, Serving};
use crate::manifest::Limits;
use crate::outbound::Remote;
use crate::revision::{Full, RouteTraffic, Slots};
use crate::route::Route;
use crate::version::Versions;

impl Admin {
    /// A service with its active revision.
    pub(super) fn service(&self, name: &str, served: &Served, serving: &Serving) -> Value {
        let description = served.description.as_deref();
        let route = |route: &Route| {
            let method = route.method.as_ref().map_or("*", hyper::Method::as_str);
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
            "outbound": self.remote_hosts(name),
            "activated": self.deployer.activation(name, served.revision.digest()).ok().flatten(),
            "limits": limits(served.revision.limits()),
            "cache": served.revision.response_cache().map(|cache| json!({ "counts": cache.counts.read(), "bytes": cache.bytes() })),
            "database": self.deployer.storages().get(name).map(|storage| usage(storage.usage())),
            "instances": instances(served.revision.slots()),
            "traffic": traffic(served),
            "canary": serving.canary().and_then(|canary| candidate(canary, name)),
            "note": self.deployer.noted().get(name),
        })
    }

    /// The remote hosts that a service has sent requests to.
    fn remote_hosts(&self, name: &str) -> Vec<Value> {
        let Some(outbound) = self.deployer.outbounds().remove(name) else { return Vec::new() };
        let remote = |remote: &Arc<Remote>| json!({ "host": remote.name(), "open": remote.is_open() });
        outbound.remotes().iter().map(remote).collect()
    }

    /// A service without a revision.
    pub(super) fn vacant(&self, name: &str, serving: &Serving) -> Value {
        json!({
            "service": name,
            "revision": null,
            "canary": serving.canary().and_then(|canary| candidate(canary, name)),
            "note": self.deployer.noted().get(name),
        })
    }
}

/// The limits of a service. Times are in milliseconds.
fn limits(limits: &Limits) -> Value {
    json!({
        "concurrency": limits.concurrency,
        "streams": limits.streams,
        "memory_bytes": limits.memory_bytes,
        "time_ms": limits.time.as_millis(),
        "cpu_ms": limits.cpu.as_millis(),
        "body_bytes": limits.body_bytes,
        "response_bytes": limits.response_bytes,
        "statement_ms": limits.statement_time.as_millis(),
        "transaction_ms": limits.transaction_time.as_millis(),
        "database_bytes": limits.database_bytes,
        "answers_bytes": limits.answers_bytes,
    })
}

/// What a service did with its database since the host started.
fn usage(usage: &Usage) -> Value {
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    json!({
        "queries": read(&usage.queries),
        "executes": read(&usage.executes),
        "commits": read(&usage.commits),
        "syncs": read(&usage.syncs),
        "sql_us": usage.sql_time().as_micros(),
    })
}

/// The instances of a service, and the requests that got none because a setting of the manifest was reached.
fn instances(slots: &Slots) -> Value {
    let refused = Full::ALL.map(|full| (full.setting().to_owned(), slots.refused(full).into()));
    let refused: Map<String, Value> = refused.into_iter().collect();
    json!({ "in_use": slots.in_use(), "waiting": slots.waiting(), "refused": refused })
}

/// The versions of the host and its parts, and all revisions that get requests: active ones and canaries.
pub(super) fn versions(serving: &Serving) -> Value {
    let revision = |served: &Served| {
        let description = served.description.as_deref();
        json!({
            "service": served.revision.service(),
            "name": description.map(|description| &description.name),
            "version": description.map(|description| &description.version),
            "digest": served.revision.digest(),
        })
    };
    let candidates = serving.canary().into_iter().flat_map(|canary| canary.candidates().values());
    let served = serving.stable().services().values().chain(candidates.map(|candidate| &candidate.served));
    json!({ "host": Versions::of_this_program(), "revisions": served.map(revision).collect::<Vec<_>>() })
}

/// The canary with all of its services.
pub(super) fn canary(canary: &Canary) -> Value {
    let services: Vec<Value> = canary.candidates().keys().filter_map(|name| candidate(canary, name)).collect();
    json!({ "share": canary.share(), "set": canary.set(), "services": services })
}

/// The canary's revision of one service. None if the service is not part of the canary.
fn candidate(canary: &Canary, name: &str) -> Option<Value> {
    let served = &canary.candidates().get(name)?.served;
    Some(json!({
        "service": name,
        "revision": served.revision.digest(),
        "version": served.description.as_ref().map(|description| &description.version),
        "share": canary.share(),
        "traffic": traffic(served),
    }))
}

/// The counts of a revision's responses, for each route.
fn traffic(served: &Served) -> Vec<Value> {
    let route = |route: &RouteTraffic| json!({ "route": route.route, "good": route.good, "bad": route.bad, "median_us": route.median_us() });
    served.revision.traffic().snapshot().iter().map(route).collect()
}
