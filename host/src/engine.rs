//! The two wasmtime engines, their settings, and the way from a file's bytes to compiled code.
//!
//! WASI 0.2 components run on an engine without component-model concurrency, which makes a request a third cheaper; WASI 0.3
//! components need it and run on a second engine. A component belongs to the one that its exports ask for.
//!
//! Compiled code is loaded without a check of what it does, so whoever can write the cache owns the host: the cache is
//! wasmtime's own, in a folder that nobody but the host's user may enter.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::{Component, Linker};
use wasmtime::{Cache, CacheConfig, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::guest::{self, Guest};
use crate::manifest::Grant;

/// How often a computing guest is interrupted: its time is checked, and other requests get their turn.
const TICK: Duration = Duration::from_millis(5);

/// Linear memory and table bytes of a freed slot that stay resident, to be reused without a page fault. Only with the
/// kernel's `PAGEMAP_SCAN` (Linux 6.7), which finds the dirty pages; without it, keeping pages costs more than it saves.
const KEEP_MEMORY_BYTES: usize = 1 << 20;
const KEEP_TABLE_BYTES: usize = 64 << 10;

/// Which generation of WASI a component is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// 0.2.
    P2,
    /// 0.3.
    P3,
}

/// The interface by which a component answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// `comptoir:platform/handler@0.1.x`, beside a description.
    Plain,
    /// `wasi:http/incoming-handler@0.2.x`.
    HttpP2,
    /// `wasi:http/handler@0.3.x`.
    HttpP3,
}

impl Speaks {
    /// The generation of WASI that goes with it.
    pub fn wasi(self) -> Wasi {
        match self {
            Self::Plain | Self::HttpP2 => Wasi::P2,
            Self::HttpP3 => Wasi::P3,
        }
    }

    /// Its name, as a component exports it.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Plain => "comptoir:platform/handler@0.1",
            Self::HttpP2 => "wasi:http/incoming-handler@0.2",
            Self::HttpP3 => "wasi:http/handler@0.3",
        }
    }
}

/// What a component says about itself on the outside, read without compiling it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anatomy {
    /// How it answers. Where it could in several ways, the first of [`Speaks`].
    pub speaks: Speaks,
    /// Whether it exports `comptoir:platform/service`.
    pub describes_itself: bool,
    /// The names of its imports, `wasi:io/streams@0.2.6` and so on.
    pub imports: Vec<String>,
}

/// Why some bytes cannot be a service.
#[derive(Debug, thiserror::Error)]
pub enum NotAService {
    /// Not WebAssembly, cut off, or malformed.
    #[error("it is not a WebAssembly component: {0}")]
    Garbage(String),
    /// A core module.
    #[error("it is a core module: build it as a component, for example with `cargo build --target wasm32-wasip2`")]
    CoreModule,
    /// A component of another kind.
    #[error(
        "it exports neither `wasi:http/incoming-handler@0.2.x` nor `wasi:http/handler@0.3.x`, nor \
         `comptoir:platform/handler@0.1.x` with `comptoir:platform/service@0.1.x`, so it cannot answer HTTP requests. It \
         exports: {0}"
    )]
    WrongWorld(String),
}

/// Reads a component's imports and exports.
///
/// # Errors
/// `NotAService`.
pub fn inspect(bytes: &[u8]) -> Result<Anatomy, NotAService> {
    // One sentence for people: what follows the first line is a dump of bytes.
    let garbage = |error: wasmparser::BinaryReaderError| {
        let text = error.message();
        NotAService::Garbage(text.split(" - expected").next().unwrap_or(text).trim().to_owned())
    };
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(garbage)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => return Err(NotAService::CoreModule),
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(garbage)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(garbage)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(NotAService::Garbage("it is cut off".to_owned()));
    }
    let has = |prefix: &str| exports.iter().any(|export| export.starts_with(prefix));
    let describes_itself = has("comptoir:platform/service@0.1.");
    let may = |speaks: &Speaks| *speaks != Speaks::Plain || describes_itself;
    let all = [Speaks::Plain, Speaks::HttpP2, Speaks::HttpP3].into_iter();
    let found = all.filter(may).find(|speaks| has(&format!("{}.", speaks.interface())));
    let speaks = found.ok_or_else(|| NotAService::WrongWorld(exports.join(", ")))?;
    Ok(Anatomy { speaks, describes_itself, imports })
}

/// Both engines, each with a linker that holds what every component may import.
pub struct Engines {
    p2: Linker<Guest>,
    p3: Linker<Guest>,
    cache_folder: PathBuf,
}

impl Engines {
    /// Makes the engines and reserves the address space for so many instances.
    ///
    /// # Errors
    /// When the cache folder cannot be used or the address space is not to be had.
    pub fn new(cache_folder: &Path, instances: u32) -> anyhow::Result<Self> {
        let cache = cache(cache_folder)?;
        // An older kernel refuses the first.
        let (p2, scan) = match engine(&cache, instances, Wasi::P2, Enabled::Yes) {
            Ok(engine) => (engine, Enabled::Yes),
            Err(_) => (engine(&cache, instances, Wasi::P2, Enabled::No)?, Enabled::No),
        };
        let p3 = engine(&cache, instances, Wasi::P3, scan)?;
        start_ticking(&[&p2, &p3])?;
        let mut linkers = [Linker::new(&p2), Linker::new(&p3)];
        for linker in &mut linkers {
            guest::link_base(linker)?;
        }
        let [p2, mut p3] = linkers;
        guest::link_base_p3(&mut p3)?;
        Ok(Self { p2, p3, cache_folder: cache_folder.to_owned() })
    }

