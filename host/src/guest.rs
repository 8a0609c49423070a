//! What a guest can reach: the state of one store and the glue behind each interface.
//!
//! A store lives for one request, or for several where the manifest says so. It holds the guest's handles, an empty WASI
//! context, the limits, and what the manifest granted to the service; an interface that was not granted is not linked, so its
//! glue never runs. Every number and length that comes from a guest is hostile: the glue hands it to code that bounds it.

mod audit;
mod calls;
mod limiter;
mod output;
mod passwords;
mod session;
mod storage;
mod tokens;

use std::any::Any;
use std::sync::{Arc, OnceLock};

use ::storage::Storage;
use ::storage::read_set::ReadSet;
use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};
use wasmtime_wasi::{HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::audit::Teller;
use crate::clock::Clock;
use crate::manifest::{Grant, Limits};
use crate::passwords::Passwords;
use crate::tokens::{Session, Tokens};

pub use calls::{Outgoing, Peers, forbidden_headers};
pub use limiter::{Limiter, PARTS};
pub use output::Output;

/// Bindings to the package `comptoir:platform` in `wit/`.
pub mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery, reason = "generated code")]

    mod platform {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "platform",
            imports: { default: async | trappable },
            require_store_data_send: true,
            with: { "comptoir:platform/storage.transaction": crate::guest::storage::OpenTransaction },
        });
    }

    mod described {
        wasmtime::component::bindgen!({
            path: "../wit",
            world: "described",
            exports: { default: async },
            require_store_data_send: true,
        });
    }

    mod handled {
        wasmtime::component::bindgen!({
            path: "../wit",
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
}

/// Handles that one instance may hold at one moment: streams, headers, bodies, transactions.
const HANDLES: usize = 4096;

/// Streams to stdout and stderr, and one from stdin.
const STANDARD_STREAMS: usize = 3;

/// Bytes that one call of a random function may ask for.
const RANDOM_BYTES: u64 = 64 << 10;

/// Bytes that one set of header fields may take in memory.
const FIELDS_BYTES: usize = 32 << 10;

/// What stands behind the interfaces of one request: what the manifest granted to the service, ready for use.
#[derive(Clone, Default)]
pub struct Grants {
    /// The caller's, which needs no grant.
    pub session: Option<Session>,
    /// The service's own database.
    pub storage: Option<Arc<dyn Storage>>,
    /// Behind both `tokens` and `token-verifier`; which of them is linked decides what a guest can do.
    pub tokens: Option<Arc<Tokens>>,
    /// Password hashing on the host's threads.
    pub passwords: Option<Arc<Passwords>>,
    /// Behind `audit`, and told of what is done with `tokens`.
    pub audit: Option<Teller>,
}

/// What failed a guest on which it depends: its database, the password threads or another service. What it answers then says
/// nothing about the guest itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Excuse(Arc<OnceLock<String>>);

impl Excuse {
    /// Something failed the guest. The first that did is remembered.
    fn give(&self, cause: impl FnOnce() -> String) {
        self.0.get_or_init(cause);
    }

    /// What did, if anything.
    pub fn cause(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// The data of one store.
///
/// Dropping it aborts the bodies of WASI 0.2 that the guest did not finish, however the guest ended. Otherwise their readers would
/// take the end of the store for the end of the body.
pub struct Guest {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    grants: Grants,
    excuse: Excuse,
    output: Output,
    /// What the guest's answer rests on as yet; none since it did more than read rows.
    read_set: Option<ReadSet>,
    /// Events that it told the audit log.
    told: u8,
    /// Bounds memory, tables and instances.
    pub limiter: Limiter,
}

impl Guest {
    /// The state for one request.
    pub fn new(clock: &Clock, grants: Grants, limits: &Limits, outgoing: Outgoing, output: &Output) -> Self {
        let excuse = outgoing.excuse().clone();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let wasi = WasiCtx::builder()
            .stdout(output.clone())
            .stderr(output.clone())
            .max_random_size(RANDOM_BYTES)
            .wall_clock(WallClock(clock.clone()))
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES);
        let (read_set, limiter) = (Some(ReadSet::default()), Limiter::new(limits.memory_bytes));
        Self { table, wasi, http, outgoing, grants, excuse, output: output.clone(), read_set, told: 0, limiter }
    }

    /// Makes it the state for another request: nothing of the one before is there but what the guest keeps in its own memory.
    pub fn renew(&mut self, grants: Grants, outgoing: Outgoing) {
        (self.grants, self.excuse) = (grants, outgoing.excuse().clone());
        (self.outgoing, self.read_set, self.told) = (outgoing, Some(ReadSet::default()), 0);
        self.output.clear();
    }

    /// Gives back what was granted for a request, so that an instance which waits for another holds nothing of it.
    pub fn release(&mut self) {
        (self.grants, self.excuse) = (Grants::default(), Excuse::default());
        self.outgoing.release();
    }

    /// Whether another request would find an instance like new: with room to grow, and without a handle but those by which it
    /// prints. A transaction that was left open, say, is none.
    pub fn is_tidy(&mut self) -> bool {
        let prints = |entry: &(dyn Any + Send)| entry.is::<DynOutputStream>() || entry.is::<DynInputStream>();
        let mut handles = self.table.iter_mut();
        let only_prints =
            handles.by_ref().take(STANDARD_STREAMS).all(|entry| prints(entry)) && handles.next().is_none();
        only_prints && self.limiter.has_room()
    }

    /// What the guest prints.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// What all that the guest learned beside its request rests on. None if it did more than read rows: asked for the time or
    /// for randomness, wrote, called.
    pub fn read_set(&mut self) -> Option<ReadSet> {
        self.read_set.take()
    }

    /// Notes that the guest did something on which its answer may depend, or that giving the answer again would leave out.
    fn did_more(&mut self) -> &mut Self {
        self.read_set = None;
        self
    }

    /// Notes rows that the guest is given.
    fn depends_on(&mut self, read_set: Option<ReadSet>) {
        match (&mut self.read_set, read_set) {
            (Some(known), Some(read_set)) => known.join(read_set),
            (known, _) => *known = None,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let bodies = self.table.iter_mut().filter_map(|entry| entry.downcast_mut::<HostOutgoingBody>());
        for body in bodies {
            // An abort consumes the body, and the table gives only a reference.
            let (other, _) = HostOutgoingBody::new(StreamContext::Response, None, 1, 1);
            std::mem::replace(body, other).abort();
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

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links what every component may import: HTTP types, streams, clocks, randomness, whether the caller's session goes on, and
/// what standard libraries ask for on their own (environment, arguments, stdio), all of it empty.
///
/// Clocks and randomness are noted when they are asked; the rest tells every guest the same. What is printed is looked at in
/// the end.
pub fn link_base(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, io, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(linker, |guest| guest.did_more().clocks())?;
    clocks::monotonic_clock::add_to_linker::<Guest, WasiClocks>(linker, |guest| guest.did_more().clocks())?;
    random::random::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.did_more().random())?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.did_more().random())?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.did_more().random())?;
    io::error::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    io::poll::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    io::streams::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::environment::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    bindings::session::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::did_more)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(
        linker,
        &(&options).into(),
        Guest::http,
    )
}

/// Links the same for WASI 0.3. Its guests may sleep without being noted, so nothing can be said of what they rest on.
pub fn link_base_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi::p3::cli::add_to_linker(linker)?;
    wasmtime_wasi::p3::clocks::add_to_linker(linker)?;
    wasmtime_wasi::p3::random::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(
        linker,
        Guest::http,
    )
}

/// Links one grant.
pub fn link_grant(linker: &mut Linker<Guest>, grant: Grant) -> wasmtime::Result<()> {
    match grant {
        Grant::Storage => bindings::storage::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
        Grant::Tokens => bindings::tokens::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::did_more),
        Grant::TokenVerifier => {
            bindings::token_verifier::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::did_more)
        }
        Grant::Audit => bindings::audit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::did_more),
        Grant::Passwords => bindings::passwords::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::did_more),
    }
}

/// Links the way to other services.
pub fn link_calls(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
    outgoing_handler::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(linker, |guest| guest.did_more().http())
}

/// Links the way to other services for WASI 0.3.
pub fn link_calls_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::p3::bindings::http::client;
    client::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(linker, Guest::http)
}
