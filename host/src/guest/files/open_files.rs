//! Counts open files until they are closed, and limits their number.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The open files of one store or one revision.
pub(super) struct OpenFiles {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Some of them may be closed by now.
    files: Vec<Weak<File>>,
    reserved: usize,
}

/// Room for a file that is being opened. Dropping it frees the room.
pub(super) struct Reservation(Arc<OpenFiles>);

impl OpenFiles {
    /// No file is open yet. At most `limit` may be.
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// Reserves room for one file. None if there are too many.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        let mut state = self.state();
        if state.files.len() + state.reserved >= self.limit {
            state.files.retain(|file| file.strong_count() > 0);
        }
        if state.files.len() + state.reserved >= self.limit {
            return None;
        }
        state.reserved += 1;
        Some(Reservation(self.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Counts the file until its last owner drops it.
    pub(super) fn settle(self, file: &Arc<File>) {
        self.0.state().files.push(Arc::downgrade(file));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.0.state().reserved -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_until_its_last_owner_drops_it() {
        let files = OpenFiles::new(2);
        let (one, other) = (Arc::new(tempfile::tempfile().unwrap()), Arc::new(tempfile::tempfile().unwrap()));
        files.reserve().unwrap().settle(&one);
        let pending = files.reserve().unwrap();
        assert!(files.reserve().is_none(), "one is open and one is being opened");
        drop(pending);
        files.reserve().unwrap().settle(&other);
        let stream = one.clone();
        drop(one);
        assert!(files.reserve().is_none(), "a stream still owns it");
        drop(stream);
        assert!(files.reserve().is_some());
    }
}
