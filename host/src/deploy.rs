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
//! A canary is one or several candidates: new revisions that serve only a share of the callers. A candidate passes all steps up
//! to `probed`, like any deploy. A hash of the user's name decides whether a caller is part of the share. For an anonymous caller
//! it is a hash of the address. A promotion makes all candidates active in one transaction and one move of the pointer, or none.
//! One canary runs at a time, and it survives a restart.
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
mod comparison;
mod compile;
mod deployment;
mod digest;
mod documentation;
mod earlier;
mod fallback;
mod follow;
mod judge;
mod lane;
mod live;
mod order;
mod precheck;
mod probe;
mod progress;
mod record;
mod reload;
mod report;
mod rollback;
mod schema;
mod routes;
mod serving;
mod signed;
mod stage;
mod start;
mod switch;
mod trial;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use storage::Storage;
use storage::keyvalue::KeyValue;
use tokio::sync::OwnedMutexGuard;

use crate::audit::Audit;
use crate::clock::Clock;
use crate::engine::{CompilePriority, Engines};
use crate::manifest::Manifest;
use crate::outbound::{Outbound, Secrets};
use crate::passwords::Passwords;
use crate::revision::Background;
use crate::tokens::Tokens;

pub use comparison::{Answers, ComparedRoute};
pub use deployment::{Deployment, Document, Served, Vacancy};
pub use documentation::{Codes, Documentation, Operation};
pub use earlier::EarlierAsset;
pub use live::{RunningDeploy, RunningWatch, WatchedService};
pub use order::Order;
pub use precheck::faults as component_faults;
pub use record::{HistoryLine, Record, RecordError};
pub use reload::{PreparedReload, ReloadError, Reloaded};
pub use report::{DeployError, Refused, Report, Step, StepTaken};
pub use serving::{Caller, Canary, Candidate, Serving, Share, ShareError};
pub use trial::Trial;

use lane::{Lane, Setup};
use live::Live;
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
}

/// The databases of services that have the `storage` grant, by service.
pub type Storages = BTreeMap<String, Arc<dyn Storage>>;

/// The way to remote hosts of services whose manifest has a table `outbound`, by service.
pub type Outbounds = BTreeMap<String, Arc<Outbound>>;

/// What the host opened for the services of a manifest.
#[derive(Default)]
pub struct Opened {
    /// The databases. A reload opens only those that were not open before.
    pub storages: Storages,
    /// The entries of services that have the `keyvalue` grant. A reload opens only those that were not open before.
    pub entries: BTreeMap<String, Entries>,
    /// The ways to remote hosts.
    pub outbounds: Outbounds,
    /// The secrets of services whose manifest has a table `secrets`, by service.
    pub secrets: BTreeMap<String, Arc<Secrets>>,
}

/// The key-value entries of one service.
#[derive(Clone)]
pub struct Entries {
    /// The name of their database.
    pub database: String,
    /// Their database.
    pub storage: Arc<dyn Storage>,
    /// The entries in it.
    pub keyvalue: Arc<KeyValue>,
}

/// Deploys, activates, watches and reverts revisions.
pub struct Deployer {
    /// What a reload replaces.
    setup: ArcSwap<Setup>,
    platform: Arc<Platform>,
    record: Record,
    compiler: Option<PathBuf>,
    progress: Arc<Progress>,
    current: Arc<ArcSwap<Serving>>,
    notes: Arc<Mutex<BTreeMap<String, String>>>,
    /// Locked while the pointer moves, so that concurrent deploys of two services cannot overwrite each other.
    switching: Arc<tokio::sync::Mutex<()>>,
    /// Set when the host stops. Every watch then ends.
    stopped: Arc<AtomicBool>,
    /// Set for development: the host announces reverts loudly, and compiles on all cores.
    is_development: Arc<AtomicBool>,
    live: Live,
}

impl Deployer {
    /// Creates a deployer without any active revision. `opened` has what the services of the manifest need. `compiler` is the program that compiles components in a separate process.
    pub fn new(
        manifest: Manifest,
        opened: Opened,
        platform: Arc<Platform>,
        record: Record,
        compiler: Option<PathBuf>,
    ) -> Arc<Self> {
        Arc::new(Self {
            progress: Arc::new(Progress::of(manifest.services.len())),
            setup: ArcSwap::from_pointee(Setup::first(manifest, opened)),
            platform,
            record,
            compiler,
            current: Arc::default(),
            notes: Arc::default(),
            switching: Arc::default(),
            stopped: Arc::default(),
            is_development: Arc::default(),
            live: Live::default(),
        })
    }

