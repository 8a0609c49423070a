//! Measures how long a guest computes, and moves long-running calls to background threads.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::background::{Background, BackgroundTask};
use crate::engine::{TICK, Ticker};

/// A call is long-running once its guest has computed for this long. It moves to the background at the next interruption, which is
/// the second tick at the latest.
const LONG: Duration = TICK;

/// After this many long-running calls in a row, the revision's next call begins in the background. Until a call is moved, it delays
/// other requests of its thread. That takes two ticks, or longer if the guest runs one instruction that fills 64 MiB. A single
/// long-running call may have been an accident.
const LONG_IN_A_ROW: u32 = 2;

/// How many of a revision's latest calls were long-running, without a short call in between.
#[derive(Debug, Default)]
pub(super) struct LongCalls(AtomicU32);

impl LongCalls {
    fn are_expected(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LONG_IN_A_ROW
    }

    fn count_long(&self) {
        // An overflow would take years.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count_short(&self) {
        if self.0.load(Ordering::Relaxed) > 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

/// Measures the time that a call spends in its polls. The guest's limit is checked against it during a poll.
///
/// Host calls that the guest makes count as the guest's time. Waiting for a timer, a lock or another service happens between polls,
/// so it does not count.
///
/// On the connection's thread the meter reads a cheap wall clock. That clock also runs while the operating system runs another thread
/// or process. So time measured there counts for at most `LONG`. In the background the meter reads the thread's CPU time.
#[derive(Debug)]
pub(super) struct Meter {
    origin: Instant,
    /// Nanoseconds in completed polls.
    spent: AtomicU64,
    /// The start of the current poll in nanoseconds; `u64::MAX` between polls.
    began: AtomicU64,
    in_background: AtomicBool,
    ticker: Arc<Ticker>,
}

impl Meter {
    pub(super) fn new(ticker: Arc<Ticker>) -> Self {
        let (spent, began) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { origin: Instant::now(), spent, began, in_background: AtomicBool::new(false), ticker }
    }

    /// The clock that interrupts the guest.
    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Time computed so far, including the current poll. At most `LONG` until the call moves to the background.
    pub(super) fn used(&self) -> Duration {
        let running = match self.began.load(Ordering::Relaxed) {
            u64::MAX => 0,
            began => self.now().saturating_sub(began),
        };
        let used = Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running);
        if self.in_background.load(Ordering::Relaxed) { used } else { used.min(LONG) }
    }

    /// Switches to the thread's CPU time. Call it between polls only.
    fn move_to_background(&self) {
        let so_far = u64::try_from(self.used().as_nanos()).unwrap_or(u64::MAX);
        self.spent.store(so_far, Ordering::Relaxed);
        self.in_background.store(true, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        let nanoseconds = if self.in_background.load(Ordering::Relaxed) {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
        } else {
            i128::try_from(self.origin.elapsed().as_nanos()).unwrap_or_default()
        };
        u64::try_from(nanoseconds).unwrap_or(u64::MAX - 1)
    }

    fn begin(&self) {
        self.ticker.guest_computes();
        self.began.store(self.now(), Ordering::Relaxed);
    }

    fn end(&self) {
        let began = self.began.swap(u64::MAX, Ordering::Relaxed);
        self.spent.fetch_add(self.now().saturating_sub(began), Ordering::Relaxed);
    }
}

/// A call whose polls are timed, and which moves to the background once it is long-running.
pub(super) struct Metered<T> {
    thread: Thread<T>,
    meter: Arc<Meter>,
    background: Arc<Background>,
    long_calls: Arc<LongCalls>,
}

/// Which threads poll a call.
enum Thread<T> {
    Connection(Timed<T>),
    Background(BackgroundTask<T>),
}

/// Runs a call in the background from its first poll, so that the meter always reads CPU time.
pub(super) fn in_background<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
    meter: Arc<Meter>,
    background: &Background,
) -> BackgroundTask<T> {
    meter.move_to_background();
    background.run(Timed { call: Some(Box::pin(call)), meter })
}

impl<T: Send + 'static> Metered<T> {
    /// Starts on the connection's thread, or in the background if the revision's latest calls were long-running.
    pub(super) fn new(
        call: Pin<Box<dyn Future<Output = T> + Send>>,
        meter: Arc<Meter>,
        background: Arc<Background>,
        long_calls: Arc<LongCalls>,
    ) -> Self {
        let timed = Timed { call: Some(call), meter: meter.clone() };
        let thread = if long_calls.are_expected() {
            meter.move_to_background();
            Thread::Background(background.run(timed))
        } else {
            Thread::Connection(timed)
        };
        Self { thread, meter, background, long_calls }
    }

