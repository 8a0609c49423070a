//! One exchange whose request or response streams: its progress, and why the host cut it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::BodyRefusal;

/// Why the host cut a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The request's body is unusable or over a limit.
    #[error(transparent)]
    Request(BodyRefusal),
    /// The response's body is over this limit, in bytes.
    #[error("the response's body is larger than the limit of {0} bytes, `response` in the manifest")]
    ResponseTooLarge(u64),
    /// No byte passed for this long.
    #[error("no byte passed for {0:?}, `idle_time` in the manifest")]
    Idle(Duration),
    /// The stream lasted for longer than this.
    #[error("the stream was not complete within {0:?}, `stream_time` in the manifest")]
    TooLong(Duration),
    /// Another revision became active, and the stream did not end within this time.
    #[error("another revision became active, and the stream did not end within {0:?}, `drain_time` in the manifest")]
    Replaced(Duration),
    /// The session of the caller has ended.
    #[error("the caller's session has ended")]
    SessionEnded,
    /// The client closed the connection, or reset the stream.
    #[error("the client went away before the stream was complete")]
    ClientGone,
}

/// The progress of one exchange. Its two bodies, and the task that watches it, share it.
///
/// A body that finds a cut ends with an error. Moments are in milliseconds since the exchange began.
#[derive(Debug)]
pub struct Exchange {
    began: Instant,
    /// When a byte last passed in either direction.
    moved: AtomicU64,
    /// Since when the guest waits for the client's next bytes, plus 1. 0 if it does not wait for them.
    waits: AtomicU64,
    /// How long the guest waited for the client before that.
    waited: AtomicU64,
    /// Whether the response has ended: it was sent whole, or its guest failed.
    sent: AtomicBool,
    cut: OnceLock<Cut>,
    request: AtomicWaker,
    response: AtomicWaker,
    changed: Notify,
}

impl Default for Exchange {
    /// An exchange that begins now.
    fn default() -> Self {
        Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            sent: AtomicBool::new(false),
            cut: OnceLock::new(),
            request: AtomicWaker::new(),
            response: AtomicWaker::new(),
            changed: Notify::new(),
        }
    }
}

impl Exchange {
    /// When the exchange began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// When a byte last passed in either direction.
    pub fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }

    /// How long the host and the guest have worked. The time in which the guest waited for the client's bytes does not count.
    pub fn worked(&self) -> Duration {
        let now = self.now();
        let waits = self.waits.load(Ordering::Relaxed);
        let waiting = if waits == 0 { 0 } else { now.saturating_sub(waits - 1) };
        Duration::from_millis(now.saturating_sub(self.waited.load(Ordering::Relaxed) + waiting))
    }

    /// Since when the guest waits for the client's next bytes. None if it does not.
    pub fn waits(&self) -> Option<Instant> {
        let since = self.waits.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_millis(since))
    }

    /// Why the stream was cut. None if it was not.
    pub fn cut(&self) -> Option<Cut> {
        self.cut.get().copied()
    }

    /// Cuts the stream: both bodies end with an error. Only the first cause counts.
    pub fn cut_off(&self, cause: Cut) {
        if self.cut.set(cause).is_ok() {
            self.request.wake();
            self.response.wake();
            self.changed.notify_one();
        }
    }

    /// Whether the response has been sent to its end.
    pub fn is_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// The response has been sent to its end.
    pub fn set_sent(&self) {
        self.sent.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Waits until the exchange is cut or its response is sent. Only one task may wait, and it looks before it waits.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A byte passed.
    pub fn note_progress(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Wakes this task when the exchange is cut. For the body of the response.
    pub fn wake_response(&self, waker: &Waker) {
        self.response.register(waker);
    }

    /// Wakes this task when the exchange is cut. For the body of the request.
    pub(super) fn wake_request(&self, waker: &Waker) {
        self.request.register(waker);
    }

    /// The guest waits for the client's next bytes, or no longer does.
    pub(super) fn set_waits(&self, waits: bool) {
        let now = self.now();
        let since = self.waits.load(Ordering::Relaxed);
        if waits && since == 0 {
            self.waits.store(now + 1, Ordering::Relaxed);
        } else if !waits && since > 0 {
            self.waits.store(0, Ordering::Relaxed);
            self.waited.fetch_add(now.saturating_sub(since - 1), Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}
