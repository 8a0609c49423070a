//! The read set of a query: the tables that it read, each with its version.
//!
//! A version counts both the start and the end of each commit, so it is odd while a commit runs. If a read set is
//! [current](ReadSet::is_current), the same query would return the same rows now. Three rules ensure this:
//!
//! 1. A reader takes the versions before it takes its snapshot. If a commit happens in between, the read set is outdated, but
//!    never wrong.
//! 2. If a commit is running, the reader gets no read set: its snapshot may be from before or from after that commit.
//! 3. A writer increments the versions of the changed tables before the commit and again after it. Only then does it
//!    acknowledge the commit. So a read set stops being current before readers can see the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the starts and ends of commits to one table.
#[derive(Debug, Default)]
pub struct Version(AtomicU64);

impl Version {
    /// The current count.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// The current count; `None` while a commit is running.
    fn settled(&self) -> Option<u64> {
        Some(self.now()).filter(|version| version % 2 == 0)
    }
}

/// The tables that an answer depends on, each with its version when it was read.
///
/// [`is_current`](Self::is_current) is cheap because it accesses no database.
#[derive(Clone, Debug, Default)]
pub struct ReadSet(Vec<(Arc<Version>, u64)>);

impl ReadSet {
    /// Records the current versions; `None` if a commit to one table is running.
    pub fn take<'v>(versions: impl IntoIterator<Item = &'v Arc<Version>>) -> Option<Self> {
        let taken = versions.into_iter().map(|version| Some((version.clone(), version.settled()?)));
        taken.collect::<Option<_>>().map(Self)
    }

    /// Adds the tables of another read set.
    pub fn join(&mut self, other: Self) {
        for (version, at) in other.0 {
            // Two different counts of one table both stay: the rows are from different times, so the set is never current.
            if !self.0.iter().any(|(known, known_at)| Arc::ptr_eq(known, &version) && *known_at == at) {
                self.0.push((version, at));
            }
        }
    }

    /// Whether no commit to any of the tables has started since.
    pub fn is_current(&self) -> bool {
        self.0.iter().all(|(version, at)| version.now() == *at)
    }
}

/// A running commit. Dropping it ends the commit, whether it succeeded or failed.
#[derive(Debug)]
pub struct Commit(Vec<Arc<Version>>);

impl Commit {
    /// Starts a commit that changes these tables, each listed once.
    ///
    /// The caller must be the only writer.
    pub fn begin(changed: Vec<Arc<Version>>) -> Self {
        let commit = Self(changed);
        commit.increment();
        commit
    }

    fn increment(&self) {
        for version in &self.0 {
            version.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.increment();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_current_until_a_commit_to_one_of_its_tables_starts() {
        let (one, other) = (Arc::new(Version::default()), Arc::new(Version::default()));
        let both = ReadSet::take([&one, &other]).unwrap();
        let alone = ReadSet::take([&one]).unwrap();
        let commit = Commit::begin(vec![other.clone()]);
        assert!(alone.is_current() && !both.is_current());
        assert!(ReadSet::take([&one, &other]).is_none(), "taken while a commit is running");
        drop(commit);
        assert!(alone.is_current() && !both.is_current());
        assert!(ReadSet::take([&one, &other]).unwrap().is_current());
    }

    #[test]
    fn reads_before_and_after_a_commit_are_never_current_together() {
        let version = Arc::new(Version::default());
        let mut before = ReadSet::take([&version]).unwrap();
        drop(Commit::begin(vec![version.clone()]));
        let after = ReadSet::take([&version]).unwrap();
        before.join(after.clone());
        assert!(after.is_current() && !before.is_current());
    }
}