    fn count_if_short(&self) {
        if self.meter.used() < LONG {
            self.long_calls.count_short();
        }
    }
}

impl<T: Send + 'static> Future for Metered<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Thread::Connection(timed) = &mut self.thread {
            let poll = Pin::new(&mut *timed).poll(context);
            let is_long = timed.meter.used() >= LONG;
            if is_long {
                self.long_calls.count_long();
            }
            if poll.is_ready() {
                self.count_if_short();
                return poll;
            }
            if !is_long {
                return poll;
            }
            let Thread::Connection(timed) = &mut self.thread else { return poll };
            let moved = Timed { call: timed.call.take(), meter: timed.meter.clone() };
            self.meter.move_to_background();
            self.thread = Thread::Background(self.background.run(moved));
        }
        match &mut self.thread {
            Thread::Connection(_) => Poll::Pending,
            Thread::Background(task) => {
                let poll = Pin::new(task).poll(context);
                if poll.is_ready() {
                    self.count_if_short();
                }
                poll
            }
        }
    }
}

/// A call whose polls are timed. `call` is none after it moved to the background.
struct Timed<T> {
    call: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    meter: Arc<Meter>,
}

impl<T> Future for Timed<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Self { call: Some(call), meter } = &mut *self else { return Poll::Pending };
        meter.begin();
        let poll = call.as_mut().poll(context);
        meter.end();
        poll
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(Arc::new(Ticker::start(|| false).unwrap()))
    }

    /// Computes for this long in a metered call. Returns the name of the thread on which the call ended.
    async fn thread_of_call(
        long_calls: &Arc<LongCalls>,
        background: &Arc<Background>,
        computes: Duration,
    ) -> Option<String> {
        let call = Box::pin(async move {
            let began = clock_gettime(ClockId::ThreadCPUTime);
            while Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - began).unwrap() < computes {
                std::hint::spin_loop();
            }
            std::thread::current().name().map(str::to_owned)
        });
        Metered::new(call, Arc::new(meter()), background.clone(), long_calls.clone()).await
    }

    #[test]
    fn time_on_the_connections_thread_counts_for_at_most_the_long_limit() {
        let meter = meter();
        meter.begin();
        while meter.origin.elapsed() < 3 * LONG {}
        assert_eq!(meter.used(), LONG);
        meter.end();
        meter.move_to_background();
        assert_eq!(meter.used(), LONG);
        meter.begin();
        let began = clock_gettime(ClockId::ThreadCPUTime);
        while Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - began).unwrap() < LONG {}
        meter.end();
        assert!(meter.used() >= 2 * LONG, "{:?}", meter.used());
    }

    #[tokio::test]
    async fn after_two_long_calls_the_next_begins_in_the_background() {
        let (long_calls, background) = (Arc::new(LongCalls::default()), Arc::new(Background::new().unwrap()));
        let in_background = Some("long-guests".to_owned());
        for _ in 0..LONG_IN_A_ROW {
            assert_ne!(thread_of_call(&long_calls, &background, 2 * LONG).await, in_background);
        }
        assert_eq!(thread_of_call(&long_calls, &background, 2 * LONG).await, in_background);
        assert_eq!(
            thread_of_call(&long_calls, &background, Duration::ZERO).await,
            in_background,
            "still expected long"
        );
        assert_ne!(thread_of_call(&long_calls, &background, Duration::ZERO).await, in_background, "after a short call");
    }
}
