//! How a component comes to serve, and how it is taken back. The only writer of the deployment.
//!
//! ```text
//! received -> verified -> compiled -> linked -> described -> migrated -> probed -> active -> (watched) -> kept | reverted
//!     |           |           |          |          |            |          |
//!     +-----------+-----------+----------+----------+------------+----------+-> refused: nothing changed for anybody
//! ```
//!
//! Everything before `active` happens beside what serves. A migration is the one step that leaves something behind when a
//! later one fails, which is why it may only add: the revision that goes on serving does not notice.
//!
//! # Activation
//!
//! One transaction of the record makes the revision the one that a restart serves, then one pointer moves. A request takes
//! the pointer's value when it begins and keeps it to the end of its answer, so none meets two revisions, and those that
//! run when the pointer moves end on the old one. When the last of them has ended, the old revision's code is kept for as
//! long as it stands among the last few of its service, so that going back to it needs no compiling; then it is freed.
//!
//! # Canaries and sets
//!
//! A revision may be tried on a share of the callers before everybody gets it: it passes the same steps up to `probed`, and then
//! stands beside what serves (`serving`), as a candidate. A caller is in the share by a hash of the user's name, or of the address of
//! whoever shows no token. Candidates of several services make one canary: they are promoted in one transaction and one
//! move of the pointer, or none is. So a set of components that belong together is staged for nobody, then promoted. A set has a name:
//! nothing else is added to it, and nothing else promotes it. One canary runs at a time, and survives a restart.
//!
//! # Probation
//!
//! For a time the host compares the new revision with the one before, route by route (`judge`). One that is clearly worse is
//! taken back by the same transaction and the same pointer, and its digest is not activated again unless it is forced.
//! What a failing database, a full house or another service did to it does not count. A canary is compared with what the revision
//! in charge answers at the same time, for as long as it runs. A set is taken back as it came, as a whole, also if the host was
//! restarted meanwhile. A revert that fails is tried again until it succeeds or the host stops.
//!
//! # Starts
//!
//! A start serves what served last. A service whose active revision cannot start falls back to an earlier one, and one that has none
//! is vacant: its paths answer 503 (`start`, `fallback`).

mod canary;
mod check;
mod compile;
mod deployment;
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
use sha2::{Digest as _, Sha256};
use storage::Storage;
use tokio::sync::OwnedMutexGuard;

use crate::answers::Answers;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::engine::Engines;
use crate::manifest::{Manifest, Reuse, Service};
use crate::passwords::Passwords;
use crate::revision::{Background, Idle, Slots};
use crate::tokens::Tokens;

pub use deployment::{Deployment, Document, Served, Vacancy};
pub use documentation::{Codes, Documentation, Operation};
pub use order::Order;
pub use precheck::faults as component_faults;
pub use record::{Line, Record, RecordError};
pub use report::{DeployError, Refused, Report, Step, StepTaken};
pub use serving::{Caller, Canary, Candidate, Serving, Share, ShareError};

use progress::Progress;
use report::Steps;
use stage::Stage;

/// What the host has to give to its services.
pub struct Platform {
    /// Both wasmtime engines.
    pub engines: Engines,
    /// The issuer and verifier of tokens.
    pub tokens: Arc<Tokens>,
    /// Password hashing.
    pub passwords: Arc<Passwords>,
    /// The audit log.
    pub audit: Arc<Audit>,
    /// Where guests go on that compute for long.
    pub background: Arc<Background>,
    /// The time of day.
    pub clock: Clock,
    /// The data folder.
    pub folder: PathBuf,
    /// The databases of the services that were granted one.
    pub storages: BTreeMap<String, Arc<dyn Storage>>,
}

/// What a deployer keeps of one service.
struct Lane {
    slots: Arc<Slots>,
    /// None where each request has an instance of its own.
    idle: Option<Arc<Idle>>,
    /// None where the manifest has none remembered.
    answers: Option<Arc<Answers>>,
    /// Held while a deploy or a rollback runs.
    busy: Arc<tokio::sync::Mutex<()>>,
    /// Revisions before the active one, newest first, that stay compiled.
    kept: Mutex<VecDeque<Served>>,
    /// The line of the history that put the active revision in charge since the host started, or 0.
    line: AtomicI64,
}

/// Makes revisions and puts them in charge.
pub struct Deployer {
    manifest: Manifest,
    platform: Arc<Platform>,
    record: Record,
    lanes: BTreeMap<String, Lane>,
    compiler: Option<PathBuf>,
    progress: Progress,
    current: Arc<ArcSwap<Serving>>,
    notes: Mutex<BTreeMap<String, String>>,
    /// Held while the pointer is moved, so that two services' deploys do not undo each other.
    switching: tokio::sync::Mutex<()>,
    /// Set when the host stops: nothing is watched any more.
    stopped: AtomicBool,
    /// Set in development, when changed files are deployed: a revert is said loudly.
    follows_files: AtomicBool,
}

