//! The signatures with which components were taken: of each, for each service, the newest.

use rusqlite::{OptionalExtension as _, params};

use super::{Record, RecordError};

impl Record {
    /// The line of the signature with which a component was taken.
    pub fn signature(&self, service: &str, digest: &str) -> Result<Option<String>, RecordError> {
        let sql = "SELECT line FROM signatures WHERE service = ?1 AND digest = ?2";
        let found = self.database().query_row(sql, [service, digest], |row| row.get(0)).optional();
        found.map_err(|error| self.fail(error))
    }

    /// The lines of all signatures with which components of a service were taken, in no order.
    pub fn signatures(&self, service: &str) -> Result<Vec<String>, RecordError> {
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = database.prepare("SELECT line FROM signatures WHERE service = ?1")?;
            statement.query_map([service], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Notes that line, which counts from then on: a component that is signed anew may have another signer.
    pub fn note_signature(&self, service: &str, digest: &str, line: &str) -> Result<(), RecordError> {
        let sql = "INSERT INTO signatures (service, digest, line) VALUES (?1, ?2, ?3)
                   ON CONFLICT (service, digest) DO UPDATE SET line = ?3";
        self.database().execute(sql, params![service, digest, line]).map(drop).map_err(|error| self.fail(error))
    }
}
