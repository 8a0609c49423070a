//! More connections, and more requests, than the host can serve.

use rustix::process::{Resource, getrlimit};

use crate::Effort;
use crate::contestants::Site;
use crate::load::{Load, Outcome, run as put};
use crate::measure::{line, must_be_good};
use crate::table::products;

/// Open files that host and load generator need beside their connections.
const OTHER_FILES: u64 = 300;

/// Finds the peak with few clients, then asks for twice of it with many.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let site = Site::shop("")?;
    let server = site.serve()?;
    let peak = put(products(server.address), effort.time)?;
    must_be_good(&peak)?;
    let wanted = if effort.quick { 200 } else { 10_000 };
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    let connections = usize::try_from(open_files).unwrap_or(usize::MAX).clamp(1, wanted);
    if connections < wanted {
        println!("This machine allows {connections} connections instead of {wanted}: raise `ulimit -n`.");
    }
    let every = connections as f64 / (2.0 * peak.rate());
    let pace = Some(std::time::Duration::from_secs_f64(every));
    let outcome = put(Load { connections, pace, ..products(server.address) }, effort.time * 3)?;
    let what = format!("{connections} connections asking twice the peak of {:.0}/s: goodput", peak.rate());
    let shown = format!("{:.0}/s = {:.2}", outcome.rate(), outcome.rate() / peak.rate());
    line(&what, &shown, "at least 0.9 of the peak");
    let Outcome { refused, slowest_refusal, failed, resets, lost, .. } = outcome;
    let p99 = outcome.within(990) / 1000.0;
    line("    p99 of good answers", &format!("{p99:.0} ms"), "");
    line("    answered with 503", &refused.to_string(), "the rest");
    line("    the slowest 503", &format!("{} ms", slowest_refusal / 1000), "bounded");
    line("    other answers, resets, never answered", &format!("{failed}, {resets}, {lost}"), "none");
    Ok(())
}
