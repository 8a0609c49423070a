//! The command line: parses options, serves, and runs the operator's commands.

mod client;
mod component;
mod dev;
mod doctor;
mod help;
mod manual;
mod new;
mod output;
mod project;
mod serve;
mod sign;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use comptoir::audit;
use comptoir::backup::{self, Contents};
use comptoir::engine;
use comptoir::version::Versions;
use output::{complain, outln, say};
use project::DataOption;

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
    /// Create a project: a manifest, a service with a table and a test, and what it needs to be built.
    New(new::New),
    /// Serve the services of a manifest until SIGTERM or ctrl-c. SIGHUP reloads the manifest.
    Serve(serve::Serve),
    /// Build the services of a manifest, serve them, and build and deploy again whenever a source changes. For development.
    Dev(dev::Dev),
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
    /// Print the latest requests: all failures, and while this command follows, all requests.
    Logs(client::Logs),
    /// Print an access token for a username, valid for an hour. For development: the manifest must allow it.
    Token(client::Token),
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

/// The command line, with its commands in groups and with examples.
fn command_line() -> clap::Command {
    help::arrange(CommandLine::command())
}

/// The command to run. Exits if the arguments are wrong, or ask for help.
fn parse() -> Command {
    let matches = command_line().get_matches();
    CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command
}

fn main() -> ExitCode {
    let ended = match parse() {
        Command::Serve(command) => return command.run(),
        Command::Dev(command) => return command.run(),
        Command::New(command) => command.run(),
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
        Command::Logs(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Keys(command) => command.run(),
        Command::Backup(options) => back_up(&options),
        Command::Restore(options) => restore(&options),
        Command::Audit(Audit::Verify(options)) => verify(&options),
        Command::Completions(command) => command.run(command_line()),
        Command::Man(command) => command.run(command_line()),
        Command::Compile(command) => command.run(),
    };
    match ended {
        Ok(()) if output::has_failed() => ExitCode::FAILURE,
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_the_command_line_is_sound() {
        let command_line = command_line();
        let grouped: Vec<&str> = help::GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let visible = command_line.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names: Vec<&str> = visible.map(clap::Command::get_name).collect();
        let mut sorted = grouped.clone();
        sorted.sort_unstable();
        names.sort_unstable();
        assert_eq!(sorted, names);
        command_line.debug_assert();
    }
}
