//! A failing disk: a preloaded library makes the host's writes or syncs fail.

#![cfg(target_os = "linux")]

use std::sync::Arc;

use rustix::io::Errno;
use testing::lost_writes::library;

use super::{Program, UNRULY, serve};

/// The operation that fails, and its error: writes to a broken, a read-only and a full disk, and syncs.
const WAYS: [(char, Errno); 4] = [('w', Errno::IO), ('w', Errno::ROFS), ('w', Errno::NOSPC), ('s', Errno::IO)];

#[tokio::test]
async fn a_disk_error_fails_writes_with_503_and_needs_no_restart() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/all/binary/failing/disk.c");
    let order = folder.path().join("fails");
    let mut command = serve(&folder, UNRULY);
    command.env("LD_PRELOAD", library(folder.path(), source)).env("FAILS_WHEN", &order);
    command.env("FAILS_BELOW", folder.path().join("data"));
    let program = Program::spawn(command, &folder).await;
    for (written, (what, error)) in WAYS.into_iter().enumerate() {
        std::fs::write(&order, format!("{what} {}", error.raw_os_error())).unwrap();
        assert_eq!(program.readiness().await, (503, "not writable".into()), "{what} {error}");
        for _ in 0..3 {
            let (status, answer) = program.add_note().await;
            assert_eq!(
                (status, &answer["error"]["code"]),
                (503, &"STORAGE_UNAVAILABLE".into()),
                "{what} {error}: {answer}"
            );
            let (status, answer) = program.notes().await;
            assert_eq!((status, &answer["data"]["notes"]), (200, &written.into()), "{what} {error}: {answer}");
        }
        std::fs::remove_file(&order).unwrap();
        assert_eq!(program.add_note().await.0, 200, "after {what} {error}");
        assert_eq!(program.notes().await.1["data"]["notes"], written + 1, "after {what} {error}");
        assert_eq!(program.readiness().await, (200, "writable".into()), "after {what} {error}");
    }
}
