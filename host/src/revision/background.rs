//! Background threads for long-running calls.
//!
//! A call begins on the thread of its connection, because moving a short call would cost more than it saves. A long-running call would
//! delay every other request of that thread. So the host moves it to these threads, which have a lower priority. If the last two calls
//! of a revision were long-running, the next one begins here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use storage::priority;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Niceness of these threads. If they compete with normal threads, they get about a tenth of the processor.
const NICENESS: i32 = 10;

/// A pool with one background thread per processor.
#[derive(Debug)]
pub struct Background {
    runtime: Option<Runtime>,
}

impl Background {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn new() -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name("long-guests").on_thread_start(|| {
            // If this fails, the threads run at normal priority. That is slower for other requests, but correct.
            let _ = priority::lower(NICENESS);
        });
        Ok(Self { runtime: Some(builder.build()?) })
    }

    /// Continues a future in the background. Dropping the returned task cancels the future at its next suspension point.
    pub(super) fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> BackgroundTask<T> {
        BackgroundTask(self.runtime.as_ref().map(|runtime| runtime.spawn(future)))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The result of a future that runs in the background. Cancels the future on drop.
pub(super) struct BackgroundTask<T>(Option<JoinHandle<T>>);

impl<T> Future for BackgroundTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(handle) = &mut self.0 else { return Poll::Pending };
        match Pin::new(handle).poll(context) {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            Poll::Ready(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The other error is cancellation. It happens only when the host stops, and then nothing polls this task again.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for BackgroundTask<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}
