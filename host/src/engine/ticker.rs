//! The clock that interrupts guests: it advances the epoch of the engines.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often a computing guest is interrupted. The host then checks its time and runs other requests.
pub const TICK: Duration = Duration::from_millis(2);

/// The ticker pauses after this many ticks without a computing guest, because ticking costs a hundredth of a processor.
const QUIET_TICKS: u32 = 100;

/// A paused ticker ticks at least this often.
const REST: Duration = Duration::from_millis(100);

/// A thread that ticks while guests compute, and pauses otherwise.
#[derive(Debug)]
pub struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct State {
    /// Whether a guest computed since the last tick.
    computed: AtomicBool,
    resting: AtomicBool,
}

impl Ticker {
    /// Starts the thread. It ends when `tick` returns false.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start(tick: impl FnMut() -> bool + Send + 'static) -> io::Result<Self> {
        let state = Arc::<State>::default();
        let ticking = state.clone();
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn(move || ticking.run(tick))?;
        Ok(Self { state, thread: thread.thread().clone() })
    }

    /// Reports that a guest computes. Call it when a guest starts, resumes, or was interrupted.
    pub fn guest_computes(&self) {
        // This writes `computed` and then reads `resting`. The ticker writes `resting` and then reads `computed`.
        // So at least one of them sees the other's write, and the ticker never pauses while a guest computes.
        if !self.state.computed.load(Ordering::SeqCst) {
            self.state.computed.store(true, Ordering::SeqCst);
        }
        if self.state.resting.load(Ordering::SeqCst) && self.state.resting.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

impl State {
    fn run(&self, mut tick: impl FnMut() -> bool) {
        let mut quiet = 0;
        while tick() {
            quiet = if self.computed.swap(false, Ordering::SeqCst) { 0 } else { quiet + 1 };
            if quiet >= QUIET_TICKS {
                self.resting.store(true, Ordering::SeqCst);
                if !self.computed.load(Ordering::SeqCst) {
                    thread::park_timeout(REST);
                }
                self.resting.store(false, Ordering::SeqCst);
            }
            thread::sleep(TICK);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn the_ticker_pauses_while_no_guest_computes() {
        let (ticks, ends) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (ticks.clone(), ends.clone());
        let ticker = Ticker::start(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            !ended.load(Ordering::Relaxed)
        });
        let ticker = ticker.unwrap();
        for _ in 0..2 {
            while !ticker.state.resting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            let before = ticks.load(Ordering::Relaxed);
            assert!(before >= QUIET_TICKS);
            while ticks.load(Ordering::Relaxed) < before + 2 * QUIET_TICKS {
                ticker.guest_computes();
                thread::yield_now();
            }
        }
        ends.store(true, Ordering::Relaxed);
    }
}
