//! Runs the tests of the contract on SQLite.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::sqlite::SqliteLimits;
use crate::tests::contract::{Bounds, keeps_the_contract};

async fn open(bounds: Bounds, folder: &Path) -> Arc<dyn Storage> {
    let Bounds { statement_deadline, transaction_lease, longest_wait, result_rows } = bounds;
    let limits = SqliteLimits { result_rows, ..SqliteLimits::default() };
    let config =
        SqliteConfig { statement_deadline, transaction_lease, longest_wait, limits, ..SqliteConfig::default() };
    Arc::new(SqliteStorage::open(folder.join("shop.db"), config).unwrap())
}

keeps_the_contract!(open, []);
