//! Deploys: brings components to their services, and reverts the bad ones. The only writer of the deployment.
//!
//! ```text
//! received -> verified -> compiled -> linked -> described -> migrated -> probed -> active -> (watched) -> kept | reverted
//!     |           |           |          |          |            |          |
//!     +-----------+-----------+----------+----------+------------+----------+-> refused: the old revision keeps serving
//! ```
//!
//! All steps before `active` leave the active revision alone. Only a migration has a lasting effect if a later step fails. For this
//! reason a migration may only add to the schema: the active revision does not notice an addition.
//!
//! # Activation
//!
//! One transaction of the record makes the revision the one that a restart serves. Then one pointer moves. A request reads the
//! pointer when it begins and keeps that deployment until the end of its response, so no request sees two revisions. Requests that run
//! when the pointer moves finish on the old revision. The host keeps the last few revisions of each service compiled, so that a
//! rollback needs no compilation. An older revision is freed when its last request ends.
//!
//! # Canaries and sets
//!
//! A canary is one or several candidates: new revisions that serve only a share of the callers. A candidate passes all steps up to
//! `probed`, like any deploy. A hash of the user's name decides whether a caller is part of the share; for an anonymous caller it is
//! a hash of the address. A promotion makes all candidates active in one transaction and one move of the pointer, or none. One canary
//! runs at a time, and it survives a restart.
//!
//! A set is a canary with a share of 0% and a name. It stages components that belong together, until the whole set is promoted. Only an
//! order that names the set can add to it, promote it or end it.
//!
//! # Watch
//!
//! For a time after a deploy, the watch compares the new revision with the previous one, route by route (`judge`). If the new one is
//! clearly worse, the host reverts it with the same transaction and pointer. Later the host refuses the digest unless the operator
//! forces it. Dependency failures (database, password queue, another service) and a busy host do not count against the revision.
//!
//! A canary is compared with what the active revision answers at the same time, for as long as the canary runs. A set is reverted as a
//! whole, even if the host was restarted in between. If a revert fails, the host tries again until it succeeds or the host stops.
//!
//! # Starts
//!
//! A start serves the revisions that were active last. If the active revision of a service cannot start, the host falls back to an
//! earlier one. A service without any revision that can start is vacant: its paths answer 503 (`start`, `fallback`).

mod canary;
mod check;
mod compile;
mod deployment;
mod digest;
mod documentation;
mod fallback;
mod follow;
mod judge;
mod order;
mod precheck;
mod probe;
mod progress;
mod record;
mod report;
mod rollback;
mod schema;
mod routes;
mod serving;
mod signed;
mod stage;
mod start;
mod switch;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use storage::Storage;
use storage::keyvalue::KeyValue;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::audit::Audit;
use crate::clock::Clock;
use crate::engine::{CompilePriority, Engines};
use crate::manifest::{Manifest, Reuse, Service};
use crate::outbound::{Outbound, Secrets};
use crate::passwords::Passwords;
use crate::response_cache::ResponseCache;
use crate::revision::{Background, IdleInstances, Slots, StreamSlots};
use crate::tokens::Tokens;

pub use deployment::{Deployment, Document, Served, Vacancy};
pub use documentation::{Codes, Documentation, Operation};
pub use order::Order;
pub use precheck::faults as component_faults;
pub use record::{HistoryLine, Record, RecordError};
pub use report::{DeployError, Refused, Report, Step, StepTaken};
pub use serving::{Caller, Canary, Candidate, Serving, Share, ShareError};

use progress::Progress;
use report::Steps;
use stage::Stage;

/// Everything of the host that services share: engines, tokens, passwords, databases.
pub struct Platform {
    /// Both wasmtime engines.
    pub engines: Arc<Engines>,
    /// Issues and verifies access tokens.
    pub tokens: Arc<Tokens>,
    /// Password hashing.
    pub passwords: Arc<Passwords>,
    /// The audit log.
    pub audit: Arc<Audit>,
    /// The threads for long-running calls of guests.
    pub background: Arc<Background>,
    /// The wall clock.
    pub clock: Clock,
    /// The data folder.
    pub folder: PathBuf,
    /// The database of each service that has the `storage` grant, by service.
    pub storages: BTreeMap<String, Arc<dyn Storage>>,
    /// The way to remote hosts of each service whose manifest has a table `outbound`, by service.
    pub outbounds: BTreeMap<String, Arc<Outbound>>,
    /// The entries of each service that has the `keyvalue` grant, by service.
    pub keyvalues: BTreeMap<String, Arc<KeyValue>>,
    /// The secrets of each service whose manifest has a table `secrets`, by service.
    pub secrets: BTreeMap<String, Arc<Secrets>>,
}

