//! Steers a listener while it serves: its certificate, and its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Tls;

/// Steers one listener, which [`Connections::serve`](super::Connections::serve) runs.
#[derive(Debug)]
pub struct Control {
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
struct State {
    tls: Option<Arc<Tls>>,
    /// Connections with a lower number close after their next response.
    epoch: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Accepts connections until this time. Each closes after its next response.
    Draining(Instant),
    Closed,
}

/// Tells one connection when to close after its next response.
#[derive(Debug, Clone)]
pub(super) struct Drain {
    state: watch::Receiver<State>,
    epoch: u64,
}

/// Follows the state of one listener.
pub(super) struct Phases(watch::Receiver<State>);

impl Control {
    /// A listener that accepts connections, with TLS if there is a certificate.
    pub fn new(tls: Option<Arc<Tls>>) -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::new(State { tls, epoch: 0, phase: Phase::Open }) })
    }

    /// Replaces the certificate for new connections. If TLS begins or ends, open connections drain.
    pub fn set_tls(&self, tls: Option<Arc<Tls>>) {
        self.state.send_modify(|state| {
            state.epoch += u64::from(state.tls.is_some() != tls.is_some());
            state.tls = tls;
        });
    }

    /// Begins to close the listener. It accepts connections for this time, because clients may not know its successor yet. Each of its
    /// connections closes after its next response, or when it was idle for too long.
    pub fn drain(&self, time: Duration) {
        self.state.send_if_modified(|state| {
            let is_open = state.phase == Phase::Open;
            if is_open {
                state.epoch += 1;
                state.phase = Phase::Draining(Instant::now() + time);
            }
            is_open
        });
    }

    /// Opens a draining listener again. Returns false if it is closed.
    pub fn reopen(&self) -> bool {
        self.state.send_if_modified(|state| {
            let is_open = state.phase != Phase::Closed;
            if is_open {
                state.phase = Phase::Open;
            }
            is_open
        })
    }

    /// Whether the listener accepts no connections any more.
    pub fn is_closed(&self) -> bool {
        self.state.borrow().phase == Phase::Closed
    }

    pub(super) fn phases(&self) -> Phases {
        Phases(self.state.subscribe())
    }

    /// The certificate for a new connection, and when that connection drains.
    pub(super) fn connection(&self) -> (Option<Arc<Tls>>, Drain) {
        let state = self.state.subscribe();
        let (tls, epoch) = {
            let now = state.borrow();
            // A connection of a draining listener drains at once.
            let is_open = now.phase == Phase::Open;
            (now.tls.clone(), if is_open { now.epoch } else { now.epoch.wrapping_sub(1) })
        };
        (tls, Drain { state, epoch })
    }

    /// Closes the listener, unless it was opened again. Returns whether it is closed.
    pub(super) fn close(&self) -> bool {
        self.state.send_if_modified(|state| {
            let is_due = matches!(state.phase, Phase::Draining(until) if until <= Instant::now());
            if is_due {
                state.phase = Phase::Closed;
            }
            is_due
        });
        self.is_closed()
    }
}

impl Phases {
    /// The phase now.
    pub(super) fn now(&mut self) -> Phase {
        self.0.borrow_and_update().phase
    }

    /// Ends when the state may have changed.
    pub(super) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drain {
    /// Ends when the connection should close after its next response.
    pub(super) async fn begun(&mut self) {
        let epoch = self.epoch;
        if self.state.wait_for(|state| state.epoch != epoch).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
