//! How long a guest has computed, and where it goes on when that was long.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::background::{Background, Moved};
use super::run::{Call, Ended};
use crate::engine::{TICK, Ticker};

/// A guest that has computed for so long is moved to the background when it is interrupted next: at its second tick at the latest.
const LONG: Duration = TICK;

/// So many long calls of a revision in a row, and the next one begins in the background: until it is moved, a long one holds up
/// whoever shares its thread, for two ticks of the epoch, or for as long as one instruction that fills 64 MiB takes. One alone
/// may have been an accident.
const LONG_IN_A_ROW: u32 = 2;

/// How many calls of a revision were long since one was not.
#[derive(Debug, Default)]
pub(super) struct Lately(AtomicU32);

impl Lately {
    fn are_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LONG_IN_A_ROW
    }

    fn long(&self) {
        // It would take years to come around.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn short(&self) {
        if self.0.load(Ordering::Relaxed) > 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

/// The time that a future spent in its polls, readable from within one.
///
/// This counts the host calls that a guest makes as the guest's own time. Waiting for a timer, a lock or another service is
/// between polls and does not count. On its connection's thread time passes also while the operating system runs something
/// else, or nothing of this process, which a cheap clock cannot tell: what was taken there counts for no more than what a call
/// may take before it is moved. In the background the thread's own time is taken.
#[derive(Debug)]
pub(super) struct Meter {
    origin: Instant,
    /// Nanoseconds in polls that are over.
    spent: AtomicU64,
    /// When the poll that runs began, in nanoseconds; `u64::MAX` between polls.
    began: AtomicU64,
    in_background: AtomicBool,
    ticker: Arc<Ticker>,
}

impl Meter {
    pub(super) fn new(ticker: Arc<Ticker>) -> Self {
        let (spent, began) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { origin: Instant::now(), spent, began, in_background: AtomicBool::new(false), ticker }
    }

    /// What interrupts the guest.
    pub(super) fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    /// Time computed so far, with the poll that runs. Before the call is moved to the background no more than `LONG`.
    pub(super) fn used(&self) -> Duration {
        let running = match self.began.load(Ordering::Relaxed) {
            u64::MAX => 0,
            began => self.now().saturating_sub(began),
        };
        let used = Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running);
        if self.in_background.load(Ordering::Relaxed) { used } else { used.min(LONG) }
    }

    /// From now on the call is polled in the background. To be called between polls.
    fn move_to_background(&self) {
        let here = u64::try_from(self.used().as_nanos()).unwrap_or(u64::MAX);
        self.spent.store(here, Ordering::Relaxed);
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

/// A call whose polls are timed, and which goes on in the background when they were long.
pub(super) struct Metered {
    place: Place,
    meter: Arc<Meter>,
    background: Arc<Background>,
    lately: Arc<Lately>,
}

enum Place {
    Here(Timed<Ended>),
    Background(Moved<Ended>),
}

/// Runs a call in the background from its beginning: what it computes is measured there from the first poll on.
pub(super) fn in_background<T: Send + 'static>(
    call: impl Future<Output = T> + Send + 'static,
    meter: Arc<Meter>,
    background: &Background,
) -> Moved<T> {
    meter.move_to_background();
    background.run(Timed { call: Some(Box::pin(call)), meter })
}

impl Metered {
    pub(super) fn new(call: Call, meter: Arc<Meter>, background: Arc<Background>, lately: Arc<Lately>) -> Self {
        let timed = Timed { call: Some(call), meter: meter.clone() };
        let place = if lately.are_long() {
            meter.move_to_background();
            Place::Background(background.run(timed))
        } else {
            Place::Here(timed)
        };
        Self { place, meter, background, lately }
    }

    fn ended(&self) {
        if self.meter.used() < LONG {
            self.lately.short();
        }
    }
}

impl Future for Metered {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Place::Here(timed) = &mut self.place {
            let poll = Pin::new(&mut *timed).poll(context);
            let is_long = timed.meter.used() >= LONG;
            if is_long {
                self.lately.long();
            }
            if poll.is_ready() {
                self.ended();
                return poll;
            }
            if !is_long {
                return poll;
            }
            let Place::Here(timed) = &mut self.place else { return poll };
            let moved = Timed { call: timed.call.take(), meter: timed.meter.clone() };
            self.meter.move_to_background();
            self.place = Place::Background(self.background.run(moved));
        }
        match &mut self.place {
            Place::Here(_) => Poll::Pending,
            Place::Background(moved) => {
                let poll = Pin::new(moved).poll(context);
                if poll.is_ready() {
                    self.ended();
                }
                poll
            }
        }
    }
}

/// A call whose polls are timed. Without a call once that was moved.
struct Timed<T> {
    call: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    meter: Arc<Meter>,
}

impl<T> Future for Timed<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
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
    use std::sync::Mutex;

    use super::*;

    fn meter() -> Meter {
        Meter::new(Arc::new(Ticker::start(|| false).unwrap()))
    }

    /// A call that computes for so long and then fails; and the thread that it ended on.
    async fn ends_on(lately: &Arc<Lately>, background: &Arc<Background>, computes: Duration) -> Option<String> {
        let (meter, name) = (Arc::new(meter()), Arc::new(Mutex::new(None)));
        let told = name.clone();
        let call = Box::pin(async move {
            let began = clock_gettime(ClockId::ThreadCPUTime);
            while Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - began).unwrap() < computes {
                std::hint::spin_loop();
            }
            *told.lock().unwrap() = std::thread::current().name().map(str::to_owned);
            Err(wasmtime::format_err!("it only computes"))
        });
        assert!(Metered::new(call, meter, background.clone(), lately.clone()).await.is_err());
        name.lock().unwrap().take()
    }

    #[test]
    fn time_in_which_the_system_ran_something_else_is_not_the_guests() {
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
    async fn after_two_long_calls_the_next_one_begins_in_the_background_until_one_is_short() {
        let (lately, background) = (Arc::new(Lately::default()), Arc::new(Background::new().unwrap()));
        let in_background = Some("long-guests".to_owned());
        for _ in 0..LONG_IN_A_ROW {
            assert_ne!(ends_on(&lately, &background, 2 * LONG).await, in_background);
        }
        assert_eq!(ends_on(&lately, &background, 2 * LONG).await, in_background);
        assert_eq!(ends_on(&lately, &background, Duration::ZERO).await, in_background);
        assert_ne!(ends_on(&lately, &background, Duration::ZERO).await, in_background);
    }
}
