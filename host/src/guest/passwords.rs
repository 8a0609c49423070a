//! The grant `passwords`: hashes and verifies passwords on the host's threads.

use std::sync::Arc;

use wasmtime::component::HasSelf;

use super::Guest;
use super::bindings::passwords as wit;
use super::dependency_failure::DependencyFailure;
use super::interface::Interface;
use crate::passwords::{PasswordError, Passwords};
use crate::telemetry::Kind;

pub(super) const INTERFACE: Interface = Interface {
    name: "passwords",
    link: |linker| wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable),
    unavailable: "`describe` cannot use `passwords`",
};

impl Guest {
    fn passwords(&self) -> wasmtime::Result<Arc<Passwords>> {
        INTERFACE.require(self.grants.passwords.as_ref()).cloned()
    }
}

/// Converts an error for the guest. A fault of the host becomes a trap, because the guest cannot handle it.
fn to_guest(error: PasswordError, failure: &DependencyFailure) -> wasmtime::Result<wit::Error> {
    match error {
        PasswordError::Busy { retry_after_seconds } => {
            failure.record(|| "the password queue is full".to_owned());
            Ok(wit::Error::Busy(retry_after_seconds))
        }
        PasswordError::TooLong => Ok(wit::Error::TooLong),
        PasswordError::Failed(cause) => Err(wasmtime::format_err!("passwords: {cause}")),
    }
}

impl wit::Host for Guest {
    async fn minimum_length(&mut self) -> wasmtime::Result<u32> {
        Ok(self.passwords()?.minimum_characters())
    }

    async fn hash(&mut self, password: String) -> wasmtime::Result<Result<String, wit::Error>> {
        let _span = self.trace().child("passwords.hash", Kind::Internal);
        match self.passwords()?.hash(password).await {
            Ok(hash) => Ok(Ok(hash)),
            Err(error) => to_guest(error, &self.failure).map(Err),
        }
    }

    async fn verify(
        &mut self,
        password: String,
        hash: Option<String>,
    ) -> wasmtime::Result<Result<wit::Verdict, wit::Error>> {
        let _span = self.trace().child("passwords.verify", Kind::Internal);
        match self.passwords()?.verify(password, hash).await {
            Ok(verdict) => Ok(Ok(wit::Verdict { matches: verdict.matches, outdated: verdict.outdated })),
            Err(error) => to_guest(error, &self.failure).map(Err),
        }
    }
}