    /// The manifest and the lanes of its services. An operation takes them once.
    fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// The manifest that the host serves.
    pub fn manifest(&self) -> Manifest {
        self.setup().manifest.clone()
    }

    /// The open databases, by name: that of a service has the service's name.
    pub fn storages(&self) -> Storages {
        let mut storages = Storages::new();
        for (name, Lane { resources, .. }) in &self.setup().lanes {
            storages.extend(resources.storage.clone().map(|storage| (name.clone(), storage)));
            storages.extend(resources.entries.clone().map(|entries| (entries.database, entries.storage)));
        }
        storages
    }

    /// The ways of the services to remote hosts, by service.
    pub fn outbounds(&self) -> Outbounds {
        let setup = self.setup();
        let outbounds =
            setup.lanes.iter().filter_map(|(name, lane)| Some((name.clone(), lane.resources.outbound.clone()?)));
        outbounds.collect()
    }

    /// The largest component that the manifest allows, in bytes.
    pub fn component_limit_bytes(&self) -> u64 {
        self.setup().manifest.deploy.component.as_u64()
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

    /// The newest lines of all services, at most `most`. With `before`, only lines whose id is smaller.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn history_of_all(&self, before: Option<i64>, most: u32) -> Result<Vec<HistoryLine>, DeployError> {
        Ok(self.record.history_of_all(before, most)?)
    }

    /// The history line that last activated this revision. None if there is none.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn activation(&self, name: &str, digest: &str) -> Result<Option<HistoryLine>, DeployError> {
        Ok(self.record.activation(name, digest)?)
    }

    /// The newest line of a revision that the host reverted. None if it never reverted one.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn last_revert(&self) -> Result<Option<HistoryLine>, DeployError> {
        Ok(self.record.last_revert()?)
    }

    /// The deploys and rollbacks that run now.
    pub fn running_deploys(&self) -> Vec<RunningDeploy> {
        self.live.deploys()
    }

    /// The watches that run now.
    pub fn running_watches(&self) -> Vec<RunningWatch> {
        self.live.watches()
    }

    /// Notices when the deployment, a deploy's steps or a watch change.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.live.changes()
    }

    /// The digests of the previous revisions that stay compiled, newest first.
    pub fn kept_digests(&self, name: &str) -> Vec<String> {
        let Ok(lane) = self.lane(name) else { return Vec::new() };
        lane.state.kept().iter().map(|kept| kept.revision.digest().to_owned()).collect()
    }

    fn lane(&self, name: &str) -> Result<Lane, DeployError> {
        self.setup.load().lanes.get(name).cloned().ok_or_else(|| DeployError::UnknownService(name.to_owned()))
    }

    /// Locks a service for a deploy or a rollback, until the guard is dropped.
    ///
    /// # Errors
    /// `UnknownService`, or `Busy` if the service is locked already.
    fn begin_work(&self, name: &str) -> Result<OwnedMutexGuard<()>, DeployError> {
        self.lane(name)?.state.busy.clone().try_lock_owned().map_err(|_| DeployError::Busy(name.to_owned()))
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
        let is_last = |lane: Lane| lane.state.line.load(Ordering::Relaxed) == line;
        !self.is_stopped() && self.lane(name).is_ok_and(is_last)
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

    /// Notes for the operator, by service. A note says why it has no active revision, why it started with an earlier one, or
    /// which component of the manifest is not active.
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
        let setup = self.setup();
        let stage = Stage {
            name,
            manifest: &setup.manifest,
            platform: &self.platform,
            resources: &self.lane(name)?.resources,
            compiler: self.compiler.as_ref(),
            compile_priority: self.compile_priority(),
            progress: &self.progress,
            origin: origin.to_owned(),
        };
        stage.run(bytes, steps).await
    }

    /// Low while a revision serves. Before the first one serves, compiling is all that the host does. In development somebody waits for it.
    fn compile_priority(&self) -> CompilePriority {
        let serves = !self.current.load().stable().services().is_empty();
        if serves && !self.is_development.load(Ordering::Relaxed) {
            CompilePriority::Low
        } else {
            CompilePriority::AllCores
        }
    }

    async fn probe(&self, served: &Served) -> Result<usize, Refused> {
        let refuse = |reason: &str| Refused {
            service: served.revision.service().to_owned(),
            step: Step::Probed,
            reason: reason.to_owned(),
        };
        probe::all(served, self.setup().manifest.deploy.probe_time).await.map_err(|unfit| refuse(unfit.reason()))
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
