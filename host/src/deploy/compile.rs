//! Compiles a component, or loads its code from the compilation cache.
//!
//! Loading cached code takes a few milliseconds; compiling takes seconds.

use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::Component;

use super::progress::Progress;
use crate::engine::{CompileLimits, CompilePriority, Compiler, Engines, Target};
use crate::manifest::DeployRules;

/// The inputs of a compilation, besides the component.
pub(super) struct Compilation<'a> {
    pub(super) service: &'a str,
    pub(super) engines: &'a Arc<Engines>,
    /// The program that compiles in a separate process. None to compile in this process.
    pub(super) compiler: Option<&'a PathBuf>,
    pub(super) priority: CompilePriority,
    pub(super) rules: &'a DeployRules,
    pub(super) progress: &'a Progress,
}

impl Compilation<'_> {
    /// Loads the component's code from the compilation cache, or compiles it and stores the code. `digest` is the component's SHA-256.
    ///
    /// # Errors
    /// A sentence that says why the component cannot be compiled.
    pub(super) async fn run(&self, target: Target, bytes: &Arc<[u8]>, digest: [u8; 32]) -> Result<Component, String> {
        let (engines, service, wasi) = (self.engines, self.service, target.wasi);
        match blocking(engines, move |engines| engines.load_cached(wasi, digest)).await? {
            Ok(Some(component)) => {
                self.progress.loaded();
                return Ok(component);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(service, %error, "{service}: the cached code was refused, compiling the component again");
            }
        }
        let began = self.progress.compiling(service, bytes.len());
        let compiled = if let Some(program) = self.compiler {
            let limits = CompileLimits { memory: self.rules.compile_memory, time: self.rules.compile_time };
            Compiler::new(program, limits, self.priority).compile(target, bytes).await?
        } else {
            let bytes = bytes.clone();
            let compiled = blocking(engines, move |_| Engines::compile(target, &bytes)).await?;
            compiled.map_err(|error| format!("{error:#}"))?
        };
        let loaded = blocking(engines, move |engines| {
            let component = engines.load(wasi, &compiled).map_err(|error| format!("{error:#}"))?;
            Ok::<_, String>((component, engines.store(wasi, digest, &compiled)))
        });
        let (component, stored) = loaded.await??;
        self.progress.compiled(service, began);
        if let Err(error) = stored {
            tracing::warn!(service, %error, "{service}: cannot store the compiled code, so the next start compiles the component again");
        }
        Ok(component)
    }
}

/// Uses the engines on a blocking thread.
async fn blocking<T: Send + 'static>(
    engines: &Arc<Engines>,
    work: impl FnOnce(&Engines) -> T + Send + 'static,
) -> Result<T, String> {
    let engines = engines.clone();
    tokio::task::spawn_blocking(move || work(&engines)).await.map_err(|panic| panic.to_string())
}
