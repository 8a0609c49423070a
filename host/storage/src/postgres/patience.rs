//! How long a call waits for its connection or for the writer.

use tokio::time::Instant;

use super::Shared;
use crate::migrating::Permit;

/// How long one call may wait: the usual time, and longer while migrations run.
pub(super) struct Patience<'s> {
    shared: &'s Shared,
    began: Instant,
    from: Instant,
    permit: Option<Permit<'s>>,
}

impl<'s> Patience<'s> {
    /// For a call that begins now.
    pub(super) fn new(shared: &'s Shared) -> Self {
        let now = Instant::now();
        Self { shared, began: now, from: now, permit: None }
    }

    /// Whether a call that has waited its usual time may wait again.
    ///
    /// It may if a migration is the reason. This waits for the end of a migration of this host. It returns at once if the
    /// migration runs on another host.
    pub(super) async fn may_wait_longer(&mut self) -> bool {
        let Shared { migrating, config, .. } = self.shared;
        if let Some(ended) = migrating.wait_for_end(self.began, self.from).await {
            self.from = ended;
            return true;
        }
        self.from = Instant::now();
        if migrating.is_running() || self.from >= self.began + config.migration_wait {
            return false;
        }
        if !self.shared.is_migrating().await.unwrap_or(false) {
            return false;
        }
        if self.permit.is_none() {
            self.permit = migrating.permit();
        }
        self.permit.is_some()
    }
}
