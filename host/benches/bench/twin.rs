//! The native twin, our yardstick: the shop's busiest routes on hyper and rusqlite, as a good engineer would write them.
//!
//! It has the shop's schema, durability (a write-ahead log, `synchronous = FULL`), token check and password hash, and returns
//! the same bytes as the shop's components. It has no sandbox, limits, log or metrics, and a crash in one route stops all.
//!
//! Statements are prepared once, and JSON is written directly from the rows. Reads run on the connection's thread, writes on a
//! writer thread.

mod http;
mod rows;

use std::path::Path;

use anyhow::{Context as _, bail};

/// The argument with which this program starts itself as the twin.
pub const ROLE: &str = "twin";

/// Serves until it is killed: `twin FOLDER GROUP`. At most GROUP transactions share a sync.
pub fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [folder, group] = arguments else { bail!("`{ROLE}` takes a folder and the size of a group") };
    let group = group.parse().context("the size of a group must be a number")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(http::serve(Path::new(folder), group))
}
