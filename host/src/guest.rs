//! The host interfaces of a guest: the state of one store, and the glue behind each interface.
//!
//! A store lives for one request, or for several if the manifest allows reuse. It holds the guest's handles, an empty WASI context,
//! the limits, and the state of the granted interfaces. An interface that was not granted is not linked, so its glue cannot run. The
//! exceptions are files, sockets and requests: standard libraries import them, so they are linked, but reach nothing unless the manifest
//! says so (`base`).
//! Numbers and lengths from a guest are hostile: the glue passes them only to code that limits them.

mod audit;
mod base;
mod calls;
mod config;
mod denials;
mod dependency_failure;
mod end;
mod files;
mod grant;
mod interface;
mod keyvalue;
mod leftovers;
mod limiter;
mod logging;
mod outbound;
mod output;
mod passwords;
mod session;
mod sql_text;
mod storage;
mod token_verifier;
mod tokens;

use ::storage::read_set::ReadSet;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::clock::Clock;
use crate::telemetry::Parent;
use files::FileUse;

pub use self::storage::OutcomeUnknown;
pub use base::{link_base, link_base_p3};
pub use calls::{Outgoing, Peers, forbidden_headers};
pub use config::{Config, environment_name};
pub use denials::{Denial, Denials, RequestDenials};
pub use dependency_failure::DependencyFailure;
pub use end::{GuestEnd, GuestEndGuard};
pub use files::{FolderError, Folders};
pub use grant::{Grant, Grants, Providers, Requirement};
pub use leftovers::{MAX_LEFTOVERS, NotReusable};
pub use limiter::{Limiter, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
pub use logging::Author;
pub use outbound::RemoteCalls;
pub use output::Output;

/// Generated bindings to the package `comptoir:platform` in `wit/`.
pub mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery, reason = "generated code")]

    mod platform {
        wasmtime::component::bindgen!({
            path: "wit",
            world: "platform",
            imports: { default: async | trappable },
            require_store_data_send: true,
            with: {
                "comptoir:platform/storage.transaction": crate::guest::storage::OpenTransaction,
                "wasi:keyvalue/store.bucket": crate::guest::keyvalue::OpenBucket,
            },
        });
    }

    mod described {
        wasmtime::component::bindgen!({
            path: "wit",
            world: "described",
            exports: { default: async },
            require_store_data_send: true,
        });
    }

    mod handled {
        wasmtime::component::bindgen!({
            path: "wit",
            world: "handled",
            exports: { default: async },
            ownership: Borrowing { duplicate_if_necessary: false },
            require_store_data_send: true,
        });
    }

    pub use described::exports::comptoir::platform::service;
    pub use described::{Described, DescribedIndices};
    pub use handled::exports::comptoir::platform::handler;
    pub use handled::{Handled, HandledPre};
    pub use platform::comptoir::platform::{audit, passwords, session, storage, token_verifier, tokens};
    pub use platform::wasi::keyvalue;
    pub use platform::wasi::logging;
}

/// Handles that one instance may have open at the same time: streams, headers, bodies, transactions.
const MAX_HANDLES: usize = 4096;

/// Maximum bytes that one call for random bytes may request.
const RANDOM_BYTES: u64 = 64 << 10;

/// Maximum bytes that one set of header fields may take in memory.
const FIELDS_BYTES: usize = 32 << 10;

/// The host's data for one store.
///
/// Dropping it aborts all WASI 0.2 bodies that the guest did not finish. Otherwise the client would receive a truncated body as a
/// complete one.
pub struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    grants: Grants,
    failure: DependencyFailure,
    output: Output,
    /// The read set so far. None once the guest did anything but read rows, which makes the response uncacheable.
    read_set: Option<ReadSet>,
    /// The files that the guest has open, and the folders that it listed during this request.
    files: FileUse,
    /// Events that the guest recorded in the audit log during this request.
    audit_events: u8,
    /// Limits memory, tables and core instances.
    pub limiter: Limiter,
}

impl Guest {
    /// The data for a new store. `memory_limit_bytes` limits all its linear memories together.
    pub fn new(clock: &Clock, grants: Grants, memory_limit_bytes: usize, outgoing: Outgoing, output: &Output) -> Self {
        let (failure, read_set) = (outgoing.failure().clone(), first_read_set(&grants));
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        // The module `files` opens folders. The defaults deny the network too, but a guest's way to it must not depend on defaults.
        let wasi = WasiCtx::builder()
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .stdout(output.clone())
            .stderr(output.clone())
            .max_random_size(RANDOM_BYTES)
            .wall_clock(WallClock(clock.clone()))
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        Self {
            table,
            wasi,
            http,
            outgoing,
            grants,
            failure,
            output: output.clone(),
            read_set,
            files: FileUse::default(),
            audit_events: 0,
            limiter: Limiter::new(memory_limit_bytes),
        }
    }

    /// Prepares a reused store for its next request. Only the guest's own memory remains from the previous one.
    pub fn renew(&mut self, grants: Grants, outgoing: Outgoing) {
        let read_set = first_read_set(&grants);
        (self.grants, self.failure) = (grants, outgoing.failure().clone());
        (self.outgoing, self.read_set, self.audit_events) = (outgoing, read_set, 0);
        self.files.renew();
        self.output.clear();
    }

    /// Drops the grants of a request, so that an idle instance keeps nothing of it.
    pub fn release(&mut self) {
        (self.grants, self.failure) = (Grants::default(), DependencyFailure::default());
        self.outgoing.release();
    }

    /// The span of the guest, if the request is sampled.
    fn trace(&self) -> &Parent {
        self.outgoing.trace()
    }

    /// What the guest prints.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Takes the read set of the response. None if the guest did more than read rows: wrote, made a call, or asked for the time.
    pub fn take_read_set(&mut self) -> Option<ReadSet> {
        self.read_set.take()
    }

    /// Marks the response as uncacheable, because the guest used something that is not in the read set or had an effect.
    pub fn mark_uncacheable(&mut self) -> &mut Self {
        self.read_set = None;
        self
    }

    /// Adds the read set of a query. A query without one makes the response uncacheable.
    fn extend_read_set(&mut self, read_set: Option<ReadSet>) {
        match (&mut self.read_set, read_set) {
            (Some(known), Some(read_set)) => known.join(read_set),
            (known, _) => *known = None,
        }
    }
}

/// The read set of a request that has read nothing. None if the guest sees a secret, because its file may change at any time.
fn first_read_set(grants: &Grants) -> Option<ReadSet> {
    let sees_secrets = grants.secrets.as_ref().is_some_and(|secrets| secrets.exposes_any());
    (!sees_secrets).then(ReadSet::default)
}

impl Drop for Guest {
    fn drop(&mut self) {
        for entry in self.table.iter_mut() {
            leftovers::abort(entry);
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.table, ctx: &mut self.http }
    }
}

struct WallClock(Clock);

impl HostWallClock for WallClock {
    fn resolution(&self) -> std::time::Duration {
        std::time::Duration::from_micros(1)
    }

    fn now(&self) -> std::time::Duration {
        self.0.since_epoch()
    }
}
