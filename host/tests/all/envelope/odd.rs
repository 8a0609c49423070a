//! Odd requests that no ordinary client sends: all get an answer in the envelope, and none a server error.

use reqwest::Method;
use serde_json::json;
use testing::Shop;

use super::{raw, reveals_no_internals, wears_the_envelope};

/// Every route that reads a body, except logout, which always succeeds. `@` in the body stands for the odd value.
const ROUTES: [(Method, &str, &str); 10] = [
    (Method::POST, "/auth/login", r#"{"username":@,"password":@}"#),
    (Method::POST, "/auth/refresh", r#"{"refresh_token":@}"#),
    (Method::POST, "/auth/verify", r#"{"token":@}"#),
    (Method::POST, "/auth/register", r#"{"username":@,"password":@,"email":@}"#),
    (Method::PUT, "/auth/password", r#"{"current":@,"new":@}"#),
    (Method::POST, "/users", r#"{"username":@,"email":@,"password":@}"#),
    (Method::PUT, "/users/1", r#"{"email":@,"first_name":@,"address":@}"#),
    (Method::POST, "/orders", r#"{"items":@}"#),
    (Method::POST, "/orders", r#"{"items":[{"product_id":@,"quantity":@}]}"#),
    (Method::PUT, "/orders/1", r#"{"status":@}"#),
];

/// Values that are JSON or nearly JSON.
fn odd_values() -> Vec<Vec<u8>> {
    let nested = |depth: usize, open: &str, close: &str| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let texts = [
        nested(100_000, "[", "]"),
        nested(100_000, "{\"a\":[", "]}"),
        nested(120, "[", "]"),
        "[".repeat(100_000),
        format!("1{}", "0".repeat(400)),
        format!("\"{}\"", "é".repeat(100_000)),
        format!("0.{}1", "0".repeat(10_000)),
        "9".repeat(5_000),
        format!("-{}.5e-{}", "7".repeat(5_000), "9".repeat(5_000)),
    ];
    let short = [
        "NaN",
        "Infinity",
        "-Infinity",
        "-0",
        "1e400",
        "-1e-400",
        "01",
        "0x10",
        "'single'",
        "undefined",
        "\"\\ud800\"",
        "\"\\udc00\\ud800\"",
        "\"\\u0000\"",
        "\"\u{0}\"",
        "\"\u{202e}\u{feff}\"",
        "\"\\x41\"",
        "\"\n\"",
        "{}",
        "[[]]",
        "\"\"",
        "1,",
        "\"'; DROP TABLE orders; --\"",
        "9223372036854775808",
        "-9223372036854775809",
    ];
    let not_utf8 = [&b"\"\xff\""[..], b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\"", b"\xfe\xff"];
    let texts = texts.into_iter().map(String::into_bytes).chain(short.iter().map(|text| text.as_bytes().to_vec()));
    texts.chain(not_utf8.iter().map(|bytes| bytes.to_vec())).collect()
}

/// Bodies that are wrong as a whole.
fn odd_bodies() -> Vec<Vec<u8>> {
    let duplicates = r#"{"username":"a","username":1,"password":1,"password":"b","token":1,"token":"t","items":[],"items":1,
        "refresh_token":1,"refresh_token":"r","status":"paid","status":1,"email":"a@b.c","email":1}"#;
    let bodies =
        ["\u{feff}{}", "{}{}", "{} x", "{\"a\"}", "{a:1}", "{,}", "\0", "/* */{}", "<xml/>", "--1\r\n", duplicates];
    let encodings = [&b"\xff\xfe{\0}\0"[..], b"\0{\0}", b"\x1f\x8b\x08\0\0\0\0\0", b"\xa1\x61\x61\x01"];
    let bodies = bodies.iter().map(|text| text.as_bytes().to_vec());
    bodies.chain(encodings.iter().map(|bytes| bytes.to_vec())).collect()
}

fn filled(template: &str, value: &[u8]) -> Vec<u8> {
    template.split('@').map(str::as_bytes).collect::<Vec<_>>().join(value)
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_json_never_causes_a_server_error() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for (method, path, template) in ROUTES {
        let values = odd_values().into_iter().map(|value| filled(template, &value));
        for body in values.chain(odd_bodies()) {
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            let answer = admin.send_body(method.clone(), path, Some("application/json"), body).await;
            assert!(answer.status.as_u16() < 500, "{method} {path} {shown}: {} {}", answer.status, answer.text);
            wears_the_envelope(&answer);
        }
    }
    let health = shop.anon().get("/health").await;
    assert_eq!(health.body["status"], "healthy", "{}", health.text);
    let laptop = shop.anon().get("/products/1").await;
    assert_eq!(laptop.succeeds(200)["stock"], 10, "no odd request bought anything");
}

#[tokio::test]
async fn an_odd_id_in_a_path_is_not_found() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    let ids = [
        "abc",
        "-1",
        "0",
        "1.5",
        "9223372036854775808",
        "18446744073709551616",
        "%00",
        "%ff",
        "%31%zz",
        "%F0%9F%92%A9",
        "1;2",
    ];
    for id in ids.map(str::to_owned).into_iter().chain(["9".repeat(4000)]) {
        for (path, code) in
            [("/products", "PRODUCT_NOT_FOUND"), ("/orders", "ORDER_NOT_FOUND"), ("/users", "USER_NOT_FOUND")]
        {
            let answer = admin.get(&format!("{path}/{id}")).await;
            answer.refuses(404, code);
            wears_the_envelope(&answer);
        }
        admin.put(&format!("/orders/{id}"), json!({ "status": "paid" })).await.refuses(404, "ORDER_NOT_FOUND");
        admin.put(&format!("/users/{id}"), json!({ "phone": "1" })).await.refuses(404, "USER_NOT_FOUND");
        admin.delete(&format!("/users/{id}")).await.refuses(404, "USER_NOT_FOUND");
    }
    for query in ["?", "?limit=-1", "?%ff=%zz", "?a=1&a=2", "?'--"] {
        let answer = admin.get(&format!("/products{query}")).await;
        assert!(answer.status.as_u16() < 500, "{query}: {}", answer.text);
        wears_the_envelope(&answer);
    }
}

#[tokio::test]
async fn odd_heads_never_cause_a_server_error() {
    let shop = Shop::open().await;
    let requests: [&[u8]; 9] = [
        b"GET http://elsewhere.example/products HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /products HTTP/1.0\r\n\r\n",
        b"GET /products HTTP/1.1\r\nhost: \xff\xfe\r\n\r\n",
        b"GET /products HTTP/1.1\r\nhost:\r\n\r\n",
        b"GET /orders HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer \xff\r\n\r\n",
        b"GET /orders HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        b"GET /products HTTP/1.1\r\nhost: localhost\r\nx-odd: \xe9\xff\r\ncookie: a=\x80\r\n\r\n",
        b"POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: \xff\r\ncontent-length: 2\r\n\r\n{}",
        b"CONNECT shop:80 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    ];
    for request in requests {
        let (head, body) = raw(&shop, request).await;
        let shown = String::from_utf8_lossy(request);
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!((200..500).contains(&status), "{shown}: {head}");
        assert_eq!(body["success"], (200..300).contains(&status), "{shown}: {head} {body}");
        reveals_no_internals(&body.to_string());
    }
}