/// The state of one service that outlives its revisions.
struct Lane {
    slots: Arc<Slots>,
    stream_slots: Arc<StreamSlots>,
    /// Reusable instances. None if each request gets a fresh instance.
    idle: Option<Arc<IdleInstances>>,
    /// The response cache. None if the manifest turns it off.
    response_cache: Option<Arc<ResponseCache>>,
    /// Locked while a deploy, a rollback or a promotion of the service runs.
    busy: Arc<tokio::sync::Mutex<()>>,
    /// Previous revisions that stay compiled, newest first.
    kept: Mutex<VecDeque<Served>>,
    /// The id of the history line that activated the active revision. 0 if no revision was activated since the host started.
    line: AtomicI64,
}

/// Deploys, activates, watches and reverts revisions.
pub struct Deployer {
    manifest: Manifest,
    platform: Arc<Platform>,
    record: Record,
    lanes: BTreeMap<String, Lane>,
    compiler: Option<PathBuf>,
    progress: Progress,
    current: Arc<ArcSwap<Serving>>,
    notes: Mutex<BTreeMap<String, String>>,
    /// Locked while the pointer moves, so that concurrent deploys of two services cannot overwrite each other.
    switching: tokio::sync::Mutex<()>,
    /// Set when the host stops. Every watch then ends.
    stopped: AtomicBool,
    /// Set in development mode, in which the host deploys changed files and announces reverts loudly.
    follows_files: AtomicBool,
}

impl Deployer {
    /// Creates a deployer without any active revision. `compiler` is the program that compiles components in a separate process.
    pub fn new(manifest: Manifest, platform: Arc<Platform>, record: Record, compiler: Option<PathBuf>) -> Arc<Self> {
        let limits: Vec<_> = manifest.services.values().map(|service| service.limits.concurrency).collect();
        let slots = Slots::divide(manifest.instances as usize, &limits);
        let streams = Arc::new(Semaphore::new(manifest.listeners.streams));
        let lane = |service: &Service, slots| Lane {
            slots: Arc::new(slots),
            stream_slots: Arc::new(StreamSlots::new(service.limits.streams, &streams)),
            idle: IdleInstances::new(service.reuse).map(Arc::new),
            // A reused instance keeps state between requests, and its responses may contain that state. So they are not cached.
            response_cache: Some(service.limits.answers_bytes)
                .filter(|bytes| *bytes > 0 && service.reuse == Reuse::Never)
                .map(ResponseCache::new)
                .map(Arc::new),
            busy: Arc::default(),
            kept: Mutex::default(),
            line: AtomicI64::new(0),
        };
        let services = manifest.services.iter().zip(slots);
        let lanes = services.map(|((name, service), slots)| (name.clone(), lane(service, slots))).collect();
        Arc::new(Self {
            lanes,
            progress: Progress::of(manifest.services.len()),
            manifest,
            platform,
            record,
            compiler,
            current: Arc::default(),
            notes: Mutex::default(),
            switching: tokio::sync::Mutex::default(),
            stopped: AtomicBool::new(false),
            follows_files: AtomicBool::new(false),
        })
    }

    /// The largest component that the manifest allows, in bytes.
    pub fn component_limit_bytes(&self) -> u64 {
        self.manifest.deploy.component.as_u64()
    }

    /// The pointer to the current deployment, which each request reads once.
    pub fn current(&self) -> Arc<ArcSwap<Serving>> {
        self.current.clone()
    }

    /// Ends every watch. Revisions that are watched now stay active, and the next start continues to watch them.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The newest lines of a service's history, at most `most`.
    ///
    /// # Errors
    /// `UnknownService`, or `Record` if the record cannot be read.
    pub fn history(&self, name: &str, most: u32) -> Result<Vec<HistoryLine>, DeployError> {
        self.lane(name)?;
        Ok(self.record.history(name, most)?)
    }

    /// The digests of the previous revisions that stay compiled, newest first.
    pub fn kept_digests(&self, name: &str) -> Vec<String> {
        self.kept(name).iter().map(|kept| kept.revision.digest().to_owned()).collect()
    }

