//! Manifests and options for hosts of tests: free ports, ample time, cheap passwords.

use std::time::Duration;

use bytesize::ByteSize;
use comptoir::clock::Clock;
use comptoir::host::Options;
use comptoir::manifest::{Manifest, ManifestError, PasswordRules};

use crate::built::{compiled, component, component_folder, host_folder};

/// A limit that even the slowest machine reaches only if something never ends.
pub const AMPLE: Duration = Duration::from_secs(60);

/// Passwords that are cheap to check, because nearly every test logs in. The manifest parser refuses values this small.
fn cheap_passwords() -> PasswordRules {
    PasswordRules { memory: ByteSize::kib(64), passes: 1, queue_time: AMPLE, ..PasswordRules::default() }
}

/// The shipped manifest without its pages, which few tests need.
pub fn shop_manifest() -> Manifest {
    let mut manifest = shop_manifest_with_pages();
    manifest.services.remove("front");
    manifest
}

/// The shipped manifest, on ports that the system picks, with a small pool and cheap passwords.
pub fn shop_manifest_with_pages() -> Manifest {
    let mut manifest = Manifest::read(&host_folder().join("comptoir.toml")).expect("the shipped manifest is valid");
    let any_port = ([127, 0, 0, 1], 0).into();
    (manifest.listeners.gateway, manifest.listeners.admin, manifest.instances) = (any_port, any_port, 100);
    manifest.listeners.hosts = vec!["*".to_owned()];
    manifest.passwords = cheap_passwords();
    (manifest.deploy.compile_time, manifest.deploy.probe_time) = (AMPLE, AMPLE);
    for (name, service) in &mut manifest.services {
        service.listen = Some(any_port);
        let limits = &mut service.limits;
        (limits.time, limits.cpu, limits.queue_time, limits.statement_time, limits.transaction_time) =
            (AMPLE, AMPLE, AMPLE, AMPLE, AMPLE);
        service.component = component(name);
    }
    manifest
}

/// A manifest with these `[services.…]` tables. `{name}.wasm` in them names a built component.
pub fn manifest_of(services: &str) -> Manifest {
    try_manifest_of(services).expect("the manifest is valid")
}

/// Like [`manifest_of`], for a manifest that may be refused.
pub fn try_manifest_of(services: &str) -> Result<Manifest, ManifestError> {
    let text = format!("instances = 100\n[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{services}");
    let mut manifest = Manifest::parse(&component_folder().join("comptoir.toml"), &text)?;
    manifest.listeners.hosts = vec!["*".to_owned()];
    Ok(manifest)
}

/// Options with the compilation cache that all tests and runs share.
pub fn options(clock: &Clock) -> Options {
    Options { clock: clock.clone(), cache: Some(compiled()), ..Options::default() }
}
