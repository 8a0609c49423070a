//! Where cargo and `just` put what the tests run: the program, the components, and compiled code.

use std::path::{Path, PathBuf};

/// The folder of the host's sources, which also holds the shipped manifest.
pub fn host_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/testing is inside host")
}

/// The folder into which `just components guests` builds.
pub fn component_folder() -> PathBuf {
    host_folder().join("../target/wasm32-wasip2/component")
}

/// The file of a built component.
pub fn component(name: &str) -> PathBuf {
    let file = component_folder().join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is missing: run `just components guests` first", file.display());
    file
}

/// The `comptoir` program, which cargo builds before it runs a test or a benchmark of its package.
pub fn program() -> PathBuf {
    profile_folder().join("comptoir")
}

/// The compilation cache that all tests and runs share.
pub fn compiled() -> PathBuf {
    temporary_folder().join("compiled")
}

/// The folder that cargo reserves for files of tests: `CARGO_TARGET_TMPDIR`, which only tests and benchmarks are told.
pub fn temporary_folder() -> PathBuf {
    profile_folder().with_file_name("tmp")
}

/// The folder of the current build profile: the test executable lies in its subfolder `deps`.
fn profile_folder() -> PathBuf {
    let executable = std::env::current_exe().expect("the path of this executable");
    executable.ancestors().nth(2).expect("a test executable lies in PROFILE/deps").to_owned()
}
