//! Instances between two requests, for services whose manifest lets an instance answer more than one.
//!
//! What such a guest keeps in its memory is there for its next request, so `reuse` says whose that may be. An instance that
//! trapped, ran out of time, left handles behind or took more than a quarter of its memory is not used again, and none answers
//! more than a thousand requests. A switch to another revision begins without any, and those of a revision that is gone go with
//! it. One that waited for a minute goes when the next is put away. Their answers are not remembered.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::handler::Handler;
use super::instance::Instance;
use super::slots::SlotPermit;
use crate::manifest::Reuse;

/// Idle instances that one service keeps. More are busy at once only while guests wait for something.
pub const IDLE_INSTANCES: u32 = 16;

/// Requests that one instance answers.
const REQUESTS: u32 = 1000;

/// How long one waits for its next request.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// The idle instances of one service, shared by its revisions.
pub struct Idle {
    reuse: Reuse,
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// How often all were forgotten.
    epoch: u64,
    /// The one used last is last.
    entries: VecDeque<Entry>,
}

struct Entry {
    since: Instant,
    place: Place,
    instance: Instance,
}

/// Where an instance comes from and goes back to: the idle ones of one revision, and where the manifest says so of one session.
pub(super) struct Place {
    idle: Arc<Idle>,
    /// Dead once the revision is gone.
    handler: Weak<Handler>,
    session: Option<Arc<str>>,
    epoch: u64,
}

/// An instance that has answered, with its slot, and where it may go.
pub(super) struct Leftover {
    pub(super) place: Place,
    pub(super) instance: Instance,
    pub(super) permit: SlotPermit,
}

impl Idle {
    /// None where every request gets an instance of its own.
    pub fn new(reuse: Reuse) -> Option<Self> {
        (reuse != Reuse::Never).then(|| Self { reuse, shelf: Mutex::default() })
    }

    /// The place of the instances that may answer this caller. None where it must be a new one.
    pub(super) fn place(self: &Arc<Self>, handler: &Arc<Handler>, session: Option<&Arc<str>>) -> Option<Place> {
        let session = match self.reuse {
            Reuse::Never => return None,
            Reuse::Session => Some(session?.clone()),
            Reuse::Anyone => None,
        };
        Some(Place { idle: self.clone(), handler: Arc::downgrade(handler), session, epoch: self.shelf().epoch })
    }

    /// Gives up all of them, those too that answer now.
    pub fn forget(&self) {
        let mut shelf = self.shelf();
        shelf.epoch += 1;
        shelf.entries.clear();
    }

    /// Gives up those of one revision.
    pub(super) fn forget_of(&self, handler: &Arc<Handler>) {
        self.shelf().entries.retain(|entry| !std::ptr::eq(entry.place.handler.as_ptr(), Arc::as_ptr(handler)));
    }

    /// Gives back what there is no room for.
    fn keep(&self, entry: Entry) -> Option<Entry> {
        let mut shelf = self.shelf();
        shelf.entries.retain(|entry| entry.since.elapsed() < IDLE_TIME);
        let is_current = entry.place.epoch == shelf.epoch && entry.place.handler.strong_count() > 0;
        if !is_current || entry.instance.requests() >= REQUESTS {
            return Some(entry);
        }
        shelf.entries.push_back(entry);
        if shelf.entries.len() > IDLE_INSTANCES as usize { shelf.entries.pop_front() } else { None }
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The idle instance of this place that was used last.
    pub(super) fn take(&self) -> Option<Instance> {
        let mut shelf = self.idle.shelf();
        let found = shelf.entries.iter().rposition(|entry| entry.place.is(self))?;
        shelf.entries.remove(found).map(|entry| entry.instance)
    }

    fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.handler, &other.handler) && self.session == other.session
    }
}

impl Leftover {
    /// Keeps the instance for another request, unless it has answered enough. Where there are too many, the one that was not
    /// used for longest is given up.
    pub(super) fn put_away(self) {
        let Self { place, mut instance, permit } = self;
        instance.guest().release();
        let idle = place.idle.clone();
        let gone = idle.keep(Entry { since: Instant::now(), place, instance });
        // In this order, so that there are never more instances than slots and idle ones together.
        drop(gone);
        drop(permit);
    }
}
