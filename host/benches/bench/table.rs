//! The table: the same requests to each server, in turn.

use std::net::SocketAddr;

use anyhow::Context as _;

use crate::constants::{LOGIN, ORDER};
use crate::contestants::{Site, answer_the_same, serve_twin, serve_wasmtime, token};
use crate::load::Load;
use crate::measure::{Effort, Sample, line, median, sample};
use crate::server::Server;
use crate::wire::Request;

/// Concurrent clients. The targets are defined for this number.
const CLIENTS: usize = 32;

/// Concurrent clients that log in: fewer than the attempts that an account allows.
const LOGGING_IN: usize = 8;

const FRESH: &str = "Comptoir, fresh instances";
const REUSED: &str = "Comptoir, instances reused";
const CACHED: &str = "Comptoir, response cache";

/// The most transactions that the twin with group commit commits together: as many as Comptoir.
const GROUP: usize = 64;

/// A server of the shop that the bench did not start: `--url`.
pub struct Other {
    pub name: String,
    pub address: SocketAddr,
}

/// One line of the table.
struct Row<'a> {
    what: &'static str,
    who: &'a str,
    load: Load,
    process: Option<&'a Server>,
    samples: Vec<Sample>,
}

/// A server in the table, and the loads that it gets.
struct Contestant<'a> {
    who: &'a str,
    process: Option<&'a Server>,
    loads: Vec<(&'static str, Load)>,
}

/// Measures all rows, prints the table, and then the targets that it decides.
pub fn run(effort: Effort, others: &[Other]) -> anyhow::Result<()> {
    let (_folder, twin) = serve_twin(1)?;
    let (_grouped_folder, grouped) = serve_twin(GROUP)?;
    let site = Site::shop("")?;
    site.stock()?;
    let comptoir = site.serve()?;
    answer_the_same(&twin, &comptoir)?;
    let caching_site = Site::caching_shop()?;
    caching_site.stock()?;
    let caching = caching_site.serve()?;
    answer_the_same(&grouped, &caching)?;
    let reusing_site = Site::reusing_shop()?;
    reusing_site.stock()?;
    let reusing = reusing_site.serve()?;
    // The other twins have sold something already, so their answers would differ.
    let (_unsold_folder, unsold) = serve_twin(1)?;
    answer_the_same(&unsold, &reusing)?;
    unsold.stop()?;
    let wasmtime = serve_wasmtime()?;
    let at_rest = comptoir.resident_mib();

    let mut contestants = vec![
        contestant("native twin", &twin, &["hello", "products", "profile", "order", "login"])?,
        contestant("native twin, group commit", &grouped, &["order"])?,
        contestant(FRESH, &comptoir, &["hello", "products", "profile", "order", "login"])?,
        contestant(REUSED, &reusing, &["hello", "products", "profile", "order"])?,
        contestant(CACHED, &caching, &["products", "profile"])?,
    ];
    if let Some(wasmtime) = &wasmtime {
        let hello = Load { request: Request::get("/hello", None), ..products(wasmtime.address) };
        contestants.push(Contestant { who: "wasmtime serve", process: Some(wasmtime), loads: vec![("hello", hello)] });
    }
    for other in others {
        contestants.push(Contestant {
            who: &other.name,
            process: None,
            loads: vec![("products", products(other.address))],
        });
    }
    let rows = measure(effort, &contestants)?;
    print(&rows);
    println!();
    if wasmtime.is_none() {
        println!("`wasmtime` is not installed, so it is not in the table: run `just bench-tools`.");
    }
    targets(&rows, others);
    line("memory of the shop at rest", &format!("{at_rest:.0} MiB"), "under 80 MiB");
    line("memory of the shop after these requests", &format!("{:.0} MiB", comptoir.resident_mib()), "flat");
    Ok(())
}

/// A shop in the table, with the named loads.
fn contestant<'a>(who: &'a str, server: &'a Server, what: &[&'static str]) -> anyhow::Result<Contestant<'a>> {
    let token = token(server)?;
    let load = |what: &str| {
        let (request, connections) = match what {
            "hello" => (Request::get("/hello", None), CLIENTS),
            "products" => (Request::get("/products", None), CLIENTS),
            "profile" => (Request::get("/users/1", Some(&token)), CLIENTS),
            "order" => (Request::post("/orders", Some(&token), ORDER), CLIENTS),
            _ => (Request::post("/auth/login", None, LOGIN), LOGGING_IN),
        };
        Load { server: server.address, request, connections, pace: None }
    };
    Ok(Contestant { who, process: Some(server), loads: what.iter().map(|what| (*what, load(what))).collect() })
}