    /// Compiles a component, or loads what an earlier run compiled. Takes seconds: not for the reactor's threads.
    ///
    /// # Errors
    /// When the component is not valid or uses a feature that is off.
    pub fn compile(&self, wasi: Wasi, bytes: &[u8]) -> wasmtime::Result<Component> {
        Component::new(self.base(wasi).engine(), bytes)
    }

    /// The folder of compiled code.
    pub fn cache_folder(&self) -> &Path {
        &self.cache_folder
    }

    /// What a component may import that was granted these interfaces.
    pub fn linker(&self, wasi: Wasi, grants: &[Grant], calls: bool) -> wasmtime::Result<Linker<Guest>> {
        let mut linker = self.base(wasi).clone();
        for grant in grants {
            guest::link_grant(&mut linker, *grant)?;
        }
        if calls {
            guest::link_calls(&mut linker)?;
            if wasi == Wasi::P3 {
                guest::link_calls_p3(&mut linker)?;
            }
        }
        Ok(linker)
    }

    fn base(&self, wasi: Wasi) -> &Linker<Guest> {
        match wasi {
            Wasi::P2 => &self.p2,
            Wasi::P3 => &self.p3,
        }
    }
}

/// Compiles a component into a folder of compiled code and no further: what a process does that was started for it.
///
/// # Errors
/// When the component is not valid or the folder cannot be used.
pub fn compile_into(cache_folder: &Path, wasi: Wasi, bytes: &[u8]) -> anyhow::Result<()> {
    // How instances are allocated is no part of the compiled code, so this process reserves nothing for them.
    let mut config = config(&cache(cache_folder)?, wasi);
    // On one processor, whatever its priority: on all of them it would be in the way of requests.
    config.parallel_compilation(false);
    let engine = Engine::new(&config)?;
    Component::new(&engine, bytes)?;
    Ok(())
}

fn cache(folder: &Path) -> anyhow::Result<Cache> {
    let mut config = CacheConfig::new();
    config.with_directory(folder);
    Ok(Cache::new(config)?)
}

fn engine(cache: &Cache, instances: u32, wasi: Wasi, pagemap_scan: Enabled) -> wasmtime::Result<Engine> {
    let mut config = config(cache, wasi);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, pagemap_scan)));
    Engine::new(&config)
}

fn config(cache: &Cache, wasi: Wasi) -> Config {
    let concurrent = wasi == Wasi::P3;
    let mut config = Config::new();
    config
        .cache(Some(cache.clone()))
        .epoch_interruption(true)
        .concurrency_support(concurrent)
        .wasm_component_model_async(concurrent)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .gc_support(false)
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .memory_init_cow(true);
    config
}

/// A component is usually one core module with a memory and a table, and two small ones without that join it to its
/// imports; larger ones draw on the same totals.
fn pool(instances: u32, pagemap_scan: Enabled) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(8)
        .max_memories_per_component(8)
        .max_tables_per_component(8)
        .max_memory_size(1 << 32)
        .pagemap_scan(pagemap_scan);
    if pagemap_scan != Enabled::No {
        pool.linear_memory_keep_resident(KEEP_MEMORY_BYTES).table_keep_resident(KEEP_TABLE_BYTES);
    }
    pool
}

/// One thread moves the clock by which guests are interrupted, until the engines are gone.
fn start_ticking(engines: &[&Engine]) -> std::io::Result<()> {
    let engines: Vec<_> = engines.iter().map(|engine| engine.weak()).collect();
    std::thread::Builder::new().name("epoch".to_owned()).spawn(move || {
        while let Some(alive) = engines.iter().map(wasmtime::EngineWeak::upgrade).collect::<Option<Vec<_>>>() {
            for engine in &alive {
                engine.increment_epoch();
            }
            drop(alive);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn garbage_a_cut_off_file_and_a_core_module_are_told_apart() {
        let module = wat::parse_str("(module)").unwrap();
        let component = wat::parse_str(r#"(component (core module))"#).unwrap();
        assert!(inspect(b"hello").unwrap_err().to_string().contains("not a WebAssembly component"));
        assert!(inspect(b"").unwrap_err().to_string().contains("not a WebAssembly component"));
        assert!(
            inspect(&component[..component.len() - 2]).unwrap_err().to_string().contains("not a WebAssembly component")
        );
        assert!(matches!(inspect(&module), Err(NotAService::CoreModule)));
        assert!(matches!(inspect(&component), Err(NotAService::WrongWorld(_))));
    }

    #[test]
    fn imports_and_the_generation_of_wasi_are_read_without_compiling() {
        let component = r#"(component
            (import "wasi:sockets/tcp@0.2.6" (instance))
            (instance $handler)
            (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
        let anatomy = inspect(&wat::parse_str(component).unwrap()).unwrap();
        assert_eq!(anatomy.speaks, Speaks::HttpP2);
        assert!(!anatomy.describes_itself);
        assert_eq!(anatomy.imports, ["wasi:sockets/tcp@0.2.6"]);
    }
}
