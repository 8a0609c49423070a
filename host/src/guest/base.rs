//! Links the interfaces that every component may import.

use wasmtime::component::{HasData, HasSelf, Linker, ResourceTable};
use wasmtime_wasi_http::WasiHttpView as _;

use super::{Denial, Guest, bindings, calls, config, files, logging};

struct Table;

impl HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links HTTP types, streams, clocks, randomness, the caller's session, and what standard libraries import: arguments,
/// standard streams and files, all of them empty. Also the configuration, as `wasi:config/store` and as environment variables, and the
/// log.
///
/// Also links requests and sockets. The host denies all of them, except calls to other services that the manifest allows.
///
/// Calls for the time, for randomness, for the session or for the log make the response uncacheable. All other functions here return the same to
/// every guest. The host checks after the call whether the guest printed.
pub fn link_base(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};
    use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
    use wasmtime_wasi::p2::bindings::{cli, clocks, io, random};
    use wasmtime_wasi::random::{WasiRandom, WasiRandomView};

    clocks::wall_clock::add_to_linker::<Guest, WasiClocks>(linker, |guest| guest.mark_uncacheable().clocks())?;
    clocks::monotonic_clock::add_to_linker::<Guest, WasiClocks>(linker, |guest| guest.mark_uncacheable().clocks())?;
    random::random::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.mark_uncacheable().random())?;
    random::insecure::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.mark_uncacheable().random())?;
    random::insecure_seed::add_to_linker::<Guest, WasiRandom>(linker, |guest| guest.mark_uncacheable().random())?;
    io::error::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    io::poll::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    io::streams::add_to_linker::<Guest, Table>(linker, |guest| &mut guest.table)?;
    cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    files::link_files(linker)?;
    link_sockets(linker)?;
    config::link_config(linker)?;
    logging::link_logging(linker)?;
    calls::link_calls(linker)?;
    bindings::session::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    wasmtime_wasi_http::p2::bindings::http::types::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(
        linker,
        &(&options).into(),
        Guest::http,
    )
}

/// Links `wasi:sockets` so that no socket can be created and no name looked up.
///
/// A guest needs a socket to call anything of a socket, so only the functions that create one and the lookup can be called. The host
/// counts each of these calls.
fn link_sockets(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::sockets;
    use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

    sockets::instance_network::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    let options = sockets::network::LinkOptions::default();
    sockets::network::add_to_linker::<Guest, WasiSockets>(linker, &options, Guest::sockets)?;
    sockets::tcp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    sockets::udp::add_to_linker::<Guest, WasiSockets>(linker, Guest::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<Guest, WasiSockets>(linker, |guest| {
        guest.deny(Denial::Socket).sockets()
    })?;
    sockets::udp_create_socket::add_to_linker::<Guest, WasiSockets>(linker, |guest| {
        guest.deny(Denial::Socket).sockets()
    })?;
    sockets::ip_name_lookup::add_to_linker::<Guest, WasiSockets>(linker, |guest| guest.deny(Denial::Lookup).sockets())
}

/// Links the WASI 0.3 versions of these interfaces.
///
/// A 0.3 guest can wait for time without a call that the host sees. So the responses of 0.3 guests are never cached.
pub fn link_base_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::sockets;
    use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};

    link_cli_p3(linker)?;
    config::link_environment_p3(linker)?;
    wasmtime_wasi::p3::clocks::add_to_linker(linker)?;
    wasmtime_wasi::p3::random::add_to_linker(linker)?;
    files::link_files_p3(linker)?;
    // As for 0.2, the only functions of `types` that a guest can call create a socket.
    sockets::types::add_to_linker::<Guest, WasiSockets>(linker, |guest| guest.deny(Denial::Socket).sockets())?;
    sockets::ip_name_lookup::add_to_linker::<Guest, WasiSockets>(linker, |guest| guest.deny(Denial::Lookup).sockets())?;
    calls::link_calls_p3(linker)?;
    wasmtime_wasi_http::p3::bindings::http::types::add_to_linker::<Guest, wasmtime_wasi_http::WasiHttp>(
        linker,
        Guest::http,
    )
}

/// Links `wasi:cli` 0.3 without the environment, which comes from the manifest.
fn link_cli_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
    use wasmtime_wasi::p3::bindings::cli;

    cli::exit::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<Guest, WasiCli>(linker, Guest::cli)
}
