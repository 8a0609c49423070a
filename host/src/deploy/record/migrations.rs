//! The texts of the migrations that ran, by their hashes: a number stands for one text.

use std::collections::BTreeMap;

use rusqlite::params;

use super::{Record, RecordError};

/// The text of a migration: its number, and its SHA-256 in hexadecimal.
pub(in crate::deploy) type Text = (u32, String);

impl Record {
    /// The texts that are known of a service's migrations.
    pub(in crate::deploy) fn texts(&self, service: &str) -> Result<BTreeMap<u32, String>, RecordError> {
        let sql = "SELECT version, sha256 FROM migrations WHERE service = ?1";
        let database = self.database();
        let read = || -> rusqlite::Result<BTreeMap<u32, String>> {
            database.prepare(sql)?.query_map([service], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Notes the texts of migrations about to run on a database at this version. What is known of those that ran stays; of one that
    /// ran before texts were noted, the first that is said is believed.
    pub(in crate::deploy) fn note_texts(&self, service: &str, version: u32, texts: &[Text]) -> Result<(), RecordError> {
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
}
