//! Clients that send requests without a pause and never retry.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A connection without an HTTP client library, which could send a request twice.
pub struct Wire(SendRequest<Full<Bytes>>);

impl Wire {
    pub async fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = connected.map_err(|error| format!("handshake: {error}"))?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request and reads the whole answer. Returns its status and revision.
    pub async fn send(&mut self, method: &str, path: &str) -> Result<(u16, String), String> {
        let body = if method == "POST" { r#"{"name":"load"}"# } else { "" };
        let request = hyper::Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body)));
        self.0.ready().await.map_err(|error| format!("not ready: {error}"))?;
        let response = self.0.send_request(request.map_err(|error| error.to_string())?).await;
        let response = response.map_err(|error| format!("{method} {path}: {error}"))?;
        let revision = response.headers().get("x-comptoir-revision").and_then(|value| value.to_str().ok());
        let (status, revision) = (response.status().as_u16(), revision.unwrap_or_default().to_owned());
        response.into_body().collect().await.map_err(|error| format!("{method} {path}, its body: {error}"))?;
        Ok((status, revision))
    }
}

/// The results.
#[derive(Debug, Default)]
pub struct Tally {
    pub answered: u64,
    /// Answers other than 2xx, and broken connections.
    pub failures: Vec<String>,
    /// Requests answered by a revision that had been replaced before they began.
    pub stale: Vec<String>,
}

/// Clients that send requests until [`Load::end`]. Every second one opens a connection for each request.
pub struct Load {
    ends: Arc<AtomicBool>,
    answered: watch::Sender<u64>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts clients; seven of ten requests are POST. `expected` returns the label of the revision that must answer a request
    /// that begins now. None means any.
    pub fn begin(
        gateway: SocketAddr,
        clients: usize,
        expected: impl Fn() -> Option<String> + Clone + Send + 'static,
    ) -> Self {
        Self::of(gateway, clients, 7, expected)
    }

    /// Starts clients that only read, because the time of writes depends on a disk that other tests use.
    pub fn reading(gateway: SocketAddr, clients: usize) -> Self {
        Self::of(gateway, clients, 0, || None)
    }

    fn of(
        gateway: SocketAddr,
        clients: usize,
        writes_of_ten: usize,
        expected: impl Fn() -> Option<String> + Clone + Send + 'static,
    ) -> Self {
        let (ends, answered) = (Arc::new(AtomicBool::new(false)), watch::Sender::new(0));
        let client = |number: usize| {
            let (ends, answered, expected) = (ends.clone(), answered.clone(), expected.clone());
            tokio::spawn(async move {
                let mut tally = Tally::default();
                let mut wire = None;
                for turn in number.. {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let method = if turn % 10 < writes_of_ten { "POST" } else { "GET" };
                    let newest = expected();
                    let mut used = match wire.take() {
                        Some(wire) if number.is_multiple_of(2) => wire,
                        _ => match Wire::open(gateway).await {
                            Ok(wire) => wire,
                            Err(error) => {
                                tally.failures.push(error);
                                continue;
                            }
                        },
                    };
                    match used.send(method, "/variant/items").await {
                        Ok((200 | 201, revision)) => {
                            // Another revision may have been announced since.
                            let now = expected();
                            if newest.is_some() && now == newest && Some(&revision) != newest.as_ref() {
                                tally.stale.push(format!("{revision} instead of {newest:?}"));
                            }
                            wire = Some(used);
                        }
                        Ok((status, revision)) => {
                            tally.failures.push(format!("{method} was answered with {status} by {revision}"));
                            wire = Some(used);
                        }
                        Err(error) => tally.failures.push(error),
                    }
                    tally.answered += 1;
                    answered.send_modify(|answered| *answered += 1);
                }
                tally
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { ends, answered, clients }
    }

    /// Waits for this many more answers.
    pub async fn run(&self, requests: u64) {
        let mut answered = self.answered.subscribe();
        let until = *answered.borrow() + requests;
        answered.wait_for(|answered| *answered >= until).await.expect("this owns the sender");
    }

    pub async fn end(self) -> Tally {
        self.ends.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.await.expect("no client panics");
            all.answered += tally.answered;
            all.failures.extend(tally.failures);
            all.stale.extend(tally.stale);
        }
        all
    }
}

impl Tally {
    /// Asserts that every request succeeded on the right revision.
    #[track_caller]
    pub fn lost_nothing(&self) {
        let failures = &self.failures;
        assert!(
            failures.is_empty(),
            "{} of {} failed: {:?}",
            failures.len(),
            self.answered,
            &failures[..failures.len().min(5)]
        );
        assert!(
            self.stale.is_empty(),
            "{} requests were served by an old revision: {:?}",
            self.stale.len(),
            self.stale
        );
        assert!(self.answered > 0, "no request was answered");
    }
}
