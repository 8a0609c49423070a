//! The settings of the two wasmtime engines.

use wasmtime::component::Component;
use wasmtime::{Collector, Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::guest::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};

/// Bytes of a freed linear memory that stay resident, so that the next instance has fewer page faults.
///
/// Used only if wasmtime scans for written pages (`page_scan`). Without the scan, keeping pages costs more than it saves.
const KEEP_MEMORY_BYTES: usize = 1 << 20;
/// Bytes of a freed table that stay resident.
const KEEP_TABLE_BYTES: usize = 64 << 10;

/// Tables of the pool for each of the host's instances. Each table takes 160 KB of address space.
const TABLES: u32 = 8;

/// The WASI version of a component, which decides its engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// WASI 0.2.
    P2,
    /// WASI 0.3.
    P3,
}

impl Wasi {
    /// The version as text, `0.2` or `0.3`.
    pub fn version(self) -> &'static str {
        match self {
            Self::P2 => "0.2",
            Self::P3 => "0.3",
        }
    }
}

/// What a component is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The WASI version.
    pub wasi: Wasi,
    /// Whether its code may use garbage-collected objects and exceptions, which need a heap. Code for a target without them runs
    /// on the same engine.
    pub gc_heap: bool,
}

/// An engine that reserves address space for this many instances.
pub(super) fn engine(instances: u32, wasi: Wasi, scans: bool) -> wasmtime::Result<Engine> {
    let mut config = config(Target { wasi, gc_heap: true });
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, scans)));
    Engine::new(&config)
}

/// The settings that compiled code depends on. How instances are allocated is not part of them.
pub(super) fn config(target: Target) -> Config {
    let concurrent = target.wasi == Wasi::P3;
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .concurrency_support(concurrent)
        .wasm_component_model_async(concurrent)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .wasm_function_references(true)
        .wasm_gc(target.gc_heap)
        .wasm_exceptions(target.gc_heap)
        .gc_support(true)
        .collector(Collector::Copying)
        .memory_init_cow(true);
    config
}

/// How many of the host's instances one instance of this component takes. They must suffice for its linear memories, including
/// the heap for objects, and for its tables.
pub fn host_instances(component: &Component, gc_heap: bool) -> u32 {
    let Some(required) = component.resources_required() else { return 1 };
    let memories = required.num_memories + u32::from(gc_heap);
    memories.max(required.num_tables.div_ceil(TABLES)).max(1)
}

/// The pool of instances. Linear memories, heaps for objects and tables need address space, so there is one memory and a few tables per instance. An
/// instance with more of them takes several (`host_instances`), which `Slots` counts. Core instances need none in advance, so each
/// instance can have as many as its limit allows.
fn pool(instances: u32, scans: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
        .total_gc_heaps(instances)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memory_size(1 << 32)
        .pagemap_scan(if scans { Enabled::Yes } else { Enabled::No });
    if scans {
        pool.linear_memory_keep_resident(KEEP_MEMORY_BYTES).table_keep_resident(KEEP_TABLE_BYTES);
    }
    pool
}
