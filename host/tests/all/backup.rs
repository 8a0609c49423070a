//! Backups of data folders, with or without a running host, and restores from them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comptoir::backup::{self, Contents};
use comptoir::host::Host;
use rusqlite::Connection;
use serde_json::{Value, json};
use storage::folder::DataFolder;
use tempfile::TempDir;
use testing::built::program;
use testing::{Client, PASSWORD, Shop, options, shop_manifest};
use tokio::sync::watch;

const BUYERS: usize = 4;
const ORDERS_BEFORE: usize = 40;
const ORDERS_AFTER: usize = 60;

/// Runs a command of `comptoir`. Returns its stdout, or its stderr if it fails.
fn comptoir(arguments: &[&str], paths: &[&Path]) -> Result<String, String> {
    let [command, ref more @ ..] = *arguments else { panic!("no command") };
    let mut program = Command::new(program());
    let output = program.arg(command).args(paths).args(more).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn back_up(data: &Path, folder: &Path) -> PathBuf {
    let said = comptoir(&["backup", "--data", data.to_str().unwrap()], &[folder]).unwrap();
    said.split_whitespace().next().unwrap().into()
}

fn restore(backup: &Path, data: &Path, more: &[&str]) -> Result<String, String> {
    comptoir(&[&["restore", "--data", data.to_str().unwrap()], more].concat(), &[backup])
}

/// A data folder of a stopped host, with a service whose rows take some MiB.
fn some_data() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    for name in ["shop.db", "sessions.db", "deploys.db"] {
        let database = Connection::open(data.path().join(name)).unwrap();
        database.pragma_update(None, "journal_mode", "WAL").unwrap();
        database
            .execute_batch(
                "CREATE TABLE parents (id INTEGER PRIMARY KEY, filling BLOB);
                                CREATE TABLE rows (id INTEGER PRIMARY KEY, parent REFERENCES parents (id));",
            )
            .unwrap();
    }
    let shop = Connection::open(data.path().join("shop.db")).unwrap();
    let sql = "INSERT INTO parents (filling) SELECT randomblob(4000) FROM generate_series";
    let sql = sql.replace(
        "generate_series",
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i FROM n)",
    );
    shop.execute_batch(&format!("{sql}; INSERT INTO rows (parent) SELECT id FROM parents;")).unwrap();
    fs::write(data.path().join("signing.key"), [7; 32]).unwrap();
    fs::create_dir(data.path().join("revisions")).unwrap();
    fs::write(data.path().join("revisions/aa.wasm"), "component").unwrap();
    fs::write(data.path().join("admin.token"), "not for a backup").unwrap();
    data
}

fn rows(data: &Path) -> i64 {
    let database = Connection::open(data.join("shop.db")).unwrap();
    database.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap()
}

/// The backups in a folder, oldest first.
fn backups(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.join("backup.json").exists()).collect();
    found.retain(|path| !path.ends_with(".partial"));
    found.sort();
    found
}

/// Places orders until `done`, and reports those that were answered.
async fn buy(client: Client, placed: Arc<watch::Sender<Vec<i64>>>, done: Arc<AtomicBool>) {
    while !done.load(Ordering::SeqCst) {
        let answer = client.post("/orders", json!({ "items": [{ "product_id": 2, "quantity": 1 }] })).await;
        let id = answer.succeeds(201)["id"].as_i64().unwrap();
        placed.send_modify(|placed| placed.push(id));
    }
}

fn ids(orders: &Value) -> Vec<i64> {
    orders.as_array().unwrap().iter().map(|order| order["id"].as_i64().unwrap()).collect()
}

