//! Auth's tables: every statement that it runs. Decides nothing.

pub(crate) mod answers;
pub(crate) mod attempts;
pub(crate) mod logins;
pub(crate) mod sessions;
