//! What is under way now: deploys with the steps that are done, and watches with what they compare.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::comparison::{ComparedRoute, Comparison};
use super::report::{StepTaken, Steps};
use super::serving::Share;

/// A deploy or a rollback that runs.
#[derive(Debug, Clone, Serialize)]
pub struct RunningDeploy {
    /// The name of the service.
    pub service: String,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub since: f64,
    /// The share of the callers, if it starts a canary.
    pub canary: Option<Share>,
    /// The steps that are done.
    pub steps: Vec<StepTaken>,
}

/// New revisions that the host watches.
#[derive(Debug, Clone, Serialize)]
pub struct RunningWatch {
    /// Whether they are a canary. Otherwise they are active.
    pub canary: bool,
    /// How long the watch window still lasts, in seconds. None for a canary.
    pub seconds_left: Option<u64>,
    /// The services.
    pub services: Vec<WatchedService>,
}

/// One service of a watch.
#[derive(Debug, Clone, Serialize)]
pub struct WatchedService {
    /// The name of the service.
    pub service: String,
    /// The revision to which the host would go back.
    pub from: String,
    /// The new revision.
    pub to: String,
    /// What both answered.
    pub routes: Vec<ComparedRoute>,
}

/// Clones share the same state.
#[derive(Clone, Default)]
pub(super) struct Live(Arc<State>);

struct State {
    deploys: Mutex<BTreeMap<String, RunningDeploy>>,
    watches: Mutex<BTreeMap<u64, Observed>>,
    next: AtomicU64,
    changed: watch::Sender<()>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            deploys: Mutex::default(),
            watches: Mutex::default(),
            next: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        }
    }
}

struct Observed {
    comparisons: Vec<Comparison>,
    /// When the watch window ends. None for a canary.
    ends: Option<Instant>,
    lag: Duration,
}

/// A watch is listed until this is dropped.
pub(super) struct Listed {
    live: Live,
    id: u64,
}

/// Removes a deploy when its steps are dropped.
struct Ends {
    live: Live,
    service: String,
}

impl Live {
    /// Lists a deploy until the steps are dropped. Only one deploy of a service runs at a time.
    pub(super) fn deploy(&self, service: &str, canary: Option<Share>, since: f64) -> Steps {
        let running = RunningDeploy { service: service.to_owned(), since, canary, steps: Vec::new() };
        locked(&self.0.deploys).insert(service.to_owned(), running);
        self.change();
        let ends = Ends { live: self.clone(), service: service.to_owned() };
        Steps::told(move |step: &StepTaken| ends.add(step))
    }

    /// The deploys that run.
    pub(super) fn deploys(&self) -> Vec<RunningDeploy> {
        locked(&self.0.deploys).values().cloned().collect()
    }

    /// Lists a watch.
    pub(super) fn watch(&self, comparisons: &[Comparison], ends: Option<Instant>) -> Listed {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let observed = Observed { comparisons: comparisons.to_vec(), ends, lag: Duration::ZERO };
        locked(&self.0.watches).insert(id, observed);
        self.change();
        Listed { live: self.clone(), id }
    }

    /// The watches that run.
    pub(super) fn watches(&self) -> Vec<RunningWatch> {
        locked(&self.0.watches).values().map(Observed::report).collect()
    }

    /// Says that the operator would see something else now.
    pub(super) fn change(&self) {
        self.0.changed.send_replace(());
    }

    /// Notices each change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }
}

impl Listed {
    /// What the watch compares now, and how late its checks are.
    pub(super) fn update(&self, comparisons: &[Comparison], lag: Duration) {
        let mut watches = locked(&self.live.0.watches);
        let Some(observed) = watches.get_mut(&self.id) else { return };
        observed.lag = lag;
        if observed.comparisons.len() != comparisons.len() {
            observed.comparisons = comparisons.to_vec();
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        locked(&self.live.0.watches).remove(&self.id);
        self.live.change();
    }
}

impl Ends {
    fn add(&self, step: &StepTaken) {
        if let Some(running) = locked(&self.live.0.deploys).get_mut(&self.service) {
            running.steps.push(step.clone());
        }
        self.live.change();
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        locked(&self.live.0.deploys).remove(&self.service);
        self.live.change();
    }
}

impl Observed {
    fn report(&self) -> RunningWatch {
        let services = self.comparisons.iter().map(|comparison| WatchedService {
            service: comparison.service().to_owned(),
            from: comparison.old.revision.digest().to_owned(),
            to: comparison.new.revision.digest().to_owned(),
            routes: comparison.routes(self.lag),
        });
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()).as_secs());
        RunningWatch { canary: self.ends.is_none(), seconds_left: left, services: services.collect() }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
