//! Request heads: the router, the gate, the response cache and components see the same path, headers and host.

use reqwest::Method;
use serde_json::json;
use testing::{Answer, Shop, manifest_of, send};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const RECORDS: &str =
    "[services.records]\ncomponent = \"guest_records.wasm\"\nmounts = [\"/records\"]\npublic = [\"/records\"]\n";

/// Sends a head unchanged. Returns the head and body of the answer.
async fn exchange(shop: &Shop, line: &str, fields: &str) -> String {
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    let sent = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn has(answer: &str, text: &str) -> bool {
    answer.to_ascii_lowercase().contains(&text.to_ascii_lowercase())
}

#[tokio::test(flavor = "multi_thread")]
async fn router_gate_cache_and_component_normalise_a_path_alike() {
    let shop = Shop::open().await;
    // With PostgreSQL, no answer is cached.
    let (first, again) = if shop.database.is_none() { ("miss", "hit") } else { ("bypass", "bypass") };
    assert!(has(&exchange(&shop, "GET /products", "").await, &format!("x-comptoir-cache: {first}")));
    for path in ["/%70roducts", "/%70%72oducts", "/orders/../products", "/orders/%2e%2E/products", "/./products"] {
        let answer = exchange(&shop, &format!("GET {path}"), "").await;
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && has(&answer, &format!("x-comptoir-cache: {again}")),
            "{path}: {answer}"
        );
    }
    // A route that needs a token needs it in every spelling.
    for path in ["/%6frders", "/products/../orders", "/products/%2e%2e/orders", "/products/.%2E/orders"] {
        let answer = exchange(&shop, &format!("GET {path}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("MISSING_TOKEN"), "{path}: {answer}");
    }
    // An encoded reserved character is not a separator, and nothing is decoded twice.
    for path in ["/products%2f1", "/products/..%2forders", "/%2570roducts", "/products\\1", "/products/%2e%2e%2forders"]
    {
        let answer = exchange(&shop, &format!("GET {path}"), "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_sees_the_path_that_was_routed() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    for (path, seen) in [
        ("/records/%41?%71=%7e&x=%2f", "/records/A?q=~&x=%2F"),
        ("/records/a/../b", "/records/b"),
        ("/records/%2e%2e/records/c", "/records/c"),
        ("/records/..%2fd", "/records/..%2Fd"),
        ("/records/..\\e", "/records/..%5Ce"),
        ("/records/%zz", "/records/%25zz"),
    ] {
        let answer = exchange(&shop, &format!("GET {path}"), "").await;
        assert!(answer.contains(&format!("x-asked: Method::Get {seen}\r\n")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_keys_of_a_query_may_be_encoded() {
    let shop = Shop::open().await;
    assert_eq!(shop.anon().get("/products?limit=2").await.body["count"], 2);
    for query in ["%6Cimit=2", "limi%74=%32", "x=1&%6c%69%6d%69%74=2"] {
        assert_eq!(shop.anon().get(&format!("/products?{query}")).await.body["count"], 2, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_the_whole_server_is_only_for_options() {
    let shop = Shop::open().await;
    let answer = exchange(&shop, "OPTIONS *", "").await;
    assert!(answer.starts_with("HTTP/1.1 204 ") && has(&answer, "\r\nallow: get, "), "{answer}");
    let answer = exchange(&shop, "GET *", "").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("BAD_REQUEST"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cookie_headers_of_http2_are_joined_and_count_as_one() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/records/headers", shop.addresses().gateway);
    let request = (0..200).fold(client.get(&url), |request, number| request.header("cookie", format!("c{number}=1")));
    let answer = send(request).await;
    let cookies: Vec<String> = (0..200).map(|number| format!("c{number}=1")).collect();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains(&format!("cookie: {}\n", cookies.join("; "))), "{}", answer.text);
    let others = (0..200).fold(client.get(&url), |request, number| request.header("x-many", format!("{number}")));
    send(others).await.refuses(431, "HEADERS_TOO_LARGE");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_list_headers_are_joined_for_components() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let request = shop.anon().request(Method::GET, "/records/headers");
    let request = request.header("if-match", "\"a\"").header("if-match", "\"b\"");
    let answer = send(request.header("tracestate", "a=1").header("tracestate", "b=2")).await;
    assert!(answer.text.contains("if-match: \"a\", \"b\"\n"), "{}", answer.text);
    assert!(answer.text.contains("tracestate: a=1, b=2\n"), "{}", answer.text);
}

#[tokio::test]
async fn repeated_condition_headers_are_all_read() {
    let shop = Shop::open().await;
    let first = shop.anon().get("/products").await;
    let request = shop.anon().request(Method::GET, "/products").header("if-none-match", "\"x\"");
    assert_eq!(send(request.header("if-none-match", first.header("etag"))).await.status, 304);
    let admin = shop.admin().await;
    let tag = admin.get("/users/1").await.header("etag").to_owned();
    let change = |tags: &[&str]| {
        let request = admin.request(Method::PUT, "/users/1").json(&json!({ "phone": "1" }));
        send(tags.iter().fold(request, |request, tag| request.header("if-match", *tag)))
    };
    change(&["\"x\"", "\"y\""]).await.refuses(412, "PRECONDITION_FAILED");
    change(&["\"x\"", &tag]).await.succeeds(200);
}

#[tokio::test]
async fn a_user_is_deleted_only_if_unchanged() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let profile = marta.get("/users/profile").await;
    let path = format!("/users/{}", profile.data()["id"]);
    marta.put(&path, json!({ "phone": "1" })).await.succeeds(200);
    let delete = |tag: String| send(admin.request(Method::DELETE, &path).header("if-match", tag));
    delete(profile.header("etag").to_owned()).await.refuses(412, "PRECONDITION_FAILED");
    marta.get("/users/profile").await.succeeds(200);
    let seen = admin.get(&path).await.header("etag").to_owned();
    assert_eq!(delete(seen).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_content_encoding_is_refused() {
    let shop = Shop::open().await;
    let log_in = async |coding: &[&str]| -> Answer {
        let request = shop.anon().request(Method::POST, "/auth/login");
        let request = request.json(&json!({ "username": "admin", "password": "admin" }));
        send(coding.iter().fold(request, |request, coding| request.header("content-encoding", *coding))).await
    };
    for coding in [&["gzip"][..], &["identity, gzip"], &["identity", "br"]] {
        let answer = log_in(coding).await;
        answer.refuses(415, "UNSUPPORTED_CONTENT_ENCODING");
        assert_eq!(answer.header("accept-encoding"), "identity");
    }
    log_in(&[]).await.succeeds(200);
    log_in(&["identity"]).await.succeeds(200);
    log_in(&["Identity", ""]).await.succeeds(200);
    // The route and the token are checked first.
    let post = |path: &str| shop.anon().request(Method::POST, path).header("content-encoding", "gzip").body("x");
    send(post("/nowhere")).await.refuses(404, "NOT_FOUND");
    send(post("/orders")).await.refuses(401, "MISSING_TOKEN");
    let deploy = shop.operator().request(Method::PUT, "/services/orders").header("content-encoding", "gzip");
    send(deploy.body("x")).await.refuses(415, "UNSUPPORTED_CONTENT_ENCODING");
}

#[tokio::test]
async fn the_error_names_the_wrong_and_the_accepted_content_type() {
    let shop = Shop::open().await;
    let answer = shop.anon().send_body(Method::POST, "/auth/login", Some("text/plain; charset=x"), "{}").await;
    answer.refuses(400, "MISSING_CREDENTIALS");
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert_eq!(message, "The body's Content-Type is \"text/plain\". Send application/json.");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_components_have_the_request_id() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let anon = shop.anon();
    for _ in 0..2 {
        let answer = anon.get("/records/error").await;
        answer.refuses(404, "NO_RECORD");
        let error = json!({ "code": "NO_RECORD", "message": "No.", "request_id": answer.header("x-request-id") });
        assert_eq!(answer.body, json!({ "success": false, "error": error }));
        assert_eq!(answer.header("content-length"), answer.text.len().to_string());
    }
    assert_eq!(anon.get("/records/own-id").await.body["error"]["request_id"], "own");
    assert_eq!(anon.get("/records/no-envelope").await.text, r#"{"problem":"No."}"#);
    let head = send(anon.request(Method::HEAD, "/records/error").header("x-request-id", "as-long-as-this")).await;
    let get = send(anon.request(Method::GET, "/records/error").header("x-request-id", "as-long-as-this")).await;
    assert_eq!(head.header("content-length"), get.text.len().to_string());
}

#[tokio::test]
async fn errors_from_the_cache_have_the_id_of_their_own_request() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for (answer, code) in [
        (shop.anon().get("/products/99").await, "PRODUCT_NOT_FOUND"),
        (shop.anon().get("/products/99").await, "PRODUCT_NOT_FOUND"),
        (admin.get("/users/99").await, "USER_NOT_FOUND"),
        (shop.anon().post("/auth/login", json!({})).await, "MISSING_CREDENTIALS"),
    ] {
        answer.refuses(answer.status.as_u16(), code);
        assert_eq!(answer.body["error"]["request_id"], answer.header("x-request-id"), "{}", answer.text);
    }
}
