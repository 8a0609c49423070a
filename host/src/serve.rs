//! `comptoir serve`, and the options that it shares with `comptoir dev`.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use comptoir::duration::in_words;
use comptoir::host::{Host, ManifestSource, Options};
use comptoir::manifest::{Manifest, ManifestError};
use comptoir::telemetry::{Log, LogFormat};
use comptoir::traces::Traces;
use storage::permissions;

use crate::output::{FAINT, GOOD, HEADING, WARNING, complain, styled};
use crate::project::{DataOption, ManifestOption};
use crate::system::{self, Asked, Signals};

/// `comptoir serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    host: HostOptions,
    /// Deploy a component whenever its file changes. For development: `comptoir dev` also builds it.
    #[arg(long)]
    watch: bool,
}

/// The options of a host. Every environment variable that it reads is an option here, so that `--help` lists all of them. Only those of
/// OpenTelemetry are not (`comptoir::traces`).
#[derive(Debug, Args)]
pub(crate) struct HostOptions {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    data: DataOption,
    /// The compilation cache: compiled artifacts and the key that authenticates them. Only this user may have access to the
    /// folder. Default: `cache` in the data folder.
    #[arg(long, env = "COMPTOIR_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
    /// Listen on this address for the routes of all services. Overrides `gateway` in the manifest.
    #[arg(long, env = "COMPTOIR_GATEWAY", value_name = "ADDRESS")]
    gateway: Option<SocketAddr>,
    /// Listen on this loopback address for the admin API. Overrides `admin` in the manifest.
    #[arg(long, env = "COMPTOIR_ADMIN", value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Set the password of the operator's login to the content of this file at this start. Restores the login and its profile if
    /// they were deleted.
    #[arg(long, env = "COMPTOIR_OPERATOR_PASSWORD_FILE", value_name = "FILE")]
    operator_password_file: Option<PathBuf>,
    /// What to log: a level (error, warn, info, debug), directives such as `warn,comptoir=debug`, or `requests`: `info` with a line for
    /// each request. Default: `requests`, but on a terminal `info` without the lines of requests that succeed.
    #[arg(long, env = "COMPTOIR_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// The format of log lines on stderr.
    #[arg(long, env = "COMPTOIR_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// What a host starts with, from its options.
pub(crate) struct Prepared {
    /// The manifest's file.
    pub(crate) file: PathBuf,
    /// Reads the manifest, with the addresses that options override.
    pub(crate) source: ManifestSource,
    /// The data folder.
    pub(crate) data: PathBuf,
    /// For the start. A second start must not set the operator's password again.
    pub(crate) options: Options,
}

impl Serve {
    /// Serves until a signal.
    pub(crate) fn run(&self) -> ExitCode {
        self.host.run(async |prepared, log| {
            let manifest = prepared.source.read()?;
            let options = Options { watch: self.watch, ..prepared.options };
            serve(manifest, &prepared.data, options, log).await
        })
    }
}

impl HostOptions {
    /// Runs a command with the log that its options choose. Writes every message through the log, because a write to a full stderr pipe
    /// would block the host.
    pub(crate) fn run(&self, command: impl AsyncFnOnce(Prepared, &Log) -> anyhow::Result<()>) -> ExitCode {
        let log = match Log::start(self.log_format, self.log.as_deref()) {
            Ok(log) => log,
            Err(error) => {
                complain(&format!("--log is not a valid filter: {error:#}"));
                return ExitCode::FAILURE;
            }
        };
        match self.run_with(&log, command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log.complain(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        }
    }

    fn run_with(
        &self,
        log: &Log,
        command: impl AsyncFnOnce(Prepared, &Log) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let prepared = self.prepare(log)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let traces = Traces::start(runtime.handle());
        let ended = runtime.block_on(command(prepared, log));
        if let Some(traces) = traces {
            traces.stop();
        }
        // Blocking threads may still compile or hash. Nobody needs their results any more, so the process does not wait for them.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }

    fn prepare(&self, log: &Log) -> anyhow::Result<Prepared> {
        if let Some(admin) = self.admin {
            anyhow::ensure!(
                admin.ip().is_loopback(),
                "--admin {admin}: the admin listener must be on a loopback address, such as 127.0.0.1:8010"
            );
        }
        let file = self.manifest.find()?;
        let source = ManifestSource::new({
            let (file, gateway, admin) = (file.clone(), self.gateway, self.admin);
            move || read_manifest(&file, gateway, admin)
        });
        let compiler =
            std::env::current_exe().context("cannot find the path of this program, which compiles components")?;
        let options = Options {
            operator_password: self.operator_password_file.as_deref().map(read_password).transpose()?,
            cache: self.cache.clone(),
            source: Some(source.clone()),
            compiler: Some(compiler),
            dropped_lines: Some(log.dropped_lines()),
            ..Options::default()
        };
        Ok(Prepared { file, source, data: self.data.find(), options })
    }
}

/// Reads the manifest, with the addresses that options override.
fn read_manifest(
    file: &Path,
    gateway: Option<SocketAddr>,
    admin: Option<SocketAddr>,
) -> Result<Manifest, ManifestError> {
    let mut manifest = Manifest::read(file)?;
    if let Some(gateway) = gateway {
        manifest.listeners.gateway = gateway;
        manifest.source.forget("listeners.gateway");
    }
    if let Some(admin) = admin {
        manifest.listeners.admin = admin;
        manifest.source.forget("listeners.admin");
    }
    Ok(manifest)
}

fn read_password(file: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("cannot read {}", file.display());
    let mut opened = std::fs::File::open(file).with_context(unreadable)?;
    if let Some(mode) = permissions::exposed(&opened.metadata().with_context(unreadable)?) {
        anyhow::bail!(
            "{} has mode {mode:03o}, but contains a password: set its mode to 600 (640 if root owns it)",
            file.display()
        );
    }
    let mut text = String::new();
    opened.read_to_string(&mut text).with_context(unreadable)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn serve(manifest: Manifest, data: &Path, options: Options, log: &Log) -> anyhow::Result<()> {
    system::raise_descriptor_limit(manifest.listeners.connections);
    // Registered before the start, so that no signal during the start is lost.
    let mut signals = Signals::new()?;
    let began = Instant::now();
    log.say("starting; new components are compiled first");
    let start = Host::start(manifest, data, options);
    let host = tokio::select! {
        host = start => host?,
        () = signals.stop() => return Ok(()),
    };
    announce(&host, data, began.elapsed());
    while signals.next().await == Asked::Reload {
        let reloaded = host.reload_by_signal();
        // In a task, so that a signal can stop the host meanwhile. The log says how it ended.
        tokio::spawn(reloaded);
    }
    stop(host, log).await;
    Ok(())
}

/// Drains and stops a host.
pub(crate) async fn stop(host: Host, log: &Log) {
    log.say("stopping: draining the running requests");
    if !host.shutdown().await {
        log.say("stopped: some requests did not finish within `shutdown_time` and were cut off");
    }
}

/// Prints where the host listens. Uses a thread of its own, because a write to a full stdout pipe would block the host.
pub(crate) fn announce(host: &Host, data: &Path, took: Duration) {
    let addresses = host.addresses();
    let mut lines = vec![styled(HEADING, format!("Comptoir is ready after {}", in_words(took)))];
    let scheme = addresses.scheme;
    lines.push(format!("  gateway  {}", styled(GOOD, format!("{scheme}://{}", addresses.gateway))));
    for (name, served) in host.deployment().services() {
        let own = addresses.services.get(&**name).map_or_else(String::new, |address| format!("{scheme}://{address}"));
        lines.push(format!("  {name:<8} {own:<22} {name}@{}", &served.revision.digest()[..12]));
    }
    for (name, vacancy) in host.deployment().vacant() {
        lines.push(styled(WARNING, format!("  {name:<8} has no active revision: {}", vacancy.reason)));
    }
    lines.push(format!(
        "  admin    {} {}",
        styled(GOOD, format!("http://{}", addresses.admin)),
        styled(FAINT, format!("(console; token: {})", data.join("admin.token").display()))
    ));
    if let Some(username) = host.development_login() {
        lines.push(format!(
            "  {username}/{username} is the development login. Its password is public, so this host listens on loopback only"
        ));
    }
    let print = move || {
        let _ = writeln!(anstream::stdout(), "{}", lines.join("\n"));
    };
    let _ = std::thread::Builder::new().name("announce".to_owned()).spawn(print);
}
