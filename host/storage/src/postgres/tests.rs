//! Tests of the PostgreSQL engine, on the server in `COMPTOIR_TEST_POSTGRES`.

mod hosts;
mod indexes;
mod isolation;
mod lost_commits;
mod server;

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::Value;
use crate::tests::contract::{Bounds, keeps_the_contract};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

fn url() -> String {
    std::env::var("COMPTOIR_TEST_POSTGRES")
        .expect("COMPTOIR_TEST_POSTGRES must name a server: run `just test-postgres`, which starts one")
}

/// The server of all tests. Each test uses its own services there.
fn server() -> PostgresServer {
    PostgresServer::new(&url(), None).unwrap()
}

/// A unique service name.
fn service() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    format!("t{:016x}", u64::from_be_bytes(bytes))
}

/// A configuration whose times are longer than any test waits.
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

/// A host's storage of a service, with a table `mugs` that contains ten.
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

/// A connection with all rights on the server.
async fn operator() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Ends the connections of a service on the server, and returns their number.
async fn end_connections(service: &str) -> usize {
    let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = $1";
    operator().await.query(end, &[&format!("comptoir {service}")]).await.unwrap().len()
}
