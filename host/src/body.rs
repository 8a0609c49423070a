//! Bodies: a request's is read whole before a guest is made, an answer's may stream.
//!
//! Reading first means that a client who sends slowly, or never ends, holds no instance, and that a body over the limit is
//! answered with 413 whether or not its length was announced. What all requests hold at one moment is bounded by a budget
//! that is claimed as bytes arrive, so that announcing a lot without sending it claims nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// How much of a body that is too large is read and thrown away, and how long that may take.
const DRAIN_BYTES: usize = 16 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What cuts an answer's body short. The connection ends with it, so that the client sees that something is missing.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request's body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRefusal {
    /// Over the limit of the service, in bytes.
    TooLarge(usize),
    /// The client did not send all of it in time.
    TooSlow,
    /// The connection broke, or the framing was wrong.
    Broken,
    /// The host holds as many bytes of bodies as it may.
    Overloaded,
}

/// A request's body, and its share of the budget until it is dropped.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// All of the body.
    pub bytes: Bytes,
    _claim: Option<OwnedSemaphorePermit>,
}

impl From<Bytes> for RequestBody {
    /// A body that the host made or holds anyway; it claims nothing of the budget.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _claim: None }
    }
}

/// Reads bodies within limits.
#[derive(Debug, Clone)]
pub struct BodyReader {
    budget: Arc<Semaphore>,
}

impl BodyReader {
    /// A reader whose bodies may hold so many bytes at one moment, all together. At most 4 GiB.
    pub fn new(budget_bytes: u32) -> Self {
        Self { budget: Arc::new(Semaphore::new(budget_bytes as usize)) }
    }

    /// Reads a whole body.
    ///
    /// # Errors
    /// `BodyRefusal`. Some of a body that is too large is read and thrown away, so that a client that is still sending gets
    /// the answer and not a reset connection (RFC 9112, section 9.6).
    pub async fn read(&self, mut body: Incoming, limit: usize, time: Duration) -> Result<RequestBody, BodyRefusal> {
        if body.is_end_stream() {
            return Ok(RequestBody::default());
        }
        let deadline = Instant::now() + time;
        let read = tokio::time::timeout_at(deadline, self.read_frames(&mut body, limit)).await;
        let read = read.unwrap_or(Err(BodyRefusal::TooSlow));
        if matches!(read, Err(BodyRefusal::TooLarge(_))) {
            let _ = tokio::time::timeout(DRAIN_TIME, drain(&mut body)).await;
        }
        read
    }

    async fn read_frames(&self, body: &mut Incoming, limit: usize) -> Result<RequestBody, BodyRefusal> {
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyRefusal::TooLarge(limit));
        }
        let mut claim: Option<OwnedSemaphorePermit> = None;
        let mut bytes = Bytes::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| BodyRefusal::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(BodyRefusal::TooLarge(limit));
            }
            let wanted = u32::try_from(data.len()).map_err(|_| BodyRefusal::TooLarge(limit))?;
            let more = self.budget.clone().try_acquire_many_owned(wanted).map_err(|_| BodyRefusal::Overloaded)?;
            match &mut claim {
                Some(claim) => claim.merge(more),
                None => claim = Some(more),
            }
            bytes = append(bytes, data);
        }
        Ok(RequestBody { bytes, _claim: claim })
    }
}

/// Reads on without keeping anything.
async fn drain(body: &mut Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_BYTES {
            return;
        }
    }
}

/// One frame is the usual case and is not copied. Later ones go into the same allocation where it has room.
fn append(start: Bytes, more: Bytes) -> Bytes {
    if start.is_empty() {
        return more;
    }
    let mut joined = start.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.extend_from_slice(&more);
    joined.freeze()
}
