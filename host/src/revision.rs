//! A component version that can serve: compiled, linked under one set of grants, limited.
//!
//! Never mutated: a deploy makes another. Each request gets a store and an instance of its own, which are dropped when the
//! answer is complete, and so does a store that trapped or ran out of time: nothing a guest did is there for the next one,
//! unless the manifest lets instances answer more than one request (`idle`). Dropping the last `Arc` of a revision frees its
//! code.
//!
//! A guest's call is polled in place, on the task of its connection. Only when it answers while it still runs, to stream
//! a body, does the rest move to a task of its own; and when it computes for long, to threads of low priority. Its computing
//! time is measured around each poll and checked by the epoch interruption; its total time is held outside the store, because
//! epochs do not pass in host calls.
//!
//! A revision remembers its answers to GET where they depend on nothing but what was asked and on tables (`answers`): then no
//! instance is made.
//!
//! # Where the time goes
//!
//! Of the 48 µs of the processor that a request for the shop's products takes in an instance of its own, of 100 parts (`perf record`
//! of a host under load on 2026-11-23, without the waking of a client that sleeps; `just bench` gives the sum, `just bench-micro`
//! some of the parts in process):
//!
//! | | |
//! |---|---:|
//! | HTTP/1.1 and the sockets | 29 |
//! | the guest's own code, arguments and results on their way into it and out | 15 |
//! | an instance made: store, memories, tables and stack from the pool, start functions | 13 |
//! | the same dropped; half of it is to find and clear the pages that were touched | 9 |
//! | its query, a quarter of which are the locks that SQLite takes on its file | 13 |
//! | the line of log and the metrics | 5 |
//! | route, gate, limits, timers, headers, and what is too small to be named | 16 |

mod answer;
mod background;
mod description;
mod handler;
mod idle;
mod instance;
mod memory;
mod metered;
mod run;
mod slots;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hyper::Response;
use hyper::header::HeaderValue;
use storage::Storage;
use storage::rehearsal::Rehearsal;
use wasmtime::component::Component;
use wasmtime_wasi_http::ForbiddenHeaderFilter;

use crate::answers::Answers;
use crate::body::Body;
use crate::clock::Clock;
use crate::engine::{Engines, Speaks, Ticker, Wasi};
use crate::gate::{Admitted, ProbeRequest};
use crate::guest::{Excuse, Grants, Guest, Outgoing, Output, Peers, forbidden_headers};
use crate::manifest::{Grant, Limits};

pub use background::Background;
pub use description::{Description, DescriptionError, Probe};
use handler::Handler;
pub use idle::{IDLE_INSTANCES, Idle};
use instance::Instance;
use memory::{Asked, Memory};
use metered::{Lately, Meter, in_background};
pub use slots::{SlotPermit, Slots};
pub use traffic::{Outcome, RouteTraffic, Traffic};

/// How many times a revision went wrong, by kind.
#[derive(Debug, Default)]
pub struct Faults {
    /// The guest trapped, answered nothing, or answered what is no HTTP.
    pub traps: AtomicU64,
    /// The guest computed or took longer than it may.
    pub deadlines: AtomicU64,
}

/// A component version that can serve.
pub struct Revision {
    service: Arc<str>,
    digest: String,
    label: HeaderValue,
    handler: Arc<Handler>,
    speaks: Speaks,
    grants: Grants,
    limits: Limits,
    slots: Arc<Slots>,
    /// How many linear memories each instance has; at least one is counted.
    memories: u32,
    background: Arc<Background>,
    ticker: Arc<Ticker>,
    lately: Arc<Lately>,
    idle: Option<Arc<Idle>>,
    memory: Option<Memory>,
    clock: Clock,
    forbidden: ForbiddenHeaderFilter,
    faults: Arc<Faults>,
    traffic: Traffic,
}

