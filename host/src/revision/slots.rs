//! Instance slots: how many instances of a service may run at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::manifest::Limits;
use crate::shares::{Permits, Share};

/// The instance slots of one service, shared by its revisions.
///
/// Up to half of the host's instances are reserved in equal parts, one for each service. All others are shared: the first request that
/// needs one takes it. An instance with several linear memories or many tables takes several of the host's instances
/// (`engine::host_instances`). Streams have slots of their own (`stream_slots`).
///
/// A reload may divide the instances again. A part that becomes smaller gives its permits up when they are free, so there are never more
/// instances than the host has.
#[derive(Debug)]
pub struct Slots {
    /// The service's limit, `concurrency`.
    service: Permits,
    /// The host's instances that are reserved for this service.
    reserved: Permits,
    /// The host's instances that any service may take.
    shared: Arc<Permits>,
    waiting: AtomicUsize,
    /// Refused requests, by [`Full`].
    refused: [AtomicU64; Full::ALL.len()],
}

/// The setting of the manifest that keeps a request from getting a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The service's own `concurrency`.
    Concurrency,
    /// The `instances` of the whole host.
    Instances,
}

impl Full {
    /// Both settings.
    pub const ALL: [Self; 2] = [Self::Concurrency, Self::Instances];

    /// The key in the manifest.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Concurrency => "concurrency",
            Self::Instances => "instances",
        }
    }

    /// Why a request of this service was refused after `queue_time`, and what the operator can change.
    pub(super) fn explain(self, service: &str, limits: &Limits) -> String {
        let Limits { queue_time, concurrency, .. } = limits;
        let reason = match self {
            Self::Concurrency => format!(
                "{concurrency} requests of {service} are running, as many as its `concurrency` allows: raise `concurrency` or \
                 `queue_time` in the limits of [services.{service}]"
            ),
            Self::Instances => format!(
                "the host's `instances` are in use: raise `instances` in the manifest, or `queue_time` in the limits of \
                 [services.{service}]"
            ),
        };
        format!("no instance became free within {queue_time:?} (`queue_time`), because {reason}")
    }
}

/// The right to run one instance. Dropping it frees the slot.
#[derive(Debug)]
pub struct SlotPermit {
    _service: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
    /// The client's share of streams. None for a request that does not stream.
    _client: Option<Share>,
}

impl SlotPermit {
    pub(super) fn new(service: OwnedSemaphorePermit, host: OwnedSemaphorePermit, client: Option<Share>) -> Self {
        Self { _service: service, _host: host, _client: client }
    }
}

/// The parts into which the host's instances are divided: the reserved part of each service, and the shared one. A service reserves no
/// more than its limit.
fn parts(instances: usize, limits: &[usize]) -> (Vec<usize>, usize) {
    let equal_part = instances / 2 / limits.len().max(1);
    let reserved: Vec<usize> = limits.iter().map(|limit| (*limit).min(equal_part)).collect();
    let shared = instances - reserved.iter().sum::<usize>();
    (reserved, shared)
}

impl Slots {
    /// Divides the host's instances among services with these limits. A service reserves no more than its limit.
    pub fn divide(instances: usize, limits: &[usize]) -> Vec<Self> {
        let (reserved, shared) = parts(instances, limits);
        let shared = Arc::new(Permits::new(shared));
        let slots = |(limit, reserved): (&usize, usize)| Self {
            service: Permits::new(*limit),
            reserved: Permits::new(reserved),
            shared: shared.clone(),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
        };
        limits.iter().zip(reserved).map(slots).collect()
    }

    /// The slots of another service of the same host. It has no reserved instances before [`Self::divide_again`].
    #[must_use]
    pub fn sibling(&self, limit: usize) -> Self {
        Self {
            service: Permits::new(limit),
            reserved: Permits::new(0),
            shared: self.shared.clone(),
            waiting: AtomicUsize::new(0),
            refused: Default::default(),
        }
    }

