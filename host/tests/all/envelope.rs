//! What all answers have in common: the envelope, the headers, and no internals of the host.

mod odd;

use futures::future::join;
use reqwest::{Method, Version};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testing::{Answer, Client, Shop, component, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asserts the envelope and headers of an answer. Only health answers have no envelope.
#[track_caller]
fn wears_the_envelope(answer: &Answer) {
    let (body, text) = (&answer.body, &answer.text);
    assert_eq!(answer.header("content-type"), "application/json", "{text}");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{text}");
    assert_eq!(answer.header("content-length"), text.len().to_string(), "{text}");
    assert!(!answer.header("x-request-id").is_empty(), "{text}");
    let success = answer.status.is_success();
    assert_eq!(body["success"], success, "{}: {text}", answer.status);
    if !success {
        let member = |name: &str| body["error"][name].as_str().unwrap_or_default();
        let is_code =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        assert!(is_code(member("code")) && !member("message").is_empty(), "{text}");
        assert_eq!(body.get("data"), None, "{text}");
    }
    reveals_no_internals(text);
}

#[track_caller]
fn reveals_no_internals(text: &str) {
    let lower = text.to_lowercase();
    for word in ["sqlite", "panicked", "wasm", "backtrace", ".rs", "/tmp", "/src/", env!("CARGO_MANIFEST_DIR")] {
        assert!(!lower.contains(&word.to_lowercase()), "{word} in {text}");
    }
}

/// Sends bytes on a new connection and reads one answer, for requests that no HTTP client sends.
async fn raw(shop: &Shop, bytes: &[u8]) -> (String, Value) {
    let stream = TcpStream::connect(shop.addresses().gateway).await.expect("a connection");
    let (mut incoming, mut outgoing) = stream.into_split();
    let read = async {
        let mut answer = Vec::new();
        let mut end = None;
        while end.is_none_or(|end| answer.len() < end) {
            let count = incoming.read_buf(&mut answer).await.expect("an answer, not a reset");
            assert_ne!(count, 0, "the answer broke off after {:?}", String::from_utf8_lossy(&answer));
            let head_end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|position| position + 4);
            end = head_end.map(|start| start + content_length(&answer[..start]));
        }
        String::from_utf8(answer).expect("a text")
    };
    // The host may answer and stop reading before it received everything.
    let (_, answer) = join(outgoing.write_all(bytes), read).await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), serde_json::from_str(body).unwrap_or_default())
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a content-length");
    length.parse().expect("a number")
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unsupported_method_405_with_allow() {
    let shop = Shop::open().await;
    let anon = shop.anon();
    for path in
        ["/", "/nothing", "/orders/", "/orders/1/2", "//products", "/PRODUCTS", "/auth", "/auth/login/", "/internal"]
    {
        let answer = anon.get(path).await;
        answer.refuses(404, "NOT_FOUND");
        wears_the_envelope(&answer);
        assert_eq!(answer.header("x-comptoir-revision"), "", "{path}: no revision answered");
    }
    let table = [
        ("/health", "GET, HEAD, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/auth/login", "OPTIONS, POST"),
        ("/auth/logout", "OPTIONS, POST"),
        ("/auth/password", "OPTIONS, PUT"),
        ("/users", "GET, HEAD, OPTIONS, POST"),
        ("/users/1", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/products", "GET, HEAD, OPTIONS"),
        ("/products/1", "GET, HEAD, OPTIONS"),
        ("/orders", "GET, HEAD, OPTIONS, POST"),
        ("/orders/1", "GET, HEAD, OPTIONS, PUT"),
    ];
    for (path, allow) in table {
        for method in ["PATCH", "TRACE", "PROPFIND"] {
            let answer = send(anon.request(method.parse().unwrap(), path)).await;
            answer.refuses(405, "METHOD_NOT_ALLOWED");
            wears_the_envelope(&answer);
            assert_eq!(answer.header("allow"), allow, "{method} {path}");
        }
        let options = send(anon.request(Method::OPTIONS, path)).await;
        assert_eq!(
            (options.status.as_u16(), options.text.as_str(), options.header("allow")),
            (204, "", allow),
            "{path}"
        );
        assert_eq!(options.header("content-type"), "", "no body, so no content type");
    }
    anon.get("/auth/health").await.refuses(404, "NOT_FOUND");
    send(anon.request(Method::OPTIONS, "/nothing")).await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_or_without_a_content_length() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let limit = 1 << 20;
    let fits = format!(r#"{{"items":[{{"product_id":1,"quantity":1}}],"note":"{}"}}"#, "a".repeat(limit - 58));
    assert!(fits.len() <= limit && fits.len() > limit - 10, "{}", fits.len());
    ada.send_body(Method::POST, "/orders", Some("application/json"), fits).await.succeeds(201);
    let answer = ada.send_body(Method::POST, "/orders", Some("application/json"), "a".repeat(limit + 1)).await;
    answer.refuses(413, "BODY_TOO_LARGE");
    wears_the_envelope(&answer);
    // The token is checked before the body, however large it is.
    let answer = shop.anon().send_body(Method::POST, "/orders", Some("application/json"), "a".repeat(limit + 1)).await;
    answer.refuses(401, "MISSING_TOKEN");

    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nauthorization: Bearer {}\r\n",
        ada.access_token()
    );
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = format!("8000\r\n{}\r\n", "a".repeat(0x8000));
    (0..33).for_each(|_| chunked.extend_from_slice(chunk.as_bytes()));
    // The body never ends. The answer comes before its last chunk.
    let (head, body) = raw(&shop, &chunked).await;
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");
    assert_eq!(body["error"]["code"], "BODY_TOO_LARGE", "{head}");
    ada.get("/orders").await.succeeds(200);
}

#[tokio::test]
async fn too_large_targets_and_headers_are_refused() {
    let shop = Shop::open().await;
    let anon = shop.anon();
    let target = |length: usize| format!("/products?{}", "a".repeat(length - "/products?".len()));
    anon.get(&target(8 << 10)).await.succeeds(200);
    for length in [(8 << 10) + 1, 60_000] {
        let answer = anon.get(&target(length)).await;
        answer.refuses(414, "URI_TOO_LONG");
        wears_the_envelope(&answer);
    }
    let with_header = |length: usize| anon.request(Method::GET, "/products").header("x-large", "a".repeat(length));
    send(with_header(30 << 10)).await.succeeds(200);
    for length in [33 << 10, 64 << 10] {
        let answer = send(with_header(length)).await;
        answer.refuses(431, "HEADERS_TOO_LARGE");
        wears_the_envelope(&answer);
    }
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let (head, _) =
        raw(&shop, format!("GET /products HTTP/1.1\r\nhost: localhost\r\n{}\r\n", many(99)).as_bytes()).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for count in [100, 120] {
        let request = format!("GET /products HTTP/1.1\r\nhost: localhost\r\n{}\r\n", many(count));
        let (head, body) = raw(&shop, request.as_bytes()).await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{count} headers and the host: {head}");
        assert_eq!(body["error"]["code"], "HEADERS_TOO_LARGE", "{count} headers and the host");
    }
}

#[tokio::test]
async fn head_answers_with_the_headers_of_get_and_no_body() {
    let shop = Shop::open().await;
    let (anon, ada) = (shop.anon(), shop.user("ada").await);
    let routes: [(&Client, &str); 10] = [
        (&anon, "/health"),
        (&anon, "/openapi.json"),
        (&anon, "/products"),
        (&anon, "/products/1"),
        (&anon, "/products/99"),
        (&anon, "/nothing"),
        (&anon, "/orders"),
        (&ada, "/orders"),
        (&ada, "/users/profile"),
        (&ada, "/users"),
    ];
    for (client, path) in routes {
        let ask = |method| send(client.request(method, path).header("x-request-id", "same"));
        let (get, head) = (ask(Method::GET).await, ask(Method::HEAD).await);
        let headers = |answer: &Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("date");
            // The GET fills the cache, so the HEAD is a hit.
            headers.remove("x-comptoir-cache");
            headers
        };
        assert_eq!((head.status, headers(&head)), (get.status, headers(&get)), "{path}");
        assert_eq!(head.header("content-length"), get.text.len().to_string(), "{path}");
        assert_eq!(head.text, "", "{path}");
    }
    send(anon.request(Method::HEAD, "/auth/login")).await;
    // The connection carries no body either: the next answer follows directly.
    let twice = "HEAD /products HTTP/1.1\r\nhost: localhost\r\n\r\nGET /nothing HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    stream.write_all(twice.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    let (_, after) = answers.split_once("\r\n\r\n").unwrap();
    assert!(after.starts_with("HTTP/1.1 404 "), "{answers}");
}

