//! The signatures of accepted components: the newest one for each service and component.

use rusqlite::{OptionalExtension as _, params};

use super::{Record, RecordError};

impl Record {
    /// The accepted signature of a component, as a line of text.
    pub fn signature(&self, service: &str, digest: &str) -> Result<Option<String>, RecordError> {
        let sql = "SELECT line FROM signatures WHERE service = ?1 AND digest = ?2";
        let found = self.database().query_row(sql, [service, digest], |row| row.get(0)).optional();
        found.map_err(|error| self.fail(error))
    }

    /// All accepted signatures of a service's components, in no particular order.
    pub fn signatures(&self, service: &str) -> Result<Vec<String>, RecordError> {
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = database.prepare("SELECT line FROM signatures WHERE service = ?1")?;
            statement.query_map([service], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Records a signature as accepted. It replaces an earlier one of the same component, which may have another signer.
    pub fn note_signature(&self, service: &str, digest: &str, line: &str) -> Result<(), RecordError> {
        let sql = "INSERT INTO signatures (service, digest, line) VALUES (?1, ?2, ?3)
                   ON CONFLICT (service, digest) DO UPDATE SET line = ?3";
        self.database().execute(sql, params![service, digest, line]).map(drop).map_err(|error| self.fail(error))
    }
}