/// The units of a product in stock and in orders that are not cancelled.
fn in_stock_and_held(data: &Path) -> i64 {
    let orders = Connection::open(data.join("orders.db")).unwrap();
    let sql = "SELECT (SELECT stock FROM products WHERE id = 2) + coalesce(sum(i.quantity), 0)
               FROM order_items AS i JOIN orders AS o ON o.id = i.order_id WHERE i.product_id = 2 AND o.status <> 'cancelled'";
    orders.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn give_stock(data: &Path, stock: i64) {
    let orders = Connection::open(data.join("orders.db")).unwrap();
    orders.execute("UPDATE products SET stock = ?1", [stock]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_contains_every_order_acknowledged_before_it() {
    let mut shop = Shop::open().await;
    shop.stop().await;
    give_stock(shop.data.path(), 1_000_000);
    shop.start_again().await;
    let buyer = shop.user("nadia").await;
    let gone = shop.anon().log_in("nadia", PASSWORD).await;
    gone.post("/auth/logout", json!({})).await.succeeds(200);
    let (placed, done) = (Arc::new(watch::Sender::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let buyers: Vec<_> = (0..BUYERS).map(|_| tokio::spawn(buy(buyer.clone(), placed.clone(), done.clone()))).collect();
    let mut watched = placed.subscribe();
    watched.wait_for(|placed| placed.len() >= ORDERS_BEFORE).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let before = placed.borrow().clone();
    let (data, target) = (shop.data.path().to_owned(), folder.path().join("backups"));
    let backup = tokio::task::spawn_blocking(move || back_up(&data, &target)).await.unwrap();
    let at_most = placed.borrow().len() + BUYERS;
    watched.wait_for(|placed| placed.len() >= ORDERS_AFTER).await.unwrap();
    done.store(true, Ordering::SeqCst);
    for buyer in buyers {
        buyer.await.unwrap();
    }
    shop.stop().await;

    let elsewhere = folder.path().join("elsewhere");
    restore(&backup, &elsewhere, &[]).unwrap();
    assert_eq!(in_stock_and_held(&elsewhere), 1_000_000);
    let other = Host::start(shop_manifest(), &elsewhere, options(&shop.clock)).await.unwrap();
    let at_other = |client: &Client| client.clone().at(&format!("http://{}", other.addresses().gateway));
    let restored = ids(at_other(&buyer).get("/orders").await.succeeds(200));
    let distinct: BTreeSet<i64> = restored.iter().copied().collect();
    assert_eq!(distinct.len(), restored.len());
    let lost: Vec<&i64> = before.iter().filter(|id| !distinct.contains(id)).collect();
    assert!(before.len() >= ORDERS_BEFORE && lost.is_empty(), "of {} orders, {lost:?} are lost", before.len());
    assert!(restored.len() <= at_most, "the backup has {} orders, but only {at_most} were sent", restored.len());
    at_other(&gone).get("/orders").await.refuses(401, "INVALID_TOKEN");
    let refresh = json!({ "refresh_token": buyer.refresh_token() });
    at_other(&buyer).post("/auth/refresh", refresh).await.succeeds(200);
    other.shutdown().await;
}

#[test]
fn a_backup_is_readable_only_by_its_owner_and_has_no_admin_token() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let backup = back_up(data.path(), folder.path());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&backup), mode(&backup.join("revisions"))), (0o700, 0o700));
    let contents: Contents = serde_json::from_slice(&fs::read(backup.join("backup.json")).unwrap()).unwrap();
    let files: Vec<&str> = contents.files.keys().map(String::as_str).collect();
    assert_eq!(files, ["deploys.db", "revisions/aa.wasm", "sessions.db", "shop.db", "signing.key"]);
    for file in files.into_iter().chain(["backup.json"]) {
        assert_eq!(mode(&backup.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_killed_backup_damages_no_older_one_and_the_next_succeeds() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let older = back_up(data.path(), folder.path());
    let mut killed = 0;
    for turn in 0_u32..8 {
        let mut program = Command::new(program());
        let mut program = program
            .arg("backup")
            .arg(folder.path())
            .arg("--data")
            .arg(data.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let file = ["revisions", "shop.db", "deploys.db", "backup.json"][turn as usize % 4];
        while !folder.path().join(".partial").join(file).exists() && program.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        program.kill().unwrap();
        killed += u32::from(program.wait().unwrap().code().is_none());
        restore(&older, &folder.path().join(format!("restored-{turn}")), &[]).unwrap();
    }
    assert!(killed > 0, "every backup ended before the kill");
    let newer = back_up(data.path(), folder.path());
    assert!(!folder.path().join(".partial").exists());
    let found = backups(folder.path());
    assert!(found.len() >= 2 && found.contains(&older) && found.contains(&newer), "{found:?}");
    for (number, backup) in found.iter().enumerate() {
        let elsewhere = folder.path().join(format!("elsewhere-{number}"));
        restore(backup, &elsewhere, &[]).unwrap();
        assert_eq!(rows(&elsewhere), 2000);
    }
}

#[test]
fn a_folder_in_use_can_be_backed_up_but_not_restored_into() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let host = DataFolder::open(data.path()).unwrap();
    let backup = back_up(data.path(), folder.path());
    let refusal = restore(&backup, data.path(), &["--replace"]).unwrap_err();
    assert!(refusal.contains("another host is using the data folder"), "{refusal}");
    drop(host);
    restore(&backup, data.path(), &["--replace"]).unwrap();
}

#[test]
fn a_restore_replaces_existing_data_only_with_the_option_replace() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let backup = back_up(data.path(), folder.path());
    let shop = Connection::open(data.path().join("shop.db")).unwrap();
    shop.execute_batch("DELETE FROM rows; PRAGMA wal_checkpoint(PASSIVE);").unwrap();
    drop(shop);
    for stale in ["shop.db-wal", "shop.db-shm", "older.db", "other.key"] {
        fs::write(data.path().join(stale), "stale").unwrap();
    }
    let refusal = restore(&backup, data.path(), &[]).unwrap_err();
    assert!(refusal.contains("already") && refusal.contains("--replace"), "{refusal}");
    assert!(data.path().join("older.db").exists());
    restore(&backup, data.path(), &["--replace"]).unwrap();
    for stale in ["shop.db-wal", "shop.db-shm", "older.db", "other.key", "restoring", ".restore"] {
        assert!(!data.path().join(stale).exists(), "{stale}");
    }
    assert_eq!(rows(data.path()), 2000);
    assert!(data.path().join("admin.token").exists());
}

#[test]
fn a_changed_or_incomplete_backup_is_refused_before_anything_is_restored() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let good = back_up(data.path(), folder.path());
    let refuses = |change: &dyn Fn(&Path), complaint: &str| {
        let bad = folder.path().join("bad");
        fs::create_dir_all(bad.join("revisions")).unwrap();
        for file in ["backup.json", "shop.db", "sessions.db", "deploys.db", "signing.key", "revisions/aa.wasm"] {
            fs::copy(good.join(file), bad.join(file)).unwrap();
        }
        change(&bad);
        let target = folder.path().join("target");
        let refusal = restore(&bad, &target, &[]).unwrap_err();
        assert!(refusal.contains(complaint), "the error lacks `{complaint}`: {refusal}");
        assert!(!target.exists(), "{complaint}");
        fs::remove_dir_all(bad).unwrap();
    };
    let rewrite = |bad: &Path, from: &str, to: &str| {
        let text = fs::read_to_string(bad.join("backup.json")).unwrap();
        assert!(text.contains(from));
        fs::write(bad.join("backup.json"), text.replace(from, to)).unwrap();
    };
    refuses(
        &|bad| {
            let mut bytes = fs::read(bad.join("shop.db")).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(bad.join("shop.db"), bytes).unwrap();
        },
        "changed since the backup was created",
    );
    refuses(&|bad| fs::remove_file(bad.join("revisions/aa.wasm")).unwrap(), "cannot read");
    refuses(&|bad| fs::remove_file(bad.join("backup.json")).unwrap(), "is not a backup");
    refuses(&|bad| fs::write(bad.join("backup.json"), "{").unwrap(), "use another backup");
    refuses(&|bad| rewrite(bad, "\"format\": 1", "\"format\": 2"), "restore it with the version that created it");
    for outside in ["../signing.key", "/signing.key", "revisions/../signing.key", "a/signing.key", "lock"] {
        refuses(&|bad| rewrite(bad, "\"signing.key\"", &format!("\"{outside}\"")), "which no backup contains");
    }
}

#[test]
fn a_damaged_database_is_not_backed_up() {
    for (damage, complaint) in [
        ("PRAGMA foreign_keys = OFF; DELETE FROM parents WHERE id = 3", "a row of rows refers to a missing row"),
        ("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET rootpage = 2 WHERE name = 'rows'", "shop.db"),
    ] {
        let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
        Connection::open(data.path().join("shop.db")).unwrap().execute_batch(damage).unwrap();
        let complained = comptoir(&["backup", "--data", data.path().to_str().unwrap()], &[folder.path()]).unwrap_err();
        assert!(complained.contains(complaint), "{complained}");
        assert!(backups(folder.path()).is_empty() && !folder.path().join(".partial").exists());
    }
    let (nothing, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let complained = backup::create(nothing.path(), folder.path()).unwrap_err();
    assert!(format!("{complained:#}").contains("--data"), "{complained:#}");
}

#[tokio::test]
async fn after_an_interrupted_restore_no_host_starts_until_it_is_repeated() {
    let (data, folder) = (some_data(), tempfile::tempdir().unwrap());
    let backup = back_up(data.path(), folder.path());
    fs::write(data.path().join("restoring"), "").unwrap();
    fs::remove_file(data.path().join("shop.db")).unwrap();
    let refusal = Host::start(shop_manifest(), data.path(), options(&Default::default())).await.err().unwrap();
    assert!(refusal.to_string().contains("`comptoir restore` with --replace"), "{refusal}");
    let refusal = backup::create(data.path(), folder.path()).unwrap_err();
    assert!(refusal.to_string().contains("half restored"), "{refusal}");
    restore(&backup, data.path(), &["--replace"]).unwrap();
    assert_eq!(rows(data.path()), 2000);
    DataFolder::open(data.path()).unwrap();
}