    /// Divides the host's instances among services with these limits, and sets their limits. `gone` are the removed services.
    /// Instances move when they are free, in the background. Call this within a Tokio runtime.
    pub fn divide_again(instances: usize, services: &[(Arc<Self>, usize)], gone: &[Arc<Self>]) {
        let Some(shared) = services.first().map(|(slots, _)| slots.shared.clone()) else { return };
        let limits: Vec<usize> = services.iter().map(|(_, limit)| *limit).collect();
        let (reserved, new_shared) = parts(instances, &limits);
        services.iter().for_each(|(slots, limit)| slots.service.resize(*limit));
        let kept = services.iter().map(|(slots, _)| &slots.reserved).zip(reserved);
        Permits::divide_again(
            kept.chain(gone.iter().map(|slots| (&slots.reserved, 0))).chain([(&*shared, new_shared)]),
        );
    }

    /// Waits for a slot for an instance that takes this many of the host's instances.
    ///
    /// # Errors
    /// No slot became free within `time`. Says what was full then.
    pub async fn acquire(&self, host_instances: u32, time: Duration) -> Result<SlotPermit, Full> {
        let at_once = || self.reserved.try_take(host_instances).or_else(|| self.shared.try_take(host_instances));
        if let Some(service) = self.service.try_take(1)
            && let Some(host) = at_once()
        {
            return Ok(SlotPermit::new(service, host, None));
        }
        let _waiting = Waiting::new(&self.waiting);
        let mut full = Full::Concurrency;
        let both = async {
            let service = self.service.take(1).await;
            full = Full::Instances;
            let host = tokio::select! {
                host = self.reserved.take(host_instances) => host,
                host = self.shared.take(host_instances) => host,
            };
            SlotPermit::new(service, host, None)
        };
        let permit = tokio::time::timeout(time, both).await.ok();
        permit.ok_or(full)
    }

