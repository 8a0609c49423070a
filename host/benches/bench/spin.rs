//! A service that loops forever in all instances that it may have, beside a well-behaved one.

use crate::contestants::{Site, UNRULY};
use crate::load::{Load, run as put, run_beside};
use crate::measure::{Effort, line, must_be_good};
use crate::table::products;
use crate::wire::Request;

/// Measures requests for products alone, then beside the loops.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let site = Site::shop(UNRULY)?;
    let server = site.serve()?;
    // The shipped manifest limits a service to 128 instances.
    let connections = if effort.quick { 4 } else { 128 };
    let looping = Load { server: server.address, request: Request::get("/unruly/spin", None), connections, pace: None };
    let time = effort.time * 2;
    let alone = put(products(server.address), time)?;
    let [beside, _ended] = run_beside([products(server.address), looping], time)?;
    must_be_good(&alone)?;
    let shown = format!("{:.0}/s = {:.2}", beside.rate(), beside.rate() / alone.rate());
    let what = format!("products beside {connections} endless loops: rate to that without");
    line(&what, &shown, "at least 0.5");
    let (quiet, p99) = (alone.within(990), beside.within(990));
    line("    their p99", &format!("{p99:.0} µs = {:.1}x", p99 / quiet), "at most 3 times the p99 without");
    let unanswered = beside.refused + beside.failed + beside.resets + beside.lost;
    line("    products not answered with 2xx", &unanswered.to_string(), "none");
    Ok(())
}
