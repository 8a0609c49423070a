//! The grant `tokens`: issues access tokens and ends sessions. Both are recorded in the audit log.

use std::sync::Arc;

use wasmtime::component::HasSelf;

use super::Guest;
use super::bindings::tokens as wit;
use super::interface::Interface;
use crate::audit::Event;
use crate::tokens::{IssueError, RevokeError, Tokens};

pub(super) const INTERFACE: Interface = Interface {
    name: "tokens",
    link: |linker| wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable),
    unavailable: "`describe` and probes cannot use `tokens`",
};

impl Guest {
    fn tokens(&self) -> wasmtime::Result<&Arc<Tokens>> {
        INTERFACE.require(self.grants.tokens.as_ref())
    }

    fn record_event(&self, event: Event, subject: Option<&str>, session: &str) {
        if let Some(audit) = &self.grants.audit {
            audit.tell(event, subject, Some(session));
        }
    }
}

impl wit::Host for Guest {
    async fn issue(
        &mut self,
        subject: String,
        role: String,
        session: String,
    ) -> wasmtime::Result<Result<wit::AccessToken, wit::Error>> {
        Ok(match self.tokens()?.issue(&subject, &role, &session) {
            Ok(issued) => {
                self.record_event(Event::TokenCreated, Some(&subject), &session);
                Ok(wit::AccessToken { token: issued.token, expires_in_seconds: issued.expires_in_seconds })
            }
            Err(IssueError::SessionEnded) => Err(wit::Error::SessionEnded),
            Err(IssueError::Invalid(which)) => Err(wit::Error::Invalid(which)),
            Err(IssueError::Unavailable(cause)) => {
                tracing::error!(cause, "cannot issue an access token: signing it failed");
                Err(wit::Error::Unavailable)
            }
        })
    }

    async fn revoke(&mut self, session: String) -> wasmtime::Result<Result<(), wit::Error>> {
        Ok(match self.tokens()?.revoke(&session).await {
            Ok(()) => {
                self.record_event(Event::TokenRevoked, None, &session);
                Ok(())
            }
            Err(RevokeError::Invalid(which)) => Err(wit::Error::Invalid(which)),
            Err(RevokeError::Unavailable(cause)) => {
                tracing::error!(cause, "cannot record the end of a session: check the disk of the data folder");
                Err(wit::Error::Unavailable)
            }
        })
    }
}
