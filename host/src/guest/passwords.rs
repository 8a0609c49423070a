//! `comptoir:platform/passwords`.

use std::sync::Arc;

use super::bindings::passwords;
use super::{Excuse, Guest};
use crate::passwords::{PasswordError, Passwords};

impl Guest {
    fn passwords(&self) -> wasmtime::Result<Arc<Passwords>> {
        let granted = self.grants.passwords.clone();
        granted.ok_or_else(|| wasmtime::format_err!("passwords are not to be had while describing"))
    }
}

/// What a guest may know of an error. That the host cannot compute at all is no answer but a trap.
fn visible(error: PasswordError, excuse: &Excuse) -> wasmtime::Result<passwords::Error> {
    match error {
        PasswordError::Busy { retry_after_seconds } => {
            excuse.give(|| "too many passwords are being computed".to_owned());
            Ok(passwords::Error::Busy(retry_after_seconds))
        }
        PasswordError::TooLong => Ok(passwords::Error::TooLong),
        PasswordError::Failed(cause) => Err(wasmtime::format_err!("passwords: {cause}")),
    }
}

impl passwords::Host for Guest {
    async fn minimum_length(&mut self) -> wasmtime::Result<u32> {
        Ok(self.passwords()?.minimum_characters())
    }

    async fn hash(&mut self, password: String) -> wasmtime::Result<Result<String, passwords::Error>> {
        match self.passwords()?.hash(password).await {
            Ok(hash) => Ok(Ok(hash)),
            Err(error) => visible(error, &self.excuse).map(Err),
        }
    }

    async fn verify(
        &mut self,
        password: String,
        hash: Option<String>,
    ) -> wasmtime::Result<Result<passwords::Verdict, passwords::Error>> {
        match self.passwords()?.verify(password, hash).await {
            Ok(verdict) => Ok(Ok(passwords::Verdict { matches: verdict.matches, outdated: verdict.outdated })),
            Err(error) => visible(error, &self.excuse).map(Err),
        }
    }
}
