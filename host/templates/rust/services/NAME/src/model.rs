//! The rules for items. No HTTP, no SQL.

use kit::Text;
use serde::Deserialize;

/// The body of a new item.
#[derive(Deserialize)]
pub(crate) struct NewItem {
    pub(crate) text: Text<1, 200>,
}
