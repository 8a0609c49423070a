//! Overload: more connections and more requests than the host can serve.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::contestants::{Site, serve_twin};
use crate::load::{Load, Outcome, run as put};
use crate::measure::{Effort, line, must_be_good};
use crate::server::Server;
use crate::table::products;

/// Open files that the host and the load generator need besides connections.
const OTHER_FILES: u64 = 300;

/// Sends the host twice its peak rate over many connections, then the native twin twice its own.
///
/// The twin shows how much of the loss so many connections cost any server on this machine.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let wanted = if effort.quick { 200 } else { 10_000 };
    let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    let connections = usize::try_from(open_files).unwrap_or(usize::MAX).clamp(1, wanted);
    if connections < wanted {
        println!("The limit of open files allows {connections} connections instead of {wanted}: raise `ulimit -n`.");
    }
    let site = Site::shop("")?;
    let (peak, outcome) = send_twice_the_peak(&site.serve()?, connections, effort)?;
    let what = format!("{connections} connections, twice the peak of {peak:.0}/s: goodput");
    let of_peak = |peak, outcome: &Outcome| format!("{:.0}/s = {:.2}", outcome.rate(), outcome.rate() / peak);
    line(&what, &of_peak(peak, &outcome), "at least 0.9 of the peak");
    let Outcome { refused, slowest_refusal, failed, resets, lost, .. } = outcome;
    let p99 = outcome.within(990) / 1000.0;
    line("    p99 of 2xx answers", &format!("{p99:.0} ms"), "");
    line("    answers with 503", &refused.to_string(), "the rest");
    line("    the slowest 503", &format!("{} ms", slowest_refusal / 1000), "bounded");
    line("    other answers, resets, unanswered", &format!("{failed}, {resets}, {lost}"), "none");
    let (_data, twin) = serve_twin(1)?;
    let (peak, outcome) = send_twice_the_peak(&twin, connections, effort)?;
    line(&format!("    the native twin, twice its peak of {peak:.0}/s: goodput"), &of_peak(peak, &outcome), "");
    Ok(())
}

/// Measures the peak rate with few clients, then the outcome of twice that rate with many.
fn send_twice_the_peak(server: &Server, connections: usize, effort: Effort) -> anyhow::Result<(f64, Outcome)> {
    let peak = put(products(server.address), effort.time)?;
    must_be_good(&peak)?;
    let every = connections as f64 / (2.0 * peak.rate());
    let pace = Some(Duration::from_secs_f64(every));
    let outcome = put(Load { connections, pace, ..products(server.address) }, effort.time * 3)?;
    Ok((peak.rate(), outcome))
}
