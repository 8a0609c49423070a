//! The `[development]` table of the manifest.

use serde::Deserialize;

/// What a host for development allows. Everything in here needs listeners on loopback.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevelopmentRules {
    /// Whether `comptoir token` may issue access tokens for any username.
    pub tokens: bool,
}
