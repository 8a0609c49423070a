//! What the host must still know when a service cannot be asked.

use rusqlite::{OptionalExtension as _, params};

use super::{Record, RecordError};

/// Whether the operator's login had its seeded password when it was last asked for.
const OPERATOR_IS_SEEDED: &str = "operator-is-seeded";

impl Record {
    /// Notes whether the operator's login has the seeded password, which everybody knows.
    ///
    /// # Errors
    /// `RecordError` if the disk does not take it.
    pub fn note_operator(&self, is_seeded: bool) -> Result<(), RecordError> {
        let sql = "INSERT INTO notes (name, text) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET text = ?2 WHERE text <> ?2";
        let values = params![OPERATOR_IS_SEEDED, is_seeded.to_string()];
        self.database().execute(sql, values).map(drop).map_err(|error| self.fail(error))
    }

    /// Whether the operator's login had the seeded password when it was last asked for. None if it never was.
    ///
    /// # Errors
    /// `RecordError` if the record cannot be read.
    pub fn operator_was_seeded(&self) -> Result<Option<bool>, RecordError> {
        let sql = "SELECT text = 'true' FROM notes WHERE name = ?1";
        let noted = self.database().query_row(sql, [OPERATOR_IS_SEEDED], |row| row.get(0)).optional();
        noted.map_err(|error| self.fail(error))
    }
}
