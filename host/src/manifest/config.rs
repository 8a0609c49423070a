//! The `[services.<name>.config]` table of the manifest: what a component is told about its surroundings.

use std::collections::BTreeMap;

use toml::{Spanned, Value};

use super::check::Check;
use crate::guest::environment_name;
use crate::printable::excerpt;

/// The most keys in one table.
const MAX_KEYS: usize = 256;

/// The most bytes of all keys and values in one table.
const MAX_BYTES: usize = 64 << 10;

/// The most bytes of one key.
const MAX_KEY_BYTES: usize = 128;

/// The table as it is written.
pub(super) type ConfigTable = BTreeMap<Spanned<String>, Spanned<Value>>;

/// Checks a service's table. Returns its readable entries.
///
/// Only strings are values, as in Spin and wasmCloud, because a guest reads strings, and a number has several texts.
pub(super) fn read(service: &str, table: &ConfigTable, check: &Check) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, &str> = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let name = key.get_ref();
        if !is_key(name) {
            let message = format!(
                "`{}` cannot be a key of config: write up to {MAX_KEY_BYTES} of the characters a-z, A-Z, 0-9, `_`, `-` and `.`",
                excerpt(name, MAX_KEY_BYTES)
            );
            check.report(Some(key.span()), &message);
            continue;
        }
        if let Some(other) = names.insert(environment_name(name), name) {
            let message = format!(
                "the keys `{other}` and `{name}` of config both become the environment variable {}: rename one",
                environment_name(name)
            );
            check.report(Some(key.span()), &message);
        }
        match text(name, value.get_ref()) {
            Ok(text) => _ = entries.insert(name.clone(), text),
            Err(message) => check.report(Some(value.span()), &message),
        }
    }
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    if table.len() > MAX_KEYS || bytes > MAX_BYTES {
        let message = format!(
            "the config of service `{service}` has {} keys and {bytes} bytes, more than {MAX_KEYS} keys or \
             {MAX_BYTES} bytes: keep larger data in files or in its database",
            table.len()
        );
        check.report_at(&format!("services.{service}.config"), &message);
    }
    entries
}

/// Whether this can be a key. Others could not be the name of an environment variable in every language.
fn is_key(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_KEY_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    match value {
        // C's environment ends a value at the first NUL.
        Value::String(text) if text.contains('\0') => {
            Err(format!("the value of `{name}` in config contains the character NUL: remove it"))
        }
        Value::String(text) => Ok(text.clone()),
        Value::Table(_) | Value::Array(_) => Err(format!(
            "the value of `{name}` in config is a {}: write a string, or one key for each part, such as \"{name}-port\"",
            value.type_str()
        )),
        other => Err(format!("the value of `{name}` in config must be a string: write \"{name}\" = \"{other}\"")),
    }
}