    fn kept(&self, name: &str) -> MutexGuard<'_, VecDeque<Served>> {
        self.lanes[name].kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, name: &str) -> Result<&Lane, DeployError> {
        self.lanes.get(name).ok_or_else(|| DeployError::UnknownService(name.to_owned()))
    }

    /// Locks a service for a deploy or a rollback, until the guard is dropped.
    ///
    /// # Errors
    /// `UnknownService`, or `Busy` if the service is locked already.
    fn begin_work(&self, name: &str) -> Result<OwnedMutexGuard<()>, DeployError> {
        self.lane(name)?.busy.clone().try_lock_owned().map_err(|_| DeployError::Busy(name.to_owned()))
    }

    /// The active revision of a service, if it has one.
    fn served(&self, name: &str) -> Option<Served> {
        self.current.load().stable().services().get(name).cloned()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether the revision that this history line activated is still active. False if the host is stopping.
    fn is_watched(&self, name: &str, line: i64) -> bool {
        !self.is_stopped() && self.lanes[name].line.load(Ordering::Relaxed) == line
    }

    /// Returns the digest of the active revision, if there is one.
    ///
    /// # Errors
    /// `Changed` if `replaces` names another revision than the active one.
    fn check_replaces(&self, name: &str, replaces: Option<&str>) -> Result<Option<String>, DeployError> {
        let active = self.served(name).map(|served| served.revision.digest().to_owned());
        if replaces.is_some_and(|replaces| active.as_deref() != Some(replaces)) {
            let active = active.unwrap_or_else(|| "no revision".to_owned());
            return Err(DeployError::Changed { service: name.to_owned(), active });
        }
        Ok(active)
    }

    /// Notes for the operator about how services started, by service. The next activation of a service removes its note.
    fn notes(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes for the operator, by service: why it has no active revision, why it started with an earlier one, or which component of the
    /// manifest is not active.
    pub fn noted(&self) -> BTreeMap<String, String> {
        let serving = self.current.load();
        let vacant = serving.stable().vacant().iter();
        let vacant =
            vacant.map(|(name, vacancy)| (name.to_string(), format!("no active revision: {}", vacancy.reason)));
        self.notes().clone().into_iter().chain(vacant).collect()
    }

    async fn stage(
        &self,
        name: &str,
        bytes: &Arc<[u8]>,
        origin: &str,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        self.check_recorded_signature(name, &digest::sha256(bytes), origin)?;
        let stage = Stage {
            name,
            manifest: &self.manifest,
            platform: &self.platform,
            slots: &self.lanes[name].slots,
            stream_slots: &self.lanes[name].stream_slots,
            background: &self.platform.background,
            idle: self.lanes[name].idle.as_ref(),
            response_cache: self.lanes[name].response_cache.as_ref(),
            compiler: self.compiler.as_ref(),
            compile_priority: self.compile_priority(),
            progress: &self.progress,
            origin: origin.to_owned(),
        };
        stage.run(bytes, steps).await
    }

    /// Low while a revision serves. Before the first one serves, compiling is all that the host does.
    fn compile_priority(&self) -> CompilePriority {
        let serves = !self.current.load().stable().services().is_empty();
        if serves { CompilePriority::Low } else { CompilePriority::AllCores }
    }

    async fn probe(&self, served: &Served) -> Result<usize, Refused> {
        let refuse = |reason: &str| Refused {
            service: served.revision.service().to_owned(),
            step: Step::Probed,
            reason: reason.to_owned(),
        };
        probe::all(served, self.manifest.deploy.probe_time).await.map_err(|unfit| refuse(unfit.reason()))
    }

    async fn store(&self, served: &Served) -> Result<(), DeployError> {
        let (record, digest, bytes) = (self.record.clone(), served.revision.digest().to_owned(), served.bytes.clone());
        let stored = tokio::task::spawn_blocking(move || record.store(&digest, &bytes)).await;
        Ok(stored.unwrap_or(Ok(()))?)
    }

    /// The report of a change from one revision to another, without its steps.
    fn report(&self, id: i64, before: Option<&Served>, after: &Served) -> Report {
        Report {
            id,
            service: after.revision.service().to_owned(),
            from: before.map(|before| before.revision.digest().to_owned()),
            to: after.revision.digest().to_owned(),
            changed: true,
            canary: None,
            signer: self.signer(after.revision.service(), after.revision.digest()),
            active_since: None,
            steps: Vec::new(),
            differences: before.map(|before| check::differences(before, after)).unwrap_or_default(),
        }
    }

    /// The current time in seconds since 1970-01-01 UTC.
    fn now(&self) -> f64 {
        self.platform.clock.since_epoch().as_secs_f64()
    }
}
