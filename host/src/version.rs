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

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(version: &str) -> Vec<u32> {
        version.split('.').map(|part| part.parse().unwrap()).collect()
    }

    #[test]
    fn nothing_is_built_in_that_is_older_than_what_is_known_to_be_sound() {
        let oldest: toml::Table = include_str!("../../.ci/oldest.toml").parse().unwrap();
        let Versions { wasmtime, sqlite, .. } = Versions::of_this_program();
        assert_eq!(oldest.len(), 2);
        for (part, version) in [("wasmtime", wasmtime), ("sqlite", sqlite)] {
            let oldest = oldest[part].as_str().unwrap();
            assert!(parts(version) >= parts(oldest), "{part} {version} is older than {oldest}: see .ci/oldest.toml");
        }
    }
}
