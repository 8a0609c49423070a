//! The grant `audit`: writes events to the audit log.

use wasmtime::component::HasSelf;

use super::Guest;
use super::bindings::audit as wit;
use super::interface::Interface;
use crate::audit::Event;

/// Maximum events that a guest may record in one request.
const MAX_EVENTS: u8 = 16;

pub(super) const INTERFACE: Interface = Interface {
    name: "audit",
    link: |linker| wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, Guest::mark_uncacheable),
    unavailable: "`describe` and probes cannot use `audit`",
};

impl wit::Host for Guest {
    async fn tell(&mut self, event: wit::Event, subject: String) -> wasmtime::Result<()> {
        // Events of a probe are ignored instead of refused, because a probe is not the request of a caller.
        let Some(audit) = &self.grants.audit else { return Ok(()) };
        if self.audit_events >= MAX_EVENTS {
            audit.miss();
            return Ok(());
        }
        self.audit_events += 1;
        let event = match event {
            wit::Event::AuthnLoginSuccess => Event::LoginSuccess,
            wit::Event::AuthnLoginFail => Event::LoginFail,
            wit::Event::AuthnLoginLock => Event::LoginLock,
            wit::Event::AuthnTokenReuse => Event::TokenReuse,
            wit::Event::AuthnPasswordChange => Event::PasswordChange,
        };
        audit.tell(event, Some(&subject), None);
        Ok(())
    }
}
