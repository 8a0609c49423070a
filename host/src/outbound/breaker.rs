//! The circuit breaker of one remote host.
//!
//! After some failures in a row the host sends nothing to the remote for a while, so that guests fail at once instead of waiting for
//! timeouts. Then one request tries it. If that fails too, the next pause is twice as long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that open the circuit.
pub(super) const FAILURES: u32 = 5;

/// The first pause, unless a test chose another one.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The state of one remote host.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    first_pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Requests pass.
    Closed { failures: u32 },
    /// No request passes until then.
    Open { until: Instant, pause: Duration },
    /// One request tries the remote.
    Trying { pause: Duration },
}

/// Permission for one request, which reports how it went. Dropping it without a report counts as neither.
#[derive(Debug)]
pub(super) struct Pass<B: AsRef<Breaker>> {
    breaker: B,
    started: Instant,
    is_trial: bool,
    is_reported: bool,
}

impl Breaker {
    /// A closed circuit, whose first pause is this long.
    pub(super) fn new(first_pause: Duration) -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }), first_pause }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests are refused now, or one of them tries the remote.
    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    /// Lets a request pass at this moment. None if the circuit is open.
    pub(super) fn pass<B: AsRef<Self>>(breaker: B, now: Instant) -> Option<Pass<B>> {
        let is_trial = {
            let mut state = breaker.as_ref().state();
            match *state {
                State::Closed { .. } => false,
                State::Open { until, pause } if until <= now => {
                    *state = State::Trying { pause };
                    true
                }
                State::Open { .. } | State::Trying { .. } => return None,
            }
        };
        Some(Pass { breaker, started: now, is_trial, is_reported: false })
    }
}

impl<B: AsRef<Breaker>> Pass<B> {
    /// Whether this request decides if others may pass again.
    pub(super) fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// The remote answered. Returns whether this closed the circuit.
    pub(super) fn succeeded(mut self) -> bool {
        self.is_reported = true;
        let mut state = self.breaker.as_ref().state();
        match *state {
            State::Trying { .. } if self.is_trial => {
                *state = State::Closed { failures: 0 };
                true
            }
            State::Closed { .. } => {
                *state = State::Closed { failures: 0 };
                false
            }
            // A late answer to a request from before the circuit opened.
            _ => false,
        }
    }

    /// The remote failed at this moment. Returns the pause if this opened the circuit.
    pub(super) fn failed(mut self, now: Instant) -> Option<Duration> {
        self.is_reported = true;
        let mut state = self.breaker.as_ref().state();
        let pause = match *state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
                return None;
            }
            State::Closed { .. } => self.breaker.as_ref().first_pause,
            State::Trying { pause } if self.is_trial => (2 * pause).min(LONGEST_PAUSE),
            _ => return None,
        };
        *state = State::Open { until: now + pause, pause };
        Some(pause)
    }
}

impl<B: AsRef<Breaker>> Drop for Pass<B> {
    fn drop(&mut self) {
        if !self.is_trial || self.is_reported {
            return;
        }
        // The trial was given up, for example because its client went away. The next request is the trial.
        let mut state = self.breaker.as_ref().state();
        if let State::Trying { pause } = *state {
            *state = State::Open { until: self.started, pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shared(Breaker);

    impl AsRef<Breaker> for Shared {
        fn as_ref(&self) -> &Breaker {
            &self.0
        }
    }

    fn fail(breaker: &Shared, now: Instant) -> Option<Duration> {
        Breaker::pass(breaker, now).expect("a request may pass").failed(now)
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_a_success_closes_it() {
        let (breaker, now) = (Shared(Breaker::new(PAUSE)), Instant::now());
        for _ in 1..FAILURES {
            assert_eq!(fail(&breaker, now), None);
        }
        assert!(!Breaker::pass(&breaker, now).unwrap().succeeded(), "the circuit was closed");
        for _ in 1..FAILURES {
            assert_eq!(fail(&breaker, now), None);
        }
        assert_eq!(fail(&breaker, now), Some(PAUSE));
        assert!(breaker.0.is_open() && Breaker::pass(&breaker, now).is_none());
        let trial = Breaker::pass(&breaker, now + PAUSE).expect("one request tries the remote");
        assert!(Breaker::pass(&breaker, now + PAUSE).is_none(), "only one");
        assert!(trial.succeeded() && !breaker.0.is_open());
    }

    #[test]
    fn a_failed_trial_doubles_the_pause_up_to_a_minute() {
        let (breaker, mut now) = (Shared(Breaker::new(PAUSE)), Instant::now());
        for _ in 1..FAILURES {
            fail(&breaker, now);
        }
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = fail(&breaker, now).expect("the circuit opens");
            now += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn late_reports_change_nothing_and_a_dropped_trial_lets_the_next_one_try() {
        let (breaker, now) = (Shared(Breaker::new(PAUSE)), Instant::now());
        let (late, lost) = (Breaker::pass(&breaker, now).unwrap(), Breaker::pass(&breaker, now).unwrap());
        for _ in 0..FAILURES {
            fail(&breaker, now);
        }
        assert!(!late.succeeded() && lost.failed(now).is_none() && breaker.0.is_open());
        drop(Breaker::pass(&breaker, now + PAUSE).unwrap());
        assert!(Breaker::pass(&breaker, now + PAUSE).unwrap().succeeded());
    }
}
