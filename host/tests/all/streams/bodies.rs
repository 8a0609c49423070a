//! Bodies that stream in both directions, to and from guests of both WASI versions, and between services.

use std::convert::Infallible;

use bytes::Bytes;
use comptoir::manifest::Manifest;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testing::{AMPLE, Shop, manifest_of};
use tokio::net::TcpStream;

use super::wire::Exchange;

/// The services whose bodies stream.
pub const SERVICES: [&str; 2] = ["streams-p2", "streams-p3"];

/// A limit of memory that the bodies below exceed.
const MEMORY: &str = "8 MiB";

/// The size of a large body.
const LARGE: usize = 24 << 20;

/// A manifest with the services whose bodies stream, with these limits.
pub fn streams(limits: &str) -> Manifest {
    let service = |name: &str| {
        format!(
            "[services.{name}]\ncomponent = \"guest_{}.wasm\"\nmounts = [\"/{name}\"]\npublic = [\"/{name}\"]\n\
             calls = [\"streams-p2\", \"streams-p3\"]\nlimits = {{ {limits} }}\n",
            name.replace('-', "_")
        )
    };
    manifest_of(&SERVICES.map(service).concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_answers_while_the_body_arrives() {
    let shop = Shop::with(streams("")).await;
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(b"one").await.unwrap();
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{service}");
        exchange.bounce(b"two").await;
        exchange.request.end("").await;
        assert_eq!(exchange.response.read(1).await.unwrap(), b"", "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_in_both_directions_but_none_that_only_the_host_may_set() {
    let shop = Shop::with(streams("")).await;
    for (service, route) in SERVICES
        .into_iter()
        .flat_map(|service| ["echo", "double/streams-p2", "double/streams-p3"].map(|route| (service, route)))
    {
        let path = format!("/{service}/{route}");
        // The second body arrives at once, so it does not stream.
        for streams in [true, false] {
            let mut exchange = Exchange::post(shop.addresses().gateway, &path).await;
            if streams {
                exchange.request.send(b"one").await.unwrap();
            } else {
                exchange.request.raw(b"3\r\none\r\n0\r\nx-checksum: 7\r\nx-user-id: admin\r\n\r\n").await;
            }
            let head = exchange.response.head().await;
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("trailer: x-checksum"), "{path}: {head}");
            assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{path}");
            if streams {
                exchange.request.end("x-checksum: 7\r\nx-user-id: admin\r\nx-other: 1\r\n").await;
            }
            assert_eq!(exchange.response.read(1).await.unwrap(), b"", "{path}");
            assert_eq!(exchange.response.trailers, "x-checksum: 7\r\n", "{path}, streams: {streams}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_larger_than_the_memory_of_the_guest() {
    let limits = format!(r#"memory = "{MEMORY}", body = "32 MiB", cpu = "1m""#);
    let shop = Shop::with(streams(&limits)).await;
    let piece = vec![b'x'; 1 << 16];
    for path in SERVICES.map(|service| [format!("/{service}/echo"), format!("/{service}/double/streams-p2")]).concat() {
        let Exchange { mut request, mut response } = Exchange::post(shop.addresses().gateway, &path).await;
        let sending = async {
            for _ in 0..LARGE / piece.len() {
                request.send(&piece).await.unwrap();
            }
            request.end("").await;
        };
        let receiving = async {
            response.head().await;
            for _ in 0..LARGE / piece.len() {
                assert_eq!(response.read(piece.len()).await.unwrap(), piece, "{path}");
            }
            assert_eq!(response.read(1).await.unwrap(), b"", "{path}");
        };
        tokio::join!(sending, receiving);
    }
    for service in SERVICES {
        let upload = shop.anon().request(reqwest::Method::POST, &format!("/{service}/count"));
        let counted = upload.body(vec![b'x'; LARGE]).send().await.unwrap();
        assert_eq!(counted.text().await.unwrap(), LARGE.to_string(), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_arrives_while_the_guest_runs_and_a_client_that_leaves_stops_it() {
    let shop = Shop::with(streams("")).await;
    for service in SERVICES {
        let path = format!("/{service}/events");
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        assert!(exchange.response.head().await.contains("content-type: text/event-stream"), "{service}");
        assert_eq!(exchange.response.read(13).await.unwrap(), b"data: first\n\n", "{service}");
        until_streams(&shop, service, 1).await;
        // The entry of the access log, which is also the count, is written at the end.
        let is_counted = |metrics: &str| {
            let mut lines = metrics.lines().filter(|line| line.starts_with("comptoir_requests_total"));
            lines.any(|line| line.contains(&path) && line.contains("status=\"200\""))
        };
        assert!(!is_counted(&shop.operator().get("/metrics").await.text), "{service}");
        drop(exchange);
        until_streams(&shop, service, 0).await;
        let counting = async { while !is_counted(&shop.operator().get("/metrics").await.text) {} };
        tokio::time::timeout(AMPLE, counting).await.expect("the stream is counted");
        let mut upload = Exchange::post(shop.addresses().gateway, &format!("/{service}/count")).await;
        upload.request.send(b"one").await.unwrap();
        until_streams(&shop, service, 1).await;
        drop(upload);
        until_streams(&shop, service, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_streams_in_both_directions_with_trailers() {
    let shop = Shop::with(streams("")).await;
    let socket = TokioIo::new(TcpStream::connect(shop.addresses().gateway).await.unwrap());
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), socket).await.expect("a connection");
    tokio::spawn(connection);
    for path in ["/streams-p2/echo", "/streams-p3/echo", "/streams-p3/double/streams-p2"] {
        let (body, frames) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, Infallible>>();
        let request = Request::post(format!("http://localhost{path}")).body(StreamBody::new(frames)).unwrap();
        let response = client.send_request(request);
        body.unbounded_send(Ok(Frame::data("one".into()))).unwrap();
        let response = tokio::time::timeout(AMPLE, response).await.expect("a response comes").expect(path);
        let mut response = response.into_body();
        for text in ["one", "two"] {
            // The host sends the last byte of each chunk in a frame of its own.
            let mut received = Vec::new();
            while received.len() < text.len() {
                let frame = tokio::time::timeout(AMPLE, response.frame()).await.expect("a frame comes");
                received.extend(frame.expect(path).expect(path).into_data().expect(path));
            }
            assert_eq!(received, text.as_bytes(), "{path}");
            body.unbounded_send(Ok(Frame::data("two".into()))).unwrap();
        }
        let trailers = [(HeaderName::from_static("x-checksum"), HeaderValue::from_static("7"))];
        body.unbounded_send(Ok(Frame::trailers(trailers.clone().into_iter().collect()))).unwrap();
        drop(body);
        let rest = tokio::time::timeout(AMPLE, response.collect()).await.expect("the response ends").expect(path);
        assert_eq!(rest.trailers(), Some(&trailers.into_iter().collect()), "{path}");
        assert_eq!(rest.to_bytes(), "two", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_stream_to_each_other_in_both_directions() {
    let shop = Shop::with(streams("")).await;
    for (caller, callee) in SERVICES.into_iter().flat_map(|caller| SERVICES.map(|callee| (caller, callee))) {
        let path = format!("/{caller}/double/{callee}");
        let mut exchange = Exchange::post(shop.addresses().gateway, &path).await;
        exchange.request.send(b"one").await.unwrap();
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{path}");
        assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{path}");
        exchange.bounce(b"two").await;
        exchange.request.end("").await;
        assert_eq!(exchange.response.read(1).await.unwrap(), b"", "{path}");
        for service in SERVICES {
            until_streams(&shop, service, 0).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_expects_100_continue_sends_its_body_after_that() {
    let shop = Shop::with(streams(r#"body = "1 KiB""#)).await;
    for service in SERVICES {
        let (path, fields) = (format!("/{service}/count"), "expect: 100-continue\r\n");
        let open = async |length: usize| {
            let fields = format!("{fields}content-length: {length}\r\n");
            Exchange::open(shop.addresses().gateway, "POST", &path, &fields).await
        };
        let mut exchange = open(3).await;
        assert_eq!(exchange.response.head().await, "HTTP/1.1 100 Continue\r\n", "{service}");
        exchange.request.raw(b"one").await;
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        // A body that is too large is refused before it is sent.
        let head = open(2000).await.response.head().await;
        assert!(head.starts_with("HTTP/1.1 413"), "{service}: {head}");
    }
}

/// Waits until the service has this many streams, as the metrics say.
pub async fn until_streams(shop: &Shop, service: &str, count: usize) {
    let line = format!("comptoir_streams{{service=\"{service}\"}} {count}");
    let asking = async { while !shop.operator().get("/metrics").await.text.lines().any(|found| found == line) {} };
    tokio::time::timeout(AMPLE, asking).await.unwrap_or_else(|_| panic!("never: {line}"));
}
