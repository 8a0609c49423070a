//! What rows rest on: the tables that they were read from, each at a version.
//!
//! A version counts the beginnings and the ends of commits, so it is odd while a commit is under way. Three rules make a basis
//! that [holds](Basis::holds) mean that the same query would give the same rows at this moment:
//!
//! 1. A reader takes the versions before its snapshot. What is committed in between makes its basis useless, never wrong.
//! 2. A reader that finds a commit under way has no basis: its snapshot may be the one before or the one after.
//! 3. A writer moves the versions of what it changed before the commit and again after it, and acknowledges it then. So no
//!    basis holds from the moment at which the commit can be seen, and none that an acknowledged write has made untrue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often something was committed to.
#[derive(Debug, Default)]
pub struct Version(AtomicU64);

impl Version {
    /// The number at this moment.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// None while a commit is under way.
    fn settled(&self) -> Option<u64> {
        Some(self.now()).filter(|version| version % 2 == 0)
    }
}

/// What rows rest on. It is cheap to ask whether it still holds: no database is looked at.
#[derive(Clone, Debug, Default)]
pub struct Basis(Vec<(Arc<Version>, u64)>);

impl Basis {
    /// The versions as they are now. None while one of them changes.
    pub fn take<'v>(versions: impl IntoIterator<Item = &'v Arc<Version>>) -> Option<Self> {
        let taken = versions.into_iter().map(|version| Some((version.clone(), version.settled()?)));
        taken.collect::<Option<_>>().map(Self)
    }

    /// What both rest on.
    pub fn join(&mut self, other: Self) {
        for (version, at) in other.0 {
            // The same version at another number must stay in: then the two do not fit, and it never holds.
            if !self.0.iter().any(|(known, known_at)| Arc::ptr_eq(known, &version) && *known_at == at) {
                self.0.push((version, at));
            }
        }
    }

    /// Whether nothing of it was committed to since.
    pub fn holds(&self) -> bool {
        self.0.iter().all(|(version, at)| version.now() == *at)
    }
}

/// A commit under way. It is over when this is dropped, whatever became of it.
#[derive(Debug)]
pub struct Commit(Vec<Arc<Version>>);

impl Commit {
    /// Begins a commit that changes these, each named once. There is one writer, so no other is under way.
    pub fn begin(changed: Vec<Arc<Version>>) -> Self {
        let commit = Self(changed);
        commit.step();
        commit
    }

    fn step(&self) {
        for version in &self.0 {
            version.0.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.step();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_holds_until_a_commit_to_a_part_of_it_begins() {
        let (one, other) = (Arc::new(Version::default()), Arc::new(Version::default()));
        let both = Basis::take([&one, &other]).unwrap();
        let alone = Basis::take([&one]).unwrap();
        let commit = Commit::begin(vec![other.clone()]);
        assert!(alone.holds() && !both.holds());
        assert!(Basis::take([&one, &other]).is_none(), "taken while a commit is under way");
        drop(commit);
        assert!(alone.holds() && !both.holds());
        assert!(Basis::take([&one, &other]).unwrap().holds());
    }

    #[test]
    fn what_was_read_before_and_after_a_commit_never_holds_together() {
        let version = Arc::new(Version::default());
        let mut before = Basis::take([&version]).unwrap();
        drop(Commit::begin(vec![version.clone()]));
        let after = Basis::take([&version]).unwrap();
        before.join(after.clone());
        assert!(after.holds() && !before.holds());
    }
}