/// What a revision is made of, beside its code.
pub struct Parts {
    /// The service that it serves.
    pub service: Arc<str>,
    /// SHA-256 of the component's file, in hexadecimal.
    pub digest: String,
    /// Which interfaces are linked.
    pub granted: Vec<Grant>,
    /// What stands behind them.
    pub grants: Grants,
    /// Whether it may call other services.
    pub calls: bool,
    /// What each request may use.
    pub limits: Limits,
    /// Shared by all revisions of a service.
    pub slots: Arc<Slots>,
    /// The host's, for guests that compute for long.
    pub background: Arc<Background>,
    /// Shared by all revisions of a service; none where each request has an instance of its own.
    pub idle: Option<Arc<Idle>>,
    /// Shared likewise; none where nothing is to be remembered.
    pub answers: Option<Arc<Answers>>,
    /// The host's.
    pub clock: Clock,
}

/// An answer, and what the guest printed while it made it.
pub struct Answer {
    /// The answer as the guest gave it, without a content length that it claimed.
    pub response: Response<Body>,
    /// Its stdout and stderr, if it wrote anything.
    pub output: Option<String>,
    /// What failed it on the way, if anything.
    pub excuse: Option<String>,
}

/// Why a revision gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No instance was to be had in time.
    Busy,
    /// The guest trapped, or the host failed under it.
    Trapped,
    /// The guest wanted more memory than it may have, and trapped.
    OutOfMemory,
    /// The guest computed longer than it may.
    ComputedTooLong,
    /// The answer was not there in time.
    TookTooLong,
    /// The guest ended without an answer, or its answer is no HTTP.
    BadAnswer,
}

/// Why a revision gave no answer, with what the operator needs to find the reason.
#[derive(Debug)]
pub struct Failure {
    /// What a client may know.
    pub kind: FailureKind,
    /// What the log says.
    pub cause: String,
    /// What the guest printed.
    pub output: Option<String>,
}

impl Revision {
    /// Links a compiled component.
    ///
    /// # Errors
    /// What the linker says of an import that does not fit, and more memories than an instance may have here.
    pub fn link(engines: &Engines, speaks: Speaks, component: &Component, parts: Parts) -> wasmtime::Result<Self> {
        let wasi = speaks.wasi();
        let memories = component.resources_required().map_or(1, |required| required.num_memories.max(1));
        let most = parts.slots.most_memories();
        if memories as usize > most {
            wasmtime::bail!(
                "it has {memories} memories, and of the manifest's `instances` at most {most} are to be had at once"
            );
        }
        if memories > 1 && parts.idle.is_some() {
            // Of the host's memories there is one aside for each idle instance.
            wasmtime::bail!(
                "it has {memories} memories, and instances with several answer one request each: take `reuse` out of the manifest"
            );
        }
        let handler = Handler::link(&engines.linker(wasi, &parts.granted, parts.calls)?, speaks, component)?;
        let label = HeaderValue::from_str(&format!("{}@{}", parts.service, &parts.digest[..12]))?;
        Ok(Self {
            service: parts.service,
            digest: parts.digest,
            label,
            handler: Arc::new(handler),
            speaks,
            grants: parts.grants,
            limits: parts.limits,
            slots: parts.slots,
            memories,
            background: parts.background,
            ticker: engines.ticker().clone(),
            lately: Arc::default(),
            idle: parts.idle,
            memory: parts.answers.filter(|_| wasi == Wasi::P2).map(Memory::new),
            clock: parts.clock,
            forbidden: forbidden_headers(),
            faults: Arc::default(),
            traffic: Traffic::default(),
        })
    }

    /// The name of the service that it serves.
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

    /// How the component answers.
    pub fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// What each request may use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How often it went wrong.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// What became of its requests, route by route.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// The instances of the service.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// The answers that are remembered of the service, unless none are.
    pub fn answers(&self) -> Option<&Answers> {
        self.memory.as_ref().map(Memory::answers)
    }

