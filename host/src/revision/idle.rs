//! Reusable instances, for services whose manifest lets one instance answer several requests.
//!
//! A guest that keeps data in its linear memory finds it again in its next request. So the manifest's `reuse` says whose requests may
//! share an instance. The responses of such services are not cached.
//!
//! The host discards an instance in these cases:
//!
//! - It trapped or ran out of time. If no instance of the revision has answered a second request yet, none of them is reused.
//! - It left too many handles open, or one that must not outlive its request (`guest::leftovers`).
//! - It uses more than a quarter of its memory limit.
//! - It has answered a thousand requests.
//! - The service switches to another revision, or the revision is dropped.
//! - It got no request for a minute. The host checks this when another instance becomes idle.
//!
//! If the guest caused it, `discards` counts and logs it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::discards::Discards;
use super::handler::Handler;
use super::instance::Instance;
use super::stream_slots::HeldPermit;
use crate::manifest::Reuse;

/// Idle instances that one service keeps. More of them run at once only while guests wait for something.
pub const MAX_IDLE_INSTANCES: u32 = 16;

/// Maximum requests that one instance answers.
const MAX_REQUESTS: u32 = 1000;

/// How long an instance may be idle.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The idle instances of one service, shared by its revisions.
pub struct IdleInstances {
    reuse: Reuse,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often all instances were discarded.
    epoch: u64,
    /// Ordered by last use; the latest is at the back.
    instances: VecDeque<IdleInstance>,
}

struct IdleInstance {
    since: Instant,
    group: ReuseGroup,
    instance: Instance,
}

/// The instances that may answer one request: those of one revision and, with `reuse = "session"`, of one session.
pub(super) struct ReuseGroup {
    idle: Arc<IdleInstances>,
    discards: Arc<Discards>,
    /// Dangling once the revision was dropped.
    handler: Weak<Handler>,
    session: Option<Arc<str>>,
    epoch: u64,
}

/// An instance that answered a request and may answer another, with the slot of that request.
pub(super) struct ReusableInstance {
    pub(super) group: ReuseGroup,
    pub(super) instance: Instance,
    pub(super) permit: Arc<HeldPermit>,
}

impl IdleInstances {
    /// None if every request gets an instance of its own.
    pub fn new(reuse: Reuse) -> Option<Self> {
        (reuse != Reuse::Never).then(|| Self { reuse, state: Mutex::default() })
    }

    /// The group for a caller with this session. None if the request needs a new instance that is not reused.
    pub(super) fn group(
        self: &Arc<Self>,
        handler: &Arc<Handler>,
        session: Option<&Arc<str>>,
        discards: &Arc<Discards>,
    ) -> Option<ReuseGroup> {
        let session = match (self.reuse, session) {
            (Reuse::Never, _) => return None,
            (Reuse::Session, None) => {
                discards.no_session();
                return None;
            }
            (Reuse::Session, Some(session)) => Some(session.clone()),
            (Reuse::Anyone, _) => None,
        };
        if !discards.can_repeat() {
            return None;
        }
        let (idle, discards, handler) = (self.clone(), discards.clone(), Arc::downgrade(handler));
        Some(ReuseGroup { idle, discards, handler, session, epoch: self.state().epoch })
    }

    /// Discards all instances. Those that are answering now are discarded afterwards.
    pub fn discard_all(&self) {
        let mut state = self.state();
        state.epoch += 1;
        state.instances.clear();
    }

    /// Discards the idle instances of one revision.
    pub(super) fn discard_revision(&self, handler: &Arc<Handler>) {
        self.state().instances.retain(|idle| !std::ptr::eq(idle.group.handler.as_ptr(), Arc::as_ptr(handler)));
    }

    /// Stores an instance. Returns one to drop: this one if it may not be reused, or the least recently used if there are too many.
    fn store(&self, idle: IdleInstance) -> Option<IdleInstance> {
        let mut state = self.state();
        state.instances.retain(|idle| idle.since.elapsed() < IDLE_TIME);
        let is_current = idle.group.epoch == state.epoch && idle.group.handler.strong_count() > 0;
        if !is_current {
            return Some(idle);
        }
        state.instances.push_back(idle);
        if state.instances.len() > MAX_IDLE_INSTANCES as usize { state.instances.pop_front() } else { None }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReuseGroup {
    /// Takes the most recently used idle instance of the group.
    pub(super) fn take(&self) -> Option<Instance> {
        let mut state = self.idle.state();
        let found = state.instances.iter().rposition(|idle| idle.group.is_same(self))?;
        state.instances.remove(found).map(|idle| idle.instance)
    }

    fn is_same(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.handler, &other.handler) && self.session == other.session
    }
}

impl ReusableInstance {
    /// An instance that has answered a request. None if it cannot answer another.
    pub(super) fn new(group: ReuseGroup, mut instance: Instance, permit: Arc<HeldPermit>) -> Option<Self> {
        let requests = instance.requests();
        if let Err(why) = instance.guest().end_request() {
            group.discards.not_reusable(why, requests);
            return None;
        }
        if requests >= MAX_REQUESTS {
            group.discards.served_enough(requests);
            return None;
        }
        Some(Self { group, instance, permit })
    }

    /// Stores the instance for a later request, or drops it if it may not be reused. Releases the slot.
    pub(super) fn store(self) {
        let Self { group, mut instance, permit } = self;
        instance.guest().release();
        let idle = group.idle.clone();
        let discarded = idle.store(IdleInstance { since: Instant::now(), group, instance });
        // Dropped before the permit, so that there are never more instances than slots and idle instances together.
        drop(discarded);
        drop(permit);
    }
}