/// The load of requests for products.
pub fn products(server: SocketAddr) -> Load {
    Load { server, request: Request::get("/products", None), connections: CLIENTS, pace: None }
}

/// Measures all rows. The servers take turns within each kind of request. The first round is a warm-up.
fn measure<'a>(effort: Effort, contestants: &[Contestant<'a>]) -> anyhow::Result<Vec<Row<'a>>> {
    let mut rows = Vec::new();
    for what in ["hello", "products", "profile", "order", "login"] {
        let first = rows.len();
        for Contestant { who, process, loads } in contestants {
            for (_, load) in loads.iter().filter(|(kind, _)| *kind == what) {
                rows.push(Row { what, who, load: load.clone(), process: *process, samples: Vec::new() });
            }
        }
        for round in 0..=effort.rounds {
            for row in &mut rows[first..] {
                let time = if round == 0 { effort.time / 4 } else { effort.time };
                let taken = sample(row.load.clone(), row.process, time);
                let taken = taken.with_context(|| format!("{what} of {}", row.who))?;
                if round > 0 {
                    row.samples.push(taken);
                }
            }
        }
    }
    Ok(rows)
}

impl Row<'_> {
    fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of))
    }

    fn rate(&self) -> f64 {
        self.median(|sample| sample.rate)
    }

    fn cpu(&self) -> f64 {
        self.median(|sample| sample.cpu.unwrap_or(f64::NAN))
    }
}

fn find<'r, 'a>(rows: &'r [Row<'a>], what: &str, who: &str) -> Option<&'r Row<'a>> {
    rows.iter().find(|row| row.what == what && row.who == who)
}

fn print<'a>(rows: &[Row<'a>]) {
    println!("| | | requests/s | p50 µs | p99 µs | CPU µs | MiB | rate : twin | CPU : twin |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for row in rows {
        let twin = find(rows, row.what, "native twin");
        let ratio = |of: fn(&Row<'a>) -> f64| show(twin.map_or(f64::NAN, |twin| of(row) / of(twin)), 2);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.what,
            row.who,
            show(row.rate(), 0),
            show(row.median(|sample| sample.p50), 0),
            show(row.median(|sample| sample.p99), 0),
            show(row.cpu(), 1),
            show(row.process.map_or(f64::NAN, Server::resident_mib), 0),
            ratio(Row::rate),
            ratio(Row::cpu),
        );
    }
}

/// Formats a number. NaN becomes an empty text.
fn show(number: f64, decimals: usize) -> String {
    if number.is_finite() { format!("{number:.decimals$}") } else { String::new() }
}

fn targets<'a>(rows: &[Row<'a>], others: &[Other]) {
    let ratio = |what: &str, who: &str, to: &str, of: fn(&Row<'a>) -> f64| {
        let (Some(row), Some(to)) = (find(rows, what, who), find(rows, what, to)) else { return f64::NAN };
        of(row) / of(to)
    };
    let tell = |what: &str, number: f64, target: &str| {
        if number.is_finite() {
            line(what, &format!("{number:.2} times"), target);
        }
    };
    let (fresh, twin, grouped) = (FRESH, "native twin", "native twin, group commit");
    tell("products, CPU to the twin's", ratio("products", fresh, twin, Row::cpu), "at most 3.0, aim 2.5");
    tell(
        "products from the response cache, CPU to the twin's",
        ratio("products", CACHED, twin, Row::cpu),
        "at most 0.7",
    );
    tell("profile with its token, CPU to the twin's", ratio("profile", fresh, twin, Row::cpu), "at most 3.0");
    tell(
        "hello, rate to `wasmtime serve`'s",
        ratio("hello", fresh, "wasmtime serve", Row::rate),
        "at least 3.5, aim 4",
    );
    tell("orders, rate to the twin's", ratio("order", fresh, twin, Row::rate), "ahead of it");
    tell("orders, rate to the twin's with group commit", ratio("order", fresh, grouped, Row::rate), "no target");
    for other in others {
        tell(
            &format!("products, rate to {}'s", other.name),
            ratio("products", fresh, &other.name, Row::rate),
            "at least 30 to the original shop's",
        );
    }
}
