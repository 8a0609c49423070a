//! The two wasmtime engines, and how a component's bytes become machine code.
//!
//! Components for WASI 0.2 run on an engine without component-model concurrency, which makes a request a third cheaper. Components for
//! WASI 0.3 need concurrency and run on a second engine. The exports of a component decide which engine it uses.
//!
//! wasmtime loads machine code without checking it. So the host loads only code from its own compiler process, and code from the
//! compilation cache that carries the host's MAC.

mod cache;
mod compiler;
mod core_parts;
mod gc_heap;
mod inspect;
mod page_scan;
mod settings;
mod ticker;
mod type_imports;

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, PoolingAllocationConfig};

use crate::guest::{self, Grant, Guest};

pub use cache::CacheError;
use cache::{CompilationCache, Origin};
pub use compiler::{Compile, CompileLimits, CompilePriority, Compiled, Compiler};
pub use inspect::{HandlerKind, Interfaces, NotAService, imported_functions, inspect};
use page_scan::PageScan;
pub use page_scan::Reset;
pub use settings::{Target, Wasi, host_instances};
pub use ticker::{TICK, Ticker};

/// Both engines, with linkers for what every component may import.
pub struct Engines {
    p2: Linker<Guest>,
    p3: Linker<Guest>,
    cache: CompilationCache,
    /// A cache of others, which is only read.
    other_cache: Option<CompilationCache>,
    ticker: Arc<Ticker>,
    page_scan: Arc<PageScan>,
}

impl Engines {
    /// Creates the engines and reserves address space for this many instances.
    ///
    /// # Errors
    /// The system cannot reserve the address space or start a thread.
    pub fn new(cache_folder: &Path, instances: u32) -> anyhow::Result<Self> {
        let is_available = PoolingAllocationConfig::is_pagemap_scan_available();
        let page_scan = Arc::new(PageScan::choose(Path::new("/"), is_available));
        let scans = page_scan.now().scans;
        let p2 = settings::engine(instances, Wasi::P2, scans)?;
        let p3 = settings::engine(instances, Wasi::P3, scans)?;
        PageScan::watch(&page_scan)?;
        let ticker = start_ticker(&[&p2, &p3])?;
        let mut linkers = [Linker::new(&p2), Linker::new(&p3)];
        for linker in &mut linkers {
            guest::link_base(linker)?;
        }
        let [p2, mut p3] = linkers;
        guest::link_base_p3(&mut p3)?;
        Ok(Self { p2, p3, cache: CompilationCache::new(cache_folder), other_cache: None, ticker, page_scan })
    }

    /// Also loads machine code from this compilation cache, without changing it.
    pub fn also_reading(self, cache_folder: Option<&Path>) -> Self {
        Self { other_cache: cache_folder.map(CompilationCache::new), ..self }
    }

    /// The clock that interrupts the guests on these engines.
    pub fn ticker(&self) -> &Arc<Ticker> {
        &self.ticker
    }

    /// How the memory of freed instances is reset now.
    pub fn reset(&self) -> Reset {
        self.page_scan.now()
    }

    /// Loads a component from the compilation cache. `digest` is the component's SHA-256. Blocks on the disk.
    ///
    /// Returns none if the cache does not have it.
    ///
    /// # Errors
    /// The cached code cannot be trusted or read. The component must be compiled again.
    pub fn load_cached(&self, wasi: Wasi, digest: [u8; 32]) -> Result<Option<Component>, CacheError> {
        let origin = self.origin(wasi, digest);
        let Some(code) = self.cache.get(origin)? else { return Ok(self.load_from_other(wasi, origin)) };
        let loaded = self.load(wasi, &Compiled::from_cache(code)).map_err(|error| {
            self.cache.remove(origin);
            CacheError::Unfit { path: self.cache.path(origin), cause: format!("{error:#}") }
        });
        loaded.map(Some)
    }

    /// Loads a component from the cache that is only read. None if it is not there, or not usable.
    fn load_from_other(&self, wasi: Wasi, origin: Origin) -> Option<Component> {
        let code = self.other_cache.as_ref()?.peek(origin)?;
        self.load(wasi, &Compiled::from_cache(code)).ok()
    }

    /// Compiles a component in this process, on all processors. Blocks for seconds.
    ///
    /// # Errors
    /// The component is not valid or uses a WebAssembly feature that is off.
    pub fn compile(target: Target, bytes: &[u8]) -> wasmtime::Result<Compiled> {
        Compiled::by_engine(&Engine::new(&settings::config(target))?, bytes)
    }

    /// Stores compiled code in the compilation cache. Blocks on the disk.
    ///
    /// # Errors
    /// The code was not stored. The next start of the host compiles the component again.
    pub fn store(&self, wasi: Wasi, digest: [u8; 32], compiled: &Compiled) -> Result<(), CacheError> {
        self.cache.insert(self.origin(wasi, digest), compiled.code())
    }

    /// Loads machine code.
    ///
    /// # Errors
    /// The code was compiled for another processor or by another version of the host.
    #[allow(unsafe_code, reason = "machine code is trusted, not checked")]
    pub fn load(&self, wasi: Wasi, compiled: &Compiled) -> wasmtime::Result<Component> {
        // SAFETY: wasmtime requires bytes that it serialized itself and that nobody changed since. A `Compiled` holds only such
        // bytes. They come from the compiler in this process or from a compiler process that this host started. Or they come from
        // the compilation cache, which has verified its own MAC over them. No file is read again after that.
        unsafe { Component::deserialize(self.base(wasi).engine(), compiled.code()) }
    }

    fn origin(&self, wasi: Wasi, component: [u8; 32]) -> Origin {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        Origin { component, settings: hasher.hash_one(self.base(wasi).engine().precompile_compatibility_hash()) }
    }

    /// A linker with the interfaces that every component may import, and with these grants.
    ///
    /// # Errors
    /// Two of the interfaces have the same name.
    pub fn linker<'g>(
        &self,
        wasi: Wasi,
        grants: impl IntoIterator<Item = &'g Grant>,
    ) -> wasmtime::Result<Linker<Guest>> {
        let mut linker = self.base(wasi).clone();
        for grant in grants {
            grant.link(&mut linker)?;
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

/// Starts the thread that advances the epochs of these engines. It ends when one of them is dropped.
fn start_ticker(engines: &[&Engine]) -> std::io::Result<Arc<Ticker>> {
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
