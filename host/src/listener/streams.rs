//! Streams of HTTP/2, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;

use super::activity::{Activity, Times};

tokio::task_local! {
    /// What happens in the stream whose task this is.
    static STREAM: Arc<Activity>;
}

/// Runs the tasks of streams, and ends those whose client does not take its answer. That resets the stream, and frees what was
/// to be sent in it.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// How long a client may take nothing.
    pub(super) time: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let (activity, times) = (Arc::new(Activity::of_stream()), Times { head: self.time, idle: self.time });
        let watched = activity.clone();
        tokio::spawn(STREAM.scope(activity, async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = watched.expired(&times) => tracing::debug!("reset a stream of HTTP/2: its client did not take the answer"),
            }
        }));
    }
}

/// What happens in the stream whose task this is, if it is one.
pub(super) fn current() -> Option<Arc<Activity>> {
    STREAM.try_with(Arc::clone).ok()
}
