//! A component version that can serve: compiled, linked with one set of grants, and limited.
//!
//! A revision is never changed. A deploy makes another one. Dropping the last `Arc` of a revision frees its code.
//!
//! Each request gets a store and an instance of its own, and the host drops both when the response is complete. So no request finds
//! anything of an earlier one. The exception is a service whose manifest allows reuse of instances (`idle`). A store that trapped or
//! timed out is dropped in any case.
//!
//! # Threads and time
//!
//! A guest's call runs on the task of its connection. If the guest sends its response and continues to write the body, the call moves
//! to a task of its own. A long-running call moves to background threads.
//!
//! The host measures a guest's computing time around each poll and checks it at each epoch interruption. A timer outside of the store
//! limits the time to the response, because epochs do not interrupt host calls.
//!
//! # Streams
//!
//! A request is a stream if its body does not arrive at once (`body::begin`), or if its response is not complete shortly after its head.
//! Then it takes a stream slot, and gives the instance slot back (`stream_slots`). A task watches it to its end (`stream`).
//!
//! # Cache
//!
//! If the response to a GET depends only on the request and on database tables, the host caches it (`response_cache`). A cache hit needs
//! no instance.
//!
//! # Cost of a request
//!
//! A request for the shop's products that runs in an instance of its own takes 48 µs of CPU time. The table shows the percentages,
//! measured with `perf record` on a loaded host on 2026-11-23. It leaves out waking a sleeping client. `just bench` measures the
//! sum, and `just bench-micro` measures some of the parts in process.
//!
//! | Part | % |
//! |---|---:|
//! | HTTP/1.1 and sockets | 29 |
//! | The guest's code, and copying its arguments and results | 15 |
//! | Creating an instance: store, memories, tables and stack from the pool, start functions | 13 |
//! | Dropping it; half of this finds and clears the written pages | 9 |
//! | The query; a quarter of this is SQLite's file locks | 13 |
//! | The log line and the metrics | 5 |
//! | Route, gate, limits, timers, headers and everything smaller | 16 |

mod answer;
mod background;
mod cache;
mod causes;
mod description;
mod discards;
mod failure;
mod handler;
mod idle;
mod instance;
mod metered;
mod run;
mod slots;
mod stream;
mod stream_slots;
mod traffic;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::header::HeaderValue;
use storage::observed::Observer;
use tokio::sync::watch;
use tokio::time::Instant;
use wasmtime::component::Component;
use wasmtime_wasi_http::ForbiddenHeaderFilter;

use crate::audit::ServiceAudit;
use crate::clock::Clock;
use crate::engine::{self, Engines, HandlerKind, Interfaces, Ticker, Wasi};
use crate::gate::{Admitted, ProbeRequest};
use crate::guest::{
    Denials, DependencyFailure, Grant, Grants, Outgoing, Peers, RemoteCalls, RequestDenials, forbidden_headers,
};
use crate::manifest::Limits;
use crate::response_cache::ResponseCache;
use crate::shares::Client;
use crate::telemetry::Parent;
use crate::tokens::Session;

pub use answer::{Answer, StreamNotes};
pub use background::Background;
use cache::{CacheLookup, RevisionCache};
pub use description::{Description, DescriptionError, Probe};
pub use discards::{Discard, Discards};
pub use failure::{Failure, FailureKind};
use handler::Handler;
pub use idle::{IdleInstances, MAX_IDLE_INSTANCES};
use metered::LongCalls;
use run::Run;
pub use slots::{Full, SlotPermit, Slots};
pub use stream_slots::StreamSlots;
pub use traffic::{Outcome, RouteTraffic, Traffic};

/// How often guests of a revision failed, by kind.
#[derive(Debug, Default)]
pub struct Faults {
    /// The guest trapped, returned no response, or returned one that is not valid HTTP.
    pub traps: AtomicU64,
    /// The guest exceeded its `cpu` or `time` limit.
    pub deadlines: AtomicU64,
}

/// A component version that can serve. Immutable; dropping the last `Arc` frees its code.
pub struct Revision {
    service: Arc<str>,
    digest: String,
    label: HeaderValue,
    handler: Arc<Handler>,
    handler_kind: HandlerKind,
    grants: Grants,
    limits: Limits,
    slots: Arc<Slots>,
    stream_slots: Arc<StreamSlots>,
    /// When another revision became active. None as long as this one serves.
    replaced: watch::Sender<Option<Instant>>,
    /// How many of the host's instances each instance takes.
    host_instances: u32,
    background: Arc<Background>,
    ticker: Arc<Ticker>,
    long_calls: Arc<LongCalls>,
    idle: Option<Arc<IdleInstances>>,
    cache: Option<RevisionCache>,
    clock: Clock,
    forbidden_headers: ForbiddenHeaderFilter,
    faults: Arc<Faults>,
    denials: Arc<Denials>,
    audit: ServiceAudit,
    discards: Arc<Discards>,
    traffic: Arc<Traffic>,
}

