//! One instance of a component, with its store and its limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use storage::read_set::ReadSet;
use wasmtime::{CallHook, Store, UpdateDeadline};

use super::handler::{Exports, Handler, ResponseSender};
use super::metered::Meter;
use crate::gate::GuestRequest;
use crate::guest::bindings::handler::Response as PlainResponse;
use crate::guest::{Guest, Output};
use crate::manifest::Limits;

/// Maximum bytes that one host call copies out of a guest: the lists and strings of its arguments.
const HOST_CALL_BYTES: usize = 4 << 20;

/// Maximum bytes of a plain response beside its body: its header fields and their overhead.
const RESPONSE_HEAD_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("the guest computed for longer than {0:?}")]
pub(super) struct ComputedTooLong(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the guest reached its memory limit")]
pub(super) struct OutOfMemory;

/// A store with an instance, or a store that instantiates the component at its first request.
pub(super) struct Instance {
    store: Store<Guest>,
    exports: Option<Exports>,
    requests: u32,
}

impl Instance {
    pub(super) fn new(handler: &Handler, guest: Guest) -> Self {
        let mut store = Store::new(handler.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_hostcall_fuel(HOST_CALL_BYTES);
        Self { store, exports: None, requests: 0 }
    }

    /// Limits the bytes that the guest's response may copy, separately from the limit for host calls.
    ///
    /// The store has one setting for both. So the host changes it when it enters or leaves the guest.
    pub(super) fn limit_copies(&mut self, response_bytes: u64) {
        let response_bytes = usize::try_from(response_bytes).unwrap_or(usize::MAX);
        let response_bytes = response_bytes.saturating_add(RESPONSE_HEAD_BYTES);
        // Counts nested calls: a host call can enter the guest again to allocate memory in it.
        let mut depth = 0_usize;
        self.store.call_hook(move |mut store, hook| {
            match hook {
                CallHook::CallingWasm => depth += 1,
                CallHook::ReturningFromWasm => depth = depth.saturating_sub(1),
                CallHook::CallingHost | CallHook::ReturningFromHost => return Ok(()),
            }
            store.set_hostcall_fuel(if depth == 0 { response_bytes } else { HOST_CALL_BYTES });
            Ok(())
        });
    }

    /// Limits the computing time of the next request, measured by this meter. A request that lasts for minutes, because it streams, has as
    /// much again for each of them.
    pub(super) fn limit_time(&mut self, limits: &Limits, meter: &Arc<Meter>) {
        let (meter, limit, began) = (meter.clone(), limits.cpu, Instant::now());
        meter.ticker().guest_computes();
        self.store.set_epoch_deadline(1);
        self.store.epoch_deadline_callback(move |_| {
            meter.ticker().guest_computes();
            let minutes = u32::try_from(began.elapsed().as_secs() / 60).unwrap_or(u32::MAX);
            if meter.used() > limit.saturating_mul(minutes.saturating_add(1)) {
                return Err(ComputedTooLong(limit).into());
            }
            // A plain yield would put this task first in the worker's queue again, so other requests of the worker would starve.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
    }

    pub(super) fn guest(&mut self) -> &mut Guest {
        self.store.data_mut()
    }

    /// What the guest prints.
    pub(super) fn output(&self) -> &Output {
        self.store.data().output()
    }

    /// Requests that the instance has received.
    pub(super) fn requests(&self) -> u32 {
        self.requests
    }

    /// Answers a request. Returns the response's read set if the host knows it.
    ///
    /// A component with a plain handler returns its response. Other components send it with `sender`.
    pub(super) async fn answer(
        &mut self,
        handler: &Handler,
        request: GuestRequest,
        sender: ResponseSender,
    ) -> wasmtime::Result<(Option<PlainResponse>, Option<ReadSet>)> {
        self.requests += 1;
        let answer = self.call(handler, request, sender).await;
        let out_of_memory = self.guest().limiter.refused_memory();
        let answer = answer.map_err(|error| if out_of_memory { error.context(OutOfMemory) } else { error })?;
        Ok((answer, self.guest().take_read_set()))
    }

    async fn call(
        &mut self,
        handler: &Handler,
        request: GuestRequest,
        sender: ResponseSender,
    ) -> wasmtime::Result<Option<PlainResponse>> {
        let exports = match &mut self.exports {
            Some(exports) => exports,
            none => none.insert(handler.instantiate(&mut self.store).await?),
        };
        exports.call(&mut self.store, request, sender).await
    }

    /// Unwraps the store. `describe` uses this, because it does not answer a request.
    pub(super) fn into_store(self) -> Store<Guest> {
        self.store
    }
}
