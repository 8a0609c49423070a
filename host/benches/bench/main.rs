//! `just bench`: measures what a request costs, compared with a native server that does the same work.
//!
//! Each server is a process on one core, and the load comes from another core. Compared rows are measured in turn, round by
//! round, and the table shows medians. Other work on the machine slows all rows alike, so ratios are more reliable than
//! absolute numbers. The cost is the processor time that the operating system counted for the server's process.
//!
//! Comptoir runs as it ships, with gate, limits, metrics and log (a line per request, written to `/dev/null`). The native twin
//! has none of these ([`twin`]). Before a measurement, all servers must return the same bytes for the same requests.
//!
//! `just bench --quick` runs everything in seconds to check that it works, and `cargo test` does the same. Its numbers mean
//! nothing. A run fails only if an answer is wrong, never because of a number.

#![allow(missing_docs, unreachable_pub, clippy::cast_precision_loss, reason = "a program that prints measurements")]

mod constants;
mod contestants;
mod cores;
mod density;
mod hashing;
mod load;
mod logins;
mod measure;
mod server;
mod soak;
mod spin;
mod start;
mod storm;
mod table;
mod twin;
mod wire;

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::measure::Effort;

/// Measures Comptoir and compares it with a native server.
#[derive(Debug, Parser)]
struct CommandLine {
    /// What to measure. Default: everything except the soak.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Run everything once, in seconds. The numbers mean nothing.
    #[arg(long)]
    quick: bool,
    /// How often to measure each row of the table.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The duration of each measurement, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The duration of the soak, in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Also measure the products of a running server of the shop, such as `flask=127.0.0.1:5000`.
    #[arg(long, value_name = "NAME=ADDRESS")]
    url: Vec<String>,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The same requests to each server: rate, latency, processor time, memory.
    Table,
    /// The rate of logins compared with plain hashing, and products meanwhile.
    Logins,
    /// Ten thousand connections that send twice the host's peak rate.
    Storm,
    /// A service in endless loops beside a well-behaved one.
    Spin,
    /// The time from the start of the process until it serves.
    Start,
    /// A thousand services without traffic.
    Density,
    /// The host's memory under mixed load for `--minutes`. Runs only if named.
    Soak,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((role, rest)) if role == cores::ROLE => cores::become_pinned(rest),
        Some((role, rest)) if role == twin::ROLE => twin::serve(rest),
        Some((role, rest)) if role == hashing::ROLE => hashing::run(rest),
        _ if arguments.iter().any(|argument| argument == "--bench") => run(&CommandLine::parse()),
        _ => test(&arguments),
    }
}

/// Runs everything briefly for `cargo test`, unless its filters exclude this name.
fn test(arguments: &[String]) -> anyhow::Result<()> {
    let name = "every_benchmark_runs";
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let is_listing = arguments.iter().any(|argument| argument == "--list");
    if is_listing || (filters.peek().is_some() && !filters.any(|filter| name.contains(filter.as_str()))) {
        return Ok(());
    }
    run(&CommandLine::parse_from(["bench", "--quick"]))
}

fn run(command: &CommandLine) -> anyhow::Result<()> {
    let urls = command.url.iter().map(|url| parse_url(url)).collect::<anyhow::Result<Vec<_>>>()?;
    if command.rounds == 0 || !(0.01..=600.0).contains(&command.seconds) {
        bail!("--rounds must be at least 1, and --seconds from 0.01 to 600");
    }
    if !(0.01..=1440.0).contains(&command.minutes) {
        bail!("--minutes must be from 0.01 to 1440 (a day)");
    }
    let effort = if command.quick {
        Effort { time: Duration::from_millis(200), rounds: 1, quick: true }
    } else {
        Effort { time: Duration::from_secs_f64(command.seconds), rounds: command.rounds, quick: false }
    };
    raise_open_files()?;
    println!("{}; medians of {} rounds of {:?}", cores::describe(), effort.rounds, effort.time);
    let without_name = |part: &Part| *part != Part::Soak || command.quick;
    let wanted = |part: &Part| command.parts.contains(part) || (command.parts.is_empty() && without_name(part));
    for part in Part::value_variants().iter().copied().filter(wanted) {
        println!();
        match part {
            Part::Table => table::run(effort, &urls),
            Part::Logins => logins::run(effort),
            Part::Storm => storm::run(effort),
            Part::Spin => spin::run(effort),
            Part::Start => start::run(effort),
            Part::Density => density::run(effort),
            Part::Soak => soak::run(effort, Duration::from_secs_f64(command.minutes * 60.0)),
        }?;
    }
    Ok(())
}

fn parse_url(text: &str) -> anyhow::Result<table::Other> {
    let (name, address) = text.split_once('=').context("--url must be NAME=ADDRESS")?;
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let address =
        address.parse().with_context(|| format!("--url {text}: the address must be an IP address and a port"))?;
    Ok(table::Other { name: name.to_owned(), address })
}

/// Raises the limit of open files to the hard limit, for this process and the servers that it starts.
fn raise_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("cannot raise the limit of open files")
}
