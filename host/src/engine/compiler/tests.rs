#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A program that stands in for `comptoir compile`. Another process writes it, because a file that is open for writing cannot be
/// executed, and a concurrent test could inherit this process's descriptor.
async fn stand_in(folder: &Path, does: &str) -> std::path::PathBuf {
    let path = folder.join("compiler");
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\"").arg(&path).arg(does);
    assert!(shell.status().await.unwrap().success());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// What the host gets of a compiler with this behaviour.
async fn compiled(does: &str, time: Duration, priority: CompilePriority) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let program = stand_in(folder.path(), does).await;
    let limits = CompileLimits { memory: ByteSize::gib(4), time };
    let target = Target { wasi: Wasi::P2, gc_heap: false };
    let compiled = Compiler::new(&program, limits, priority).compile(target, b"a component").await?;
    Ok(String::from_utf8(compiled.code().to_vec()).unwrap())
}

#[tokio::test]
async fn a_compiler_that_waits_for_the_processor_is_not_killed() {
    let waited = compiled("sleep 1; cat", Duration::from_millis(900), CompilePriority::Low).await;
    assert_eq!(waited.unwrap(), "a component");
}

#[tokio::test]
async fn a_compiler_that_hangs_is_killed_at_ten_times_its_limit() {
    let hung = compiled("exec sleep 3600", Duration::from_millis(20), CompilePriority::Low).await;
    assert_eq!(hung.unwrap_err(), "it was not compiled within 200ms, 10 times `compile_time`: raise it in [deploy]");
}

#[tokio::test]
async fn a_compiler_that_computes_for_too_long_is_ended_by_the_system() {
    // A second is enough for the signal. The elapsed time may be longer, so that a busy machine does not end the program first.
    let spins = "ulimit -c 0; ulimit -S -t 1; while :; do :; done";
    let ended = compiled(spins, Duration::from_millis(59_500), CompilePriority::Low).await;
    assert_eq!(ended.unwrap_err(), "compiling it takes more than 60s of CPU time: raise `compile_time` in [deploy]");
}

#[tokio::test]
async fn only_a_compiler_that_may_use_all_cores_is_told_how_many() {
    let shows = "cat > /dev/null; echo \"$*; threads: $RAYON_NUM_THREADS\"";
    let shown = |priority| compiled(shows, Duration::from_secs(60), priority);
    let limits = "compile --memory 4294967296 --seconds 60 --wasi 0.2";
    assert_eq!(shown(CompilePriority::Low).await.unwrap(), format!("{limits}; threads: \n"));
    let threads = threads(4 << 30);
    let all = shown(CompilePriority::AllCores).await.unwrap();
    assert_eq!(all, format!("{limits} --all-cores; threads: {threads}\n"));
}

#[test]
fn seconds_are_rounded_up_and_threads_fit_into_the_address_space() {
    let seconds = [0, 1, 1000, 1001, 60_000].map(|millis| whole_seconds(Duration::from_millis(millis)));
    assert_eq!(seconds, [1, 1, 1, 2, 60]);
    assert_eq!([threads(0), threads(THREAD_BYTES)], [1, 1]);
    assert!(threads(u64::MAX) >= 1);
}
