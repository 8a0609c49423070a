//! A server on loopback that stands in for a remote host.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// A certificate for one name, which is its own authority.
pub(super) struct Certificate {
    folder: TempDir,
    config: Arc<ServerConfig>,
}

impl Certificate {
    pub(super) fn new(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("authority.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = config.with_single_cert(vec![cert.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { folder, config: Arc::new(config) }
    }

    /// The certificate in PEM.
    pub(super) fn file(&self) -> PathBuf {
        Path::new(self.folder.path()).join("authority.pem")
    }
}

/// A request that reached the server.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
}

/// Answers each request with its own body, and keeps what arrived.
pub(super) struct Remote {
    address: SocketAddr,
    is_https: bool,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    arrived: Mutex<Vec<Arrived>>,
}

impl Remote {
    pub(super) async fn start() -> Self {
        Self::serve(None).await
    }

    pub(super) async fn with_tls(certificate: &Certificate) -> Self {
        Self::serve(Some(TlsAcceptor::from(certificate.config.clone()))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, is_https, state) = (listener.local_addr().unwrap(), tls.is_some(), Arc::<State>::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (tls, state) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(state.clone(), request));
                    let http = auto::Builder::new(TokioExecutor::new());
                    // A connection that the host refuses ends with an error.
                    let _ = match tls {
                        None => http.serve_connection(TokioIo::new(connection), service).await,
                        Some(tls) => match tls.accept(connection).await {
                            Ok(connection) => http.serve_connection(TokioIo::new(connection), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, is_https, state }
    }

    /// Scheme, address and port.
    pub(super) fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.address)
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().unwrap().clone()
    }

    /// The latest request.
    pub(super) fn last(&self) -> Arrived {
        self.arrived().pop().expect("a request arrived")
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let arrived = Arrived { version: head.version, headers: head.headers };
    state.arrived.lock().unwrap().push(arrived.clone());
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let response = Response::builder().header("x-answer", "yes");
    Ok(match head.uri.path() {
        "/json" => response.body(Full::from(head.uri.query().unwrap_or_default().to_owned()).boxed_unsync()).unwrap(),
        "/missing" => response.status(404).body(Full::default().boxed_unsync()).unwrap(),
        "/silent" => std::future::pending().await,
        "/repeat" => repeat(&arrived.headers),
        "/gzip" => response.header("content-encoding", "gzip").body(Full::from(body).boxed_unsync()).unwrap(),
        _ => response.body(Full::from(body).boxed_unsync()).unwrap(),
    })
}

/// Repeats the credential, as a server does in a careless error message. Two parts of the body share it.
fn repeat(headers: &HeaderMap) -> Response<Body> {
    let sent = headers["authorization"].to_str().unwrap();
    let text = Bytes::from(format!("you sent {sent}."));
    let parts = [text.slice(..text.len() - 6), text.slice(text.len() - 6..)];
    let parts = stream::iter(parts.map(|part| Ok(Frame::data(part))));
    Response::builder().header("x-repeated", sent).body(StreamBody::new(parts).boxed_unsync()).unwrap()
}