    /// Asks the component what it is. The instance takes a slot of the service, as those do that answer, and waits for it until one
    /// that was taken just before must be free again: on a service that is too busy for its requests this is how it is changed.
    ///
    /// # Errors
    /// `DescriptionError` when it traps, takes too long or describes what no service can be, or no slot became free.
    pub async fn describe(&self) -> Result<Description, DescriptionError> {
        let patience = self.limits.queue_time + self.limits.time;
        let slot = self.slots.acquire(self.memories, patience).await;
        let slot = slot.ok_or(DescriptionError::Busy(patience))?;
        let output = Output::new(self.limits.log_bytes);
        let outgoing = Outgoing::new(None, self.forbidden.clone(), Excuse::default());
        let guest = Guest::new(&self.clock, Grants::default(), &self.limits, outgoing, &output);
        let mut instance = Instance::new(&self.handler, guest);
        let meter = Arc::new(Meter::new(self.ticker.clone()));
        // A description may not copy as much as an answer: it has the bound of a host call.
        instance.limit(&self.limits, &meter);
        let (handler, service) = (self.handler.clone(), self.service.clone());
        let asked = async move {
            // Dropped after the store: who gets the slot next finds the memory free.
            let _slot = slot;
            description::ask(handler.instance_pre(), instance.into_store(), &service).await
        };
        let described = tokio::time::timeout(self.limits.time, in_background(asked, meter, &self.background)).await;
        described.unwrap_or(Err(DescriptionError::TookTooLong)).map_err(|error| match output.to_log() {
            Some(text) => error.with_output(&text),
            None => error,
        })
    }

    /// Answers a request from memory or in a store, and counts what became of it.
    ///
    /// # Errors
    /// `Failure`. The store is gone by then, and open transactions with it.
    pub async fn answer(&self, admitted: Admitted, peers: Option<Box<dyn Peers>>) -> Result<Answer, Failure> {
        let asked = Asked::new(self.memory.as_ref(), &admitted);
        if let Some(response) = asked.recall() {
            self.traffic.count(admitted.route(), Outcome::Remembered, Duration::ZERO);
            return Ok(Answer { response, output: None, excuse: None });
        }
        let (started, route, excuse) = (std::time::Instant::now(), admitted.route().clone(), Excuse::default());
        let audit = self.grants.audit.as_ref().map(|teller| teller.about(admitted.source()));
        let session = admitted.session().map(|session| session.id());
        let place = self.idle.as_ref().and_then(|idle| idle.place(&self.handler, session));
        let grants = Grants { session: admitted.session().cloned(), audit, ..self.grants.clone() };
        let answer = self.run(admitted.into(), grants, peers, place, &excuse).await;
        let answer = answer.map(|(mut answer, whole)| {
            asked.settle(&mut answer.response, whole);
            answer
        });
        let outcome = match &answer {
            Ok(answer) if matches!(answer.response.status().as_u16(), 404 | 405 | 410) => Outcome::NotFound,
            Ok(answer) if !answer.response.status().is_server_error() => Outcome::Answered,
            Err(Failure { kind: FailureKind::Busy, .. }) => Outcome::NotItsFault,
            _ if excuse.cause().is_some() => Outcome::NotItsFault,
            _ => Outcome::Bad,
        };
        self.traffic.count(&route, outcome, started.elapsed());
        answer
    }

    /// Answers a request as a rehearsal: what it writes is rolled back, it has no tokens and calls nobody, and nothing is
    /// counted.
    ///
    /// # Errors
    /// `Failure`, and whether something that the guest depends on failed it.
    pub async fn rehearse(&self, probe: ProbeRequest) -> (Result<Answer, Failure>, Excuse) {
        let excuse = Excuse::default();
        let grants = Grants {
            session: None,
            storage: self.grants.storage.clone().map(|storage| Arc::new(Rehearsal::new(storage)) as Arc<dyn Storage>),
            tokens: None,
            passwords: self.grants.passwords.clone(),
            audit: None,
        };
        let answer = self.run(probe.into(), grants, None, None, &excuse).await;
        (answer.map(|(answer, _)| answer), excuse)
    }
}

impl Drop for Revision {
    fn drop(&mut self) {
        if let Some(idle) = &self.idle {
            idle.forget_of(&self.handler);
        }
    }
}
