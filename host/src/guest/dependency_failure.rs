//! The first failure of something that a guest depends on.

use std::sync::{Arc, OnceLock};

/// Whether the database, the password queue or another service failed a guest during a request, and how.
///
/// The host does not count such a request against the revision. Clones share the state.
#[derive(Debug, Clone, Default)]
pub struct DependencyFailure(Arc<OnceLock<String>>);

impl DependencyFailure {
    /// Records a failure. Only the first one is kept.
    pub(super) fn record(&self, cause: impl FnOnce() -> String) {
        self.0.get_or_init(cause);
    }

    /// The first failure, if there was one.
    pub fn cause(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
