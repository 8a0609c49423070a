//! One instance with its store: what answers a request.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, UpdateDeadline};

use super::handler::{Exports, Handler, Sender};
use super::metered::Meter;
use crate::body::RequestBody;
use crate::gate::Admitted;
use crate::guest::bindings::handler::Response as Plain;
use crate::guest::{Guest, Output};
use crate::manifest::Limits;
use crate::storage::basis::Basis;

/// Bytes that one call may copy out of a guest: lists and strings of a host call's arguments, or of an answer in plain records.
const HOST_CALL_BYTES: usize = 4 << 20;

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
        admitted: Admitted,
        body: RequestBody,
        sender: Sender,
    ) -> wasmtime::Result<(Option<Plain>, Option<Basis>)> {
        self.requests += 1;
        let answer = self.call(handler, admitted, body, sender).await;
        let out_of_memory = self.guest().limiter.refused_memory();
        let answer = answer.map_err(|error| if out_of_memory { error.context(OutOfMemory) } else { error })?;
        Ok((answer, self.guest().basis()))
    }

    async fn call(
        &mut self,
        handler: &Handler,
        admitted: Admitted,
        body: RequestBody,
        sender: Sender,
    ) -> wasmtime::Result<Option<Plain>> {
        let exports = match &mut self.exports {
            Some(exports) => exports,
            none => none.insert(handler.instantiate(&mut self.store).await?),
        };
        exports.call(&mut self.store, admitted, body, sender).await
    }

    /// The store alone, for what is no request.
    pub(super) fn into_store(self) -> Store<Guest> {
        self.store
    }
}
