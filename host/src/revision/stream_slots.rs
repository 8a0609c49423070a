//! Stream slots: how many streams of a service may run at the same time.
//!
//! A stream may last for hours, so its instance does not count against `concurrency` and the host's `instances`. The host keeps more
//! instances for streams: as many as all clients together may have streams.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::slots::SlotPermit;
use crate::shares::{Client, Kind, Permits};

/// The stream slots of one service, shared by its revisions.
#[derive(Debug)]
pub struct StreamSlots {
    /// The service's limit, `streams`.
    service: Permits,
    /// The host's instances for streams, which all services share.
    host: Arc<Permits>,
}

/// The limit that leaves no room for another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error(
        "the client has as many streams open as one client may, or all clients together have: `streams` in [listeners] of the manifest"
    )]
    Clients,
    #[error(
        "the service has as many streams open as it may, or the host has no more instances for streams: `streams` in the manifest"
    )]
    Service,
}

impl StreamSlots {
    /// The slots of a service with this limit. `host` has a permit for each of the host's instances for streams.
    pub fn new(limit: usize, host: &Arc<Permits>) -> Self {
        Self { service: Permits::new(limit), host: host.clone() }
    }

    /// The slots of another service of the same host.
    #[must_use]
    pub fn sibling(&self, limit: usize) -> Self {
        Self::new(limit, &self.host)
    }

    /// Changes the service's limit. Streams over a lower one continue. Call this within a Tokio runtime.
    pub fn set_limit(&self, limit: usize) {
        self.service.resize(limit);
    }

    /// Waits for a slot for an instance that takes this many of the host's instances, at most for this time.
    ///
    /// `client` is the one that the stream counts for. None if the host itself makes the request.
    pub(super) async fn acquire(
        &self,
        client: Option<&Client>,
        host_instances: u32,
        time: Duration,
    ) -> Result<SlotPermit, Full> {
        let share = client.map(|client| client.take(Kind::Streams, 1).ok_or(Full::Clients)).transpose()?;
        let both = async {
            let service = self.service.take(1).await;
            SlotPermit::new(service, self.host.take(host_instances).await, share)
        };
        tokio::time::timeout(time, both).await.map_err(|_| Full::Service)
    }

    /// Streams that run now.
    pub fn in_use(&self) -> usize {
        self.service.in_use()
    }
}

/// The permit of a running call. When its request becomes a stream, another permit takes its place.
#[derive(Debug)]
pub(super) struct HeldPermit(Mutex<SlotPermit>);

impl HeldPermit {
    pub(super) fn new(permit: SlotPermit) -> Arc<Self> {
        Arc::new(Self(Mutex::new(permit)))
    }

    /// Frees the slot and holds another one instead.
    pub(super) fn replace(&self, permit: SlotPermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shares::{Clients, Limit, Limits};

    const AT_ONCE: Duration = Duration::ZERO;

    fn client(each: usize) -> Client {
        let limit = Limit { total: 100, each };
        let limits = Limits { connections: limit, requests: limit, bodies: limit, responses: limit, streams: limit };
        Clients::new(limits).client([192, 0, 2, 1].into())
    }

    #[tokio::test]
    async fn a_stream_counts_for_its_service_its_client_and_the_host() {
        let host = Arc::new(Permits::new(4));
        let (one, two) = (StreamSlots::new(2, &host), StreamSlots::new(9, &host));
        let client = client(3);
        let held = [one.acquire(Some(&client), 1, AT_ONCE).await, one.acquire(None, 1, AT_ONCE).await];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(one.acquire(Some(&client), 1, AT_ONCE).await.unwrap_err(), Full::Service, "the service's limit");
        let large = two.acquire(Some(&client), 2, AT_ONCE).await.unwrap();
        assert_eq!(two.acquire(Some(&client), 1, AT_ONCE).await.unwrap_err(), Full::Service, "the host has no more");
        drop(large);
        let more = [two.acquire(Some(&client), 1, AT_ONCE).await, two.acquire(Some(&client), 1, AT_ONCE).await];
        assert!(more.iter().all(Result::is_ok));
        assert_eq!(two.acquire(Some(&client), 1, AT_ONCE).await.unwrap_err(), Full::Clients);
        assert_eq!((one.in_use(), two.in_use()), (2, 2));
        drop((held, more));
        assert_eq!((one.in_use(), two.in_use(), host.in_use()), (0, 0, 0));
    }
}
