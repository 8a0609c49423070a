//! Chooses the deployment of a request: the stable one, the canary, or the one that the operator asks for.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use super::Gateway;
use crate::deploy::{Caller, Canary, Deployment};
use crate::error::Error;

/// The revision that the operator asks for, such as `orders@0123456789ab`.
const VERSION: HeaderName = HeaderName::from_static("x-comptoir-version");

/// The admin token, which a request for a revision must carry.
const ADMIN_TOKEN: HeaderName = HeaderName::from_static("x-comptoir-admin-token");

/// The fewest digits of a digest that name a revision.
const DIGITS: usize = 8;

impl Gateway {
    /// Chooses the deployment that a request uses from its route to the last byte of its response.
    ///
    /// # Errors
    /// `Error::VersionForbidden` if the request names a revision without the admin token. `Error::VersionUnknown` if that
    /// revision is neither active nor a canary.
    pub(super) fn choose(&self, headers: &HeaderMap, client: IpAddr) -> Result<Arc<Deployment>, Error> {
        let serving = self.serving.load();
        if let Some(version) = headers.get(VERSION) {
            let shown = headers.get(ADMIN_TOKEN).is_some_and(|token| self.gate.is_operator(token.as_bytes()));
            let version = version.to_str().ok().filter(|_| shown).ok_or(Error::VersionForbidden)?;
            let named = version.split_once('@').filter(|(_, digits)| digits.len() >= DIGITS);
            let found = named.and_then(|(service, digits)| serving.with_revision(service, digits));
            return found.cloned().ok_or(Error::VersionUnknown);
        }
        let takes = |canary: &&Canary| {
            let user = self.gate.caller(headers).map(Caller::User);
            canary.takes(&user.unwrap_or(Caller::Address(client)))
        };
        Ok(serving.canary().filter(takes).map_or(serving.stable(), Canary::deployment).clone())
    }
}
