//! `/docs` of the gateway: the API explorer's files, their policy, and the manifest's key that turns it off.

use reqwest::{Method, header};
use testing::{Shop, manifest_of, send, shop_manifest, try_manifest_of};

const FILES: [(&str, &str); 6] = [
    ("/docs", "text/html; charset=utf-8"),
    ("/docs/explorer.js", "text/javascript; charset=utf-8"),
    ("/docs/explorer.css", "text/css; charset=utf-8"),
    ("/docs/icon.svg", "image/svg+xml"),
    ("/docs/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    ("/docs/swagger-ui.css", "text/css; charset=utf-8"),
];

#[tokio::test]
async fn the_explorers_files_have_a_strict_policy_and_a_tag() {
    let shop = Shop::open().await;
    for (path, kind) in FILES {
        let file = shop.anon().get(path).await;
        assert_eq!((file.status.as_u16(), file.header("content-type")), (200, kind), "{path}");
        let policy = file.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(policy.contains("connect-src 'self'") && !policy.contains("unsafe"), "{path}: {policy}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")] {
            assert_eq!(file.header(name), value, "{path}");
        }
        let again = shop.anon().request(Method::GET, path).header(header::IF_NONE_MATCH, file.header("etag"));
        let again = send(again).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
        assert_eq!(send(shop.anon().request(Method::HEAD, path)).await.header("etag"), file.header("etag"), "{path}");
        send(shop.anon().request(Method::POST, path)).await.refuses(405, "METHOD_NOT_ALLOWED");
    }
    shop.anon().get("/docs/").await.refuses(404, "NOT_FOUND");
    shop.anon().get("/docs/elsewhere.js").await.refuses(404, "NOT_FOUND");
    shop.door("orders").get("/docs").await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn the_bundle_is_compressed_for_clients_that_take_gzip() {
    let shop = Shop::open().await;
    for (path, packed) in [("/docs/swagger-ui-bundle.js", true), ("/docs/explorer.js", false)] {
        let length = async |coding: &str| {
            let request = shop.anon().request(Method::GET, path).header(header::ACCEPT_ENCODING, coding);
            let response = request.send().await.unwrap();
            let coding = response.headers().get(header::CONTENT_ENCODING).map(|coding| coding.as_bytes().to_vec());
            let varies = response.headers().contains_key(header::VARY);
            (response.bytes().await.unwrap().len(), coding, varies)
        };
        let (gzip, plain) = (length("gzip, br").await, length("identity").await);
        assert_eq!(gzip.1.as_deref(), packed.then_some(&b"gzip"[..]), "{path}");
        assert_eq!((plain.1, plain.2), (None, packed), "{path}");
        assert_eq!(gzip.0 < plain.0, packed, "{path}: {} of {} bytes", gzip.0, plain.0);
    }
}

#[tokio::test]
async fn without_the_explorer_a_service_may_have_its_path() {
    let mut manifest = shop_manifest();
    manifest.listeners.docs = false;
    let shop = Shop::with(manifest).await;
    for (path, _) in FILES {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
    assert_eq!(shop.anon().get("/openapi.json").await.status, 200);

    let docs = "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/docs\"]\naccess = \"public\"\n";
    let refused = try_manifest_of(docs).unwrap_err().to_string();
    assert!(refused.contains("is the path of the API explorer: write docs = false"), "{refused}");
    // `[listeners]` is the open table of these manifests.
    let shop = Shop::with(manifest_of(&format!("docs = false\n{docs}"))).await;
    assert!(shop.anon().get("/docs/swagger-ui.css").await.text.ends_with("/docs/swagger-ui.css"));
}

#[tokio::test]
async fn a_reload_turns_the_explorer_off_and_on() {
    let mut shop = Shop::open().await;
    for docs in [false, true] {
        let mut manifest = shop.manifest();
        manifest.listeners.docs = docs;
        shop.reload(manifest).await.succeeds(200);
        assert_eq!(shop.anon().get("/docs").await.status.is_success(), docs);
    }
}
