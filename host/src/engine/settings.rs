//! The settings of the two wasmtime engines.

use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

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

/// An engine that reserves address space for this many instances.
pub(super) fn engine(instances: u32, wasi: Wasi, scans: bool) -> wasmtime::Result<Engine> {
    let mut config = config(wasi);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(instances, scans)));
    Engine::new(&config)
}

/// The settings that compiled code depends on. How instances are allocated is not part of them.
pub(super) fn config(wasi: Wasi) -> Config {
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

/// How many of the host's instances one instance of this component takes: enough for its linear memories and its tables.
pub fn host_instances(component: &Component) -> u32 {
    let required = component.resources_required();
    required.map_or(1, |required| required.num_memories.max(required.num_tables.div_ceil(TABLES)).max(1))
}

/// The pool of instances. Linear memories and tables need address space, so there is one memory and a few tables per instance. An
/// instance with more of them takes several (`host_instances`), which `Slots` counts. Core instances need none in advance, so each
/// instance can have as many as its limit allows.
fn pool(instances: u32, scans: bool) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
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