impl Deployer {
    /// A deployer whose deployment is empty. `compiler` is the program that compiles in a process of its own.
    pub fn new(manifest: Manifest, platform: Arc<Platform>, record: Record, compiler: Option<PathBuf>) -> Arc<Self> {
        let limits: Vec<_> = manifest.services.values().map(|service| service.limits.concurrency).collect();
        let slots = Slots::divide(manifest.instances as usize, &limits);
        let lane = |service: &Service, slots| Lane {
            slots: Arc::new(slots),
            idle: Idle::new(service.reuse).map(Arc::new),
            // What an instance keeps may be in its answers, so those of one that is used again are not remembered.
            answers: Some(service.limits.answers_bytes)
                .filter(|bytes| *bytes > 0 && service.reuse == Reuse::Never)
                .map(Answers::new)
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

    /// Bytes that a component may have.
    pub fn component_limit_bytes(&self) -> u64 {
        self.manifest.deploy.component.as_u64()
    }

    /// The pointer that requests follow.
    pub fn current(&self) -> Arc<ArcSwap<Serving>> {
        self.current.clone()
    }

    /// Ends every watch: what is on probation stays as it is.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The newest lines of a service's history.
    ///
    /// # Errors
    /// An unknown service, or a record that cannot be read.
    pub fn history(&self, name: &str, most: u32) -> Result<Vec<Line>, DeployError> {
        self.lane(name)?;
        Ok(self.record.history(name, most)?)
    }

    /// The digests of the revisions that stay compiled beside the active one, newest first.
    pub fn kept_digests(&self, name: &str) -> Vec<String> {
        self.kept(name).iter().map(|kept| kept.revision.digest().to_owned()).collect()
    }

    fn kept(&self, name: &str) -> MutexGuard<'_, VecDeque<Served>> {
        self.lanes[name].kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, name: &str) -> Result<&Lane, DeployError> {
        self.lanes.get(name).ok_or_else(|| DeployError::UnknownService(name.to_owned()))
    }

    /// Takes a service for a deploy or a rollback, for as long as what it gives is held.
    fn begin_work(&self, name: &str) -> Result<OwnedMutexGuard<()>, DeployError> {
        self.lane(name)?.busy.clone().try_lock_owned().map_err(|_| DeployError::Busy(name.to_owned()))
    }

    /// What is in charge of a service.
    fn served(&self, name: &str) -> Option<Served> {
        self.current.load().stable().services().get(name).cloned()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Whether what this line of the history put in charge is still there, and the host not stopping.
    fn is_on_probation(&self, name: &str, line: i64) -> bool {
        !self.is_stopped() && self.lanes[name].line.load(Ordering::Relaxed) == line
    }

    /// The digest of the active revision, if there is one and it is the one that an order replaces.
    fn check_replaces(&self, name: &str, replaces: Option<&str>) -> Result<Option<String>, DeployError> {
        let active = self.served(name).map(|served| served.revision.digest().to_owned());
        if replaces.is_some_and(|replaces| active.as_deref() != Some(replaces)) {
            let active = active.unwrap_or_else(|| "no revision".to_owned());
            return Err(DeployError::Changed { service: name.to_owned(), active });
        }
        Ok(active)
    }

    /// What an operator should know of a service's start. The next activation of the service removes it.
    fn notes(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an operator should know of each service: why it has no revision, why it started with an earlier one, or which component
    /// of the manifest is not active.
    pub fn noted(&self) -> BTreeMap<String, String> {
        let serving = self.current.load();
        let vacant = serving.stable().vacant().iter();
        let vacant = vacant.map(|(name, vacancy)| (name.to_string(), format!("no revision: {}", vacancy.reason)));
        self.notes().clone().into_iter().chain(vacant).collect()
    }

    async fn stage(
        &self,
        name: &str,
        bytes: &Arc<[u8]>,
        origin: &str,
        steps: &mut Steps,
    ) -> Result<Served, DeployError> {
        self.check_noted(name, &hex(&Sha256::digest(bytes)), origin)?;
        let stage = Stage {
            name,
            manifest: &self.manifest,
            platform: &self.platform,
            slots: &self.lanes[name].slots,
            background: &self.platform.background,
            idle: self.lanes[name].idle.as_ref(),
            answers: self.lanes[name].answers.as_ref(),
            compiler: self.compiler.as_ref(),
            progress: &self.progress,
            origin: origin.to_owned(),
        };
        stage.run(bytes, steps).await
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

    /// What a change from one revision to another comes to, before any step of it is told.
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

    /// Seconds since 1970-01-01 UTC.
    fn now(&self) -> f64 {
        self.platform.clock.since_epoch().as_secs_f64()
    }
}

/// Bytes as people and file names have them.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
