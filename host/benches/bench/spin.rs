//! One service in an endless loop, in as many instances as it may have, beside one that behaves.

use crate::contestants::{Site, UNRULY};
use crate::load::{Load, run as put, run_beside};
use crate::measure::{Effort, line, must_be_good};
use crate::table::products;
use crate::wire::Request;

/// Measures the products alone, then with the loop beside them.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let site = Site::shop(UNRULY)?;
    let server = site.serve()?;
    // The shipped manifest's limit on a service's instances.
    let connections = if effort.quick { 4 } else { 128 };
    let looping = Load { server: server.address, request: Request::get("/unruly/spin", None), connections, pace: None };
    let time = effort.time * 2;
    let alone = put(products(server.address), time)?;
    let [beside, _ended] = run_beside([products(server.address), looping], time)?;
    must_be_good(&alone)?;
    let shown = format!("{:.0}/s = {:.2}", beside.rate(), beside.rate() / alone.rate());
    let what = format!("products beside {connections} endless loops: rate to the quiet one");
    line(&what, &shown, "at least 0.5");
    let (quiet, p99) = (alone.within(990), beside.within(990));
    line("    their p99", &format!("{p99:.0} µs = {:.1}x", p99 / quiet), "at most 3 times the quiet one");
    let unanswered = beside.refused + beside.failed + beside.resets + beside.lost;
    line("    products that were not answered", &unanswered.to_string(), "none");
    Ok(())
}
