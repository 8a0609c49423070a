//! Logins: their rate compared with plain hashing, and the latency of other requests meanwhile.

use std::time::Duration;

use crate::constants::LOGIN;
use crate::contestants::Site;
use crate::hashing;
use crate::load::{Load, run as put, run_beside};
use crate::measure::{Effort, line, median, must_be_good};
use crate::table::products;
use crate::wire::Request;

/// Clients that log in: fewer than the attempts that an account allows, so none is refused.
const CLIENTS: usize = 8;

/// Clients that request products meanwhile.
const READERS: usize = 8;

/// Measures hashing alone, logins alone, products alone, and products beside logins, in turn.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let site = Site::shop("")?;
    let server = site.serve()?;
    let logging_in = || Load {
        server: server.address,
        request: Request::post("/auth/login", None, LOGIN),
        connections: CLIENTS,
        pace: None,
    };
    // A third of the peak rate. At the full rate the core is busy. The kernel then gives logins their share in time slices,
    // and other requests wait for the end of a slice.
    let peak = put(products(server.address), effort.time)?;
    must_be_good(&peak)?;
    let pace = Some(Duration::from_secs_f64(READERS as f64 / (peak.rate() / 3.0)));
    let some_products = || Load { connections: READERS, pace, ..products(server.address) };
    let (mut of_hashes, mut quiet, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let hashes = hashing::rate(effort.time)?;
        let logins = put(logging_in(), effort.time)?;
        let alone = put(some_products(), effort.time)?;
        let [products, meanwhile] = run_beside([some_products(), logging_in()], effort.time)?;
        for outcome in [&logins, &alone, &products, &meanwhile] {
            must_be_good(outcome)?;
        }
        of_hashes.push(logins.rate() / hashes);
        quiet.push(alone.within(990));
        beside.push(products.within(990));
    }
    let ratio = median(of_hashes);
    line("logins per second, to plain hashes per second", &format!("{ratio:.2} times"), "at least 0.95");
    let (quiet, beside) = (median(quiet), median(beside));
    line("products at a third of the peak: p99 without logins", &format!("{quiet:.0} µs"), "");
    let shown = format!("{beside:.0} µs = {:.1}x", beside / quiet);
    line("    p99 beside eight clients that log in", &shown, "at most 2 times the quiet one");
    Ok(())
}
