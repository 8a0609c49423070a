//! Which deployment a request meets: everybody's, the canary's, or the one that an operator asks for.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::HeaderName;

use super::Gateway;
use crate::deploy::{Caller, Canary, Deployment};
use crate::error::Error;

/// The revision that an operator wants to be answered by, as `x-comptoir-revision` names it.
const VERSION: HeaderName = HeaderName::from_static("x-comptoir-version");

/// What shows that it is the operator who wants it.
const ADMIN_TOKEN: HeaderName = HeaderName::from_static("x-comptoir-admin-token");

/// Digits of a digest by which a revision can be asked for, at the least.
const DIGITS: usize = 8;

impl Gateway {
    /// The deployment for a request.
    ///
    /// # Errors
    /// A revision is asked for without the admin token, or one that neither serves nor is on trial.
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
