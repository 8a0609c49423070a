//! Endless work, which the host must stop. Shared by several guests.

use std::hint::{black_box, spin_loop};

/// Computes without end.
pub(crate) fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Allocates linear memory without end.
pub(crate) fn grow() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}
