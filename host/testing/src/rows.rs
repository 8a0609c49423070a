//! The rows of a shop's services, read and changed behind the host's back.

use std::fs;

use crate::databases::{connect, wait};
use crate::shop::Shop;

impl Shop {
    /// Sets the schema version of a service's database.
    pub async fn set_schema_version(&self, service: &str, version: u32) {
        let set = match &self.database {
            None => format!("PRAGMA user_version = {version}"),
            Some(_) => format!("INSERT INTO comptoir_migrations (version) VALUES ({version})"),
        };
        self.change_rows(service, &set).await;
    }

    /// Moves the clock to the moment at which a new key signs. Hosts that share keys wait some seconds for each other.
    pub fn await_rotation(&self) {
        if self.database.is_some() {
            self.clock.shift(6);
        }
    }

    /// Changes rows of a service. The SQL must be valid in both engines.
    pub async fn change_rows(&self, service: &str, sql: &str) {
        let Some(database) = &self.database else {
            return self.file_of(service).execute_batch(sql).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"; {sql}")).await.unwrap();
    }

    /// The schema version of a service's database.
    pub async fn schema_version(&self, service: &str) -> i64 {
        let query = match &self.database {
            None => "PRAGMA user_version",
            Some(_) => "SELECT max(version) FROM comptoir_migrations",
        };
        self.number(service, query).await
    }

    /// The result of a query that returns one number.
    pub async fn number(&self, service: &str, sql: &str) -> i64 {
        let Some(database) = &self.database else {
            return self.file_of(service).query_row(sql, [], |row| row.get(0)).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"")).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The result of a query that returns one text.
    pub async fn text(&self, service: &str, sql: &str) -> String {
        let Some(database) = &self.database else {
            return self.file_of(service).query_row(sql, [], |row| row.get(0)).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"")).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The newest signing key, read from the disk or the database as a thief would.
    pub fn signing_key(&self) -> Vec<u8> {
        let Some(database) = &self.database else {
            return fs::read(self.data.path().join("signing.key")).expect("the signing key");
        };
        let url = database.url();
        wait(async move {
            let newest = "SELECT secret FROM service_host.signing_keys ORDER BY since DESC LIMIT 1";
            connect(&url).await.query_one(newest, &[]).await.unwrap().get(0)
        })
    }

    fn file_of(&self, service: &str) -> rusqlite::Connection {
        rusqlite::Connection::open(self.data.path().join(format!("{service}.db"))).unwrap()
    }
}
