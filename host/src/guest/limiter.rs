//! Memory, tables and instances of one store, summed over everything in it.

use wasmtime::ResourceLimiter;

/// Instances, tables and memories that one component may consist of. An adapter or a shim counts as an instance.
pub const PARTS: u32 = 8;

/// Elements of all tables of one store.
const TABLE_ELEMENTS: usize = 20_000;

/// Refuses growth beyond a limit. A refused `memory.grow` gives -1 to the guest, as the specification has it.
#[derive(Debug)]
pub struct Limiter {
    memory_limit_bytes: usize,
    memory_bytes: usize,
    table_elements: usize,
    refused: bool,
}

impl Limiter {
    /// A limiter for a store whose memories together may have so many bytes.
    pub fn new(memory_limit_bytes: usize) -> Self {
        Self { memory_limit_bytes, memory_bytes: 0, table_elements: 0, refused: false }
    }

    /// Whether three quarters of the memory are still to be had.
    pub fn has_room(&self) -> bool {
        !self.refused && self.memory_bytes <= self.memory_limit_bytes / 4
    }

    /// Whether the guest asked for more memory than it may have: the likely cause of a trap that follows.
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
        PARTS as usize
    }

    fn tables(&self) -> usize {
        PARTS as usize
    }

    fn memories(&self) -> usize {
        PARTS as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_limit_is_on_the_sum_of_all_memories() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(!limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.refused_memory());
        assert!(limiter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn a_quarter_of_the_memory_leaves_room_and_more_does_not() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 25, None).unwrap());
        assert!(limiter.has_room());
        assert!(limiter.memory_growing(25, 26, None).unwrap());
        assert!(!limiter.has_room());
    }
}
