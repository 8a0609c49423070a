//! The versions of this program and of the parts whose vulnerabilities it inherits.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// The versions that `comptoir --version` and the admin API show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// The version of Comptoir.
    pub comptoir: &'static str,
    /// The WebAssembly runtime: the sandbox.
    pub wasmtime: &'static str,
    /// The SQLite library that is linked.
    pub sqlite: &'static str,
    /// The Rust compiler that built this program.
    pub rustc: &'static str,
}

impl Versions {
    /// The versions of this program. SQLite reports its own at run time; `build.rs` records the others.
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
    fn no_part_is_older_than_the_oldest_allowed_version() {
        let oldest: toml::Table = include_str!("../../.ci/oldest.toml").parse().unwrap();
        let Versions { wasmtime, sqlite, .. } = Versions::of_this_program();
        assert_eq!(oldest.len(), 2);
        for (part, version) in [("wasmtime", wasmtime), ("sqlite", sqlite)] {
            let oldest = oldest[part].as_str().unwrap();
            assert!(parts(version) >= parts(oldest), "{part} {version} is older than {oldest}: see .ci/oldest.toml");
        }
    }
}
