//! Starts that the host refuses, and starts with a partly unusable data folder.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use comptoir::clock::Clock;
use comptoir::host::{Host, Options};
use comptoir::manifest::Manifest;
use testing::{Shop, manifest_of, options, shop_manifest, try_manifest_of};
use tokio::net::unix::pipe;

/// The error of a start on this folder.
async fn complaint_on(manifest: Manifest, data: &Path) -> String {
    match Host::start(manifest, data, options(&Clock::default())).await {
        Ok(_) => "it started".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

async fn complaint(manifest: Manifest) -> String {
    complaint_on(manifest, tempfile::tempdir().unwrap().path()).await
}

fn unruly(mounts_and_grants: &str) -> Manifest {
    manifest_of(&format!("[services.unruly]\ncomponent = \"guest_unruly.wasm\"\n{mounts_and_grants}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_is_refused_with_the_manifest_line_that_adds_it() {
    let text = complaint(unruly("mounts = [\"/unruly\"]\npublic = [\"/unruly\"]\ncalls = [\"unruly\"]")).await;
    assert!(text.contains("the service `unruly` could not be linked"), "{text}");
    assert!(
        text.contains("guest_unruly.wasm imports `comptoir:platform/storage@0.1.0`, which was not granted"),
        "{text}"
    );
    assert!(text.contains("add \"storage\" to `grants` in [services.unruly]"), "{text}");
    assert!(text.contains("comptoir.toml:5)"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_outside_the_mounts_or_public_against_the_manifest_are_refused() {
    let rest = "grants = [\"storage\"]\ncalls = [\"unruly\"]";
    let text = complaint(unruly(&format!("mounts = [\"/other\"]\n{rest}"))).await;
    assert!(text.contains("the route GET /unruly/headers is outside of its mounts (/other)"), "{text}");
    let text = complaint(unruly(&format!("mounts = [\"/unruly\"]\n{rest}"))).await;
    assert!(text.contains("the route GET /unruly/headers is public, which `public` in [services.unruly]"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_other_than_a_service_is_refused_with_its_kind() {
    let folder = tempfile::tempdir().unwrap();
    let table: [(&str, Vec<u8>, &str); 3] = [
        ("garbage.wasm", b"hello".to_vec(), "it is not a WebAssembly component"),
        ("module.wasm", wat::parse_str("(module)").unwrap(), "it is a core module: build it as a component"),
        (
            "empty.wasm",
            wat::parse_str("(component)").unwrap(),
            "exports neither `wasi:http/incoming-handler@0.2.x` nor",
        ),
    ];
    for (name, bytes, sentence) in table {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let mut manifest = unruly("mounts = [\"/unruly\"]");
        manifest.services.get_mut("unruly").unwrap().component = file;
        let text = complaint(manifest).await;
        assert!(text.contains("the service `unruly` could not be verified") && text.contains(sentence), "{text}");
    }
    let mut manifest = unruly("mounts = [\"/unruly\"]");
    manifest.services.get_mut("unruly").unwrap().component = folder.path().join("absent.wasm");
    let text = complaint(manifest).await;
    assert!(
        text.contains("absent.wasm: No such file") && text.contains("build the component, or correct `component`"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_a_port_in_use_and_its_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut manifest = shop_manifest();
    manifest.services.get_mut("orders").unwrap().listen = Some(taken.local_addr().unwrap());
    let text = complaint(manifest).await;
    assert!(
        text.contains(&format!("the service `orders` cannot listen on {}: ", taken.local_addr().unwrap())),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_first_start_compiles_connections_are_refused() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (compiler, begun) = (folder.path().join("compiler"), folder.path().join("begun"));
    assert!(std::process::Command::new("mkfifo").arg(&begun).status().unwrap().success());
    // A compiler that never ends.
    std::fs::write(&compiler, format!("#!/bin/sh\necho compiling > {}\nexec sleep 100000\n", begun.display())).unwrap();
    std::fs::set_permissions(&compiler, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut manifest = manifest_of("[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\n");
    // A loopback address that no other test uses.
    let gateway = TcpListener::bind("127.91.7.3:0").unwrap().local_addr().unwrap();
    manifest.listeners.gateway = gateway;
    let options = Options { compiler: Some(compiler), ..Options::default() };
    let start = async { Host::start(manifest, data.path(), options).await.err() };
    let begun = pipe::OpenOptions::new().read_write(true).open_receiver(&begun).unwrap();
    let look = async {
        begun.readable().await.unwrap();
        tokio::net::TcpStream::connect(gateway).await.unwrap_err().kind()
    };
    tokio::select! {
        ended = start => panic!("the start ended: {ended:?}"),
        kind = look => assert_eq!(kind, std::io::ErrorKind::ConnectionRefused),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_same_folder_is_refused() {
    let shop = Shop::open().await;
    let text = complaint_on(shop_manifest(), shop.data.path()).await;
    assert!(text.contains("another host is using the data folder"), "{text}");
    shop.anon().get("/products").await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_an_unusable_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let text = complaint_on(shop_manifest(), &file).await;
    assert!(text.contains("cannot use the data folder"), "{text}");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let text = complaint_on(shop_manifest(), folder.path()).await;
    assert!(text.contains("): run `chmod 700` on it"), "{text}");
}

/// Gives the group read and write access to a folder, as Kubernetes does for `fsGroup` whenever it mounts a volume.
fn give_to_group(folder: &Path) {
    let give = |path: &Path, bits: u32| {
        let mode = path.metadata().unwrap().permissions().mode();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode | bits)).unwrap();
    };
    give(folder, 0o2770);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { give_to_group(&path) } else { give(&path, 0o660) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_kubernetes_opened_to_a_group_become_private_again() {
    let services =
        "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\n";
    // The compilation cache lies in the data folder too.
    let mut shop = Shop::with_options(manifest_of(services), |options| Options { cache: None, ..options }).await;
    shop.stop().await;
    give_to_group(shop.data.path());
    shop.start_again().await;
    assert_eq!(shop.anon().get("/plain/x").await.text, "0.2 Method::Get /plain/x");
    for name in ["admin.token", "cache", "cache/mac-key"] {
        let mode = shop.data.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_newer_database_does_not_affect_the_others() {
    let mut shop = Shop::open().await;
    shop.stop().await;
    shop.set_schema_version("orders", 7).await;
    shop.start_again_as(shop_manifest(), None).await.unwrap();
    shop.admin().await.get("/users").await.succeeds(200);
    shop.anon().get("/products").await.refuses(503, "SERVICE_UNAVAILABLE");
    let ready = shop.operator().get("/readyz").await;
    assert_eq!(
        (ready.status.as_u16(), &ready.body["services"]["orders"]),
        (503, &"unhealthy".into()),
        "{}",
        ready.text
    );
    let note = ready.body["notes"]["orders"].as_str().unwrap();
    assert!(note.contains("could not be migrated: its database is at schema 7, newer than"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_operator_check_does_not_prevent_a_start_if_it_passed_before() {
    let mut shop = Shop::open().await;
    shop.stop().await;
    shop.set_schema_version("auth", 70).await;
    shop.start_again_as(shop_manifest(), None).await.unwrap();
    shop.anon().get("/products").await.succeeds(200);
    shop.stop().await;

    // At the last start the seeded password was active, so the host may listen only on loopback.
    let mut open = shop_manifest();
    open.listeners.gateway = ([0, 0, 0, 0], 0).into();
    let text = format!("{:#}", shop.start_again_as(open, None).await.unwrap_err());
    assert!(
        text.contains("the service `auth` answered 503") && text.contains("the `operator` path in the manifest"),
        "{text}"
    );
    let record = rusqlite::Connection::open(shop.data.path().join("deploys.db")).unwrap();
    record.execute("DELETE FROM notes", []).unwrap();
    let text = format!("{:#}", shop.start_again_as(shop_manifest(), None).await.unwrap_err());
    assert!(text.contains("the service `auth` answered 503"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_other_than_a_database_is_refused() {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders.db"), "this is a diary and no database at all ".repeat(100)).unwrap();
    let text = complaint_on(shop_manifest(), data.path()).await;
    assert!(
        text.contains("the database of the service `orders`") && text.contains("is not a SQLite database"),
        "{text}"
    );
}

#[test]
fn a_wrong_manifest_is_refused_with_file_and_line() {
    let text = try_manifest_of("[services.a]\ncomponent = \"a.wasm\"\nmounts = [\"a\"]\n").unwrap_err().to_string();
    assert!(text.contains("comptoir.toml:7: `a` is not a path prefix"), "{text}");
}
