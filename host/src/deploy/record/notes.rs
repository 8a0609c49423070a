//! Notes that the host needs when it cannot ask the service itself.

use rusqlite::{OptionalExtension as _, params};

use super::{Record, RecordError};

/// The name of the note: whether the operator's login last had the seeded password.
const OPERATOR_IS_SEEDED: &str = "operator-is-seeded";

impl Record {
    /// Records whether the operator's login has the seeded password, which is public.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn note_operator(&self, is_seeded: bool) -> Result<(), RecordError> {
        let sql = "INSERT INTO notes (name, text) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET text = ?2 WHERE text <> ?2";
        let values = params![OPERATOR_IS_SEEDED, is_seeded.to_string()];
        self.database().execute(sql, values).map(drop).map_err(|error| self.fail(error))
    }

    /// Whether the operator's login had the seeded password at the last check. None if there was no check yet.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn operator_was_seeded(&self) -> Result<Option<bool>, RecordError> {
        let sql = "SELECT text = 'true' FROM notes WHERE name = ?1";
        let noted = self.database().query_row(sql, [OPERATOR_IS_SEEDED], |row| row.get(0)).optional();
        noted.map_err(|error| self.fail(error))
    }
}
