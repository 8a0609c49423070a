//! All SQL statements of auth, by table. They store and read, and decide nothing.

pub(crate) mod attempts;
pub(crate) mod idempotency;
pub(crate) mod logins;
pub(crate) mod sessions;
