//! What this program is made of: its own version, and those of the parts whose faults are its own (SB-15).

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// Versions, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// This program.
    pub comptoir: &'static str,
    /// The sandbox.
    pub wasmtime: &'static str,
    /// The databases.
    pub sqlite: &'static str,
    /// The compiler that built it.
    pub rustc: &'static str,
}

impl Versions {
    /// Those of this program. SQLite's is what is linked, the others are noted when it is built.
    pub fn of_this_program() -> Self {
        Self {
            comptoir: env!("CARGO_PKG_VERSION"),
            wasmtime: env!("WASMTIME_VERSION"),
            sqlite: rusqlite::version(),
            rustc: env!("RUSTC_VERSION"),
        }
    }
}

impl Display for Versions {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self { comptoir, wasmtime, sqlite, rustc } = self;
        write!(formatter, "{comptoir} (wasmtime {wasmtime}, SQLite {sqlite}, rustc {rustc})")
    }
}
