//! The shop under load for long, and whether its memory grows.

use std::time::Duration;

use crate::constants::{LOGIN, ORDER};
use crate::contestants::{Site, token};
use crate::load::{Load, run_beside};
use crate::measure::{Effort, line, must_be_good};
use crate::table::products;
use crate::wire::Request;

/// How often the memory is looked at.
const LOOKS: u32 = 10;

/// The longest that one run takes. A token is good for an hour, and all latencies of a run are kept until its end.
const RUN: Duration = Duration::from_secs(60);

/// Asks for products and a profile without a break, orders, and logs in, all at once, and prints what the host's memory is
/// after each tenth of the time.
pub fn run(effort: Effort, time: Duration) -> anyhow::Result<()> {
    let site = Site::remembering_shop()?;
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
