//! `POST /tokens`, the request of `comptoir token`: access tokens for development.

use comptoir::audit::FILE;
use serde_json::{Value, json};
use testing::{Answer, Shop, shop_manifest};

async fn shop() -> Shop {
    let mut manifest = shop_manifest();
    manifest.development.tokens = true;
    Shop::with(manifest).await
}

/// Asks with a token of the operator's.
async fn get(shop: &Shop, issued: &Value, path: &str) -> Answer {
    shop.anon().with_token(issued["token"].as_str().expect("a token")).get(path).await
}

#[tokio::test]
async fn without_development_in_the_manifest_the_operator_gets_no_token() {
    let shop = Shop::open().await;
    let refused = shop.operator().post("/tokens?user=ada", json!({})).await;
    refused.refuses(403, "TOKENS_OFF");
    assert!(refused.text.contains("`tokens = true` under [development]"), "{}", refused.text);
}

#[tokio::test]
async fn a_token_for_development_has_its_user_and_role_and_is_audited() {
    let mut shop = shop().await;
    let operator = shop.operator();
    let ada = operator.post("/tokens?user=ada", json!({})).await.succeeds(200).clone();
    get(&shop, &ada, "/orders").await.succeeds(200);
    get(&shop, &ada, "/users").await.refuses(403, "FORBIDDEN");
    let root = operator.post("/tokens?user=root&role=admin", json!({})).await.succeeds(200).clone();
    get(&shop, &root, "/users").await.succeeds(200);

    shop.stop().await;
    let log = std::fs::read_to_string(shop.data.path().join(FILE)).unwrap();
    assert!(!log.contains(ada["token"].as_str().unwrap()), "the log has no token");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for issued in [&ada, &root] {
        let session = issued["session"].as_str().unwrap();
        let created = lines.iter().find(|line| line["event"] == "authn_token_created" && line["session"] == session);
        assert_eq!(created.expect("the token is audited")["by"], "operator");
        let ordered =
            lines.iter().find(|line| line["event"] == "authz_admin" && line["result"] == format!("200 {session}"));
        assert!(ordered.expect("the order is audited")["asked"].as_str().unwrap().starts_with("POST /tokens?user="));
    }
}

#[tokio::test]
async fn a_wrong_request_for_a_token_gets_none() {
    let shop = shop().await;
    let operator = shop.operator();
    for query in ["", "?user=", "?user=a%00", "?user=ada&role=", "?user=ada&admin=1"] {
        operator.post(&format!("/tokens{query}"), json!({})).await.refuses(400, "BAD_REQUEST");
    }
    operator.get("/tokens?user=ada").await.refuses(405, "METHOD_NOT_ALLOWED");
    operator.without_token().post("/tokens?user=ada", json!({})).await.refuses(401, "MISSING_TOKEN");
}
