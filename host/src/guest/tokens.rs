//! `comptoir:platform/tokens` and `token-verifier`. The audit log is told of each token that is issued and each session that ends.

use super::Guest;
use super::bindings::{token_verifier, tokens};
use crate::audit::Event;
use crate::tokens::{IssueError, RevokeError, Tokens};

impl Guest {
    fn tokens(&self) -> wasmtime::Result<&Tokens> {
        self.grants.tokens.as_deref().ok_or_else(|| wasmtime::format_err!("tokens are not to be had while describing"))
    }
}

impl Guest {
    fn tell(&self, event: Event, subject: Option<&str>, session: &str) {
        if let Some(teller) = &self.grants.audit {
            teller.tell(event, subject, Some(session));
        }
    }
}

impl tokens::Host for Guest {
    async fn issue(
        &mut self,
        subject: String,
        role: String,
        session: String,
    ) -> wasmtime::Result<Result<tokens::AccessToken, tokens::Error>> {
        Ok(match self.tokens()?.issue(&subject, &role, &session) {
            Ok(issued) => {
                self.tell(Event::TokenCreated, Some(&subject), &session);
                Ok(tokens::AccessToken { token: issued.token, expires_in_seconds: issued.expires_in_seconds })
            }
            Err(IssueError::SessionEnded) => Err(tokens::Error::SessionEnded),
            Err(IssueError::Invalid(which)) => Err(tokens::Error::Invalid(which)),
            Err(IssueError::Unavailable(cause)) => {
                tracing::error!(cause, "no access token was issued: the host cannot sign now");
                Err(tokens::Error::Unavailable)
            }
        })
    }

    async fn revoke(&mut self, session: String) -> wasmtime::Result<Result<(), tokens::Error>> {
        Ok(match self.tokens()?.revoke(&session).await {
            Ok(()) => {
                self.tell(Event::TokenRevoked, None, &session);
                Ok(())
            }
            Err(RevokeError::Invalid(which)) => Err(tokens::Error::Invalid(which)),
            Err(RevokeError::Unavailable(cause)) => {
                tracing::error!(cause, "the end of a session was not recorded: check the disk of the data folder");
                Err(tokens::Error::Unavailable)
            }
        })
    }
}

impl token_verifier::Host for Guest {
    async fn verify(&mut self, token: String) -> wasmtime::Result<Option<token_verifier::Claims>> {
        Ok(self.tokens()?.verify(&token).map(|claims| token_verifier::Claims {
            subject: claims.subject,
            role: claims.role,
            session: claims.session,
            expires_at: claims.expires_at,
        }))
    }
}
