//! Compiling, off the request path.
//!
//! A component that was never seen is compiled by a process of its own, at the lowest priority and within limits on time and
//! memory: compiling hostile code is not covered by what the sandbox promises, and such a process can be ended. It leaves
//! what it made in the cache of compiled code, from which the host loads it in a few milliseconds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use wasmtime::component::Component;

use super::Platform;
use crate::engine::{Engines, Wasi};
use crate::manifest::DeployRules;

/// Compiles a component, or loads what was compiled before.
///
/// # Errors
/// A sentence that says why it cannot be compiled.
pub(super) async fn run(
    platform: &Arc<Platform>,
    rules: &DeployRules,
    compiler: Option<&PathBuf>,
    wasi: Wasi,
    bytes: &Arc<[u8]>,
) -> Result<Component, String> {
    if let Some(compiler) = compiler {
        let seen = mark(&platform.engines, wasi, bytes);
        if !seen.exists() {
            in_a_process(compiler, &platform.engines, rules, wasi, bytes).await?;
            // Without the mark it is compiled once more than it need be.
            let _ = std::fs::write(seen, "");
        }
    }
    let (platform, bytes) = (platform.clone(), bytes.clone());
    let compiled = tokio::task::spawn_blocking(move || platform.engines.compile(wasi, &bytes)).await;
    compiled.map_err(|panic| panic.to_string())?.map_err(|error| format!("{error:#}"))
}

/// A file that says that the cache holds this component, compiled by this build of the host. Should the cache have dropped
/// it since, it is compiled in this process.
fn mark(engines: &Engines, wasi: Wasi, bytes: &[u8]) -> PathBuf {
    let digest = super::hex(&Sha256::digest(bytes));
    engines.cache_folder().join(format!("{digest}-{wasi:?}-{}.seen", env!("CARGO_PKG_VERSION")))
}

async fn in_a_process(
    compiler: &Path,
    engines: &Engines,
    rules: &DeployRules,
    wasi: Wasi,
    bytes: &[u8],
) -> Result<(), String> {
    let mut command = Command::new(compiler);
    command.arg("compile").arg("--cache").arg(engines.cache_folder());
    command.arg("--memory").arg(rules.compile_memory.as_u64().to_string());
    command.arg("--wasi").arg(match wasi {
        Wasi::P2 => "0.2",
        Wasi::P3 => "0.3",
    });
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().map_err(|error| format!("{} cannot be started: {error}", compiler.display()))?;
    let stdin = process.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // A compiler that ends early says why on stderr; that its input broke off says nothing more.
            let _ = stdin.write_all(bytes).await;
        }
        process.wait_with_output().await
    };
    let ended = tokio::time::timeout(rules.compile_time, work).await;
    let ended = ended.map_err(|_| format!("it was not compiled within {:?}", rules.compile_time))?;
    let ended = ended.map_err(|error| error.to_string())?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let said = said.trim().trim_start_matches("comptoir: ");
    // Without memory it says so where it can, and is ended by a signal where it cannot.
    if ended.status.code().is_some() && !said.is_empty() && !said.ends_with("out of memory") {
        return Err(said.to_owned());
    }
    tracing::warn!(status = %ended.status, said, "a compiler was cut short");
    let limit = rules.compile_memory;
    Err(format!("compiling it was cut short ({}): perhaps it needs more than {limit} of memory", ended.status))
}
