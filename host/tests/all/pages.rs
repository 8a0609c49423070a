//! Pages that a component embeds with the kit.

use reqwest::Method;
use testing::{Answer, Shop, manifest_of, send};

const KITTED: &str = r#"[services.kitted]
component = "guest_kitted.wasm"
mounts = ["/kitted"]
public = ["/kitted"]
"#;

async fn shop() -> Shop {
    Shop::with(manifest_of(KITTED)).await
}

/// The path of the stylesheet in a page.
fn stylesheet(page: &Answer) -> String {
    page.text.split("href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_cached_tagged_and_revalidated() {
    let shop = shop().await;
    let page = shop.anon().get("/kitted/site/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!((page.header("cache-control"), page.header("x-comptoir-cache")), ("no-cache", "miss"));
    assert_eq!(shop.anon().get("/kitted/site/").await.header("x-comptoir-cache"), "hit", "without an instance");
    let again = shop.anon().request(Method::GET, "/kitted/site/").header("if-none-match", page.header("etag"));
    let again = send(again).await;
    assert_eq!((again.status.as_u16(), again.text.as_str(), again.header("etag")), (304, "", page.header("etag")));
    let head = send(shop.anon().request(Method::HEAD, "/kitted/site/")).await;
    assert_eq!((head.status.as_u16(), head.text.as_str(), head.header("etag")), (200, "", page.header("etag")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_has_an_immutable_name_and_is_compressed() {
    let shop = shop().await;
    let path = stylesheet(&shop.anon().get("/kitted/site/").await);
    let asset = shop.anon().get(&path).await;
    assert_eq!((asset.status.as_u16(), asset.header("content-type")), (200, "text/css; charset=utf-8"), "{path}");
    assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
    let packed = send(shop.anon().request(Method::GET, &path).header("accept-encoding", "gzip")).await;
    assert_eq!((packed.header("content-encoding"), packed.header("x-comptoir-cache")), ("gzip", "hit"));
    let plain = shop.anon().get("/kitted/site/style.css").await;
    assert_eq!((plain.header("cache-control"), &plain.text), ("no-cache", &asset.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_embedded_paths_are_served() {
    let shop = shop().await;
    let moved = shop.anon().get("/kitted/site/about").await;
    assert!(moved.text.contains("<p>About.</p>"), "the client follows the redirect: {}", moved.text);
    for path in ["/kitted/site/style.000000000000.css", "/kitted/site/%2e%2e%2fsrc/lib.rs", "/kitted/site/index.html"] {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
    shop.anon().post("/kitted/site/", serde_json::json!({})).await.refuses(405, "METHOD_NOT_ALLOWED");
}
