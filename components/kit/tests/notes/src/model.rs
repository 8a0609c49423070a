//! The rules for notes. No HTTP, no SQL.

use kit::Text;
use serde::Deserialize;

/// The body of a new note.
#[derive(Deserialize)]
pub(crate) struct NewNote {
    pub(crate) text: Text<1, 1000>,
}
