//! Request smuggling: requests whose end two parsers could see at different places.

use testing::Shop;

use super::{address, beside, exchange, statuses};

/// Bytes that an attacker wants another parser to read as a request. Its answer would contain its name.
const SMUGGLED: &str = "GET /products HTTP/1.1\r\nhost: localhost\r\nx-request-id: smuggled\r\n\r\n";

/// Header fields of `POST /auth/verify HTTP/1.1` with contradicting or invalid lengths.
const HEADS: [&str; 29] = [
    "content-length: 0\r\ncontent-length: 90",
    "content-length: 5, 90",
    "content-length: +5",
    "content-length: -1",
    "content-length: 0x5",
    "content-length: 5 5",
    "content-length: 5;",
    "content-length: five",
    "content-length: 99999999999999999999999",
    "content-length:",
    "content-length : 5",
    "content-length\t: 5",
    "transfer-encoding: identity",
    "transfer-encoding: xchunked",
    "transfer-encoding: chunked, identity",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity",
    "transfer-encoding: \"chunked\"",
    "transfer-encoding: chunked;q=1",
    "transfer-encoding : chunked",
    "transfer-encoding\u{b}: chunked",
    "transfer-encoding: chunked\u{b}",
    "transfer-encoding:\r\n chunked",
    "x-folded: one\r\n two\r\ncontent-length: 5",
    " content-length: 5",
    "x: y\rcontent-length: 5",
    "x: y\0\r\ncontent-length: 5",
    "(odd): y\r\ncontent-length: 5",
    "no colon\r\ncontent-length: 5",
    ": no name\r\ncontent-length: 5",
];

/// Invalid bodies with `transfer-encoding: chunked`.
const CHUNKS: [&str; 13] = [
    "-1\r\n{}\r\n0\r\n\r\n",
    "+2\r\n{}\r\n0\r\n\r\n",
    "0x2\r\n{}\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n",
    "\r\n{}\r\n0\r\n\r\n",
    "2\r\n{}X\r\n0\r\n\r\n",
    "2\r\n{}0\r\n\r\n",
    "2\n{}\n0\n\n",
    "2;a\nb\r\n{}\r\n0\r\n\r\n",
    "2 2\r\n{}\r\n0\r\n\r\n",
    "g\r\n{}\r\n0\r\n\r\n",
    "2\r\r\n{}\r\n0\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
];

/// Invalid request lines and header fields.
const LINES: [&str; 12] = [
    "\0\r\nhost: localhost",
    "GET\r\nhost: localhost",
    "GET /products\r\nhost: localhost",
    "GET  /products HTTP/1.1\r\nhost: localhost",
    "GET /products  HTTP/1.1\r\nhost: localhost",
    "GET /pro ducts HTTP/1.1\r\nhost: localhost",
    "GET /products HTTP/1.1 \r\nhost: localhost",
    "GET /products HTTP/1.10\r\nhost: localhost",
    "GET /products HTTP/3.0\r\nhost: localhost",
    "GET /products http/1.1\r\nhost: localhost",
    "G(T /products HTTP/1.1\r\nhost: localhost",
    "GET /products HTTP/1.1\r\nhost: localhost\r\n x: folded",
];

/// A request after which the host closes the connection.
const LAST: &str = "GET /products HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// Asserts that a request was refused, and that the bytes after it were not read as another request.
fn refused(sent: &str, answers: &str) {
    assert_eq!(statuses(answers), [400], "{sent:?} was answered with {answers:?}");
    assert!(!answers.contains("smuggled"), "{sent:?} was answered with {answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_an_ambiguous_length_is_refused_and_ends_the_connection() {
    let shop = Shop::open().await;
    let attack = async {
        for head in HEADS {
            let sent =
                format!("POST /auth/verify HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}");
            refused(&sent, &exchange(&address(&shop), sent.as_bytes()).await);
        }
        for body in CHUNKS {
            let head = "POST /auth/verify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json";
            let sent = format!("{head}\r\ntransfer-encoding: chunked\r\n\r\n{body}{SMUGGLED}");
            refused(&sent, &exchange(&address(&shop), sent.as_bytes()).await);
        }
        for line in LINES {
            let sent = format!("{line}\r\n\r\n{SMUGGLED}");
            refused(&sent, &exchange(&address(&shop), sent.as_bytes()).await);
        }
        let old =
            format!("POST /auth/verify HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n{SMUGGLED}");
        refused(&old, &exchange(&address(&shop), old.as_bytes()).await);
    };
    beside(&shop.anon(), attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_content_length_beside_chunks_is_ignored_and_the_connection_ends() {
    let shop = Shop::open().await;
    // The length ends once before the chunks and once after them.
    let chunks = "2\r\n{}\r\n0\r\n\r\n";
    for length in [0, 3, chunks.len() + SMUGGLED.len()] {
        for head in [
            format!("content-length: {length}\r\ntransfer-encoding: chunked"),
            format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        ] {
            let sent = format!("POST /auth/verify HTTP/1.1\r\nhost: localhost\r\n{head}\r\n\r\n{chunks}{SMUGGLED}");
            refused(&sent, &exchange(&address(&shop), sent.as_bytes()).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_read_to_its_end_or_ends_the_connection() {
    let shop = Shop::open().await;
    // Bytes after the body are a request, bytes inside it are not.
    for (path, status) in [("/nowhere", 404), ("/orders", 401), ("/auth/verify", 400)] {
        let body = SMUGGLED;
        let sent =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}{LAST}", body.len());
        let answers = exchange(&address(&shop), sent.as_bytes()).await;
        let seen = statuses(&answers);
        assert!(seen == [status, 200] || seen == [status], "{path}: {seen:?}");
        assert!(!answers.contains("smuggled"), "{path}: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_a_path_is_refused() {
    let shop = Shop::open().await;
    for target in ["products", "shop:80", "products?a=b"] {
        let sent = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n{LAST}");
        let seen = statuses(&exchange(&address(&shop), sent.as_bytes()).await);
        assert!(seen == [400, 200] || seen == [400], "{target}: {seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_pipelined_requests_are_answered_in_order() {
    let shop = Shop::open().await;
    let requests: String = (0..100)
        .map(|number| {
            let close = if number == 99 { "connection: close\r\n" } else { "" };
            format!(
                "GET /products/{} HTTP/1.1\r\nhost: localhost\r\nx-request-id: turn-{number}-\r\n{close}\r\n",
                number % 9
            )
        })
        .collect();
    let answers = exchange(&address(&shop), requests.as_bytes()).await;
    let seen = statuses(&answers);
    assert!(seen.len() == 100 && seen.iter().all(|status| [200, 404].contains(status)), "{seen:?}");
    let turns: Vec<usize> =
        (0..100).map(|number| answers.find(&format!("turn-{number}-")).expect("an answer")).collect();
    assert!(turns.is_sorted(), "{turns:?}");
}
