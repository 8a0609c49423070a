//! The shop's pages, served by the component front.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, component, send, shop_manifest_with_pages};

async fn shop() -> Shop {
    Shop::with(shop_manifest_with_pages()).await
}

/// A request of a page to `/session`, with a cookie if there is one.
async fn session(anon: &Client, method: Method, cookie: Option<&str>, body: Value) -> Answer {
    let request = anon.request(method, "/session").header("x-front", "1").header("sec-fetch-site", "same-origin");
    send(match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request.json(&body),
    })
    .await
}

/// Name and value of the cookie that an answer sets.
fn cookie(answer: &Answer) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn profile(anon: &Client, answer: &Answer) -> u16 {
    let token = answer.succeeds(200)["access_token"].as_str().unwrap();
    anon.clone().with_token(token).get("/users/profile").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_articles_can_be_read_without_a_script() {
    let shop = shop().await;
    let page = shop.anon().get("/").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, "text/html; charset=utf-8"));
    for text in ["<h2>Laptop Dell XPS 13</h2>", "1299.00 EUR", "10 in stock"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
    assert!(page.header("x-comptoir-revision").starts_with("front@"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_assets_come_from_the_cache_and_are_compressed() {
    let shop = shop().await;
    let page = shop.anon().get("/cart").await;
    assert_eq!(shop.anon().get("/cart").await.header("x-comptoir-cache"), "hit");
    for asset in page.text.split('"').filter(|part| part.starts_with("/assets/")) {
        let first = shop.anon().get(asset).await;
        assert_eq!(first.header("cache-control"), "public, max-age=31536000, immutable", "{asset}");
        let again = shop.anon().request(Method::GET, asset).header("accept-encoding", "gzip");
        let again = send(again).await;
        assert_eq!(again.header("x-comptoir-cache"), "hit");
        assert_eq!(again.header("content-encoding") == "gzip", first.text.len() > 1024, "{asset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_are_answered_as_before() {
    let shop = shop().await;
    for path in ["/nothing", "/cart/x", "/assets/", "/assets/none.js", "/products/x/y"] {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
    shop.anon().post("/cart", json!({})).await.refuses(405, "METHOD_NOT_ALLOWED");
    shop.anon().get("/orders").await.refuses(401, "MISSING_TOKEN");
    shop.anon().get("/products").await.succeeds(200);
    assert_eq!(shop.anon().get("/health").await.body["status"], "healthy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_keeps_its_session_in_a_cookie() {
    let shop = shop().await;
    shop.user("marta").await;
    let anon = shop.anon();
    let wrong = session(&anon, Method::POST, None, json!({ "username": "marta", "password": "wrong" })).await;
    wrong.refuses(401, "INVALID_CREDENTIALS");
    let opened = session(&anon, Method::POST, None, json!({ "username": "marta", "password": PASSWORD })).await;
    assert_eq!(profile(&anon, &opened).await, 200);
    assert!(opened.body["data"].get("refresh_token").is_none() && opened.header("cache-control") == "no-store");
    let set = opened.header("set-cookie");
    assert!(set.contains("; Path=/session; Secure; SameSite=Strict; HttpOnly; Max-Age=2"), "{set}");

    let renewed = session(&anon, Method::PUT, Some(&cookie(&opened)), Value::Null).await;
    assert_eq!(profile(&anon, &renewed).await, 200);
    session(&anon, Method::PUT, Some(&cookie(&opened)), Value::Null).await.refuses(401, "INVALID_TOKEN");

    let closed = session(&anon, Method::DELETE, Some(&cookie(&renewed)), Value::Null).await;
    assert_eq!((closed.status.as_u16(), cookie(&closed).as_str()), (200, "session="));
    assert_eq!(profile(&anon, &renewed).await, 401, "the session has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_use_the_cookie() {
    let shop = shop().await;
    let anon = shop.anon();
    let credentials = json!({ "username": "admin", "password": "admin" });
    let opened = session(&anon, Method::POST, None, credentials.clone()).await;
    let cookie = cookie(&opened);
    let origin =
        |name: &str, value: &str| [("x-front".to_owned(), "1".to_owned()), (name.to_owned(), value.to_owned())];
    let none: [(String, String); 0] = [];
    let table = [
        none.to_vec(),
        origin("sec-fetch-site", "cross-site").to_vec(),
        origin("origin", "https://evil.example").to_vec(),
    ];
    for headers in table {
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let request = anon.request(method, "/session").header("cookie", &cookie).json(&credentials);
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
            send(request).await.refuses(403, "FORBIDDEN");
        }
    }
    let own = anon.request(Method::PUT, "/session").header("x-front", "1").header("cookie", &cookie);
    let own = own.header("origin", format!("http://{}", shop.addresses().gateway));
    assert_eq!(send(own).await.status, 200, "the session is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_logins_through_the_pages_are_throttled() {
    let shop = shop().await;
    shop.user("guessed").await;
    let guess = json!({ "username": "guessed", "password": "wrong" });
    for _ in 0..10 {
        session(&shop.anon(), Method::POST, None, guess.clone()).await.refuses(401, "INVALID_CREDENTIALS");
    }
    session(&shop.anon(), Method::POST, None, guess).await.refuses(429, "TOO_MANY_ATTEMPTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_of_the_pages_ends_no_session_and_loses_no_page() {
    let shop = shop().await;
    let anon = shop.anon();
    let opened = session(&anon, Method::POST, None, json!({ "username": "admin", "password": "admin" })).await;
    let before = anon.get("/cart").await;
    let mut copy = std::fs::read(component("front")).unwrap();
    copy.extend([0, 5, 4]);
    copy.extend(b"copy");
    send(shop.operator().request(Method::PUT, "/services/front").body(copy)).await.succeeds(200);
    let after = anon.get("/cart").await;
    assert_ne!(after.header("x-comptoir-revision"), before.header("x-comptoir-revision"));
    assert_eq!(profile(&anon, &opened).await, 200);
    let renewed = session(&anon, Method::PUT, Some(&cookie(&opened)), Value::Null).await;
    assert_eq!(profile(&anon, &renewed).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_has_the_session_and_no_pages() {
    let document = shop().await.anon().get("/openapi.json").await.body;
    let methods: Vec<&String> = document["paths"]["/session"].as_object().unwrap().keys().collect();
    assert_eq!(methods, ["delete", "post", "put"]);
    let paths = document["paths"].as_object().unwrap();
    assert!(!paths.keys().any(|path| path == "/" || path == "/cart" || path.starts_with("/assets")), "{paths:?}");
    assert!(paths.contains_key("/orders"));
}
