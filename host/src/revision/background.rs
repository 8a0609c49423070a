//! Threads for guests that compute for long.
//!
//! A guest's call begins on the thread of its connection, where a short one is done before anything could be gained by moving
//! it. One that goes on computing would hold up every other request of that thread for a turn after each of theirs. So it is
//! moved here, where the operating system lets it run when nobody else wants to. Where the last two calls of a revision were long,
//! the next one begins here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use storage::priority;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How much less of the processor these threads get than the others, as `nice` counts: about a tenth, where both want it.
const NICENESS: i32 = 10;

/// The threads: as many as there are processors.
#[derive(Debug)]
pub struct Background {
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("long-guests").on_thread_start(|| {
            // Without it they are as good as the others, which is no fault.
            let _ = priority::lower(NICENESS);
        });
        Ok(Self { runtime: Some(builder.build()?) })
    }

    /// Goes on with a future here. Dropping what this gives drops the future at its next turn.
    pub(super) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Moved<T> {
        Moved(self.runtime.as_ref().map(|runtime| runtime.spawn(future)))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A future that goes on in the background.
pub(super) struct Moved<T>(Option<JoinHandle<T>>);

impl<T> Future for Moved<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(handle) = &mut self.0 else { return Poll::Pending };
        match Pin::new(handle).poll(context) {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The threads end, and with them whoever waits.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Moved<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}
