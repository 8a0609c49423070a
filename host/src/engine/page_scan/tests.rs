//! The choice of the method on simulated machines, and the reset of real memory on this one.

use tempfile::TempDir;
use wasmtime::{Instance, Module, Store};

use super::*;
use crate::engine::settings::{Wasi, engine};

const NO_SWAP: &str = "Filename\tType\tSize\tUsed\tPriority\n";
const SWAP: &str = "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1\tpartition\t8388604\t0\t-2\n";

/// A simulated `/proc` and `/sys` with these files.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn chosen(files: &[(&str, &str)]) -> Reset {
    PageScan::choose(machine(files).path(), true).now()
}

#[test]
fn without_swap_space_written_pages_are_scanned() {
    let reset = chosen(&[("proc/swaps", NO_SWAP)]);
    assert_eq!((reset.scans, reset.is_safe, reset.reason.as_str()), (true, true, "the system has no swap space"));
}

#[test]
fn without_the_scan_whole_memories_are_reset() {
    let reset = PageScan::choose(machine(&[("proc/swaps", NO_SWAP)]).path(), false).now();
    assert!(!reset.scans && reset.is_safe && reset.reason.contains("PAGEMAP_SCAN"), "{reset:?}");
}

#[test]
fn with_swap_space_scans_need_a_cgroup_without_swap() {
    let own = ("proc/self/cgroup", "0::/system.slice/comptoir.service\n");
    for limited in ["", "system.slice/", "system.slice/comptoir.service/"] {
        let limit = format!("sys/fs/cgroup/{limited}memory.swap.max");
        let reset = chosen(&[("proc/swaps", SWAP), own, (&limit, "0\n")]);
        assert!(reset.scans && reset.reason.contains(limited.trim_end_matches('/')), "{limited}: {reset:?}");
        for more in ["max\n", "4096\n", ""] {
            let reset = chosen(&[("proc/swaps", SWAP), own, (&limit, more)]);
            assert!(!reset.scans && reset.is_safe && reset.reason.contains("swap space"), "{limited}: {reset:?}");
        }
    }
    let elsewhere = chosen(&[("proc/swaps", SWAP), own, ("sys/fs/cgroup/user.slice/memory.swap.max", "0\n")]);
    assert!(!elsewhere.scans, "{elsewhere:?}");
}

#[test]
fn without_proof_that_swap_is_forbidden_there_are_no_scans() {
    let limit = ("sys/fs/cgroup/memory.swap.max", "0\n");
    let v1 = "4:memory:/a\n1:cpu:/\n";
    let v1_limits = [
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000\n"),
        ("sys/fs/cgroup/memory/a/memory.memsw.limit_in_bytes", "1000\n"),
    ];
    for files in [
        &[][..],
        &[limit],
        &[("proc/swaps", SWAP), limit],
        &[("proc/swaps", SWAP), limit, ("proc/self/cgroup", v1)],
        &[("proc/swaps", SWAP), v1_limits[0], v1_limits[1], ("proc/self/cgroup", v1)],
        &[("proc/swaps", SWAP), limit, ("proc/self/cgroup", "0::/../other\n")],
    ] {
        let reset = chosen(files);
        assert!(!reset.scans && reset.is_safe, "{files:?}: {reset:?}");
    }
}

/// Writes to pages of an instance's memory, then calls `while_it_lives` with its address and length. Returns how many pages the next
/// instance finds written.
fn left(scans: bool, while_it_lives: impl FnOnce(*mut u8, usize)) -> usize {
    const PAGE: usize = 4096;
    let engine = engine(1, Wasi::P2, scans).unwrap();
    let module = wat::parse_str(r#"(module (memory (export "memory") 16) (data (i32.const 8) "image"))"#).unwrap();
    let module = Module::new(&engine, module).unwrap();
    let instance = || {
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        (store, memory)
    };
    let (mut store, memory) = instance();
    memory.data_mut(&mut store).chunks_mut(PAGE).step_by(3).for_each(|page| page.fill(0xA5));
    while_it_lives(memory.data_ptr(&store), memory.data_size(&store));
    drop(store);
    let (store, memory) = instance();
    let pages = memory.data(&store).chunks(PAGE);
    assert_eq!(&memory.data(&store)[8..13], b"image");
    pages.filter(|page| page.contains(&0xA5)).count()
}

#[test]
fn a_swapped_out_page_is_empty_for_the_next_guest() {
    let is_available = PoolingAllocationConfig::is_pagemap_scan_available();
    let scans = PageScan::choose(Path::new("/"), is_available).now().scans;
    // Without swap space the pages stay in memory. Then this test only checks that they are reset.
    let swapped_out = left(scans, |memory, length| {
        #[allow(unsafe_code, reason = "the guest's memory exists until the store is dropped")]
        // SAFETY: the advice does not change the contents of the memory.
        unsafe { rustix::mm::madvise(memory.cast(), length, rustix::mm::Advice::LinuxPageOut) }.unwrap();
    });
    assert_eq!(swapped_out, 0);
}

#[test]
fn scans_stop_when_swap_space_is_added() {
    let root = machine(&[("proc/swaps", NO_SWAP)]);
    let is_available = PoolingAllocationConfig::is_pagemap_scan_available();
    let scan = PageScan::choose(root.path(), is_available);
    scan.check(root.path());
    assert_eq!(scan.now().scans, is_available);
    // The engine was created while there was no swap space.
    let left = left(is_available, |_, _| {
        fs::write(root.path().join("proc/swaps"), SWAP).unwrap();
        scan.check(root.path());
        assert!(!PoolingAllocationConfig::is_pagemap_scan_available());
    });
    assert_eq!(left, 0);
    let reset = scan.now();
    assert!(!reset.scans && reset.is_safe && reset.reason.contains("swap space"), "{reset:?}");
}
