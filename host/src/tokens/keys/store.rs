//! The interface to saved keys. The data folder and the shared database implement it.

use std::fmt::Debug;

use crate::key_file::{Key, KeyFileError};
use crate::tokens::error::{KeyChangeError, TokensError};
use crate::tokens::key::SigningKey;

/// Saves signing keys. Every method blocks on the disk or on the database.
///
/// A key is found by the Unix second in which it begins to sign. `None` stands for the first key.
pub(super) trait KeyStore: Debug + Send + Sync {
    /// The seconds of all saved keys, newest first.
    /// The flag tells whether the key was erased.
    fn list(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError>;

    /// Loads a saved key that was not erased.
    fn load(&self, since: Option<u64>) -> Result<SigningKey, TokensError>;

    /// Generates a key without saving it.
    fn generate(&self, since: Option<u64>) -> Result<Key, KeyFileError>;

    /// Saves a key. If that fails, nothing of the key remains. The error is the cause.
    fn save(&self, since: Option<u64>, key: &Key) -> Result<(), String>;

    /// Erases a key and leaves a tombstone. Erasing a missing key is no error.
    fn erase(&self, since: Option<u64>) -> Result<(), KeyChangeError>;

    /// Removes an expired key or a tombstone. A failure is logged; it does no harm.
    fn remove(&self, since: Option<u64>);

    /// The error for a disabled key whose replacement could not be saved.
    fn not_saved(&self, cause: String) -> KeyChangeError;

    /// Whether other hosts change the same keys.
    fn is_shared(&self) -> bool;
}
