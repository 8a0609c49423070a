//! Limits the linear memories, tables and core instances of one store.

use wasmtime::ResourceLimiter;

/// Core instances that one component may consist of. Adapters and shims count too: a component from Python has 14, and three composed
/// Rust components have 9.
pub const MAX_CORE_INSTANCES: u32 = 64;

/// Tables that one component may have.
pub const MAX_TABLES: u32 = 64;

/// Linear memories that one component may have. Each of them takes one of the host's instances.
pub const MAX_MEMORIES: u32 = 8;

/// Elements that all tables of one store may have together.
const TABLE_ELEMENTS: usize = 20_000;

/// Refuses growth beyond the limits. A refused `memory.grow` returns -1 to the guest, as the WebAssembly specification requires.
#[derive(Debug)]
pub struct Limiter {
    memory_limit_bytes: usize,
    memory_bytes: usize,
    table_elements: usize,
    refused: bool,
}

impl Limiter {
    /// A limiter for a store whose linear memories may have this many bytes together.
    pub fn new(memory_limit_bytes: usize) -> Self {
        Self { memory_limit_bytes, memory_bytes: 0, table_elements: 0, refused: false }
    }

    /// Whether the guest uses at most a quarter of its memory limit and was never refused memory.
    pub fn has_room(&self) -> bool {
        !self.refused && self.memory_bytes <= self.memory_limit_bytes / 4
    }

    /// Bytes of all linear memories together.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Whether the guest was refused memory. This is the likely cause of a later trap.
    pub fn refused_memory(&self) -> bool {
        self.refused
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_limit_bytes {
            self.refused = true;
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let total = self.table_elements.saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_limit_applies_to_the_sum_of_all_memories() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.refused_memory());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn an_instance_has_room_up_to_a_quarter_of_its_limit() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 25, None).unwrap());
        assert!(limiter.has_room());
        assert!(limiter.memory_growing(25, 26, None).unwrap());
        assert!(!limiter.has_room());
    }
}
