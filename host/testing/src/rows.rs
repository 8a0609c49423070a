//! The rows of a shop's services, read and changed behind the host's back.

use std::fs;

use crate::databases::{connect, wait};
use crate::shop::Shop;

/// What the services' databases hold, past the host.
impl Shop {
    /// Says that a service's database is up to another migration.
    pub async fn set_schema_version(&self, service: &str, version: u32) {
        let set = match &self.database {
            None => format!("PRAGMA user_version = {version}"),
            Some(_) => format!("INSERT INTO comptoir_migrations (version) VALUES ({version})"),
        };
        self.change_rows(service, &set).await;
    }

    /// Lets the second come from which a new key signs: where hosts share keys, it is a few seconds away.
    pub fn await_rotation(&self) {
        if self.database.is_some() {
            self.clock.shift(6);
        }
    }

    /// Changes rows of a service, in statements that both engines read.
    pub async fn change_rows(&self, service: &str, sql: &str) {
        let Some(database) = &self.database else {
            return self.file_of(service).execute_batch(sql).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"; {sql}")).await.unwrap();
    }

    /// Up to which migration a service's database is.
    pub async fn schema_version(&self, service: &str) -> i64 {
        let asked = match &self.database {
            None => "PRAGMA user_version",
            Some(_) => "SELECT max(version) FROM comptoir_migrations",
        };
        self.number(service, asked).await
    }

    /// The one number that a query of a service's rows gives.
    pub async fn number(&self, service: &str, sql: &str) -> i64 {
        let Some(database) = &self.database else {
            return self.file_of(service).query_row(sql, [], |row| row.get(0)).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"")).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The one text that a query of a service's rows gives.
    pub async fn text(&self, service: &str, sql: &str) -> String {
        let Some(database) = &self.database else {
            return self.file_of(service).query_row(sql, [], |row| row.get(0)).unwrap();
        };
        let client = database.outsider().await;
        client.batch_execute(&format!("SET search_path = \"service_{service}\"")).await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The newest key that signs, as a thief would read it.
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
