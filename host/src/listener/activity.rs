//! Whether anything happens on a connection, or in a stream of HTTP/2, and how long that may go on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::ready;
use std::time::Duration;

use tokio::time::Instant;

/// How long a connection waits for its client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// For the head of a request from its first byte, and for progress with an answer.
    pub(super) head: Duration,
    /// For the next request.
    pub(super) idle: Duration,
}

/// What happens on one connection, or in one stream. Moments are in milliseconds since it was opened.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Exchanges in which it is the host's turn.
    working: AtomicUsize,
    /// When the turn changed last.
    turned: AtomicU64,
    /// When the client took something off the wire last.
    taken: AtomicU64,
    /// When the head began that is being read, and one more; 0 between requests.
    head: AtomicU64,
    /// Whether there was a request.
    requested: AtomicBool,
    /// Whether the client takes no bytes off the wire.
    blocked: AtomicBool,
    /// Whether requests share the connection (HTTP/2). Then bytes that arrive need not be a head, and bytes that are taken need
    /// not be an answer.
    multiplexed: AtomicBool,
    /// Whether the client may still be sending a body that nobody reads.
    unread: AtomicBool,
}

impl Activity {
    /// A connection whose first head has to come.
    pub(super) fn of_connection() -> Self {
        Self { head: AtomicU64::new(1), ..Self::of_stream() }
    }

    /// A stream whose request is there.
    pub(super) fn of_stream() -> Self {
        Self {
            opened: Instant::now(),
            working: AtomicUsize::new(0),
            turned: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            head: AtomicU64::new(0),
            requested: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Something happens.
    pub(super) fn touch(&self) {
        self.turned.store(self.now(), Ordering::Relaxed);
    }

    /// The client sent something. That is no progress: half a head that comes bit by bit must not keep a connection.
    pub(super) fn received(&self) {
        let is_idle = self.head.load(Ordering::Relaxed) == 0 && self.working.load(Ordering::Relaxed) == 0;
        if is_idle && !self.multiplexed.load(Ordering::Relaxed) {
            self.head.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// The client took something off the wire, or takes nothing more now.
    pub(super) fn sent(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
        if !blocked {
            self.taken.store(self.now(), Ordering::Relaxed);
        }
    }

    /// TLS is set up: the first head has its time from now on.
    pub(super) fn handshake_done(&self) {
        self.head.store(self.now() + 1, Ordering::Relaxed);
    }

    /// The head of a request is there.
    pub(super) fn request(&self, multiplexed: bool) {
        self.requested.store(true, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        self.multiplexed.store(multiplexed, Ordering::Relaxed);
    }

    /// A body is not read to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    /// It is the host's turn in one exchange more, or less.
    pub(super) fn work(&self, more: bool) {
        self.touch();
        if more {
            self.working.fetch_add(1, Ordering::Relaxed);
        } else {
            self.working.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether the client takes no bytes off the wire.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Ends when the client has let its time pass.
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

    /// When the client's time is over, if nothing happens until then.
    fn expires(&self, times: &Times) -> Instant {
        match self.due(times) {
            Some(due) => self.opened + due,
            None => Instant::now() + times.idle.max(times.head),
        }
    }

    /// The same since it was opened. None in the host's turn.
    fn due(&self, times: &Times) -> Option<Duration> {
        if self.working.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let of = |moment: &AtomicU64| moment.load(Ordering::Relaxed);
        let taken = of(&self.turned).max(of(&self.taken));
        let since = if self.multiplexed.load(Ordering::Relaxed) { of(&self.turned) } else { taken };
        let (since, time) = match of(&self.head) {
            _ if self.is_blocked() => (taken, times.head),
            0 => (since, times.idle),
            // Before the first request whatever is taken is no answer.
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

    /// An activity whose clock a test moves on.
    fn after(mut activity: Activity, seconds: u64) -> Activity {
        activity.opened -= Duration::from_secs(seconds);
        activity
    }

    /// At which second it expires. Some milliseconds may pass in a test.
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
    fn what_moves_in_a_pause_of_http2_is_no_head_and_no_answer() {
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
    fn the_host_takes_its_time_and_a_client_that_takes_nothing_does_not() {
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
    fn a_request_that_came_with_the_one_before_has_its_time_from_the_answer() {
        let activity = Activity::of_connection();
        activity.request(false);
        activity.received();
        let activity = after(activity, 100);
        activity.sent(false);
        assert_eq!(due(&activity), Some(130));
    }
}
