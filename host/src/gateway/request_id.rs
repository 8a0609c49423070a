//! The id of a request, which the client, the log and every guest see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::header::HeaderMap;

use crate::head::REQUEST_ID;

/// The longest id that a client may choose, in characters.
const LENGTH_LIMIT: usize = 64;

/// Makes request ids. A counter keeps them unique within a process, a random prefix across processes.
#[derive(Debug)]
pub struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        // Without randomness the process id is unique enough, because ids are no secret.
        Self { process: getrandom::u32().unwrap_or_else(|_| std::process::id()), next: AtomicU64::new(1) }
    }
}

impl RequestIds {
    /// The client's own id if it is valid (1 to 64 characters of `[A-Za-z0-9._-]`), else a new one.
    pub fn of(&self, headers: &HeaderMap) -> Arc<str> {
        let usable = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        match headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
            Some(id) if !id.is_empty() && id.len() <= LENGTH_LIMIT && id.as_bytes().iter().all(usable) => id.into(),
            _ => self.mint(),
        }
    }

    /// A new id.
    pub fn mint(&self) -> Arc<str> {
        format!("{:08x}-{:08x}", self.process, self.next.fetch_add(1, Ordering::Relaxed)).into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_valid_id_is_kept_and_any_other_is_replaced() {
        let ids = RequestIds::default();
        let id_for = |sent: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, hyper::header::HeaderValue::from_bytes(sent).unwrap());
            ids.of(&headers)
        };
        assert_eq!(&*id_for(b"checkout-7.a_B"), "checkout-7.a_B");
        for unusable in [&b""[..], b"two words", "é".as_bytes(), &[b'a'; 65]] {
            assert_ne!(id_for(unusable).as_bytes(), unusable);
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
