//! The command line: parses options, serves, and runs the operator's commands.

mod client;
mod component;
mod doctor;
mod manual;
mod output;
mod project;
mod sign;
mod system;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use comptoir::audit;
use comptoir::backup::{self, Contents};
use comptoir::engine;
use comptoir::host::{Host, ManifestSource, Options};
use comptoir::manifest::{Manifest, ManifestError};
use comptoir::telemetry::{Log, LogFormat};
use comptoir::version::Versions;
use output::outln;
use project::{DataOption, ManifestOption};
use storage::permissions;
use system::{Asked, Signals};

static VERSIONS: LazyLock<String> = LazyLock::new(|| Versions::of_this_program().to_string());

/// A host for WebAssembly services that swaps a component without losing a request.
#[derive(Debug, Parser)]
#[command(version = VERSIONS.as_str(), about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the services of a manifest until SIGTERM or ctrl-c. SIGHUP reloads the manifest.
    Serve(Serve),
    /// Check a manifest and all that it names: start its components on empty databases, without serving.
    Check(component::Check),
    /// Show what a component imports, exports and describes, and the lines that it needs in a manifest.
    Inspect(component::Inspect),
    /// Check this machine for the host of a manifest, and say how to cure what is wrong. Changes nothing.
    Doctor(doctor::Doctor),
    /// Deploy a component: send it to a running host and make it the active revision of a service.
    Deploy(client::Deploy),
    /// Deploy several components as a set: all become active in one step, or none does.
    DeploySet(client::DeploySet),
    /// Show the running canary, or change its share of the callers.
    Canary(client::Canary),
    /// Sign a component for hosts whose manifest lists `signers`, or create a signing key.
    Sign(sign::Sign),
    /// Reload the manifest in a running host: apply all that changed, or nothing.
    Reload(client::Reload),
    /// Promote the canary: send it all traffic.
    Promote(client::EndCanary),
    /// Abort the canary: the active revisions answer all callers again.
    Abort(client::EndCanary),
    /// Roll back to the previous revision, or to a given one, at once.
    Rollback(client::Rollback),
    /// List the deploys, rollbacks and reverts of a service, newest first.
    History(client::History),
    /// Show the active revision of each service and its traffic.
    Status(client::Status),
    /// List the keys that sign and verify access tokens; rotate or disable them.
    Keys(client::Keys),
    /// Back up a data folder. A host may be serving from it meanwhile.
    Backup(Backup),
    /// Restore a backup into a data folder that no running host uses.
    Restore(Restore),
    /// Verify a host's audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Print the script that completes these commands in a shell.
    Completions(manual::Completions),
    /// Write the man pages of these commands.
    #[command(hide = true)]
    Man(manual::Man),
    /// Compile the component on stdin to machine code on stdout. `serve` starts this for each component that is not in its cache.
    #[command(hide = true)]
    Compile(engine::Compile),
}

