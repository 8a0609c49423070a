//! The shop under load for minutes: does its memory grow?

use std::time::Duration;

use crate::constants::{LOGIN, ORDER};
use crate::contestants::{Site, token};
use crate::load::{Load, run_beside};
use crate::measure::{Effort, line, must_be_good};
use crate::table::products;
use crate::wire::Request;

/// How often the memory is measured.
const LOOKS: u32 = 10;

/// The longest run of the load generator: it keeps all latencies of a run, and a token is valid for an hour.
const RUN: Duration = Duration::from_secs(60);

/// Requests products and profiles without a pause, orders and logs in at a pace, and prints the host's memory after each
/// tenth of the time.
pub fn run(effort: Effort, time: Duration) -> anyhow::Result<()> {
    let site = Site::caching_shop()?;
    site.stock()?;
    let server = site.serve()?;
    let load = |request: Request, connections, pace: Option<u64>| {
        let pace = pace.map(Duration::from_millis);
        Load { server: server.address, request, connections, pace }
    };
    let loads = |token: &str| {
        [
            Load { connections: 8, ..products(server.address) },
            load(Request::get("/users/1", Some(token)), 8, None),
            load(Request::post("/orders", Some(token), ORDER), 4, Some(40)),
            load(Request::post("/auth/login", None, LOGIN), 2, Some(1000)),
        ]
    };
    let each = if effort.quick { effort.time } else { time / LOOKS };
    let runs = u32::try_from(each.as_nanos().div_ceil(RUN.as_nanos()))?;
    line("memory of the shop at rest", &format!("{:.0} MiB", server.resident_mib()), "");
    let mut answers = 0;
    for look in 1..=LOOKS {
        for _ in 0..runs {
            for outcome in run_beside(loads(&token(&server)?), each / runs)? {
                must_be_good(&outcome)?;
                answers += outcome.answers();
            }
        }
        let what = format!("    after {:.0} s and {answers} answers", (each * look).as_secs_f64());
        line(&what, &format!("{:.0} MiB", server.resident_mib()), if look == 1 { "flat from here" } else { "" });
    }
    Ok(())
}
