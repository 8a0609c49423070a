//! How many instances of one service there may be at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The instances of one service, shared by its revisions, within those of the host.
///
/// Of the host's instances each service has a part that nobody else takes, whatever the others do; the rest is for whoever
/// comes first. A component with several memories takes as many of the host's instances each time, since the host has no more
/// memories than instances.
#[derive(Debug)]
pub struct Slots {
    own: Arc<Semaphore>,
    part: Arc<Semaphore>,
    rest: Arc<Semaphore>,
    limit: usize,
    most_memories: usize,
    waiting: AtomicUsize,
}

/// The right to one instance, until it is dropped.
#[derive(Debug)]
pub struct SlotPermit {
    _own: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Slots {
    /// Divides a host's instances among services with these limits, in their order. One half goes into equal parts, of which
    /// none is larger than its service's limit.
    pub fn divide(instances: usize, limits: &[usize]) -> Vec<Self> {
        let equal = instances / 2 / limits.len().max(1);
        let part = |limit: usize| limit.min(equal);
        let parts: usize = limits.iter().map(|limit| part(*limit)).sum();
        let rest = Arc::new(Semaphore::new(instances - parts));
        let slots = |limit: &usize| Self {
            own: Arc::new(Semaphore::new(*limit)),
            part: Arc::new(Semaphore::new(part(*limit))),
            rest: rest.clone(),
            limit: *limit,
            most_memories: part(*limit).max(instances - parts),
            waiting: AtomicUsize::new(0),
        };
        limits.iter().map(slots).collect()
    }

    /// Waits for an instance with so many memories. None when the time is over.
    pub async fn acquire(&self, memories: u32, time: Duration) -> Option<SlotPermit> {
        let at_once = |from: &Arc<Semaphore>| from.clone().try_acquire_many_owned(memories);
        if let Ok(own) = self.own.clone().try_acquire_owned()
            && let Ok(host) = at_once(&self.part).or_else(|_| at_once(&self.rest))
        {
            return Some(SlotPermit { _own: own, _host: host });
        }
        let _waiting = Waiting::new(&self.waiting);
        let both = async {
            let own = self.own.clone().acquire_owned().await.ok()?;
            let host = tokio::select! {
                host = self.part.clone().acquire_many_owned(memories) => host,
                host = self.rest.clone().acquire_many_owned(memories) => host,
            };
            Some(SlotPermit { _own: own, _host: host.ok()? })
        };
        tokio::time::timeout(time, both).await.ok().flatten()
    }

    /// How many memories an instance may have, because more are never to be had at once.
    pub fn most_memories(&self) -> usize {
        self.most_memories
    }

    /// Instances that exist now.
    pub fn in_use(&self) -> usize {
        self.limit - self.own.available_permits()
    }

    /// Requests that wait for an instance now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts a waiting request, also when it goes away before its turn.
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

    /// As many as there are at once.
    async fn all(slots: &Slots) -> Vec<SlotPermit> {
        let mut permits = Vec::new();
        while let Some(permit) = slots.acquire(1, AT_ONCE).await {
            permits.push(permit);
        }
        permits
    }

    #[tokio::test]
    async fn whoever_takes_all_that_there_is_leaves_the_others_their_parts() {
        let slots = Slots::divide(20, &[100, 100, 2]);
        let greedy = all(&slots[0]).await;
        assert_eq!(greedy.len(), 15, "its part and the rest");
        assert_eq!((all(&slots[1]).await.len(), all(&slots[2]).await.len()), (3, 2));
        drop(greedy);
        assert_eq!(all(&slots[1]).await.len(), 15);
    }

    #[tokio::test]
    async fn an_instance_with_many_memories_takes_as_many_of_the_hosts() {
        let slots = Slots::divide(20, &[100, 100]);
        assert_eq!(slots[0].most_memories(), 10);
        let mut large = Vec::new();
        while let Some(permit) = slots[0].acquire(4, AT_ONCE).await {
            large.push(permit);
        }
        assert_eq!((large.len(), slots[0].in_use()), (3, 3), "one of its part, two of the rest");
        assert_eq!(all(&slots[1]).await.len(), 5 + 2);
    }

    #[tokio::test]
    async fn all_services_together_have_what_the_host_has_and_none_more_than_its_limit() {
        for (instances, limits) in [(0, vec![5]), (1, vec![5]), (1, vec![1, 1]), (7, vec![9, 1, 2]), (50, vec![10, 20])]
        {
            let mut taken = Vec::new();
            for slots in &Slots::divide(instances, &limits) {
                taken.push(all(slots).await);
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
    async fn whoever_waits_gets_what_is_free_first_be_it_of_the_part_or_of_the_rest() {
        let slots = Slots::divide(4, &[4, 4]);
        let (mut one, mut two) = (all(&slots[0]).await, all(&slots[1]).await);
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
        // Of the rest, for a service whose part is taken.
        let all_of_two = all(&slots[1]).await;
        let mut waiting = Box::pin(slots[1].acquire(1, Duration::from_secs(600)));
        assert!((&mut waiting).now_or_never().is_none());
        drop(all_of_two);
        waiting.await.unwrap();
    }
}