/// `comptoir serve`. Every environment variable that the host reads is an option here, so that `--help` lists all of them.
#[derive(Debug, Args)]
struct Serve {
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
    /// Deploy a component whenever its file changes. For development; `just dev` uses it.
    #[arg(long)]
    watch: bool,
    /// What to log: a level (error, warn, info, debug) or directives such as `warn,comptoir=debug`.
    #[arg(long, env = "COMPTOIR_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
    /// The format of log lines on stderr.
    #[arg(long, env = "COMPTOIR_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Args)]
struct Backup {
    /// Write the backup into this folder, as a subfolder named after the current time. Created if it does not exist.
    folder: PathBuf,
    #[command(flatten)]
    data: DataOption,
}

#[derive(Debug, Args)]
struct Restore {
    /// The backup: a folder that contains a backup.json.
    backup: PathBuf,
    #[command(flatten)]
    data: DataOption,
    /// Delete the databases, keys and components that the data folder already contains.
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// Check the hash chain of the audit log and name the first line that was changed. Prints the last hash: keep it elsewhere and
    /// pass it as --anchor later.
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    data: DataOption,
    /// A hash that an earlier `verify` printed. Fails if no line has this hash any more.
    #[arg(long, value_name = "HASH")]
    anchor: Option<String>,
}

fn main() -> ExitCode {
    let ended = match CommandLine::parse().command {
        Command::Serve(options) => return run(&options),
        Command::Check(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Deploy(command) => command.run(),
        Command::DeploySet(command) => command.run(),
        Command::Canary(command) => command.run(),
        Command::Sign(command) => command.run(),
        Command::Reload(command) => command.run(),
        Command::Promote(command) => command.promote(),
        Command::Abort(command) => command.abort(),
        Command::Rollback(command) => command.run(),
        Command::History(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Backup(options) => back_up(&options),
        Command::Restore(options) => restore(&options),
        Command::Audit(Audit::Verify(options)) => verify(&options),
        Command::Completions(command) => command.run(CommandLine::command()),
        Command::Man(command) => command.run(CommandLine::command()),
        Command::Compile(command) => command.run(),
    };
    match ended {
        Ok(()) if output::has_failed() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal. Writes every message through the log, because a write to a full stderr pipe would block the host.
fn run(options: &Serve) -> ExitCode {
    let log = match Log::start(options.log_format, &options.log) {
        Ok(log) => log,
        Err(error) => {
            say(&format!("--log is not a valid filter: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    match serve_manifest(options, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve_manifest(options: &Serve, log: &Log) -> anyhow::Result<()> {
    if let Some(admin) = options.admin {
        anyhow::ensure!(
            admin.ip().is_loopback(),
            "--admin {admin}: the admin listener must be on a loopback address, such as 127.0.0.1:8010"
        );
    }
    let source = ManifestSource::new({
        let (file, gateway, admin) = (options.manifest.find()?, options.gateway, options.admin);
        move || read_manifest(&file, gateway, admin)
    });
    let manifest = source.read()?;
    system::raise_descriptor_limit(manifest.listeners.connections);
    let operator_password = options.operator_password_file.as_deref().map(read_password).transpose()?;
    let started_with = Options {
        operator_password,
        cache: options.cache.clone(),
        watch: options.watch,
        source: Some(source),
        compiler: Some(
            std::env::current_exe().context("cannot find the path of this program, which compiles components")?,
        ),
        dropped_lines: Some(log.dropped_lines()),
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(serve(manifest, &options.data.find(), started_with, log));
    // Blocking threads may still compile or hash. Nobody needs their results any more, so the process does not wait for them.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
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

fn back_up(options: &Backup) -> anyhow::Result<()> {
    let made = backup::create(&options.data.find(), &options.folder)?;
    outln!("{}  {}", made.path.display(), size(&made.contents));
    if !made.contents.has_services() {
        say("this backup contains no service database: back up PostgreSQL with pg_dump and pg_dumpall --roles-only");
    }
    Ok(())
}

fn restore(options: &Restore) -> anyhow::Result<()> {
    let data = options.data.find();
    let contents = backup::restore(&options.backup, &data, options.replace)?;
    outln!("{}  {}, restored", data.display(), size(&contents));
    Ok(())
}

fn verify(options: &Verify) -> anyhow::Result<()> {
    let data = options.data.find();
    let audit::Verified { lines, last_hash } = audit::verify(&data, options.anchor.as_deref())?;
    outln!("{}  {lines} lines verified  {last_hash}", data.display());
    Ok(())
}

fn size(contents: &Contents) -> String {
    format!("{} files, {}", contents.files.len(), bytesize::ByteSize::b(contents.bytes()))
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
    // Registered before the start, so that no signal during the start is lost.
    let mut signals = Signals::new()?;
    let began = std::time::Instant::now();
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
    log.say("stopping: draining the running requests");
    if !host.shutdown().await {
        log.say("stopped: some requests did not finish within `shutdown_time` and were cut off");
    }
    Ok(())
}

/// Prints a message to stderr. Ignores write errors, because the terminal may be gone.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "comptoir: {text}");
}

/// Prints where the host listens. Uses a thread of its own, because a write to a full stdout pipe would block the host.
fn announce(host: &Host, data: &Path, took: std::time::Duration) {
    let addresses = host.addresses();
    let mut lines = vec![format!("Comptoir is ready after {} ms", took.as_millis())];
    let scheme = addresses.scheme;
    lines.push(format!("  gateway  {scheme}://{}", addresses.gateway));
    for (name, served) in host.deployment().services() {
        let own = addresses.services.get(&**name).map_or_else(String::new, |address| format!("{scheme}://{address}"));
        lines.push(format!("  {name:<8} {own:<22} {name}@{}", &served.revision.digest()[..12]));
    }
    for (name, vacancy) in host.deployment().vacant() {
        lines.push(format!("  {name:<8} has no active revision: {}", vacancy.reason));
    }
    lines.push(format!(
        "  admin    http://{} (console; token: {})",
        addresses.admin,
        data.join("admin.token").display()
    ));
    if let Some(username) = host.development_login() {
        lines.push(format!(
            "  {username}/{username} is the development login. Its password is public, so this host listens on loopback only"
        ));
    }
    let print = move || {
        let _ = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    };
    let _ = std::thread::Builder::new().name("announce".to_owned()).spawn(print);
}
