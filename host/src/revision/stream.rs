//! Watches one stream to its end, after the guest has sent the head of its response.
//!
//! The stream ends when its response is sent and its guest has ended. The host cuts it after `idle_time` without a byte, after
//! `stream_time`, and `drain_time` after another revision became active. It also cuts it when the caller's session ends or the
//! client goes away. Then the guest is stopped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Faults;
use super::causes::causes;
use super::stream_slots::HeldPermit;
use super::traffic::{Outcome, Traffic};
use crate::body::{Cut, Exchange};
use crate::guest::{DependencyFailure, Output};
use crate::manifest::Limits;
use crate::route::Route;
use crate::tokens::Session;

/// How often the host looks whether the caller's session has ended.
const SESSION_TIME: Duration = Duration::from_secs(1);

/// A running guest. Dropping it drops the instance.
pub(super) type RunningGuest = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

/// When another revision became active. None as long as this one serves.
pub(super) type Replaced = watch::Receiver<Option<Instant>>;

/// What the host needs to watch one stream.
pub(super) struct Stream {
    pub(super) service: Arc<str>,
    pub(super) request_id: Option<Arc<str>>,
    pub(super) limits: Limits,
    pub(super) exchange: Arc<Exchange>,
    /// None for an anonymous caller and for a call of another service.
    pub(super) session: Option<Session>,
    pub(super) replaced: Replaced,
    /// The stream slot. Held until the stream ends, even if its guest ends before.
    pub(super) permit: Arc<HeldPermit>,
    pub(super) output: Output,
    pub(super) failure: DependencyFailure,
    pub(super) faults: Arc<Faults>,
    /// Where a failure counts. None for a probe.
    pub(super) traffic: Option<(Arc<Traffic>, Arc<Route>)>,
}

impl Stream {
    /// Watches the stream in a task.
    pub(super) fn watch(self, guest: RunningGuest) {
        tokio::spawn(self.run(Some(guest)));
    }

    async fn run(mut self, mut guest: Option<RunningGuest>) {
        let mut is_linked = true;
        while self.exchange.cut().is_none() && !(guest.is_none() && self.exchange.is_sent()) {
            let due = self.due();
            tokio::select! {
                biased;
                result = ended(&mut guest) => {
                    guest = None;
                    self.note_end(result);
                }
                () = self.exchange.changed() => {}
                changed = self.replaced.changed(), if is_linked => is_linked = changed.is_ok(),
                () = tokio::time::sleep_until(due) => self.check(),
            }
        }
        if guest.is_some() {
            self.note_stop();
        }
        // The guest is dropped before the permit, so that its memory is free when the next stream takes the slot.
        drop(guest);
        drop(self.permit);
    }

    /// When the host has to look again whether the stream may go on.
    fn due(&self) -> Instant {
        let limits = [self.idle_until(), self.lasts_until(), self.drains_until()];
        let session = self.session.as_ref().map(|_| Instant::now() + SESSION_TIME);
        limits.into_iter().chain([session]).flatten().min().unwrap_or_else(Instant::now)
    }

    fn idle_until(&self) -> Option<Instant> {
        Some(self.exchange.moved() + self.limits.idle_time)
    }

    fn lasts_until(&self) -> Option<Instant> {
        Some(self.exchange.began() + self.limits.stream_time?)
    }

    fn drains_until(&self) -> Option<Instant> {
        let replaced = (*self.replaced.borrow())?;
        // A call of a request that began before the switch may still come to the replaced revision.
        Some(replaced.max(self.exchange.began()) + self.limits.drain_time)
    }

    /// Cuts the stream if it may not go on.
    fn check(&self) {
        let now = Instant::now();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if self.session.as_ref().is_some_and(Session::has_ended) {
            self.exchange.cut_off(Cut::SessionEnded);
        } else if is_over(self.drains_until()) {
            self.exchange.cut_off(Cut::Replaced(self.limits.drain_time));
        } else if is_over(self.lasts_until()) {
            self.exchange.cut_off(Cut::TooLong(self.limits.stream_time.unwrap_or_default()));
        } else if is_over(self.idle_until()) {
            self.exchange.cut_off(Cut::Idle(self.limits.idle_time));
        }
    }

    /// The guest has ended. If it failed, the client's response is cut short.
    fn note_end(&self, result: wasmtime::Result<()>) {
        let Err(error) = result else { return };
        self.faults.traps.fetch_add(1, Ordering::Relaxed);
        // The request was counted when its response began. A revision that breaks off must not look as good as one that does not.
        if let Some((traffic, route)) = self.traffic.as_ref().filter(|_| self.failure.cause().is_none()) {
            traffic.count(route, Outcome::Bad, Duration::ZERO);
        }
        self.warn(&causes(&error), "an answer was cut short: the guest failed while it streamed");
    }

    /// The host stops a guest that still runs.
    fn note_stop(&self) {
        let Some(cut) = self.exchange.cut() else { return };
        if matches!(cut, Cut::Idle(_) | Cut::TooLong(_)) {
            self.faults.deadlines.fetch_add(1, Ordering::Relaxed);
            let is_sent = self.exchange.is_sent();
            let what =
                if is_sent { "stopped a guest that still ran after its answer" } else { "an answer was cut short" };
            self.warn(&cut.to_string(), what);
        }
    }

    fn warn(&self, cause: &str, message: &str) {
        let (request_id, service, guest_output) = (self.request_id.as_deref(), &*self.service, self.output.to_log());
        tracing::warn!(request_id, service, cause, guest_output, "{message}");
    }
}

/// Waits for the end of the guest. Never returns if it has ended before.
async fn ended(guest: &mut Option<RunningGuest>) -> wasmtime::Result<()> {
    match guest {
        Some(guest) => guest.await,
        None => std::future::pending().await,
    }
}