    /// Counts a request that was refused because this was full.
    pub(super) fn count_refused(&self, full: Full) {
        self.refused[full as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests that were refused because this was full.
    pub fn refused(&self, full: Full) -> u64 {
        self.refused[full as usize].load(Ordering::Relaxed)
    }

    /// How many of the host's instances an instance of each service could take, if they were divided among services with these limits.
    pub fn max_host_instances_of(instances: usize, limits: &[usize]) -> Vec<usize> {
        let (reserved, shared) = parts(instances, limits);
        reserved.into_iter().map(|reserved| reserved.max(shared)).collect()
    }

    /// How many of the host's instances an instance of this service may take. One that takes more would wait forever.
    pub fn max_host_instances(&self) -> usize {
        self.reserved.size().max(self.shared.size())
    }

    /// Slots that are taken now.
    pub fn in_use(&self) -> usize {
        self.service.in_use()
    }

    /// Requests that wait for a slot now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts a waiting request until it is dropped, even if the client disconnects before its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    /// Takes all slots that are free now.
    async fn take_all(slots: &Slots) -> Vec<SlotPermit> {
        let mut permits = Vec::new();
        while let Ok(permit) = slots.acquire(1, AT_ONCE).await {
            permits.push(permit);
        }
        permits
    }

    #[tokio::test]
    async fn a_service_cannot_take_the_reserved_slots_of_others() {
        let slots = Slots::divide(20, &[100, 100, 2]);
        let greedy = take_all(&slots[0]).await;
        assert_eq!(greedy.len(), 15, "its reserved slots and all shared ones");
        assert_eq!((take_all(&slots[1]).await.len(), take_all(&slots[2]).await.len()), (3, 2));
        drop(greedy);
        assert_eq!(take_all(&slots[1]).await.len(), 15);
    }

    #[tokio::test]
    async fn an_instance_may_take_several_of_the_hosts_instances() {
        let slots = Slots::divide(20, &[100, 100]);
        assert_eq!(slots[0].max_host_instances(), 10);
        let mut large = Vec::new();
        while let Ok(permit) = slots[0].acquire(4, AT_ONCE).await {
            large.push(permit);
        }
        assert_eq!((large.len(), slots[0].in_use()), (3, 3), "one from the reserved slots, two from the shared ones");
        assert_eq!(take_all(&slots[1]).await.len(), 5 + 2);
    }

    #[tokio::test]
    async fn services_share_all_host_slots_and_none_exceeds_its_limit() {
        for (instances, limits) in [(0, vec![5]), (1, vec![5]), (1, vec![1, 1]), (7, vec![9, 1, 2]), (50, vec![10, 20])]
        {
            let mut taken = Vec::new();
            for slots in &Slots::divide(instances, &limits) {
                taken.push(take_all(slots).await);
            }
            assert!(
                taken.iter().zip(&limits).all(|(permits, limit)| permits.len() <= *limit),
                "{instances} {limits:?}"
            );
            let sum: usize = taken.iter().map(Vec::len).sum();
            assert_eq!(sum, instances.min(limits.iter().sum()), "{instances} {limits:?}");
        }
    }

    #[tokio::test]
    async fn a_request_without_a_slot_learns_which_setting_is_full() {
        let slots = Slots::divide(3, &[1, 9]);
        let _one = take_all(&slots[0]).await;
        assert_eq!(slots[0].acquire(1, AT_ONCE).await.unwrap_err(), Full::Concurrency);
        let _two = take_all(&slots[1]).await;
        assert_eq!(slots[1].acquire(1, AT_ONCE).await.unwrap_err(), Full::Instances);
        slots[1].count_refused(Full::Instances);
        assert_eq!(Full::ALL.map(|full| slots[1].refused(full)), [0, 1]);
        let limits = Limits { concurrency: 9, ..Limits::default() };
        for full in Full::ALL {
            let text = full.explain("orders", &limits);
            assert!(text.starts_with("no instance became free within 1s (`queue_time`), because"), "{text}");
            let setting = format!("raise `{}`", full.setting());
            assert!(text.contains(&setting) && text.ends_with("in the limits of [services.orders]"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_waiting_request_gets_the_first_free_slot_reserved_or_shared() {
        let slots = Slots::divide(4, &[4, 4]);
        let (mut one, mut two) = (take_all(&slots[0]).await, take_all(&slots[1]).await);
        assert_eq!((one.len(), two.len()), (3, 1));
        for (freed, waits) in [(&mut two, &slots[1]), (&mut one, &slots[0])] {
            let mut waiting = Box::pin(waits.acquire(1, Duration::from_secs(600)));
            assert!((&mut waiting).now_or_never().is_none());
            assert_eq!(waits.waiting(), 1);
            freed.clear();
            let permit = waiting.await.unwrap();
            assert_eq!(waits.waiting(), 0);
            freed.push(permit);
        }
        // A shared slot, for a service whose reserved slots are taken.
        let all_of_two = take_all(&slots[1]).await;
        let mut waiting = Box::pin(slots[1].acquire(1, Duration::from_secs(600)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(all_of_two);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn instances_move_to_a_new_service_when_they_are_free_and_back() {
        let mut slots: Vec<_> = Slots::divide(20, &[100, 100]).into_iter().map(Arc::new).collect();
        let all_of_one = take_all(&slots[0]).await;
        assert_eq!(all_of_one.len(), 15);
        let third = Arc::new(slots[0].sibling(4));
        assert!(take_all(&third).await.is_empty(), "all shared instances are taken");
        let of = |slots: &[Arc<Slots>]| slots.iter().map(|slots| (slots.clone(), 100)).collect::<Vec<_>>();
        slots.push(third.clone());
        Slots::divide_again(20, &of(&slots), &[]);
        // The idle service gives up its part at once, and the busy one does not.
        let patience = Duration::from_secs(600);
        let first = third.acquire(1, patience).await.unwrap();
        let second = third.acquire(1, patience).await.unwrap();
        assert_eq!(all_of_one.len() + take_all(&slots[1]).await.len() + 2 + take_all(&third).await.len(), 20);
        drop((all_of_one, first, second));
        let removed = slots.pop().unwrap();
        Slots::divide_again(20, &of(&slots), &[removed]);
        while slots.iter().any(|slots| slots.reserved.in_use() > 0) {
            tokio::task::yield_now().await;
        }
        let all_of_two = take_all(&slots[1]).await;
        assert_eq!((all_of_two.len(), take_all(&slots[0]).await.len()), (15, 5), "never more than there are");
    }
}
