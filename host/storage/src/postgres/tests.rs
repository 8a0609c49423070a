//! What the PostgreSQL backend promises, shown on a server that `COMPTOIR_TEST_POSTGRES` names.

mod hosts;
mod isolation;
mod server;

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::Value;
use crate::tests::contract::{Bounds, keeps_the_contract};

/// A time that no test waits out.
const LONG: Duration = Duration::from_secs(600);

fn url() -> String {
    std::env::var("COMPTOIR_TEST_POSTGRES")
        .expect("COMPTOIR_TEST_POSTGRES names a server: `just test-postgres` starts one")
}

/// The server that all tests share. Each has services of its own there.
fn server() -> PostgresServer {
    PostgresServer::new(&url(), None).unwrap()
}

/// A name that no other test has.
fn service() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    format!("t{:016x}", u64::from_be_bytes(bytes))
}

/// What nothing of a test waits out.
fn patient() -> PostgresConfig {
    PostgresConfig {
        statement_deadline: LONG,
        transaction_lease: LONG,
        longest_wait: LONG,
        ..PostgresConfig::default()
    }
}

async fn open(bounds: Bounds, _: &Path) -> Arc<dyn Storage> {
    let Bounds { statement_deadline, transaction_lease, longest_wait, result_rows } = bounds;
    let limits = PostgresLimits { result_rows, ..PostgresLimits::default() };
    let config =
        PostgresConfig { statement_deadline, transaction_lease, longest_wait, limits, ..PostgresConfig::default() };
    Arc::new(server().open(&service(), config).await.unwrap())
}

keeps_the_contract!(open, [ignore = "needs PostgreSQL: `just test-postgres`"]);

/// A host's storage of a service, with a table `mugs` of ten.
async fn host(service: &str, config: PostgresConfig) -> PostgresStorage {
    let storage = server().open(service, config).await.unwrap();
    let sql = "CREATE TABLE mugs (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL) STRICT; \
               INSERT INTO mugs (id, stock) VALUES (1, 10)";
    storage.migrate(vec![Migration { version: 1, sql: sql.into() }]).await.unwrap();
    storage
}

fn sql(text: &str) -> Statement {
    Statement::new(text, [])
}

const SELL_ONE: &str = "UPDATE mugs SET stock = stock - 1 WHERE id = 1 AND stock >= 1";

async fn stock(storage: &PostgresStorage) -> Vec<Value> {
    storage.query(sql("SELECT stock FROM mugs")).await.unwrap().values()
}

/// Somebody who may do everything on the server.
async fn operator() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Ends the connections of a service from the server's side, and tells how many.
async fn end_connections(service: &str) -> usize {
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1";
    operator().await.query(end, &[&format!("comptoir {service}")]).await.unwrap().len()
}
