//! `comptoir:platform/session`: the session of the caller. Every component may import it.

use super::Guest;
use super::bindings::session;
use crate::tokens::Session;

impl session::Host for Guest {
    async fn has_ended(&mut self) -> wasmtime::Result<bool> {
        Ok(self.grants.session.as_ref().is_some_and(Session::has_ended))
    }
}
