//! Servers on loopback, which stand in for remote hosts.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// A server on loopback, which counts its connections.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with this function.
    pub(super) async fn start<F>(answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static) -> Self
    where
        F: Future<Output = Response<Full<Bytes>>> + Send,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let open = Arc::<AtomicUsize>::default();
        let (count, now) = (connections.clone(), open.clone());
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answering = answer(request);
                    async { Ok::<_, Infallible>(answering.await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                now.fetch_add(1, Ordering::SeqCst);
                let now = now.clone();
                tokio::spawn(async move {
                    let _ = http.serve_connection(TokioIo::new(connection), service).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, open }
    }

    /// Answers each request with its method, path, headers and body.
    pub(super) async fn echo() -> Self {
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

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A server that writes bytes to each connection as soon as a request arrives. Then it closes the connection, or keeps it open.
pub(super) async fn raw(bytes: &'static [u8], closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                let _ = connection.write_all(bytes).await;
                if !closes {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    address
}

/// A server with TLS that speaks only HTTP/2 and answers 200 at once, without reading the request's body. Its answers have no end.
/// Also returns the file of its authority.
pub(super) async fn endless_http_2(folder: &Path) -> (SocketAddr, PathBuf) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let authority = folder.join("authority.pem");
    std::fs::write(&authority, cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (tls, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async {
                    let never = stream::pending::<Result<Frame<Bytes>, Infallible>>();
                    // Keeps the request, because dropping it resets the stream.
                    let body = StreamBody::new(stream::once(async { Ok(Frame::data(Bytes::from("hello"))) }).chain(
                        never.map(move |frame| {
                            let _ = &request;
                            frame
                        }),
                    ));
                    Ok::<_, Infallible>(Response::new(body))
                });
                let Ok(connection) = tls.accept(connection).await else { return };
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(connection), service).await;
            });
        }
    });
    (address, authority)
}
