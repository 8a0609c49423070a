//! Handles that a guest left open when its request ended, in an instance that is to be reused.
//!
//! A language with a garbage collector closes its handles some time later, perhaps after many requests. Until then the guest may name them,
//! so the host cannot remove them from the table: their numbers would soon name other resources. It ends what they lead to instead. An
//! unread body is empty, a running call is aborted, an unfinished body is cut short. Header fields stay, because a guest may keep some for
//! all its responses.
//!
//! So an old handle takes little memory, does nothing, and the number of them is limited ([`MAX_LEFTOVERS`]).

use std::any::Any;

use http_body_util::{BodyExt as _, Empty};
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingRequest, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::{FieldMap, RequestOptions};

use super::Guest;
use super::keyvalue::OpenBucket;

/// Handles that an instance may leave open and still be reused. Their header fields take at most 32 KiB each, 8 MiB together.
pub const MAX_LEFTOVERS: usize = 256;

/// Why an instance cannot answer another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReusable {
    /// It uses more than a quarter of its memory limit, or was refused memory. Holds the bytes that it uses.
    Memory(usize),
    /// It left more than [`MAX_LEFTOVERS`] handles open. Holds their number.
    Handles(usize),
    /// It left a handle open that must not outlive its request, such as a transaction, a timer or a file.
    OpenResource,
}

impl Guest {
    /// Ends everything that the guest left open, so that its instance can answer another request.
    ///
    /// # Errors
    /// The reason why the instance must be dropped instead.
    pub fn end_request(&mut self) -> Result<(), NotReusable> {
        let mut leftovers = 0;
        // A standard library keeps the folders of the manifest open. They are the same for every request.
        let folders = self.grants.folders.clone();
        let is_folder = |entry: &(dyn Any + Send)| entry.downcast_ref().is_some_and(|entry| folders.contain(entry));
        for entry in self.table.iter_mut() {
            if !is_folder(&*entry) && !end(entry) {
                return Err(NotReusable::OpenResource);
            }
            leftovers += 1;
        }
        if leftovers > MAX_LEFTOVERS {
            return Err(NotReusable::Handles(leftovers));
        }
        if self.limiter.has_room() { Ok(()) } else { Err(NotReusable::Memory(self.limiter.memory_bytes())) }
    }
}

/// Ends what a handle leads to. Returns whether the handle may stay open.
fn end(entry: &mut (dyn Any + Send)) -> bool {
    if let Some(request) = entry.downcast_mut::<HostIncomingRequest>() {
        request.body = None;
    } else if let Some(response) = entry.downcast_mut::<HostIncomingResponse>() {
        response.body = None;
    } else if let Some(body) = entry.downcast_mut::<HostIncomingBody>() {
        *body = HostIncomingBody::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    } else if let Some(stream) = entry.downcast_mut::<DynInputStream>() {
        *stream = Box::new(ClosedInputStream);
    } else if let Some(trailers) = entry.downcast_mut::<HostFutureTrailers>() {
        *trailers = HostFutureTrailers::Consumed;
    } else if let Some(call) = entry.downcast_mut::<HostFutureIncomingResponse>() {
        *call = HostFutureIncomingResponse::Consumed;
    } else if let Some(request) = entry.downcast_mut::<HostOutgoingRequest>() {
        request.body = None;
    } else if let Some(response) = entry.downcast_mut::<HostOutgoingResponse>() {
        response.body = None;
    } else if !abort(entry) {
        // An output stream belongs to a body that was aborted, or it is stdout or stderr. A bucket is only a name.
        return entry.is::<DynOutputStream>()
            || entry.is::<DynPollable>()
            || entry.is::<FieldMap>()
            || entry.is::<OpenBucket>()
            || entry.is::<RequestOptions>()
            || entry.is::<wasmtime::Error>();
    }
    true
}

/// Aborts a body that the guest did not finish. Otherwise its receiver would take it for a complete one. Returns whether the entry is a
/// body.
pub(super) fn abort(entry: &mut (dyn Any + Send)) -> bool {
    let Some(body) = entry.downcast_mut::<HostOutgoingBody>() else { return false };
    // `abort` consumes the body, but the table lends only a reference. So another body takes its place.
    let (other, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
    std::mem::replace(body, other).abort();
    true
}
