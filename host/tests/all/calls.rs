//! Calls between services.

use serde_json::json;
use testing::{Shop, manifest_of};

const UNRULY: &str = r#"
[services.unruly]
component = "guest_unruly.wasm"
listen = "127.0.0.1:0"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_reaches_an_internal_route_which_learns_the_calling_service() {
    let shop = Shop::with(manifest_of(UNRULY)).await;
    let answer = shop.anon().get("/unruly/call/unruly").await;
    let data = answer.succeeds(200);
    assert_eq!(data["status"], 200, "{data}");
    assert_eq!(data["body"]["data"]["told"], json!("unruly"), "{data}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_internal_route_does_not_exist_from_outside() {
    let shop = Shop::with(manifest_of(UNRULY)).await;
    for client in [shop.anon(), shop.door("unruly")] {
        client.get("/unruly/internal/secret").await.refuses(404, "NOT_FOUND");
        let forged =
            client.request(reqwest::Method::GET, "/unruly/internal/secret").header("x-comptoir-caller", "unruly");
        testing::send(forged).await.refuses(404, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_can_call_only_the_services_in_its_manifest() {
    let shop = Shop::with(manifest_of(&format!(
        "{UNRULY}\n[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\n"
    )))
    .await;
    for target in ["plain", "nobody", "127.0.0.1:1#"] {
        shop.anon().get(&format!("/unruly/call/{target}")).await.refuses(503, "PEER_UNAVAILABLE");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recursive_calls_end_at_the_depth_limit() {
    let shop = Shop::with(manifest_of(UNRULY)).await;
    assert_eq!(shop.anon().get("/unruly/ring").await.succeeds(200), &json!(5));
}
