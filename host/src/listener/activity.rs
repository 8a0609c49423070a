//! How long a client may be idle: on a connection, or in one HTTP/2 stream.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::ready;
use std::time::Duration;

use tokio::time::Instant;

/// The time limits of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the first byte of a request's head to its last, and between two bytes that the client receives of a response.
    pub(super) head: Duration,
    /// From one request to the next.
    pub(super) idle: Duration,
}

/// The progress of one connection or stream. Moments are in milliseconds since it was opened.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// How many requests wait for the host, not for the client.
    working: AtomicUsize,
    /// When a request last began or stopped waiting for the host.
    turned: AtomicU64,
    /// When the client last received bytes.
    delivered: AtomicU64,
    /// The start of the head that is being read, plus 1. 0 between requests.
    head: AtomicU64,
    /// Whether a request has arrived on the connection.
    requested: AtomicBool,
    /// Whether the socket's send buffer is full, because the client does not read.
    blocked: AtomicBool,
    /// Whether requests share the connection (HTTP/2). Then received bytes need not be a head, and sent bytes need not be a
    /// response.
    multiplexed: AtomicBool,
    /// Whether the client may still be sending a body that the host does not read.
    unread: AtomicBool,
    /// Whether the connection closes after its next response.
    draining: AtomicBool,
}

impl Activity {
    /// A connection that waits for its first head.
    pub(super) fn of_connection() -> Self {
        Self { head: AtomicU64::new(1), ..Self::of_stream() }
    }

    /// A stream whose request has arrived.
    pub(super) fn of_stream() -> Self {
        Self {
            opened: Instant::now(),
            working: AtomicUsize::new(0),
            turned: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            head: AtomicU64::new(0),
            requested: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Restarts the client's time.
    pub(super) fn touch(&self) {
        self.turned.store(self.now(), Ordering::Relaxed);
    }

    /// The client sent bytes. They do not restart its time, so a head that arrives byte by byte cannot hold a connection.
    pub(super) fn received(&self) {
        let is_idle = self.head.load(Ordering::Relaxed) == 0 && self.working.load(Ordering::Relaxed) == 0;
        if is_idle && !self.multiplexed.load(Ordering::Relaxed) {
            self.head.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// The host wrote to the socket. `blocked` says that the socket took nothing, because the client does not read.
    pub(super) fn sent(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
        if !blocked {
            self.delivered.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The TLS handshake is done. The time of the first head begins.
    pub(super) fn handshake_done(&self) {
        self.head.store(self.now() + 1, Ordering::Relaxed);
    }

    /// The head of a request has arrived.
    pub(super) fn request(&self, multiplexed: bool) {
        self.requested.store(true, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
    }

    /// The host does not read a body to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// Whether the client may still be sending a body that the host does not read.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// Closes the connection after its next response.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the connection closes after its next response.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether requests share the connection (HTTP/2).
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Relaxed)
    }

    /// Counts a request that begins (`more`) or stops waiting for the host.
    pub(super) fn work(&self, more: bool) {
        self.touch();
        if more {
            self.working.fetch_add(1, Ordering::Relaxed);
        } else {
            self.working.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the client does not read what the host sends.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Ends when the client's time is over.
    pub(super) async fn expired(&self, times: &Times) {
        let mut timer = pin!(tokio::time::sleep_until(self.expires(times)));
        poll_fn(|context| {
            loop {
                let until = self.expires(times);
                if timer.is_elapsed() || until < timer.deadline() {
                    timer.as_mut().reset(until);
                }
                ready!(timer.as_mut().poll(context));
                if self.expires(times) <= Instant::now() {
                    return std::task::Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// When the client's time is over, unless it makes progress before.
    fn expires(&self, times: &Times) -> Instant {
        match self.due(times) {
            Some(due) => self.opened + due,
            None => Instant::now() + times.idle.max(times.head),
        }
    }

    /// The same moment, counted from the opening of the connection. None while a request waits for the host.
    fn due(&self, times: &Times) -> Option<Duration> {
        if self.working.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let of = |moment: &AtomicU64| moment.load(Ordering::Relaxed);
        let delivered = of(&self.turned).max(of(&self.delivered));
        let since = if self.multiplexed.load(Ordering::Relaxed) { of(&self.turned) } else { delivered };
        let (since, time) = match of(&self.head) {
            _ if self.is_blocked() => (delivered, times.head),
            0 => (since, times.idle),
            // Before the first request, the host sends only its part of the TLS handshake, and no response.
            head if !self.requested.load(Ordering::Relaxed) => (head - 1, times.head),
            head => (since.max(head - 1), times.head),
        };
        Some(Duration::from_millis(since) + time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { head: Duration::from_secs(30), idle: Duration::from_secs(75) };

    /// The activity as if this many more seconds had passed.
    fn after(mut activity: Activity, seconds: u64) -> Activity {
        activity.opened -= Duration::from_secs(seconds);
        activity
    }

    /// The second in which it expires. Rounded, because some milliseconds pass in a test.
    fn due(activity: &Activity) -> Option<u64> {
        activity.due(&TIMES).map(|due| due.as_secs())
    }

    #[test]
    fn a_head_has_less_time_than_the_pause_before_it() {
        let activity = Activity::of_connection();
        assert_eq!(due(&activity), Some(30), "the first head");
        activity.request(false);
        activity.touch();
        assert_eq!(due(&activity), Some(75), "the next request");
        let activity = after(activity, 40);
        activity.received();
        assert_eq!(due(&activity), Some(70), "half a head");
        let activity = after(activity, 20);
        activity.received();
        assert_eq!(due(&activity), Some(70), "more of it");
    }

    #[test]
    fn http2_control_frames_are_neither_head_nor_response() {
        let activity = Activity::of_connection();
        activity.sent(false);
        assert_eq!(due(&after(activity, 20)), Some(30), "the first head");
        let activity = Activity::of_connection();
        activity.request(true);
        let activity = after(activity, 20);
        activity.received();
        activity.sent(false);
        assert_eq!(due(&activity), Some(75));
    }

    #[test]
    fn the_client_has_a_time_limit_and_the_host_has_none_here() {
        let activity = Activity::of_connection();
        activity.request(false);
        activity.work(true);
        activity.sent(true);
        assert_eq!(due(&activity), None);
        activity.work(false);
        assert_eq!(due(&activity), Some(30));
        let activity = after(activity, 20);
        activity.sent(false);
        assert_eq!(due(&activity), Some(95));
    }

    #[test]
    fn a_pipelined_request_has_its_time_from_the_response_before() {
        let activity = Activity::of_connection();
        activity.request(false);
        activity.received();
        let activity = after(activity, 100);
        activity.sent(false);
        assert_eq!(due(&activity), Some(130));
    }
}
