//! What the manifest tells the service: the tables `config` and `secrets`.
//!
//! ```
//! # fn main() {
//! # #[cfg(feature = "native")] {
//! # kit::native::config([("currency", "EUR"), ("vat", "20"), ("payment-key", "placeholder")]);
//! # fn look() -> Result<(), kit::Failure> {
//! let vat: f64 = kit::config::required("vat")?;
//! let most: u32 = kit::config::optional("most-items")?.unwrap_or(100);
//! let key = kit::config::secret("payment-key")?;
//!
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     currency: String,
//!     vat: f64,
//! }
//! let settings: Settings = kit::config::all()?;
//! # assert_eq!((vat, most, key.as_str(), settings.currency.as_str(), settings.vat), (20.0, 100, "placeholder", "EUR", 20.0));
//! # Ok(())
//! # }
//! # look().unwrap();
//! # }
//! # }
//! ```
//!
//! A revision has one configuration. A change in the manifest makes a new revision, which the host tests with its probes before it
//! serves. So read the values in a route that a [`Probe`](crate::Probe) requests: then a mistake in the manifest changes nothing.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::DeserializeOwned;

use crate::Failure;
#[cfg(not(feature = "native"))]
use crate::bindings::wasi::config::store as host;
use crate::input::{Fault, Invalid, Pairs};
#[cfg(feature = "native")]
use crate::native::config as host;

/// A value of the configuration is missing or wrong. As a [`Failure`] it is 500 `INTERNAL_ERROR`, and the log names the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    key: String,
    table: &'static str,
    /// None if there is no value.
    why: Option<String>,
}

impl Error {
    /// The key in the manifest.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Names the key and the line of the manifest. Quotes no value.
impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Error { key, table, why } = self;
        let place = format_args!("the table `{table}` of this service in the manifest");
        match why {
            None if *table == SECRETS => {
                write!(out, "the secret `{key}` is missing: add `{key} = {{ file = … }}` to {place}")
            }
            None => write!(out, "the configuration `{key}` is missing: add `{key} = \"…\"` to {place}"),
            Some(why) => write!(out, "the configuration `{key}` {why}: correct the line `{key} = …` in {place}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::internal(error)
    }
}

const CONFIG: &str = "config";
const SECRETS: &str = "secrets";

/// The value of a key. None if the manifest does not have it.
pub fn get(key: &str) -> Option<String> {
    // The host never returns an error, because the manifest is in its memory.
    host::get(key).ok().flatten()
}

/// The value of a key as a type.
///
/// # Errors
///
/// The manifest does not have it, or it does not parse.
pub fn required<T: FromStr<Err: Display>>(key: &str) -> Result<T, Error> {
    optional(key)?.ok_or_else(|| Error { key: key.to_owned(), table: CONFIG, why: None })
}

/// The value of a key as a type, or None if the manifest does not have it.
///
/// # Errors
///
/// It does not parse.
pub fn optional<T: FromStr<Err: Display>>(key: &str) -> Result<Option<T>, Error> {
    let wrong = |error: T::Err| Error { key: key.to_owned(), table: CONFIG, why: Some(format!("is wrong ({error})")) };
    get(key).map(|value| value.parse().map_err(wrong)).transpose()
}

/// What the manifest gives for a secret: a placeholder for the headers of [`outbound`](crate::outbound) requests, or the value itself
/// with `expose = true`. Read it for each request, because the file of a secret may change.
///
/// # Errors
///
/// The manifest does not have it.
pub fn secret(key: &str) -> Result<String, Error> {
    get(key).ok_or_else(|| Error { key: key.to_owned(), table: SECRETS, why: None })
}

/// All values as one type. Keys that it does not have are ignored, because the next revision may need them.
///
/// # Errors
///
/// The first key that is missing or does not fit.
pub fn all<T: DeserializeOwned>() -> Result<T, Error> {
    let entries = host::get_all().unwrap_or_default();
    let pairs = entries.iter().map(|(key, value)| (key.into(), value.into()));
    T::deserialize(Pairs::ignoring_unknown(pairs)).map_err(|invalid: Invalid| {
        let why = (invalid.fault() != Fault::Missing).then(|| invalid.why().to_owned());
        Error { key: invalid.path().to_owned(), table: CONFIG, why }
    })
}

#[cfg(all(test, feature = "native"))]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        currency: String,
        #[serde(rename = "max-items")]
        max_items: Option<u8>,
        dry_run: bool,
    }

    #[test]
    fn configuration_becomes_a_type_and_unknown_keys_are_ignored() {
        crate::native::config([("currency", "EUR"), ("max-items", "7"), ("dry_run", "false"), ("other", "x")]);
        let settings = Settings { currency: "EUR".to_owned(), max_items: Some(7), dry_run: false };
        assert_eq!(all::<Settings>(), Ok(settings));
        assert_eq!((required("max-items"), optional::<u8>("missing")), (Ok(7_u8), Ok(None)));
        assert_eq!((get("other").as_deref(), get("missing"), secret("other")), (Some("x"), None, Ok("x".to_owned())));
    }

    #[test]
    fn an_error_names_the_key_and_the_line_of_the_manifest_and_quotes_no_value() {
        let place = |table| format!("the table `{table}` of this service in the manifest");
        crate::native::config([("currency", "EUR"), ("max-items", "many"), ("dry_run", "no")]);
        let table = [
            (
                required::<u8>("vat").unwrap_err(),
                format!("the configuration `vat` is missing: add `vat = \"…\"` to {}", place("config")),
            ),
            (
                required::<u8>("max-items").unwrap_err(),
                format!(
                    "the configuration `max-items` is wrong (invalid digit found in string): correct the line `max-items = …` in {}",
                    place("config")
                ),
            ),
            (
                secret("key").unwrap_err(),
                format!("the secret `key` is missing: add `key = {{ file = … }}` to {}", place("secrets")),
            ),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
        let error = all::<Settings>().unwrap_err();
        assert!(error.to_string().starts_with("the configuration `max-items` must be an integer"), "{error}");
        crate::native::config([("max-items", "7"), ("dry_run", "no")]);
        let error = all::<Settings>().unwrap_err();
        assert!(["currency", "dry_run"].contains(&error.key()), "{error}");
        let failure = Failure::from(error);
        assert_eq!((failure.status, failure.code), (500, "INTERNAL_ERROR"));
    }
}
