//! Hashes of the migrations that ran. They show whether a component brings another text for the same number.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Record, RecordError};

/// A migration's number, and the SHA-256 of its text in hexadecimal.
pub(in crate::deploy) type Text = (u32, String);

impl Record {
    /// The SHA-256 of each migration of a service that is known, by number.
    pub(in crate::deploy) fn texts(&self, service: &str) -> Result<BTreeMap<u32, String>, RecordError> {
        let sql = "SELECT version, sha256 FROM migrations WHERE service = ?1";
        let database = self.database();
        let read = || -> rusqlite::Result<BTreeMap<u32, String>> {
            database.prepare(sql)?.query_map([service], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Records the texts of migrations that are about to run on a database at this version. A migration that ran already keeps the text
    /// that is recorded for it. If none is recorded, because it ran before texts were recorded, this one is taken as true.
    pub(in crate::deploy) fn record_texts(
        &self,
        service: &str,
        version: u32,
        texts: &[Text],
    ) -> Result<(), RecordError> {
        let sql = "INSERT INTO migrations (service, version, sha256) VALUES (?1, ?2, ?3)
                   ON CONFLICT (service, version) DO UPDATE SET sha256 = ?3 WHERE version > ?4 AND sha256 <> ?3";
        let mut database = self.database();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            for (number, sha256) in texts {
                transaction.execute(sql, params![service, number, sha256, version])?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.fail(error))
    }

    /// Forgets the database of a service, and which revision is active on it. The next start begins as a first one. The history stays.
    ///
    /// # Errors
    /// The record cannot be written. It is the same as before then.
    pub fn forget_database(&self, service: &str) -> Result<(), RecordError> {
        let mut database = self.database();
        let mut write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            for table in ["active", "canary", "schemas", "migrations"] {
                transaction.execute(&format!("DELETE FROM {table} WHERE service = ?1"), [service])?;
            }
            transaction.commit()
        };
        write().map_err(|error| self.fail(error))
    }
}
