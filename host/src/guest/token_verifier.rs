//! The grant `token-verifier`: checks access tokens.

use wasmtime::component::HasSelf;

use super::Guest;
use super::bindings::token_verifier as wit;
use super::interface::Interface;

pub(super) const INTERFACE: Interface = Interface {
    name: "token-verifier",
    link: |linker| wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable),
    unavailable: "`describe` and probes cannot use `token-verifier`",
};

impl wit::Host for Guest {
    async fn verify(&mut self, token: String) -> wasmtime::Result<Option<wit::Claims>> {
        let tokens = INTERFACE.require(self.grants.tokens.as_ref())?;
        Ok(tokens.verify(&token).map(|claims| wit::Claims {
            subject: claims.subject,
            role: claims.role,
            session: claims.session,
            expires_at: claims.expires_at,
        }))
    }
}
