//! How the guest of a WASI 0.3 store ended.
//!
//! If a store is dropped, an unfinished 0.3 body ends like a complete one. This tells the two apart.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

const RUNS: u8 = 0;
const SUCCEEDED: u8 = 1;
const FAILED: u8 = 2;

/// Whether a guest runs, succeeded or failed. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct GuestEnd(Arc<AtomicU8>);

/// Notes the end of a guest when it is dropped: a failure, unless it was told that the guest succeeded. Drop it before the store.
#[derive(Debug)]
pub struct GuestEndGuard {
    end: GuestEnd,
    result: u8,
}

impl GuestEnd {
    /// The guard of a guest that runs.
    pub fn guard(&self) -> GuestEndGuard {
        self.0.store(RUNS, Ordering::SeqCst);
        GuestEndGuard { end: self.clone(), result: FAILED }
    }

    /// Whether the guest has failed, or was stopped.
    pub fn has_failed(&self) -> bool {
        self.0.load(Ordering::SeqCst) == FAILED
    }
}

impl GuestEndGuard {
    /// The guest ended without an error.
    pub fn succeed(&mut self) {
        self.result = SUCCEEDED;
    }
}

impl Drop for GuestEndGuard {
    fn drop(&mut self) {
        self.end.0.store(self.result, Ordering::SeqCst);
    }
}

/// The body of a request that a guest writes. It is incomplete if it ends because the guest failed.
pub(super) struct WrittenBody {
    pub(super) body: WasiBody,
    pub(super) end: GuestEnd,
}

impl HttpBody for WrittenBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let is_incomplete = frame.is_none() && self.end.has_failed();
        Poll::Ready(if is_incomplete { Some(Err(Error::ConnectionTerminated)) } else { frame })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.end.has_failed()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
