//! What the manifest says about each service, and what a service keeps from one revision to the next.
//!
//! A reload makes another [`Setup`] and activates it together with the revisions that belong to it. Services whose table did not change
//! keep their [`Resources`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::Storage;

use super::{Entries, Opened, Served};
use crate::manifest::{Manifest, Reuse, Service};
use crate::outbound::{Outbound, Secrets};
use crate::response_cache::ResponseCache;
use crate::revision::{IdleInstances, Slots, StreamSlots};
use crate::shares::Permits;

/// A manifest, and the lane of each of its services. Never mutated.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) manifest: Manifest,
    pub(super) lanes: BTreeMap<String, Lane>,
}

/// One service of a manifest.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) resources: Arc<Resources>,
    pub(super) state: Arc<LaneState>,
}

/// The resources that all revisions share that were made with the same table of the manifest.
pub(super) struct Resources {
    /// The table of the service. Its line number may be from an earlier text of the manifest.
    pub(super) table: Service,
    /// The service's database. None without the grant `storage`.
    pub(super) storage: Option<Arc<dyn Storage>>,
    /// The service's key-value entries. None without the grant `keyvalue`.
    pub(super) entries: Option<Entries>,
    /// The way to remote hosts. None without the table `outbound`.
    pub(super) outbound: Option<Arc<Outbound>>,
    /// None without the table `secrets`.
    pub(super) secrets: Option<Arc<Secrets>>,
    pub(super) slots: Arc<Slots>,
    pub(super) stream_slots: Arc<StreamSlots>,
    /// Reusable instances. None if each request gets a fresh instance.
    pub(super) idle: Option<Arc<IdleInstances>>,
    /// The response cache. None if the manifest turns it off.
    pub(super) response_cache: Option<Arc<ResponseCache>>,
}

/// The state of one service that outlives its revisions and its table.
#[derive(Default)]
pub(super) struct LaneState {
    /// Locked while a deploy, a rollback, a promotion or a reload of the service runs.
    pub(super) busy: Arc<tokio::sync::Mutex<()>>,
    /// Previous revisions with the current resources that stay compiled, newest first.
    kept: Mutex<VecDeque<Served>>,
    /// The id of the history line that activated the active revision. 0 if no revision was activated since the host started.
    pub(super) line: AtomicI64,
}

impl Setup {
    /// The setup of a host that starts.
    pub(super) fn first(manifest: Manifest, mut opened: Opened) -> Self {
        let limits: Vec<_> = manifest.services.values().map(|service| service.limits.concurrency).collect();
        let slots = Slots::divide(manifest.instances as usize, &limits);
        let streams = Arc::new(Permits::new(manifest.listeners.streams));
        let services = manifest.services.iter().zip(slots);
        let lanes = services.map(|((name, table), slots)| {
            let slots = (Arc::new(slots), Arc::new(StreamSlots::new(table.limits.streams, &streams)));
            let resources = Resources::new((name, table), &mut opened, slots, None);
            (name.clone(), Lane { resources: Arc::new(resources), state: Arc::default() })
        });
        Self { lanes: lanes.collect(), manifest }
    }

    /// The setup for another manifest. `opened` has no database that a service has here already.
    pub(super) fn next(&self, manifest: Manifest, mut opened: Opened) -> Self {
        let any = self.lanes.values().next().expect("a manifest has at least one service").resources.clone();
        let mut lane = |(name, table): (&String, &Service)| {
            let lane = match self.lanes.get(name) {
                Some(lane) if lane.resources.table.is_same(table) => lane.clone(),
                Some(Lane { resources, state }) => {
                    let slots = (resources.slots.clone(), resources.stream_slots.clone());
                    let resources = Resources::new((name, table), &mut opened, slots, Some(resources));
                    Lane { resources: Arc::new(resources), state: state.clone() }
                }
                None => {
                    let streams = any.stream_slots.sibling(table.limits.streams);
                    let slots = (Arc::new(any.slots.sibling(table.limits.concurrency)), Arc::new(streams));
                    let resources = Resources::new((name, table), &mut opened, slots, None);
                    Lane { resources: Arc::new(resources), state: Arc::default() }
                }
            };
            (name.clone(), lane)
        };
        Self { lanes: manifest.services.iter().map(&mut lane).collect(), manifest }
    }

