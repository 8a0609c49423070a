//! What the module of a grant declares about its host interface.

use wasmtime::component::Linker;

use super::Guest;

/// One host interface that a manifest can grant.
pub(super) struct Interface {
    /// Its word in a manifest's `grants`, and the name of the interface `comptoir:platform/<name>` if the host defines it.
    pub(super) name: &'static str,
    /// Adds the interface to a linker.
    pub(super) link: fn(&mut Linker<Guest>) -> wasmtime::Result<()>,
    /// The error of a guest that calls the interface in `describe` or in a probe, if it has no state there.
    pub(super) unavailable: &'static str,
}

impl Interface {
    /// The state behind the interface.
    ///
    /// # Errors
    /// There is none, because the guest runs `describe` or a probe.
    pub(super) fn require<'s, S>(&self, state: Option<&'s S>) -> wasmtime::Result<&'s S> {
        state.ok_or_else(|| wasmtime::format_err!("{}", self.unavailable))
    }
}
