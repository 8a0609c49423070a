//! Requests to remote hosts, with a lookup that the tests control and servers on loopback.

mod bodies;
mod endings;
mod limits;
mod lookups;
mod server;
mod ssrf;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use server::{Server, raw};

use super::*;

/// A limit that is reached only if a test fails.
const AMPLE: Duration = Duration::from_secs(60);

/// A timeout for requests that have no answer.
const SHORT: Duration = Duration::from_millis(50);

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

/// Its circuits stay open for longer than a test runs.
fn outbound(rules: OutboundRules, names: &Arc<Names>) -> Outbound {
    let outbound = Outbound::open("orders".into(), rules, names.clone()).unwrap();
    Outbound { remotes: Remotes::new(AMPLE), ..outbound }
}

/// How many requests ended this way, to all hosts.
fn count(outbound: &Outbound, ending: Ending) -> u64 {
    outbound.remotes().iter().map(|remote| remote.count(ending)).sum()
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

/// Sends a request whose body has these parts.
async fn post(
    outbound: &Outbound,
    url: &str,
    parts: impl Stream<Item = Result<Bytes, &'static str>> + Send + 'static,
) -> Result<Response<ResponseBody>, OutboundError> {
    let frames = parts.map(|part| part.map(Frame::data).map_err(Into::into));
    let request = Request::post(url).body(StreamBody::new(frames).boxed_unsync()).unwrap();
    outbound.send(request, Timeouts::default(), None).await
}

/// The text of a response.
async fn text(response: Response<ResponseBody>) -> Result<String, OutboundError> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// A service that may send requests to this address, with these limits.
fn limited(address: SocketAddr, change: impl FnOnce(&mut OutboundRules)) -> (Outbound, String) {
    let origin = format!("http://{address}");
    let mut rules = rules(&[&origin], &["127.0.0.0/8"]);
    change(&mut rules);
    (outbound(rules, &Names::new(&[])), origin)
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
    std::fs::write(&authority, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(
        open().starts_with(&format!("{} holds a certificate that cannot be used (", authority.display())),
        "{}",
        open()
    );
    std::fs::write(&authority, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(
        open().starts_with(&format!("{} holds a certificate that cannot be used (", authority.display())),
        "{}",
        open()
    );
    std::fs::write(&authority, vec![b'\n'; (1 << 20) + 1]).unwrap();
    assert!(open().starts_with(&format!("{} is larger than 1.0 MiB: ", authority.display())), "{}", open());
}
