//! The native twin: the shop's busiest routes on hyper and rusqlite, as a good engineer would write them. The yardstick.
//!
//! It has the shop's own schema, durability (a write-ahead log, `synchronous = FULL`), token check and password hash, and
//! answers byte for byte what the shop's components answer. It has no sandbox, no limits, no log and no metrics, and a crash
//! in one route is a crash of all. Statements are prepared once, JSON is written straight from the rows, reads run on the
//! thread that serves the connection, writes on one thread of their own.

mod http;
mod rows;

use std::path::Path;

use anyhow::{Context as _, bail};

/// What the program calls itself with to be the twin.
pub const ROLE: &str = "twin";

/// Serves until it is killed: `twin FOLDER GROUP`, where so many transactions share a sync.
pub fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [folder, group] = arguments else { bail!("`{ROLE}` needs a folder and the size of a group") };
    let group = group.parse().context("the size of a group is a number")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(http::serve(Path::new(folder), group))
}
