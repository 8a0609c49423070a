//! Pages that a component embeds with the kit.

use reqwest::Method;
use testing::{Answer, Shop, component, manifest_of, send};

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

/// The component with another stylesheet: other bytes, of the same length, under another immutable name.
fn restyled(path: &str) -> (Vec<u8>, String) {
    let mut bytes = std::fs::read(component("guest_kitted")).unwrap();
    let (plain, digits) = ("style.", path.split('.').nth(1).unwrap());
    // The first digit stays, because the paths are sorted.
    let other: String = digits
        .chars()
        .enumerate()
        .map(|(at, digit)| {
            if at > 0 && digit == '0' {
                '1'
            } else if at > 0 {
                '0'
            } else {
                digit
            }
        })
        .collect();
    for (from, to) in
        [(format!("{plain}{digits}"), format!("{plain}{other}")), ("grid-area".to_owned(), "GRID-AREA".to_owned())]
    {
        let places: Vec<usize> = bytes
            .windows(from.len())
            .enumerate()
            .filter(|(_, part)| *part == from.as_bytes())
            .map(|(at, _)| at)
            .collect();
        assert!(!places.is_empty(), "{from}");
        places.iter().for_each(|at| bytes[*at..at + to.len()].copy_from_slice(to.as_bytes()));
    }
    (bytes, path.replace(digits, &other))
}

async fn deploy(shop: &Shop, query: &str, component: Vec<u8>) {
    let request = shop.operator().request(Method::PUT, &format!("/services/kitted{query}")).body(component);
    send(request).await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_previous_revision_finds_its_assets_as_long_as_that_is_kept() {
    let mut shop = shop().await;
    let (page, first) = (shop.anon().get("/kitted/site/").await, shop.anon().get("/kitted/log").await);
    let old = stylesheet(&page);
    let (component, new) = restyled(&old);
    deploy(&shop, "", component).await;
    assert_eq!(stylesheet(&shop.anon().get("/kitted/site/").await), new);
    for cached in ["miss", "hit"] {
        let asset = shop.anon().get(&old).await;
        assert_eq!((asset.status.as_u16(), asset.header("x-comptoir-cache")), (200, cached));
        assert!(asset.text.contains("grid-area"), "its own content");
        assert_eq!(asset.header("x-comptoir-revision"), page.header("x-comptoir-revision"));
    }
    assert_ne!(shop.anon().get("/kitted/log").await.header("x-comptoir-revision"), first.header("x-comptoir-revision"));
    shop.anon().post(&old, serde_json::json!({})).await.refuses(404, "NOT_FOUND");
    let head = send(shop.anon().request(Method::HEAD, &old)).await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    // Nothing is kept over a restart.
    shop.restart().await;
    shop.anon().get(&old).await.refuses(404, "NOT_FOUND");
    assert_eq!(shop.anon().get(&new).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_canary_finds_its_assets_whoever_asks_for_them() {
    let shop = shop().await;
    let old = stylesheet(&shop.anon().get("/kitted/site/").await);
    let (component, new) = restyled(&old);
    deploy(&shop, "?canary=50%25", component).await;
    for caller in 1..=10 {
        for path in [&old, &new] {
            assert_eq!(shop.anon().calling_from(caller).get(path).await.status, 200, "{path} for the caller {caller}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_change_is_gone_with_its_revision() {
    let shop = shop().await;
    let mut bytes = std::fs::read(component("guest_kitted")).unwrap();
    // The route /kitted/log of the new revision has another path.
    let places: Vec<usize> =
        bytes.windows(11).enumerate().filter(|(_, part)| *part == b"/kitted/log").map(|(at, _)| at).collect();
    places.iter().for_each(|at| bytes[*at..at + 11].copy_from_slice(b"/kitted/lag"));
    shop.anon().get("/kitted/log").await.succeeds(200);
    deploy(&shop, "", bytes).await;
    shop.anon().get("/kitted/lag").await.succeeds(200);
    shop.anon().get("/kitted/log").await.refuses(404, "NOT_FOUND");
}
