//! Where a request's headers and body come from, when they are asked for.

use std::cell::OnceCell;

use crate::bindings::comptoir::platform::session;
use crate::bindings::wasi::http::types::{Fields, IncomingRequest};
use crate::wire::{self, ReadError};

/// The host, or a native test.
#[derive(Debug)]
pub(crate) enum Source {
    /// A request that waits in the host.
    Host {
        /// A child of `incoming`, so it stands before it: the host refuses to drop a parent first.
        headers: OnceCell<Fields>,
        incoming: IncomingRequest,
    },
    /// A request that a test wrote down.
    #[cfg(feature = "native")]
    Written { headers: Vec<(&'static str, Vec<u8>)>, body: Vec<u8>, session_ended: bool },
}

impl From<IncomingRequest> for Source {
    fn from(incoming: IncomingRequest) -> Source {
        Source::Host { headers: OnceCell::new(), incoming }
    }
}

impl Source {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Source::Host { headers, incoming } => {
                headers.get_or_init(|| incoming.headers()).get(name).into_iter().next()
            }
            #[cfg(feature = "native")]
            Source::Written { headers, .. } => {
                headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
            }
        }
    }

    /// The whole body. The host gives it once; a second time it is empty.
    pub(crate) fn body(&self, limit_bytes: usize) -> Result<Vec<u8>, ReadError> {
        match self {
            Source::Host { incoming, .. } => match incoming.consume() {
                Ok(body) => wire::read(&body, limit_bytes),
                Err(()) => Ok(Vec::new()),
            },
            #[cfg(feature = "native")]
            Source::Written { body, .. } if body.len() > limit_bytes => Err(ReadError::TooLong),
            #[cfg(feature = "native")]
            Source::Written { body, .. } => Ok(body.clone()),
        }
    }

    /// Whether the caller's session ended since the request was let in.
    pub(crate) fn session_has_ended(&self) -> bool {
        match self {
            Source::Host { .. } => session::has_ended(),
            #[cfg(feature = "native")]
            Source::Written { session_ended, .. } => *session_ended,
        }
    }
}
