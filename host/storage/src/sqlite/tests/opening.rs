//! Opening a database file.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use crate::sqlite::OpenError;

fn refusal(path: &std::path::Path) -> OpenError {
    SqliteStorage::open(path, SqliteConfig::default()).err().expect("the file must be refused")
}

#[tokio::test]
async fn only_the_owner_may_use_the_files() {
    let shop = Shop::new().await;
    shop.execute(SELL_ONE, &[]).await.unwrap();
    assert_eq!(shop.files(), ["shop.db", "shop.db-shm", "shop.db-wal"]);
    for file in shop.files() {
        assert_eq!(shop.folder.path().join(&file).metadata().unwrap().mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn permissions_of_others_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    SqliteStorage::open(&path, SqliteConfig::default()).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn the_error_names_a_file_that_is_not_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    std::fs::write(&path, "this is a letter to my mother, and long enough to be one".repeat(20)).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("shop.db"), "{error}");
}

#[test]
fn a_link_and_a_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    SqliteStorage::open(folder.path().join("real.db"), SqliteConfig::default()).unwrap();
    symlink(folder.path().join("real.db"), folder.path().join("link.db")).unwrap();
    std::fs::create_dir(folder.path().join("folder.db")).unwrap();
    for path in ["link.db", "folder.db", "missing/shop.db"] {
        let error = refusal(&folder.path().join(path));
        assert!(matches!(error, OpenError::Unusable { .. }), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused() {
    let shop = Shop::new().await;
    let path = shop.file();
    for n in 0..200 {
        shop.execute("INSERT INTO numbers VALUES ($1)", &[Value::Text(format!("{n:0400}"))]).await.unwrap();
    }
    let Shop { storage, folder } = shop;
    drop(storage);
    let outsider = rusqlite::Connection::open(&path).unwrap();
    // The writer's thread may close its connection later.
    while outsider.execute_batch("PRAGMA journal_mode = DELETE").is_err() {}
    drop(outsider);
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 3 * 4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    drop(folder);
}

#[test]
fn the_linked_sqlite_does_not_lose_commits() {
    assert!(rusqlite::version_number() >= super::super::OLDEST_SQLITE);
}

#[test]
fn a_path_is_never_a_uri() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file:shop.db?mode=memory");
    SqliteStorage::open(&path, SqliteConfig::default()).unwrap();
    assert!(path.exists());
}
