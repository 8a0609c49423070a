//! Streams: bodies in both directions, their limits, and how a client can tell an incomplete answer from a complete one.

mod bodies;
mod limits;
mod swaps;
mod wire;

use comptoir::manifest::Manifest;
use futures::future::join_all;
use testing::{AMPLE, Shop, manifest_of};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The end of a complete chunked body (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Bytes that a guest writes before it ends.
const BYTES: usize = 16 << 16;

/// The ways in which a guest ends.
const CUT_OFF: [&str; 4] = ["trap", "sleep", "spin", "grow"];

/// Streaming services of both WASI versions, and one that forwards another's stream. Time is ample except where it ends the
/// guest.
fn streaming() -> Manifest {
    let service = |name: &str, component: &str, limits: &str| {
        format!(
            "[services.{name}]\ncomponent = \"guest_{component}.wasm\"\nmounts = [\"/{name}\"]\naccess = \"public\"\n\
             limits = {{ {limits} }}\n"
        )
    };
    let brief = r#"idle_time = "3s""#;
    let ample = r#"cpu = "300ms", memory = "8 MiB", time = "2m""#;
    let mut services = String::new();
    for generation in ["p2", "p3"] {
        services += &service(generation, &format!("flood_{generation}"), ample);
        services += &service(&format!("brief-{generation}"), &format!("flood_{generation}"), brief);
    }
    services += &service("relay", "relay_p2", r#"cpu = "1m", idle_time = "5s""#);
    services += "public = [\"/relay\"]\ncalls = [\"relay\"]\n";
    manifest_of(&services)
}

/// The path for a WASI version and an ending.
fn path(generation: &str, ending: &str) -> String {
    let brief = if ending == "sleep" { "brief-" } else { "" };
    format!("/{brief}{generation}/{ending}")
}

/// Whether an answer over HTTP/1.1 is complete, and its number of bytes.
async fn over_http1(shop: &Shop, path: &str) -> (bool, usize) {
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    // `connection: close` ends the connection after a complete answer too.
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is fine.
    let _ = tokio::time::timeout(AMPLE, stream.read_to_end(&mut answer)).await.expect("the connection ends");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{path}: {}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    (answer.ends_with(LAST_CHUNK), answer.iter().filter(|byte| **byte == b'x').count())
}

/// Whether an answer over HTTP/2 is complete, and its number of bytes.
async fn over_http2(shop: &Shop, path: &str) -> (bool, usize) {
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let mut answer = client.get(format!("http://{}{path}", shop.addresses().gateway)).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let mut count = 0;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => count += chunk.len(),
            Ok(None) => return (true, count),
            Err(_) => return (false, count),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_tell_that_an_answer_is_incomplete() {
    let shop = Shop::with(streaming()).await;
    let cases = ["p2", "p3"].map(|generation| CUT_OFF.map(|ending| path(generation, ending))).concat();
    let seen =
        join_all(cases.iter().map(async |path| (over_http1(&shop, path).await.0, over_http2(&shop, path).await.0)));
    for (path, seen) in cases.iter().zip(seen.await) {
        assert_eq!(seen, (false, false), "{path}: complete over HTTP/1.1 and over HTTP/2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_answer_is_complete() {
    let shop = Shop::with(streaming()).await;
    for path in ["p2", "p3"].map(|generation| path(generation, "finish")) {
        assert!(over_http1(&shop, &path).await.0, "{path}");
        assert_eq!(over_http2(&shop, &path).await, (true, BYTES), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_guest_does_not_finish_is_incomplete() {
    let shop = Shop::with(streaming()).await;
    for ending in ["drop", "forget"] {
        let path = path("p2", ending);
        assert_eq!((over_http1(&shop, &path).await.0, over_http2(&shop, &path).await.0), (false, false), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_forwarded_from_a_failing_service_is_incomplete() {
    let shop = Shop::with(streaming()).await;
    for (ending, complete) in [("trap", false), ("sleep", false), ("finish", true)] {
        let path = format!("/relay/{ending}");
        let seen = (over_http1(&shop, &path).await.0, over_http2(&shop, &path).await.0);
        assert_eq!(seen, (complete, complete), "{path}");
    }
}
