//! `just bench`: what a request costs here, beside a native server that does the same, in one run.
//!
//! Every server is a process of its own on one core, the load comes from another one. Rows that are compared are measured in
//! turn, round by round, and the table shows medians; what it costs is what the operating system counted for the server's
//! process. So ratios hold where absolute numbers move: other work on the machine hits all rows alike. Comptoir runs as it
//! ships, with its gate, limits, metrics and log (a line for each request, written to `/dev/null`). The native twin has none
//! of these ([`twin`]). Before anything is measured, all are asked the same and must give the same bytes.
//!
//! `just bench --quick` goes through all of it in seconds to see that it works, and so does `cargo test`. The numbers of such
//! a run say nothing. No number fails a run; an answer that should not be does.

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

/// Measures Comptoir beside a native server.
#[derive(Debug, Parser)]
struct CommandLine {
    /// What to measure; everything but the soak where nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Go through everything once, in seconds. The numbers say nothing.
    #[arg(long)]
    quick: bool,
    /// How often each row of the table is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each time, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How long the soak takes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Another server of the shop that runs already, such as `flask=127.0.0.1:5000`: its products are put into the table.
    #[arg(long, value_name = "NAME=ADDRESS")]
    url: Vec<String>,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The same requests to every server: rate, latency, processor time, memory.
    Table,
    /// Logins beside what the core can hash, and products meanwhile.
    Logins,
    /// Ten thousand connections that ask for twice of what the host can.
    Storm,
    /// One service in an endless loop beside another one.
    Spin,
    /// From the start of the process to the first answer.
    Start,
    /// A thousand services that nobody calls.
    Density,
    /// Everything at once for `--minutes`, and the host's memory meanwhile. Only where it is named.
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

/// What `cargo test` gets: all of it, briefly, unless it asks for tests by names that are none of ours.
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
        bail!("--rounds is at least 1, and --seconds from 0.01 to 600");
    }
    if !(0.01..=1440.0).contains(&command.minutes) {
        bail!("--minutes is from 0.01 to 1440, a day");
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
    let (name, address) = text.split_once('=').context("--url is written NAME=ADDRESS")?;
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let address = address.parse().with_context(|| format!("--url {text}: the address is an IP and a port"))?;
    Ok(table::Other { name: name.to_owned(), address })
}

/// As many open files as this process may have, for itself and for the servers that it starts.
fn raise_open_files() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("more open files are not allowed")
}
