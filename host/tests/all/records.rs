//! Components that answer in plain records (`wit/handler.wit`): the host sends only valid HTTP.

use hyper::Method;
use testing::{Shop, manifest_of, send};

const RECORDS: &str = r#"
[services.records]
component = "guest_records.wasm"
mounts = ["/records"]
public = ["/records"]
limits = { response = "1 MiB" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_sees_the_request_unchanged_and_head_as_get() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let anon = shop.anon();
    let answer = anon.get("/records/%C5%81ukasz?a=b%20c").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-asked")), (200, "Method::Get /records/%C5%81ukasz?a=b%20c"));
    assert_eq!((&*answer.text, answer.header("content-length")), ("answered", "8"));
    assert_eq!(send(anon.request(Method::POST, "/records/x")).await.header("x-asked"), "Method::Post /records/x");
    let head = send(anon.request(Method::HEAD, "/records/x")).await;
    assert_eq!((head.header("x-asked"), head.header("content-length")), ("Method::Get /records/x", "8"));
    anon.get("/elsewhere").await.refuses(404, "NOT_FOUND");
    send(anon.request(Method::PATCH, "/records/x")).await.refuses(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_answer_is_a_500_and_only_the_log_has_the_reason() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let anon = shop.anon();
    let faults = ["empty-name", "name", "value", "connection", "many", "large", "body", "huge"];
    let statuses = [0, 99, 100, 101, 199, 600, 999, 65535].map(|status| format!("status?{status}"));
    for fault in faults.into_iter().chain(statuses.iter().map(String::as_str)) {
        let answer = anon.get(&format!("/records/{fault}")).await;
        answer.refuses(500, "INTERNAL_ERROR");
        assert!(!answer.text.contains("x-forged"), "{fault}");
    }
    assert_eq!(anon.get("/records/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_limits_the_length_of_an_answer() {
    for (response, status) in [("64 MiB", 200), ("5 MiB", 200), ("4 MiB", 500)] {
        let shop = Shop::with(manifest_of(&RECORDS.replace("1 MiB", response))).await;
        for _ in 0..2 {
            let answer = shop.anon().get("/records/huge").await;
            assert_eq!(answer.status, status, "{response}");
            assert!(status != 200 || answer.text.len() == 5 << 20, "{} bytes", answer.text.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_cannot_set_the_length_and_the_hosts_headers() {
    let shop = Shop::with(manifest_of(RECORDS)).await;
    let anon = shop.anon();
    let answer = anon.get("/records/length").await;
    assert_eq!((&*answer.text, answer.header("content-length")), ("answered", "8"));
    let answer = anon.get("/records/host").await;
    assert!(answer.header("x-comptoir-revision").starts_with("records@"));
    assert_ne!(answer.header("x-request-id"), "forged");
}
