//! Memory and first requests of a thousand mounted services without traffic.

use std::time::Instant;

use anyhow::ensure;

use crate::contestants::Site;
use crate::measure::{Effort, line, median};
use crate::wire::{Request, ask};

/// Services whose first request is timed.
const FIRST_REQUESTS: usize = 50;

/// Compares a host of one service with a host of a thousand, then requests some of them.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let services = if effort.quick { 20 } else { 1000 };
    let one = Site::of(&manifest(1))?.serve_anywhere(true)?.resident_mib();
    let site = Site::of(&manifest(services))?;
    let server = site.serve_anywhere(true)?;
    let each = (server.resident_mib() - one) / (services - 1) as f64;
    let mut firsts = Vec::new();
    for number in (0..services).step_by((services / FIRST_REQUESTS).max(1)) {
        let began = Instant::now();
        let (status, body) = ask(server.address, &Request::get(&format!("/s{number}/first"), None))?;
        firsts.push(began.elapsed().as_secs_f64() * 1000.0);
        ensure!(status == 200, "the service s{number} answered {status}: {body}");
    }
    let slowest = firsts.iter().copied().fold(0.0, f64::max);
    line(&format!("{services} idle services: memory of each"), &format!("{each:.3} MiB"), "under 1 MiB");
    let shown = format!("{:.1} ms, {slowest:.1} ms", median(firsts));
    line("    first request to a service, median and slowest", &shown, "under 5 ms");
    line("    start with a warm compilation cache", &format!("{:.0} ms", server.started_in.as_secs_f64() * 1000.0), "");
    Ok(())
}

/// A manifest with `services` services of the same component.
fn manifest(services: usize) -> String {
    let mut text = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n".to_owned();
    for number in 0..services {
        text.push_str(&format!(
            "[services.s{number}]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/s{number}\"]\naccess = \"public\"\n"
        ));
    }
    text
}