/// The parts of a revision, except its code.
pub struct Parts {
    /// Name of the service.
    pub service: Arc<str>,
    /// SHA-256 of the component's file, in hexadecimal.
    pub digest: String,
    /// The host interfaces that are linked.
    pub granted: BTreeSet<Grant>,
    /// The state of these interfaces.
    pub grants: Grants,
    /// The audit log, for denied requests.
    pub audit: ServiceAudit,
    /// Limits of each request.
    pub limits: Limits,
    /// The service's instance slots, shared by its revisions.
    pub slots: Arc<Slots>,
    /// The service's stream slots, shared by its revisions.
    pub stream_slots: Arc<StreamSlots>,
    /// The host's threads for long-running calls.
    pub background: Arc<Background>,
    /// The service's reusable instances, shared by its revisions. None if each request gets an instance of its own.
    pub idle: Option<Arc<IdleInstances>>,
    /// The service's response cache, shared by its revisions. None if its responses are not cached.
    pub response_cache: Option<Arc<ResponseCache>>,
    /// The clock that guests read.
    pub clock: Clock,
}

impl Revision {
    /// Links a compiled component.
    ///
    /// # Errors
    /// An import does not match the host's interface, or an instance needs more linear memories, tables or objects than the host has.
    pub fn link(
        engines: &Engines,
        interfaces: &Interfaces,
        component: &Component,
        parts: Parts,
    ) -> wasmtime::Result<Self> {
        let (handler_kind, wasi) = (interfaces.handler, interfaces.handler.wasi());
        let host_instances = engine::host_instances(component, interfaces.gc_heap);
        let max = parts.slots.max_host_instances();
        if host_instances as usize > max {
            wasmtime::bail!(
                "an instance takes {host_instances} of the host's instances, for its linear memories, tables and \
                 objects, but can take at most {max}: raise `instances` in the manifest"
            );
        }
        if host_instances > 1 && parts.idle.is_some() {
            wasmtime::bail!(
                "an instance takes {host_instances} of the host's instances, for its linear memories, tables and \
                 objects, but a reusable one may take only one: remove `reuse` from the service"
            );
        }
        let handler = Handler::link(&engines.linker(wasi, &parts.granted)?, handler_kind, component)?;
        let label = HeaderValue::from_str(&format!("{}@{}", parts.service, &parts.digest[..12]))?;
        let denials = Arc::new(Denials::new(parts.service.clone()));
        let discards = Arc::new(Discards::new(parts.service.clone(), parts.limits.memory_bytes));
        Ok(Self {
            service: parts.service,
            digest: parts.digest,
            label,
            handler: Arc::new(handler),
            handler_kind,
            grants: parts.grants,
            limits: parts.limits,
            slots: parts.slots,
            stream_slots: parts.stream_slots,
            replaced: watch::Sender::new(None),
            host_instances,
            background: parts.background,
            ticker: engines.ticker().clone(),
            long_calls: Arc::default(),
            idle: parts.idle,
            cache: parts.response_cache.filter(|_| wasi == Wasi::P2).map(RevisionCache::new),
            clock: parts.clock,
            forbidden_headers: forbidden_headers(),
            faults: Arc::default(),
            denials,
            audit: parts.audit,
            discards,
            traffic: Arc::default(),
        })
    }

    /// Name of the service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// SHA-256 of the component's file, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// `orders@0123456789ab`: the service and the first twelve digits.
    pub fn label(&self) -> &HeaderValue {
        &self.label
    }

    /// The interface that the host calls for each request.
    pub fn handler_kind(&self) -> HandlerKind {
        self.handler_kind
    }

    /// Limits of each request.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How often its guests failed.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// The calls that the host denied to its guests.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// The instances that were not reused.
    pub fn discards(&self) -> &Discards {
        &self.discards
    }

    /// The request counters of each route.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The instance slots of the service.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// How many of the host's instances one instance takes.
    pub fn host_instances(&self) -> u32 {
        self.host_instances
    }

    /// The stream slots of the service.
    pub fn stream_slots(&self) -> &StreamSlots {
        &self.stream_slots
    }

