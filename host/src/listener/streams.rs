//! HTTP/2 streams, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use hyper::rt::Executor;

use super::activity::{Activity, Times};

tokio::task_local! {
    /// The activity of the stream whose task this is.
    static STREAM: Arc<Activity>;
}

/// Runs the tasks of streams. If a client does not receive its response, the task ends, which resets the stream and frees the
/// response.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// How long a client may receive nothing.
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
                () = watched.expired(&times) => tracing::debug!("reset an HTTP/2 stream: its client did not receive the response in time"),
            }
        }));
    }
}

/// The activity of the current task's stream. None outside of HTTP/2.
pub(super) fn current() -> Option<Arc<Activity>> {
    STREAM.try_with(Arc::clone).ok()
}
