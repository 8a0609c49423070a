//! The time from the start of the process until it serves, on all cores.

use anyhow::Context as _;

use crate::contestants::Site;
use crate::measure::{Effort, line, median};
use crate::wire::{Request, ask};

/// Starts the shop with an empty compilation cache, then again with the cache of the first start.
pub fn run(effort: Effort) -> anyhow::Result<()> {
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        let site = Site::shop("")?;
        for started in [&mut cold, &mut warm] {
            let server = site.serve_anywhere(false)?;
            started.push(server.started_in.as_secs_f64() * 1000.0);
            let (status, body) = ask(server.address, &Request::get("/products", None))?;
            (status == 200)
                .then_some(())
                .with_context(|| format!("GET /products was answered with {status}: {body}"))?;
            server.stop()?;
        }
    }
    line("start, compiling four components", &format!("{:.0} ms", median(cold)), "under 3000 ms on two cores, three");
    line("start, everything compiled before", &format!("{:.0} ms", median(warm)), "100 ms");
    Ok(())
}
