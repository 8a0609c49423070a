//! Requests to remote hosts, with a lookup that the tests control and servers on loopback.

mod limits;
mod ssrf;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// A limit that is reached only if a test fails.
const AMPLE: Duration = Duration::from_secs(60);

/// Answers each lookup of a name with the next of its answers. The last answer repeats.
#[derive(Default)]
struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    lookups: AtomicUsize,
}

impl Names {
    fn new(names: &[(&str, &[&[&str]])]) -> Arc<Self> {
        let addresses = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        let names =
            names.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(addresses).collect())).collect();
        Arc::new(Self { answers: Mutex::new(names), lookups: AtomicUsize::new(0) })
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::SeqCst)
    }
}

impl Lookup for Names {
    fn lookup(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let mut names = self.answers.lock().unwrap();
        let answer = match names.get_mut(name) {
            Some(answers) if answers.len() > 1 => Ok(answers.remove(0)),
            Some(answers) => Ok(answers[0].clone()),
            None => Err(io::Error::other("no such name")),
        };
        std::future::ready(answer).boxed()
    }
}

fn rules(allow: &[&str], private: &[&str]) -> OutboundRules {
    OutboundRules {
        allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
        private: private.iter().map(|network| network.parse().unwrap()).collect(),
        timeout: AMPLE,
        concurrency: 32,
        response_bytes: 1 << 20,
        authority: None,
    }
}

fn outbound(rules: OutboundRules, names: &Arc<Names>) -> Outbound {
    Outbound::open("orders".into(), rules, names.clone()).unwrap()
}

fn get(url: &str) -> Request<RequestBody> {
    Request::get(url).body(empty()).unwrap()
}

fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn send(outbound: &Outbound, url: &str) -> Result<Response<ResponseBody>, OutboundError> {
    outbound.send(get(url), Timeouts::default(), None).await
}

/// The text of a response.
async fn text(response: Response<ResponseBody>) -> Result<String, OutboundError> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// A server on loopback, which counts its connections.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with this function.
    async fn start<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answering = answer(request);
                    async { Ok::<_, Infallible>(answering.await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(connection), service));
            }
        });
        Self { address, connections }
    }

    /// Answers each request with its method, path, headers and body.
    async fn echo() -> Self {
        Self::start(|request| async {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let mut lines = vec![format!("{} {}", head.method, head.uri)];
            lines.extend(head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
            lines.push(String::from_utf8_lossy(&body).into_owned());
            Response::new(Full::from(lines.join("\n")))
        })
        .await
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn an_allowed_request_arrives_with_its_path_headers_and_body() {
    let server = Server::echo().await;
    let names = Names::new(&[("pay.example", &[&["127.0.0.1"]])]);
    let origin = format!("http://pay.example:{}", server.port());
    let outbound = outbound(rules(&[&origin], &["127.0.0.1/32"]), &names);
    let body = Full::from("ten euros").map_err(|never| match never {}).boxed_unsync();
    let request =
        Request::post(format!("{origin}/v1/charges?a=b%20c")).header("x-key", "value").header("host", "other.example");
    let response = outbound.send(request.body(body).unwrap(), Timeouts::default(), None).await.unwrap();
    assert_eq!(response.status(), 200);
    let echoed = text(response).await.unwrap();
    let host = format!("host: pay.example:{}", server.port());
    for line in ["POST /v1/charges?a=b%20c", "x-key: value", &host, "content-length: 9", "ten euros"] {
        assert!(echoed.lines().any(|echoed| echoed == line), "no `{line}`: {echoed}");
    }
    assert!(!echoed.contains("other.example"), "{echoed}");
    assert_eq!(outbound.running(), 0);
}

#[tokio::test]
async fn requests_in_turn_share_a_connection() {
    let server = Server::echo().await;
    let names = Names::new(&[("pay.example", &[&["127.0.0.1"]])]);
    let origin = format!("http://pay.example:{}", server.port());
    let outbound = outbound(rules(&[&origin], &["127.0.0.1/32"]), &names);
    for _ in 0..5 {
        text(send(&outbound, &origin).await.unwrap()).await.unwrap();
    }
    assert_eq!((server.connections(), names.lookups()), (1, 1));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let victim = Server::echo().await;
    let location = format!("http://127.0.0.1:{}/", victim.port());
    let server = Server::start(move |_| {
        let location = location.clone();
        async move { Response::builder().status(302).header("location", location).body(Full::default()).unwrap() }
    })
    .await;
    let origin = format!("http://127.0.0.1:{}", server.port());
    let outbound = outbound(rules(&[&origin], &["127.0.0.1/32"]), &Names::new(&[]));
    assert_eq!(send(&outbound, &origin).await.unwrap().status(), 302);
    assert_eq!(victim.connections(), 0);
}

#[tokio::test]
async fn connect_and_trace_are_never_sent() {
    let server = Server::echo().await;
    let origin = format!("http://127.0.0.1:{}", server.port());
    let outbound = outbound(rules(&[&origin], &["127.0.0.1/32"]), &Names::new(&[]));
    for method in [Method::CONNECT, Method::TRACE] {
        let request = Request::builder().method(method).uri(&origin).body(empty()).unwrap();
        let refused = outbound.send(request, Timeouts::default(), None).await.err().unwrap();
        assert!(matches!(refused, OutboundError::Method) && refused.is_denial(), "{refused}");
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn an_authority_without_a_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    let open = || {
        let rules = OutboundRules { authority: Some(authority.clone()), ..rules(&["https://pay.example"], &[]) };
        Outbound::open("orders".into(), rules, Names::new(&[])).unwrap_err().to_string()
    };
    assert!(open().starts_with(&format!("cannot read {}: ", authority.display())), "{}", open());
    std::fs::write(&authority, "no certificate").unwrap();
    assert_eq!(open(), format!("{} holds no certificate in PEM: name the file that does", authority.display()));
}