#[tokio::test]
async fn an_answer_has_the_clients_request_id_or_a_new_one() {
    let shop = Shop::open().await;
    let anon = shop.anon();
    for path in ["/products", "/health", "/nothing", "/orders", "/products/99"] {
        let ask = |id: Vec<u8>| {
            let id = reqwest::header::HeaderValue::from_bytes(&id).unwrap();
            send(anon.request(Method::GET, path).header("x-request-id", id))
        };
        for id in ["checkout-7.a_B".to_owned(), "x".repeat(64)] {
            let answer = ask(id.clone().into()).await;
            assert_eq!(answer.header("x-request-id"), id, "{path}");
            if let Some(named) = answer.body["error"].get("request_id") {
                assert_eq!(named, &json!(id), "{path}");
            }
        }
        for id in ["".to_owned(), "two words".to_owned(), "x".repeat(65), "é".to_owned(), "a;b".to_owned()] {
            let answer = ask(id.clone().into()).await;
            let minted = answer.header("x-request-id");
            assert!(minted != id && !minted.is_empty() && minted.len() <= 64, "{path}: {id:?} became {minted:?}");
        }
        let (first, second) = (anon.get(path).await, anon.get(path).await);
        assert_ne!(first.header("x-request-id"), second.header("x-request-id"), "{path}");
    }
}

