//! The interface `wasi:config/store`. A test sets the entries.

use std::cell::RefCell;

use crate::bindings::wasi::config::store::Error;

thread_local! {
    static ENTRIES: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

/// Sets the configuration of this thread's service, with its secrets, and replaces an earlier one. Call it after
/// [`install`](super::install).
pub fn set<T: AsRef<str>, I: IntoIterator<Item = (T, T)>>(entries: I) {
    let entries = entries.into_iter().map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned()));
    ENTRIES.set(entries.collect());
}

pub(crate) fn get(wanted: &str) -> Result<Option<String>, Error> {
    let find = |entries: &Vec<(String, String)>| entries.iter().find(|(key, _)| key == wanted).cloned();
    Ok(ENTRIES.with_borrow(find).map(|(_, value)| value))
}

pub(crate) fn get_all() -> Result<Vec<(String, String)>, Error> {
    Ok(ENTRIES.with_borrow(Clone::clone))
}
