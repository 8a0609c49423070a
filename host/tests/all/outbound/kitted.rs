//! Requests of a service that uses the kit.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use testing::{Shop, manifest_of};

use super::remote::Remote;

/// A service of the kit that may send requests to a server of this test.
fn service(remote: &Remote, secrets: &str) -> String {
    let origin = remote.origin();
    format!(
        r#"
[services.kitted]
component = "guest_kitted.wasm"
mounts = ["/kitted"]
public = ["/kitted"]
[services.kitted.config]
url = "{origin}/echo"
{secrets}
[services.kitted.outbound]
allow = ["{origin}"]
private = ["127.0.0.1/32"]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_kit_posts_json_with_a_secret_that_it_does_not_see() {
    let (remote, folder) = (Remote::start().await, tempfile::tempdir().unwrap());
    let key = folder.path().join("payment.key");
    std::fs::write(&key, "sk_live_51H8QyT0p4Zr\n").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let to = remote.origin();
    let secrets = format!(
        "[services.kitted.secrets]\npayment-key = {{ file = {key:?}, to = [\"{to}\"], in = [\"authorization\"] }}"
    );
    let shop = Shop::with(manifest_of(&service(&remote, &secrets))).await;
    let answer = shop.anon().post("/kitted/pay", json!({ "cents": 1999 })).await;
    assert_eq!(answer.body["data"], json!([200, "yes", { "cents": 1999 }]), "{}", answer.text);
    let arrived = remote.last();
    assert_eq!(arrived.headers["authorization"], "Bearer sk_live_51H8QyT0p4Zr");
    assert_eq!(arrived.headers["content-type"], "application/json");
    assert_eq!(arrived.headers["content-length"], "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_request_of_the_kit_has_a_reason_and_becomes_an_answer() {
    let remote = Remote::start().await;
    let shop = Shop::with(manifest_of(&service(&remote, ""))).await;
    let origin = remote.origin();
    let table = [
        (format!("{origin}/json?7"), "7", 502, "REMOTE_FAILED"),
        (format!("{origin}/missing"), "Status(404)", 502, "REMOTE_FAILED"),
        (format!("{origin}/json?{}", "7".repeat(1001)), "TooLarge", 502, "REMOTE_FAILED"),
        (format!("{origin}/silent"), "TimedOut", 503, "REMOTE_UNAVAILABLE"),
        ("https://other.example/".to_owned(), "Denied", 500, "INTERNAL_ERROR"),
        ("ftp://other.example/".to_owned(), "Invalid", 500, "INTERNAL_ERROR"),
    ];
    for (url, reason, status, code) in table {
        let timeout = if reason == "TimedOut" { "&timeout_ms=50" } else { "" };
        let path = format!("/kitted/fetch?url={}{timeout}", url.replace('?', "%3F"));
        let explained = shop.anon().get(&format!("{path}&explain")).await;
        assert_eq!(explained.body["data"], reason, "{url}: {}", explained.text);
        shop.anon().get(&path).await.refuses(status, code);
    }
    assert_eq!(shop.anon().get("/kitted/pay").await.status, 405);
    shop.anon().post("/kitted/pay", json!({ "cents": 1 })).await.refuses(500, "INTERNAL_ERROR");
}
