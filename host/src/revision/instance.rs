//! One instance with its store: what answers a request.

use std::sync::Arc;
use std::time::Duration;

use storage::read_set::ReadSet;
use wasmtime::{CallHook, Store, UpdateDeadline};

use super::handler::{Exports, Handler, Sender};
use super::metered::Meter;
use crate::gate::GuestRequest;
use crate::guest::bindings::handler::Response as Plain;
use crate::guest::{Guest, Output};
use crate::manifest::Limits;

/// Bytes that one host call may copy out of a guest: lists and strings of its arguments.
const HOST_CALL_BYTES: usize = 4 << 20;

/// Bytes that an answer in plain records may have beside its body: its header fields, and what is counted for each.
const ANSWER_HEAD_BYTES: usize = 64 << 10;

#[derive(Debug, thiserror::Error)]
#[error("the guest computed for longer than {0:?}")]
pub(super) struct ComputedTooLong(Duration);

#[derive(Debug, thiserror::Error)]
#[error("the guest was refused more memory")]
pub(super) struct OutOfMemory;

/// An instance, or a store that will have one with its first request.
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

    /// Bounds what the guest's answer may copy, apart from what its host calls may. Both have one setting in the store, so it
    /// changes as the guest is entered and left.
    pub(super) fn limit_copies(&mut self, response_bytes: u64) {
        let response_bytes = usize::try_from(response_bytes).unwrap_or(usize::MAX);
        let answer_bytes = response_bytes.saturating_add(ANSWER_HEAD_BYTES);
        // A host call may enter the guest again, to have it allocate.
        let mut depth = 0_usize;
        self.store.call_hook(move |mut store, hook| {
            match hook {
                CallHook::CallingWasm => depth += 1,
                CallHook::ReturningFromWasm => depth = depth.saturating_sub(1),
                CallHook::CallingHost | CallHook::ReturningFromHost => return Ok(()),
            }
            store.set_hostcall_fuel(if depth == 0 { answer_bytes } else { HOST_CALL_BYTES });
            Ok(())
        });
    }

    /// Bounds the computing time of the next request, as this meter has it.
    pub(super) fn limit(&mut self, limits: &Limits, meter: &Arc<Meter>) {
        let (meter, limit) = (meter.clone(), limits.cpu);
        meter.ticker().guest_computes();
        self.store.set_epoch_deadline(1);
        self.store.epoch_deadline_callback(move |_| {
            meter.ticker().guest_computes();
            if meter.used() > limit {
                return Err(ComputedTooLong(limit).into());
            }
            // A plain yield would go to the worker's next slot and starve whoever waits behind it.
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
    }

    pub(super) fn guest(&mut self) -> &mut Guest {
        self.store.data_mut()
    }

    /// What it prints.
    pub(super) fn output(&self) -> &Output {
        self.store.data().output()
    }

    /// Requests that it was given.
    pub(super) fn requests(&self) -> u32 {
        self.requests
    }

    /// Answers a request, and tells what the answer rests on. A component that speaks `wasi:http` sends its answer, any other
    /// returns it.
    pub(super) async fn answer(
        &mut self,
        handler: &Handler,
        request: GuestRequest,
        sender: Sender,
    ) -> wasmtime::Result<(Option<Plain>, Option<ReadSet>)> {
        self.requests += 1;
        let answer = self.call(handler, request, sender).await;
        let out_of_memory = self.guest().limiter.refused_memory();
        let answer = answer.map_err(|error| if out_of_memory { error.context(OutOfMemory) } else { error })?;
        Ok((answer, self.guest().read_set()))
    }

    async fn call(
        &mut self,
        handler: &Handler,
        request: GuestRequest,
        sender: Sender,
    ) -> wasmtime::Result<Option<Plain>> {
        let exports = match &mut self.exports {
            Some(exports) => exports,
            none => none.insert(handler.instantiate(&mut self.store).await?),
        };
        exports.call(&mut self.store, request, sender).await
    }

    /// The store alone, for what is no request.
    pub(super) fn into_store(self) -> Store<Guest> {
        self.store
    }
}
