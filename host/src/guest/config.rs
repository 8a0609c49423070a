//! `wasi:config/store` and the environment variables: what the manifest tells a component about its surroundings.
//!
//! Every component may import both. Without a table `config` in the manifest they are empty. A revision has one configuration, which
//! never changes, so a response that depends on it can be cached.

use std::collections::BTreeMap;

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};

use super::Guest;

/// The one version of `wasi:config/store` that the host links. Names of prereleases match exactly.
pub(super) const STORE: &str = "wasi:config/store@0.2.0-rc.1";

/// The configuration of one revision.
#[derive(Default)]
pub struct Config {
    entries: BTreeMap<String, String>,
    variables: WasiConfigVariables,
    environment: Vec<(String, String)>,
}

impl Config {
    /// A configuration with these entries. No two keys have the same [`environment_name`].
    pub fn new(entries: &BTreeMap<String, String>) -> Self {
        let variables = entries.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let mut environment = entries.clone();
        environment.extend(entries.iter().map(|(key, value)| (environment_name(key), value.clone())));
        Self { entries: entries.clone(), variables, environment: environment.into_iter().collect() }
    }

    /// The same entries, and further ones.
    #[must_use]
    pub fn and(&self, further: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut entries = self.entries.clone();
        entries.extend(further);
        Self::new(&entries)
    }
}

/// The conventional name of a key in the environment: `payment-url` is also `PAYMENT_URL`.
pub fn environment_name(key: &str) -> String {
    key.to_ascii_uppercase().replace(['-', '.'], "_")
}

/// Links `wasi:config/store` and the environment for WASI 0.2.
pub(super) fn link_config(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_config::add_to_linker(linker, |guest| WasiConfig::from(&guest.grants.config.variables))?;
    p2::bindings::cli::environment::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

/// Links the environment for WASI 0.3. `wasi:config/store` is the same for both.
pub(super) fn link_environment_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    p3::bindings::cli::environment::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}

impl p2::bindings::cli::environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.grants.config.environment.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

impl p3::bindings::cli::environment::Host for Guest {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.grants.config.environment.clone())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn get_initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_an_environment_variable_as_it_is_written_and_in_upper_case() {
        let entries = [("payment-url", "https://pay.example"), ("CURRENCY", "EUR")];
        let config = Config::new(&entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let expected =
            [("CURRENCY", "EUR"), ("PAYMENT_URL", "https://pay.example"), ("payment-url", "https://pay.example")];
        assert_eq!(config.environment, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