    /// The setup in which a service has these resources and their table again. None if it has them already.
    pub(super) fn with_resources(&self, name: &str, resources: &Arc<Resources>) -> Option<Self> {
        let lane = self.lanes.get(name).filter(|lane| !Arc::ptr_eq(&lane.resources, resources))?;
        let mut next = self.clone();
        next.manifest.services.insert(name.to_owned(), resources.table.clone());
        next.lanes.insert(name.to_owned(), Lane { resources: resources.clone(), state: lane.state.clone() });
        Some(next)
    }

    /// Divides the host's instances among the services of this setup, and sets their limits. `before` is the setup that had them.
    pub(super) fn divide_instances(&self, before: &Self) {
        let slots = |setup: &Self| -> Vec<(Arc<Slots>, usize)> {
            let lanes = setup.lanes.values().map(|lane| &*lane.resources);
            lanes.map(|resources| (resources.slots.clone(), resources.table.limits.concurrency)).collect()
        };
        let (old, new) = (slots(before), slots(self));
        let is_gone = |slots: &Arc<Slots>| !new.iter().any(|(other, _)| Arc::ptr_eq(slots, other));
        let gone: Vec<_> = old.into_iter().map(|(slots, _)| slots).filter(is_gone).collect();
        Slots::divide_again(self.manifest.instances as usize, &new, &gone);
        for Resources { stream_slots, table, .. } in self.lanes.values().map(|lane| &*lane.resources) {
            stream_slots.set_limit(table.limits.streams);
        }
    }
}

impl Resources {
    /// Keeps those resources of an earlier table that this table does not change.
    fn new(
        (name, table): (&String, &Service),
        opened: &mut Opened,
        (slots, stream_slots): (Arc<Slots>, Arc<StreamSlots>),
        before: Option<&Arc<Self>>,
    ) -> Self {
        let storage = opened.storages.remove(name).or_else(|| before?.storage.clone()).filter(|_| table.has_storage());
        let entries = opened.entries.remove(name).or_else(|| before?.entries.clone()).filter(|_| table.has_entries());
        let outbound = match before.filter(|before| before.table.outbound == table.outbound) {
            Some(before) => before.outbound.clone(),
            None => opened.outbounds.remove(name),
        };
        let secrets = match before.filter(|before| before.table.secrets == table.secrets) {
            Some(before) => before.secrets.clone(),
            None => opened.secrets.remove(name),
        };
        let same_reuse = before.filter(|before| before.table.reuse == table.reuse);
        let idle = match same_reuse {
            Some(before) => before.idle.clone(),
            None => IdleInstances::new(table.reuse).map(Arc::new),
        };
        let same_cache = same_reuse.filter(|before| before.table.limits.answers_bytes == table.limits.answers_bytes);
        let response_cache = match same_cache {
            Some(before) => before.response_cache.clone(),
            // A reused instance keeps state between requests, and its responses may contain that state. So they are not cached.
            None => Some(table.limits.answers_bytes)
                .filter(|bytes| *bytes > 0 && table.reuse == Reuse::Never)
                .map(ResponseCache::new)
                .map(Arc::new),
        };
        Self { table: table.clone(), storage, entries, outbound, secrets, slots, stream_slots, idle, response_cache }
    }

    /// Discards cached responses and idle instances.
    pub(super) fn clear(&self) {
        if let Some(cache) = &self.response_cache {
            cache.invalidate_all();
        }
        if let Some(idle) = &self.idle {
            idle.discard_all();
        }
    }
}

impl Lane {
    /// The previous revisions that stay compiled when `served` has become active, newest first.
    pub(super) fn kept_after(&self, served: &Served, before: Option<Served>, most: usize) -> VecDeque<Served> {
        let mut kept = self.state.kept().clone();
        if let Some(before) = before {
            kept.push_front(before);
        }
        kept.retain(|kept| {
            kept.revision.digest() != served.revision.digest() && Arc::ptr_eq(&kept.resources, &self.resources)
        });
        kept.truncate(most);
        kept
    }
}

impl LaneState {
    /// Previous revisions that stay compiled, newest first.
    pub(super) fn kept(&self) -> MutexGuard<'_, VecDeque<Served>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