#[tokio::test]
async fn an_answer_names_the_revision_of_its_route() {
    let shop = Shop::open().await;
    let (anon, admin) = (shop.anon(), shop.admin().await);
    let revision = |service: &str| {
        let digest = Sha256::digest(std::fs::read(component(service)).unwrap());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{service}@{}", &hex[..12])
    };
    let table = [
        ("/products", "orders"),
        ("/orders", "orders"),
        ("/orders/999", "orders"),
        ("/users", "user"),
        ("/users/profile", "user"),
    ];
    for (path, service) in table {
        for client in [&anon, &admin] {
            let forged = client.request(Method::GET, path).header("x-comptoir-revision", "orders@000000000000");
            assert_eq!(send(forged).await.header("x-comptoir-revision"), revision(service), "{path}");
        }
    }
    assert_eq!(anon.post("/auth/login", json!({})).await.header("x-comptoir-revision"), revision("auth"));
    assert_eq!(shop.door("user").get("/health").await.header("x-comptoir-revision"), revision("user"));
}

#[tokio::test]
async fn personal_answers_are_not_cacheable() {
    let shop = Shop::open().await;
    let (anon, ada) = (shop.anon(), shop.user("ada").await);
    let pair = anon.post("/auth/refresh", json!({ "refresh_token": ada.refresh_token() })).await;
    let token = pair.succeeds(200)["access_token"].as_str().unwrap();
    let answers = [
        anon.post("/auth/verify", json!({ "token": token })).await,
        anon.post("/auth/login", json!({})).await,
        ada.get("/users/profile").await,
        ada.get("/orders").await,
        ada.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })).await,
        ada.get("/users").await,
        anon.get("/orders").await,
        anon.get("/nothing").await,
        pair.clone(),
    ];
    for answer in &answers {
        assert!(answer.header("cache-control").split(", ").any(|word| word == "no-store"), "{}", answer.text);
        wears_the_envelope(answer);
    }
}

#[tokio::test]
async fn health_has_no_envelope_on_any_listener() {
    let shop = Shop::open().await;
    let gateway = shop.anon().get("/health").await;
    let services = json!({ "auth": "healthy", "orders": "healthy", "user": "healthy" });
    let healthy = json!({ "status": "healthy", "service": "api-gateway", "services": services });
    assert_eq!((gateway.status.as_u16(), &gateway.body), (200, &healthy));
    let mut answers = vec![gateway];
    for (service, path, name) in [
        ("auth", "/auth/health", "auth-service"),
        ("user", "/health", "user-service"),
        ("orders", "/health", "orders-service"),
    ] {
        let door = shop.door(service);
        let answer = door.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({ "status": "healthy", "service": name })));
        let post = door.post(path, json!({})).await;
        post.refuses(405, "METHOD_NOT_ALLOWED");
        assert_eq!(post.header("allow"), "GET, HEAD, OPTIONS");
        answers.push(answer);
    }
    for answer in &answers {
        assert_eq!(
            (answer.header("content-type"), answer.header("x-content-type-options")),
            ("application/json", "nosniff")
        );
        assert_eq!(answer.header("content-length"), answer.text.len().to_string());
        reveals_no_internals(&answer.text);
    }
}

#[tokio::test]
async fn http_2_without_tls_gives_the_same_answers() {
    let shop = Shop::open().await;
    let base = format!("http://{}", shop.addresses().gateway);
    let http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let response = http.get(format!("{base}/products")).send().await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.text().await.unwrap(), shop.anon().get("/products").await.text);
    for (request, status, code) in [
        (http.get(format!("{base}/nothing")), 404, "NOT_FOUND"),
        (http.get(format!("{base}/orders")), 401, "MISSING_TOKEN"),
        (http.delete(format!("{base}/products")), 405, "METHOD_NOT_ALLOWED"),
        (http.get(format!("{base}/products")).header("x-large", "a".repeat(40 << 10)), 431, "HEADERS_TOO_LARGE"),
        (http.post(format!("{base}/auth/login")).body("a".repeat((1 << 20) + 1)), 413, "BODY_TOO_LARGE"),
    ] {
        let answer = send(request).await;
        answer.refuses(status, code);
        wears_the_envelope(&answer);
    }
}
