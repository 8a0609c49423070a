//! The grant `keyvalue`: entries of keys and values in a database of the service's own.

use futures::future::join_all;
use testing::{Shop, manifest_of};

const SERVICE: &str = "[services.kv]\ncomponent = \"guest_keyvalue.wasm\"\nmounts = [\"/keyvalue\"]\n\
                       public = [\"/keyvalue\"]\ngrants = [\"keyvalue\"]\n";

async fn shop() -> Shop {
    Shop::with(manifest_of(SERVICE)).await
}

async fn get(shop: &Shop, request: &str) -> String {
    shop.anon().get(&format!("/keyvalue/{request}")).await.text
}

async fn post(shop: &Shop, request: &str) -> String {
    shop.anon().post(&format!("/keyvalue/{request}"), serde_json::Value::Null).await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_keeps_entries_in_buckets_also_over_a_restart() {
    let mut shop = shop().await;
    assert_eq!(get(&shop, "get?default:a").await, "None");
    assert_eq!(post(&shop, "set?default:a=one").await, "done");
    assert_eq!(post(&shop, "set-many?default:b=two:c=three").await, "done");
    assert_eq!(get(&shop, "get?default:a").await, "Some(\"one\")");
    assert_eq!(get(&shop, "get?other:a").await, "None");
    assert_eq!(get(&shop, "exists?default:b").await, "true");
    let list = "KeyResponse { keys: [\"a\", \"b\", \"c\"], cursor: None }";
    assert_eq!(get(&shop, "list?default").await, list);
    let many = get(&shop, "get-many?default:c:absent:a").await;
    assert_eq!(many, "[Some((\"c\", [116, 104, 114, 101, 101])), None, Some((\"a\", [111, 110, 101]))]");
    shop.restart().await;
    assert_eq!(get(&shop, "list?default").await, list);
    assert_eq!(post(&shop, "delete?default:a").await, "done");
    assert_eq!(post(&shop, "delete-many?default:b:c").await, "done");
    assert_eq!(get(&shop, "list?default").await, "KeyResponse { keys: [], cursor: None }");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_empty_name_and_default_are_the_same_bucket() {
    let shop = shop().await;
    assert_eq!(post(&shop, "set?:a=one").await, "done");
    assert_eq!(get(&shop, "get?default:a").await, "Some(\"one\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_increments_lose_none_also_if_the_guest_fails_later() {
    let shop = shop().await;
    join_all((0..20).map(|_| post(&shop, "increment?default:n=3"))).await;
    shop.anon()
        .post("/keyvalue/increment-and-trap?default:n=40", serde_json::Value::Null)
        .await
        .refuses(500, "INTERNAL_ERROR");
    assert_eq!(post(&shop, "increment?default:n=0").await, "100");
    assert_eq!(get(&shop, "get?default:n").await, "Some(\"100\")");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_names_and_large_keys_are_errors_of_the_component() {
    let shop = shop().await;
    for bucket in ["a/b", &"b".repeat(65)] {
        assert_eq!(get(&shop, &format!("get?{bucket}:a")).await, "Error::NoSuchStore", "{bucket}");
    }
    let refused = "Error::Other(\"too large: a key of more than 1024 bytes\")";
    assert_eq!(post(&shop, "long-key?default").await, refused);
    assert_eq!(post(&shop, "set?default:a=x").await, "done");
    let refused = "Error::Other(\"invalid statement: the value of this key is not a number\")";
    assert_eq!(post(&shop, "increment?default:a=1").await, refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_the_grant_is_refused_with_the_line_to_change() {
    let without = SERVICE.replace("grants = [\"keyvalue\"]", "grants = [\"storage\"]");
    let (manifest, data) = (manifest_of(&without), tempfile::tempdir().unwrap());
    let options = comptoir::host::Options::default();
    let refused = comptoir::host::Host::start(manifest, data.path(), options).await.err().unwrap();
    let refused = format!("{refused:#}");
    assert!(refused.contains("imports `wasi:keyvalue/store@0.2.0-draft`, which was not granted"), "{refused}");
    assert!(refused.contains("add \"keyvalue\" to `grants` in [services.kv]"), "{refused}");
}

/// The response cache is off on PostgreSQL.
mod response_cache {
    use super::*;

    async fn cached(shop: &Shop, request: &str) -> (String, String) {
        let answer = shop.anon().get(&format!("/keyvalue/{request}")).await;
        (answer.header("x-comptoir-cache").to_owned(), answer.text)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_read_of_entries_is_cached_until_one_changes() {
        let shop = shop().await;
        for request in ["get?default:a", "exists?default:a", "list?default", "get-many?default:a:b"] {
            post(&shop, "delete?default:a").await;
            let (_, before) = cached(&shop, request).await;
            assert_eq!(cached(&shop, request).await, ("hit".to_owned(), before.clone()), "{request}");
            post(&shop, "set?default:a=1").await;
            let (cache, after) = cached(&shop, request).await;
            assert_eq!((cache.as_str(), after != before), ("miss", true), "{request}");
            assert_eq!(cached(&shop, request).await, ("hit".to_owned(), after), "{request}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_that_writes_entries_is_not_cached() {
        let shop = shop().await;
        for request in ["set?default:a=1", "delete?default:a", "set-many?default:a=1", "delete-many?default:a"] {
            for _ in 0..2 {
                assert_eq!(cached(&shop, request).await, ("bypass".to_owned(), "done".to_owned()), "{request}");
            }
        }
        assert_eq!(cached(&shop, "increment?default:n=1").await.1, "1");
        assert_eq!(cached(&shop, "increment?default:n=1").await.1, "2");
    }
}
