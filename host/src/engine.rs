//! The two wasmtime engines, their settings, and the way from a file's bytes to compiled code.
//!
//! WASI 0.2 components run on an engine without component-model concurrency, which makes a request a third cheaper; WASI 0.3
//! components need it and run on a second engine. A component belongs to the one that its exports ask for.
//!
//! Compiled code is loaded without a check of what it does. It comes from the compiler, or from the cache, which gives it out only
//! as this host made it.

mod cache;
mod page_scan;
mod ticker;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::Arc;

use wasmparser::{Encoding, Parser, Payload};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::guest::{self, Guest, PARTS};
use crate::manifest::Grant;
use crate::printable::excerpt;

pub use cache::CacheError;
use cache::{Cache, Origin};
use page_scan::PageScan;
pub use page_scan::Reset;
pub use ticker::{TICK, Ticker};

/// Linear memory and table bytes of a freed slot that stay resident, to be reused without a page fault. Only if the written pages are
/// scanned for (`page_scan`); without that, keeping pages costs more than it saves.
const KEEP_MEMORY_BYTES: usize = 1 << 20;
const KEEP_TABLE_BYTES: usize = 64 << 10;

/// Imports and exports that a component may have, each. A service of a dozen grants has about fifty.
const NAMES: usize = 500;

/// Bytes of the name of an import or export.
const NAME_BYTES: usize = 512;

/// Exports that a refusal lists.
const LISTED: usize = 10;

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
    /// More imports or exports than a service needs, or longer names.
    #[error("{0}: build it with fewer interfaces")]
    TooManyNames(String),
}

/// Reads a component's imports and exports.
///
/// # Errors
/// `NotAService`.
pub fn inspect(bytes: &[u8]) -> Result<Anatomy, NotAService> {
    // One sentence for people: what follows the first line is a dump of bytes.
    let garbage = |error: wasmparser::BinaryReaderError| {
        let text = error.message();
        NotAService::Garbage(excerpt(text.split(" - expected").next().unwrap_or(text).trim(), NAME_BYTES))
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
                    add_name(&mut imports, import.map_err(garbage)?.name.name, "imports")?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    add_name(&mut exports, export.map_err(garbage)?.name.name, "exports")?;
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
    let speaks = found.ok_or_else(|| NotAService::WrongWorld(list(&exports)))?;
    Ok(Anatomy { speaks, describes_itself, imports })
}

fn add_name(names: &mut Vec<String>, name: &str, what: &str) -> Result<(), NotAService> {
    if names.len() == NAMES {
        return Err(NotAService::TooManyNames(format!("it has more than {NAMES} {what}")));
    }
    if name.len() > NAME_BYTES {
        let bytes = name.len();
        return Err(NotAService::TooManyNames(format!(
            "a name of its {what} has {bytes} bytes, more than {NAME_BYTES}"
        )));
    }
    names.push(name.to_owned());
    Ok(())
}

/// The first few names, and how many more there are.
fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(LISTED)].join(", ");
    if names.len() > LISTED { format!("{shown} and {} more", names.len() - LISTED) } else { shown }
}

/// The functions that a component imports of an interface of this platform, such as `passwords`.
pub fn functions(component: &Component, interface: &str) -> Vec<String> {
    let (imported, engine) = (component.component_type(), component.engine());
    let start = format!("comptoir:platform/{interface}@");
    let mut functions = Vec::new();
    for (_, import) in imported.imports(engine).filter(|(name, _)| name.starts_with(&start)) {
        let ComponentItem::ComponentInstance(instance) = import.ty else { continue };
        let exports = instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentFunc(_)));
        functions.extend(exports.map(|(name, _)| name.to_owned()));
    }
    functions
}

/// Both engines, each with a linker that holds what every component may import.
pub struct Engines {
    p2: Linker<Guest>,
    p3: Linker<Guest>,
    cache: Cache,
    ticker: Arc<Ticker>,
    page_scan: Arc<PageScan>,
}

/// Machine code that wasmtime's compiler made for one of these engines.
pub struct Compiled(Vec<u8>);

impl Compiled {
    /// What a compiler gave that this host started, on the engine of the same generation.
    pub(crate) fn by_compiler(code: Vec<u8>) -> Self {
        Self(code)
    }
}

impl Engines {
    /// Makes the engines and reserves the address space for so many instances.
    ///
    /// # Errors
    /// When the address space is not to be had.
    pub fn new(cache_folder: &Path, instances: u32) -> anyhow::Result<Self> {
        let is_available = PoolingAllocationConfig::is_pagemap_scan_available();
        let page_scan = Arc::new(PageScan::choose(Path::new("/"), is_available));
        let scans = page_scan.now().scans;
        let (p2, p3) = (engine(instances, Wasi::P2, scans)?, engine(instances, Wasi::P3, scans)?);
        PageScan::watch(&page_scan)?;
        let ticker = start_ticking(&[&p2, &p3])?;
        let mut linkers = [Linker::new(&p2), Linker::new(&p3)];
        for linker in &mut linkers {
            guest::link_base(linker)?;
        }
        let [p2, mut p3] = linkers;
        guest::link_base_p3(&mut p3)?;
        Ok(Self { p2, p3, cache: Cache::new(cache_folder), ticker, page_scan })
    }