    /// Whether the streams that run now have to end within `drain_time`, because another revision became active.
    pub fn drain_streams(&self, drain: bool) {
        self.replaced.send_if_modified(|replaced| {
            let changes = replaced.is_some() != drain;
            if changes {
                *replaced = drain.then(Instant::now);
            }
            changes
        });
    }

    /// The response cache of the service. None if this revision's responses are not cached.
    pub fn response_cache(&self) -> Option<&ResponseCache> {
        self.cache.as_ref().map(RevisionCache::service_cache)
    }

    /// Answers a request from the response cache or in an instance, and counts the outcome.
    ///
    /// `client` is the one for which a stream counts. None if the host itself makes the request. `observer` hears of each SQL
    /// statement.
    ///
    /// # Errors
    /// The guest failed. The host has dropped its store, which rolls back its open transactions.
    pub async fn answer(
        &self,
        admitted: Admitted,
        peers: Option<Box<dyn Peers>>,
        client: Option<Client>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Answer, Failure> {
        let lookup = CacheLookup::new(self.cache.as_ref(), &admitted);
        if let Some(response) = lookup.get() {
            self.traffic.count(admitted.route(), Outcome::CacheHit, Duration::ZERO);
            return Ok(Answer { response, output: None, dependency_failure: None, stream: None });
        }
        let (started, route, failure) =
            (std::time::Instant::now(), admitted.route().clone(), DependencyFailure::default());
        let session = admitted.session().cloned();
        let group = self
            .idle
            .as_ref()
            .and_then(|idle| idle.group(&self.handler, session.as_ref().map(Session::id), &self.discards));
        let grants = self.grants.for_request(admitted.session(), admitted.source()).observed_by(observer);
        let outgoing = self.outgoing(&admitted, &grants, peers, &failure);
        let trace = admitted.trace().clone();
        let run = Run {
            request: admitted.into(),
            grants,
            outgoing,
            group,
            failure: failure.clone(),
            client,
            session,
            route: Some(route.clone()),
            trace,
        };
        let answer = self.run(run).await.map(|(mut answer, whole)| {
            lookup.insert(&mut answer.response, whole);
            answer
        });
        let outcome = match &answer {
            Ok(answer) if matches!(answer.response.status().as_u16(), 404 | 405 | 410) => Outcome::NotFound,
            Ok(answer) if !answer.response.status().is_server_error() => Outcome::Answered,
            Err(Failure { kind: FailureKind::Busy | FailureKind::TooManyStreams | FailureKind::Body(_), .. }) => {
                Outcome::NotCounted
            }
            _ if failure.cause().is_some() => Outcome::NotCounted,
            _ => Outcome::Bad,
        };
        self.traffic.count(&route, outcome, started.elapsed());
        answer
    }

    /// Where the guest's requests may go during one request.
    fn outgoing(
        &self,
        admitted: &Admitted,
        grants: &Grants,
        peers: Option<Box<dyn Peers>>,
        failure: &DependencyFailure,
    ) -> Outgoing {
        let trace_parent = admitted.trace_parent().cloned();
        let remotes = grants.outbound.clone().map(|outbound| RemoteCalls {
            outbound,
            secrets: grants.secrets.clone(),
            trace_parent,
        });
        let audit = self.audit.for_request(admitted.source());
        let denials = RequestDenials::new(self.denials.clone(), audit, grants.secrets.clone());
        Outgoing::new(peers, remotes, self.forbidden_headers.clone(), failure.clone(), denials)
    }

    /// Answers a probe. Nothing is counted or cached.
    ///
    /// All writes of the guest are rolled back. It has no tokens and no audit log, and it cannot call other services or remote hosts.
    ///
    /// Also returns the dependency failure. If there is one, a failed probe is not the revision's fault.
    pub async fn rehearse(&self, probe: ProbeRequest) -> (Result<Answer, Failure>, DependencyFailure) {
        let failure = DependencyFailure::default();
        let outgoing = Outgoing::none(self.forbidden_headers.clone(), failure.clone());
        let run = Run {
            request: probe.into(),
            grants: self.grants.for_rehearsal(),
            outgoing,
            group: None,
            failure: failure.clone(),
            client: None,
            session: None,
            route: None,
            trace: Parent::default(),
        };
        let answer = self.run(run).await;
        (answer.map(|(answer, _)| answer), failure)
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        if let Some(idle) = &self.idle {
            idle.discard_revision(&self.handler);
        }
    }
}
