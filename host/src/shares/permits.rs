//! A number of permits that a reload may change while some are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits that may become more or fewer while some are taken. Those who wait get them in the order in which they came.
#[derive(Debug)]
pub struct Permits {
    semaphore: Arc<Semaphore>,
    /// How many permits there are. After a resize to fewer: how many there will be once the surplus ones have been returned.
    size: AtomicUsize,
}

impl Permits {
    /// Makes this number of permits, at most `u32::MAX`.
    pub fn new(size: usize) -> Self {
        let size = size.min(u32::MAX as usize);
        Self { semaphore: Arc::new(Semaphore::new(size)), size: AtomicUsize::new(size) }
    }

    /// How many permits there are. After a resize to fewer: how many there will be once the surplus ones have been returned.
    pub fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// How many are taken.
    pub fn in_use(&self) -> usize {
        self.size().saturating_sub(self.semaphore.available_permits())
    }

    /// Takes some if they are free.
    pub fn try_take(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        self.semaphore.clone().try_acquire_many_owned(count).ok()
    }

    /// Waits until so many are free, and takes them.
    pub async fn take(&self, count: u32) -> OwnedSemaphorePermit {
        let taken = self.semaphore.clone().acquire_many_owned(count).await;
        taken.expect("nothing closes the semaphore")
    }

    /// Waits until all are free, at most for this time. Returns whether all are.
    pub async fn all_free(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.semaphore.acquire_many(as_u32(self.size()))).await.is_ok()
    }

    /// Changes the number of permits. If it shrinks, no caller gets a permit until the surplus ones have been returned. Call
    /// this within a Tokio runtime.
    pub fn resize(&self, size: usize) {
        let size = size.min(u32::MAX as usize);
        let before = self.size.swap(size, Ordering::Relaxed);
        self.semaphore.add_permits(size.saturating_sub(before));
        let fewer = before.saturating_sub(size);
        if fewer > 0 {
            let given_up = self.semaphore.clone().acquire_many_owned(as_u32(fewer));
            tokio::spawn(async move { given_up.await.map(OwnedSemaphorePermit::forget) });
        }
    }

    /// Moves permits among several, so that each has its new number in the end. A permit moves in the background, once it is
    /// free. So the total never exceeds the larger of the old and the new one. Call this within a Tokio runtime.
    pub fn divide_again<'a>(all: impl IntoIterator<Item = (&'a Self, usize)>) {
        let (mut givers, mut takers) = (Vec::new(), Vec::new());
        for (permits, size) in all {
            let before = permits.size.swap(size, Ordering::Relaxed);
            givers.push((permits.semaphore.clone(), before.saturating_sub(size)));
            takers.extend(vec![permits.semaphore.clone(); size.saturating_sub(before)]);
        }
        for (from, count) in givers.into_iter().filter(|(_, count)| *count > 0) {
            let to = takers.split_off(takers.len().saturating_sub(count));
            tokio::spawn(hand_over(from, to));
        }
    }
}

/// Takes permits one at a time, so that a request waits for one other at most.
async fn hand_over(from: Arc<Semaphore>, to: Vec<Arc<Semaphore>>) {
    for to in to {
        let Ok(permit) = from.acquire().await else { return };
        permit.forget();
        to.add_permits(1);
    }
}

fn as_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lower_number_holds_when_enough_are_free_and_a_higher_one_at_once() {
        let permits = Permits::new(3);
        let mut taken: Vec<_> = (0..3).map(|_| permits.try_take(1).unwrap()).collect();
        permits.resize(1);
        tokio::task::yield_now().await;
        taken.pop();
        assert!(permits.try_take(1).is_none(), "two of three have to be given up");
        taken.pop();
        tokio::task::yield_now().await;
        assert!(permits.try_take(1).is_none() && permits.in_use() == 1);
        taken.clear();
        let last = permits.take(1).await;
        assert!(permits.try_take(1).is_none(), "one is left");
        permits.resize(4);
        assert!(permits.try_take(3).is_some() && permits.try_take(4).is_none());
        drop(last);
        assert!(permits.all_free(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn all_are_free_only_after_those_to_give_up_are() {
        let permits = Permits::new(10);
        let held = permits.take(10).await;
        permits.resize(5);
        tokio::task::yield_now().await;
        assert!(!permits.all_free(Duration::ZERO).await);
        drop(held);
        assert!(permits.all_free(Duration::from_secs(600)).await);
    }
}