    /// What interrupts the guests on these engines.
    pub fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }

    /// How the memory of freed instances is reset.
    pub fn reset(&self) -> Reset {
        self.page_scan.now()
    }

    /// What was compiled of a component before, if it is kept. `digest` is the component's SHA-256. Blocks on the disk.
    ///
    /// # Errors
    /// Why what is kept was not loaded. Then it has to be compiled.
    pub fn load_kept(&self, wasi: Wasi, digest: [u8; 32]) -> Result<Option<Component>, CacheError> {
        let origin = self.origin(wasi, digest);
        let Some(code) = self.cache.take(origin)? else { return Ok(None) };
        let loaded = self.load(wasi, &Compiled(code)).map_err(|error| {
            self.cache.remove(origin);
            CacheError::Unfit { path: self.cache.path(origin), cause: format!("{error:#}") }
        });
        loaded.map(Some)
    }

    /// Compiles a component, on every processor. Takes seconds: not for the reactor's threads.
    ///
    /// # Errors
    /// When the component is not valid or uses a feature that is off.
    pub fn compile(&self, wasi: Wasi, bytes: &[u8]) -> wasmtime::Result<Compiled> {
        self.base(wasi).engine().precompile_component(bytes).map(Compiled)
    }

    /// Keeps what was compiled of a component. Blocks on the disk.
    ///
    /// # Errors
    /// Why it is not kept. The next start compiles it again.
    pub fn keep(&self, wasi: Wasi, digest: [u8; 32], compiled: &Compiled) -> Result<(), CacheError> {
        self.cache.put(self.origin(wasi, digest), &compiled.0)
    }

    /// Makes code ready to run.
    ///
    /// # Errors
    /// When it was made for another processor or by another build.
    #[allow(unsafe_code, reason = "machine code is trusted, not checked")]
    pub fn load(&self, wasi: Wasi, compiled: &Compiled) -> wasmtime::Result<Component> {
        // SAFETY: wasmtime asks for bytes that it serialized itself and that nobody changed since. A `Compiled` holds no others:
        // it was filled by the compiler, in this process or in one that this host started, or by the cache, which verified
        // the MAC that it put on them when it got them from there, and no file is read again after that.
        unsafe { Component::deserialize(self.base(wasi).engine(), &compiled.0) }
    }

    fn origin(&self, wasi: Wasi, component: [u8; 32]) -> Origin {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Origin { component, settings: hasher.hash_one(self.base(wasi).engine().precompile_compatibility_hash()) }
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

/// Compiles a component to what `Engines::load` takes, without engines to run it on: what a process does that was started
/// for it.
///
/// # Errors
/// When the component is not valid or uses a feature that is off.
pub fn compile_apart(wasi: Wasi, bytes: &[u8]) -> wasmtime::Result<Vec<u8>> {
    // How instances are allocated is no part of the compiled code, so this process reserves nothing for them.
    let mut config = config(wasi);
    // On one processor, whatever its priority: on all of them it would be in the way of requests.
    config.parallel_compilation(false);
    Engine::new(&config)?.precompile_component(bytes)
}

fn engine(instances: u32, wasi: Wasi, scans: bool) -> wasmtime::Result<Engine> {
    let mut config = config(wasi);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, scans)));
    Engine::new(&config)
}

fn config(wasi: Wasi) -> Config {
    let concurrent = wasi == Wasi::P3;
    let mut config = Config::new();
    config
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

/// Whoever makes an instance has a place for each of its memories, which are costly; of what is cheap there is enough for as many
/// instances, each with as much of it as it may have.
fn pool(instances: u32, scans: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(PARTS))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(PARTS))
        .total_stacks(instances)
        .max_core_instances_per_component(PARTS)
        .max_memories_per_component(PARTS)
        .max_tables_per_component(PARTS)
        .max_memory_size(1 << 32)
        .pagemap_scan(if scans { Enabled::Yes } else { Enabled::No });
    if scans {
        pool.linear_memory_keep_resident(KEEP_MEMORY_BYTES).table_keep_resident(KEEP_TABLE_BYTES);
    }
    pool
}

/// Moves the clocks of these engines, until they are gone.
fn start_ticking(engines: &[&Engine]) -> std::io::Result<Arc<Ticker>> {
    let engines: Vec<_> = engines.iter().map(|engine| engine.weak()).collect();
    let tick = move || {
        let alive = engines.iter().map(wasmtime::EngineWeak::upgrade).collect::<Option<Vec<_>>>();
        alive.is_some_and(|alive| {
            alive.iter().for_each(Engine::increment_epoch);
            true
        })
    };
    Ticker::start(tick).map(Arc::new)
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

    #[test]
    fn imports_and_exports_are_bounded_in_number_and_length_and_so_is_the_refusal() {
        let refusal = |parts: String| {
            let refused = inspect(&wat::parse_str(format!("(component {parts})")).unwrap()).unwrap_err();
            let text = refused.to_string();
            assert!(text.len() < 8_000, "{} bytes", text.len());
            text
        };
        let imports =
            |count: usize| (0..count).map(|n| format!("(import \"a:b/i{n}\" (instance))")).collect::<String>();
        let exports =
            |count: usize| (0..count).map(|n| format!("(export \"a:b/e{n}\" (instance $x))")).collect::<String>();
        assert!(refusal(imports(NAMES + 1)).contains("more than 500 imports"));
        assert!(refusal(imports(NAMES)).contains("it exports neither"));
        assert!(refusal(format!("(instance $x) {}", exports(NAMES + 1))).contains("more than 500 exports"));
        assert!(refusal(format!("(instance $x) {}", exports(NAMES))).ends_with("a:b/e9 and 490 more"));
        let long = format!("(import \"a:b/{}\" (instance))", "x".repeat(NAME_BYTES));
        assert!(refusal(long).contains("has 516 bytes, more than 512"));
    }
}
