//! Compiling, off the request path.
//!
//! A component that was never seen is compiled by a process of its own, at the lowest priority and within limits on time and
//! memory: compiling hostile code is not covered by what the sandbox promises, and such a process can be ended. It gets the
//! component on stdin and gives the code on stdout, and has no other way to what the host keeps. What it gave is kept, and
//! loaded in a few milliseconds from then on.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use wasmtime::component::Component;

use super::Platform;
use super::progress::Progress;
use super::stage::Stage;
use crate::engine::{Compiled, Engines, Wasi};
use crate::manifest::DeployRules;

/// Bytes that are read of what a compiler complains about.
const COMPLAINT_BYTES: u64 = 64 << 10;

/// Loads what was compiled before of a component, or compiles it. `digest` is its SHA-256.
///
/// # Errors
/// A sentence that says why it cannot be compiled.
pub(super) async fn run(
    stage: &Stage<'_>,
    wasi: Wasi,
    bytes: &Arc<[u8]>,
    digest: [u8; 32],
) -> Result<Component, String> {
    let (platform, service) = (stage.platform, stage.name);
    match aside(platform, move |engines| engines.load_kept(wasi, digest)).await? {
        Ok(Some(component)) => {
            stage.progress.loaded();
            return Ok(component);
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(service, %error, "kept code was refused: the component is compiled again"),
    }
    let began = Progress::compiling(service, bytes.len());
    let compiled = if let Some(compiler) = stage.compiler {
        in_a_process(compiler, &stage.manifest.deploy, wasi, bytes).await?
    } else {
        let bytes = bytes.clone();
        let compiled = aside(platform, move |engines| engines.compile(wasi, &bytes)).await?;
        compiled.map_err(|error| format!("{error:#}"))?
    };
    let loaded = aside(platform, move |engines| {
        let component = engines.load(wasi, &compiled).map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>((component, engines.keep(wasi, digest, &compiled)))
    });
    let (component, kept) = loaded.await??;
    stage.progress.compiled(service, began);
    if let Err(error) = kept {
        tracing::warn!(service, %error, "compiled code was not kept: the next start compiles the component again");
    }
    Ok(component)
}

/// Does something with the engines on a thread that may take its time.
async fn aside<T: Send + 'static>(
    platform: &Arc<Platform>,
    work: impl FnOnce(&Engines) -> T + Send + 'static,
) -> Result<T, String> {
    let platform = platform.clone();
    tokio::task::spawn_blocking(move || work(&platform.engines)).await.map_err(|panic| panic.to_string())
}

async fn in_a_process(compiler: &Path, rules: &DeployRules, wasi: Wasi, bytes: &[u8]) -> Result<Compiled, String> {
    let limit = rules.compile_memory;
    let mut command = Command::new(compiler);
    command.arg("compile").arg("--memory").arg(limit.as_u64().to_string());
    // It runs on one thread, so it never has more of the processor than time passes. Its host may be killed, and then ends it no more.
    command.arg("--seconds").arg((rules.compile_time.as_secs() + 1).to_string());
    command.arg("--wasi").arg(match wasi {
        Wasi::P2 => "0.2",
        Wasi::P3 => "0.3",
    });
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().map_err(|error| format!("{} cannot be started: {error}", compiler.display()))?;
    let work = tokio::time::timeout(rules.compile_time, converse(&mut process, bytes, limit.as_u64()));
    let ended = work.await.map_err(|_| format!("it was not compiled within {:?}", rules.compile_time))?;
    let (status, code, said) = ended.map_err(|error| error.to_string())?;
    if status.success() {
        // One that could have more than it was given is none of ours.
        let whole = (code.len() as u64) < limit.as_u64();
        return whole.then(|| Compiled::by_compiler(code)).ok_or_else(|| format!("its code has more than {limit}"));
    }
    let said = String::from_utf8_lossy(&said);
    let said = said.trim().trim_start_matches("comptoir: ");
    // Without memory it says so where it can, and is ended by a signal where it cannot.
    if status.code().is_some() && !said.is_empty() && !said.ends_with("out of memory") {
        return Err(said.to_owned());
    }
    tracing::warn!(%status, said, "a compiler was cut short");
    Err(format!("compiling it was cut short ({status}): perhaps it needs more than {limit} of memory"))
}

/// Gives a compiler its component, and gives how it ended, what it made, at most so many bytes, and what it said.
async fn converse(process: &mut Child, bytes: &[u8], most: u64) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A compiler that ends early says why on stderr; that its input broke off says nothing more.
            let _ = stdin.write_all(bytes).await;
        }
    };
    let ((), code, said, status) =
        tokio::join!(give, take(stdout, most), take(stderr, COMPLAINT_BYTES), process.wait());
    Ok((status?, code?, said?))
}

/// Reads to the end, or so many bytes. What comes beyond breaks off where it is written.
async fn take(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
