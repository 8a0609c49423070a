//! `GET /metrics`: what the host counted, and values read at this moment.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::deploy::{Deployer, Deployment, Outbounds, Platform, Served, Serving, Storages};
use crate::engine::Reset;
use crate::guest::Denial;
use crate::outbound::{Ending, Outbound};
use crate::revision::{Discard, Full};
use crate::telemetry::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revision {
    service: String,
    revision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeniedCall {
    service: String,
    revision: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemoteHost {
    service: String,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RemoteResult {
    service: String,
    host: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedRequest {
    service: String,
    setting: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DiscardedInstance {
    service: String,
    revision: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MemoryReset {
    reset: &'static str,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheUse {
    service: String,
    cache: &'static str,
}

/// All metrics as OpenMetrics 1.0 text.
pub(super) fn encode(metrics: &Metrics, serving: &Serving, deployer: &Deployer, platform: &Platform) -> String {
    metrics.keep_revisions(&known_revisions(serving, deployer));
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    services(&mut registry, serving);
    instances(&mut registry, serving);
    outbound(&mut registry, &deployer.outbounds());
    answers(&mut registry, serving.stable());
    databases(&mut registry, &deployer.storages());
    passwords(&mut registry, platform);
    audit(&mut registry, platform);
    memory(&mut registry, &platform.engines.reset());
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => metrics.add_exemplars(page),
        Err(error) => format!("# cannot encode the metrics: {error}\n"),
    }
}

/// The first 12 digits of the active, canary and kept revisions.
fn known_revisions(serving: &Serving, deployer: &Deployer) -> HashSet<String> {
    let kept = serving.stable().services().keys().flat_map(|name| deployer.kept_digests(name));
    let digests = serving.all().map(|served| served.revision.digest().to_owned()).chain(kept);
    digests.map(|digest| digest[..12].to_owned()).collect()
}

fn services(registry: &mut Registry, serving: &Serving) {
    let (traps, deadlines) = (Family::<Revision, Counter>::default(), Family::<Revision, Counter>::default());
    let denied = Family::<DeniedCall, Counter>::default();
    for Served { revision: served, .. } in serving.all() {
        let labels = Revision { service: served.service().to_owned(), revision: served.digest()[..12].to_owned() };
        let faults = served.faults();
        traps.get_or_create(&labels).inc_by(faults.traps.load(Ordering::Relaxed));
        deadlines.get_or_create(&labels).inc_by(faults.deadlines.load(Ordering::Relaxed));
        for denial in Denial::ALL {
            let Revision { service, revision } = labels.clone();
            let count = served.denials().count(denial);
            denied.get_or_create(&DeniedCall { service, revision, kind: denial.name() }).inc_by(count);
        }
    }
    registry.register("comptoir_guest_traps", "Guests that trapped or sent no valid response", traps);
    registry.register("comptoir_guest_deadlines", "Guests that reached their time limit", deadlines);
    registry.register("comptoir_denied_calls", "Requests, sockets and name lookups denied to guests", denied);
}

fn outbound(registry: &mut Registry, outbounds: &Outbounds) {
    let (results, open) = (Family::<RemoteResult, Counter>::default(), Family::<RemoteHost, Gauge>::default());
    let running = Family::<Service, Gauge>::default();
    for (service, outbound) in outbounds {
        running.get_or_create(&Service { service: service.clone() }).set(gauge(outbound.running()));
        for remote in outbound.remotes() {
            let labels = RemoteHost { service: service.clone(), host: remote.name().to_owned() };
            open.get_or_create(&labels).set(i64::from(remote.is_open()));
            for ending in Ending::ALL {
                let RemoteHost { service, host } = labels.clone();
                let labels = RemoteResult { service, host, result: ending.name() };
                results.get_or_create(&labels).inc_by(remote.count(ending));
            }
        }
    }
    registry.register("comptoir_outbound_running", "Requests to remote hosts that run now", running);
    registry.register("comptoir_outbound_requests", "Requests to remote hosts, by how they ended", results);
    registry.register("comptoir_outbound_open", "1 while the circuit breaker keeps requests from a remote host", open);
    registry.register_collector(Box::new(RemoteLatencies(outbounds.values().cloned().collect())));
}

/// The latency of each remote host, which the services' clients keep.
#[derive(Debug)]
struct RemoteLatencies(Vec<Arc<Outbound>>);

impl Collector for RemoteLatencies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "comptoir_outbound_duration_seconds";
        let help = "Time from a request to a remote host to its response's head";
        let mut latency = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for outbound in &self.0 {
            for remote in outbound.remotes() {
                let labels = RemoteHost { service: outbound.service().to_owned(), host: remote.name().to_owned() };
                remote.latency().encode(latency.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn instances(registry: &mut Registry, serving: &Serving) {
    let (in_use, waiting) = (Family::<Service, Gauge>::default(), Family::<Service, Gauge>::default());
    let (streams, refused) = (Family::<Service, Gauge>::default(), Family::<RefusedRequest, Counter>::default());
    for (name, served) in serving.stable().services() {
        let (labels, slots) = (Service { service: name.to_string() }, served.revision.slots());
        in_use.get_or_create(&labels).set(gauge(slots.in_use()));
        waiting.get_or_create(&labels).set(gauge(slots.waiting()));
        streams.get_or_create(&labels).set(gauge(served.revision.stream_slots().in_use()));
        for full in Full::ALL {
            let labels = RefusedRequest { service: name.to_string(), setting: full.setting() };
            refused.get_or_create(&labels).inc_by(slots.refused(full));
        }
    }
    let discarded = Family::<DiscardedInstance, Counter>::default();
    for Served { revision, .. } in serving.all() {
        for discard in Discard::ALL {
            let labels = DiscardedInstance {
                service: revision.service().to_owned(),
                revision: revision.digest()[..12].to_owned(),
                reason: discard.name(),
            };
            discarded.get_or_create(&labels).inc_by(revision.discards().count(discard));
        }
    }
    registry.register("comptoir_instances_in_use", "Component instances in use now", in_use);
    registry.register("comptoir_instances_waiting", "Requests waiting for an instance now", waiting);
    registry.register("comptoir_streams", "Streams that run now, each with an instance of its own", streams);
    registry.register("comptoir_requests_refused", "Requests that got no instance, by the setting", refused);
    registry.register("comptoir_instances_discarded", "Instances of services with `reuse` not reused", discarded);
}

fn answers(registry: &mut Registry, deployment: &Deployment) {
    let (uses, bytes) = (Family::<CacheUse, Counter>::default(), Family::<Service, Gauge>::default());
    for (name, served) in deployment.services() {
        let Some(answers) = served.revision.response_cache() else { continue };
        let counts = &answers.counts;
        for (cache, count) in [("hit", &counts.hits), ("miss", &counts.misses), ("bypass", &counts.bypasses)] {
            let labels = CacheUse { service: name.to_string(), cache };
            uses.get_or_create(&labels).inc_by(count.load(Ordering::Relaxed));
        }
        let labels = Service { service: name.to_string() };
        bytes.get_or_create(&labels).set(i64::try_from(answers.bytes()).unwrap_or(i64::MAX));
    }
    registry.register("comptoir_answers", "Requests that the response cache could serve, by result", uses);
    registry.register("comptoir_answers_bytes", "Bytes in the response cache now", bytes);
}

fn databases(registry: &mut Registry, storages: &Storages) {
    let families: [Family<Service, Counter>; 5] = std::array::from_fn(|_| Family::default());
    let seconds = Family::<Service, Counter<f64, AtomicU64>>::default();
    for (name, storage) in storages {
        let labels = Service { service: name.clone() };
        let usage = storage.usage();
        let counts = [&usage.queries, &usage.executes, &usage.transaction_statements, &usage.commits, &usage.syncs];
        for (family, count) in families.iter().zip(counts) {
            family.get_or_create(&labels).inc_by(count.load(Ordering::Relaxed));
        }
        seconds.get_or_create(&labels).inc_by(usage.sql_time().as_secs_f64());
    }
    let [queries, executes, in_transactions, commits, syncs] = families;
    registry.register("comptoir_sql_seconds", "Time spent in SQL statements, without waiting times", seconds);
    registry.register("comptoir_sql_queries", "Queries outside of transactions", queries);
    registry.register("comptoir_sql_executes", "Single writes, each in its own transaction", executes);
    registry.register("comptoir_sql_transaction_statements", "Statements inside of transactions", in_transactions);
    registry.register("comptoir_sql_commits", "Transactions acknowledged as durable", commits);
    registry.register("comptoir_sql_syncs", "Groups of commits made durable together", syncs);
}

fn memory(registry: &mut Registry, reset: &Reset) {
    let ways = Family::<MemoryReset, Gauge>::default();
    ways.get_or_create(&MemoryReset { reset: reset.way(), reason: reset.reason.clone() }).set(i64::from(reset.is_safe));
    registry.register(
        "comptoir_memory_reset_safe",
        "How freed linear memory is reset: 0 if the next guest may read some of it",
        ways,
    );
}

fn audit(registry: &mut Registry, platform: &Platform) {
    let counts = platform.audit.counts();
    registry.register("comptoir_audit_written", "Events written to the audit log", counter(&counts.written));
    registry.register("comptoir_audit_unwritten", "Events missing from the audit log", counter(&counts.unwritten));
}

fn passwords(registry: &mut Registry, platform: &Platform) {
    let meter = platform.passwords.meter();
    let waiting = Gauge::<i64>::default();
    waiting.set(gauge(meter.waiting.load(Ordering::Relaxed)));
    let computing = Gauge::<i64>::default();
    computing.set(gauge(meter.computing()));
    registry.register("comptoir_passwords_waiting", "Password computations waiting for a thread now", waiting);
    registry.register("comptoir_passwords_computing", "Password computations running now", computing);
    registry.register("comptoir_passwords_computed", "Password computations that ended", counter(&meter.computed));
    registry.register(
        "comptoir_passwords_refused",
        "Password computations refused because the queue was full",
        counter(&meter.refused),
    );
}

fn counter(count: &AtomicU64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(count.load(Ordering::Relaxed));
    counter
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
