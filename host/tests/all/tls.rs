//! TLS on the gateway and on the services' own listeners.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use comptoir::host::Host;
use comptoir::manifest::{Manifest, Tls};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use testing::{Shop, manifest_of, options, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion, crypto};

use crate::deploys::load::Wire;

/// A timeout that is reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

const HEADER_TIME: Duration = Duration::from_millis(300);

/// A certificate for localhost and its key, in files.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the files by another certificate and its key. Returns the certificate.
    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.put("key.pem", &signing_key.serialize_pem());
        self.put("certificate.pem", &cert.pem());
        cert.der().clone()
    }

    /// Replaces a file atomically, with mode 600.
    fn put(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn manifest(&self) -> Manifest {
        let mut manifest = shop_manifest();
        let (certificate, key) = (self.path("certificate.pem"), self.path("key.pem"));
        manifest.listeners.tls = Some(Tls { certificate, key });
        manifest
    }
}

/// Performs a handshake that trusts only this certificate.
async fn shake(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let mut config =
        config.with_protocol_versions(versions).unwrap().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(address).await?).await
}

/// The status of `GET /products`, and the negotiated HTTP version.
async fn products(stream: TlsStream<TcpStream>) -> (u16, Version) {
    let (status, version, _) = get(stream, "https://localhost/products").await;
    (status, version)
}

async fn get(stream: TlsStream<TcpStream>, url: &str) -> (u16, Version, String) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = Request::get(url).header("host", "localhost");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let io = TokioIo::new(stream);
    let response = if is_h2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    };
    let (status, version) = (response.status().as_u16(), response.version());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, version, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_component_behind_tls_always_sees_https() {
    let files = Files::new();
    let trusted = files.renew();
    let service = |name: &str, guest: &str| {
        format!("[services.{name}]\ncomponent = \"{guest}.wasm\"\nmounts = [\"/{name}\"]\naccess = \"public\"\n")
    };
    let mut manifest = manifest_of(&(service("older", "guest_plain_p2") + &service("newer", "guest_plain_p3")));
    manifest.listeners.tls = files.manifest().listeners.tls;
    let shop = Shop::with(manifest).await;
    for (mount, seen) in [("older", "0.2 Some(Scheme::Https)"), ("newer", "0.3 Some(Scheme::Https)")] {
        for protocol in [&b"h2"[..], b"http/1.1"] {
            for scheme in ["https", "http"] {
                let stream = shake(shop.addresses().gateway, &trusted, &[&TLS13], &[protocol]).await.unwrap();
                let (status, _, text) = get(stream, &format!("{scheme}://localhost/{mount}/origin")).await;
                assert_eq!((status, text), (200, format!("{seen} Some(\"localhost\")")), "{protocol:?} {scheme}");
            }
        }
    }
}

#[tokio::test]
async fn all_client_listeners_speak_tls_and_negotiate_the_http_version() {
    let files = Files::new();
    let trusted = files.renew();
    let shop = Shop::with(files.manifest()).await;
    let addresses = shop.addresses();
    assert_eq!(addresses.scheme, "https");
    for address in [addresses.gateway, addresses.services["orders"]] {
        for (protocols, version) in [
            (&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2),
            (&[b"http/1.1"], Version::HTTP_11),
            (&[], Version::HTTP_11),
        ] {
            for (tls, agreed) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
                let stream = shake(address, &trusted, &[tls], protocols).await.unwrap();
                assert_eq!(stream.get_ref().1.protocol_version(), Some(agreed));
                assert_eq!(products(stream).await, (200, version));
            }
        }
        assert!(shake(address, &trusted, &[&TLS13], &[b"smtp"]).await.is_err(), "no protocol in common");
    }
    let admin = shop.operator().get("/livez").await;
    assert_eq!(admin.status, 200, "the admin listener has no TLS");
}

/// A ClientHello of TLS 1.1 (RFC 4346, section 7.4.1.2) with one cipher suite.
const HELLO_OF_TLS_1_1: [u8; 50] = {
    let mut hello = [0; 50];
    // A handshake record of 45 bytes: a ClientHello of 41, version 3.2, random, no session.
    let head = [22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    // Cipher suites: AES128-SHA. Compressions: none.
    (hello[45], hello[46], hello[47], hello[48]) = (2, 0, 47, 1);
    hello
};

#[tokio::test]
async fn older_tls_versions_and_other_bytes_are_refused() {
    let files = Files::new();
    let trusted = files.renew();
    let shop = Shop::with(files.manifest()).await;
    let gateway = shop.addresses().gateway;
    let sent: [&[u8]; 4] = [
        &HELLO_OF_TLS_1_1,
        b"GET /products HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[22, 3, 1, 255, 255, 1, 0, 0],
    ];
    for bytes in sent {
        let mut stream = TcpStream::connect(gateway).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A reset is fine, because the host need not read everything.
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(answer.is_empty() || answer[0] == 21, "the host may send only an alert, not {answer:?}");
        assert_eq!(products(shake(gateway, &trusted, &[&TLS13], &[]).await.unwrap()).await.0, 200);
    }
    assert!(shake(gateway, &Files::new().renew(), &[&TLS13], &[]).await.is_err(), "another certificate is not trusted");
}

#[tokio::test]
async fn a_changed_certificate_is_reloaded_and_a_broken_one_ignored() {
    let files = Files::new();
    let first = files.renew();
    let shop = Shop::with(files.manifest()).await;
    let gateway = shop.addresses().gateway;
    let serves = async |trusted: &CertificateDer<'static>| match shake(gateway, trusted, &[&TLS13], &[b"h2"]).await {
        Ok(stream) => products(stream).await.0 == 200,
        Err(_) => false,
    };
    let open = shake(gateway, &first, &[&TLS13], &[]).await.unwrap();
    assert!(serves(&first).await);
    let second = files.renew();
    assert!(serves(&second).await && !serves(&first).await);
    assert_eq!(products(open).await.0, 200, "an open connection still works");

    let (certificate, key) = ("certificate.pem", "key.pem");
    let good = [certificate, key].map(|name| fs::read_to_string(files.path(name)).unwrap());
    files.put(certificate, "no certificate");
    assert!(serves(&second).await);
    fs::remove_file(files.path(certificate)).unwrap();
    assert!(serves(&second).await);
    files.put(certificate, &good[0]);
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    files.put(key, &other.signing_key.serialize_pem());
    assert!(serves(&second).await, "a key that does not belong to the certificate is ignored");
    files.put(key, &good[1]);
    fs::set_permissions(files.path(key), Permissions::from_mode(0o644)).unwrap();
    files.put(certificate, &good[0]);
    assert!(serves(&second).await, "a key that others may read is ignored");
    let third = files.renew();
    assert!(serves(&third).await && !serves(&second).await);
}

#[tokio::test]
async fn a_stalled_handshake_blocks_no_other_and_times_out() {
    let files = Files::new();
    let trusted = files.renew();
    let mut manifest = files.manifest();
    manifest.listeners.header_time = HEADER_TIME;
    let shop = Shop::with(manifest).await;
    let gateway = shop.addresses().gateway;
    let mut stalled = Vec::new();
    for begun in [&b""[..], &[22, 3, 1], &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]].repeat(8) {
        let mut stream = TcpStream::connect(gateway).await.unwrap();
        stream.write_all(begun).await.unwrap();
        stalled.push(stream);
    }
    assert_eq!(products(shake(gateway, &trusted, &[&TLS13], &[b"h2"]).await.unwrap()).await.0, 200);
    for mut stream in stalled {
        let ended =
            tokio::time::timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("the host closes the connection");
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let files = Files::new();
    let trusted = files.renew();
    let mut manifest = files.manifest();
    (manifest.listeners.header_time, manifest.listeners.connections) = (HEADER_TIME, 1);
    let shop = Shop::with(manifest).await;
    let gateway = shop.addresses().gateway;
    let mut stalled = TcpStream::connect(gateway).await.unwrap();
    let next = tokio::time::timeout(PATIENCE, shake(gateway, &trusted, &[&TLS13], &[]))
        .await
        .expect("the waiting connection is served");
    assert_eq!(products(next.unwrap()).await.0, 200);
    let ended =
        tokio::time::timeout(PATIENCE, stalled.read(&mut [0; 1])).await.expect("the stalled connection is closed");
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
}

/// The error of a start with these files.
async fn complaint(files: &Files) -> String {
    let data = tempfile::tempdir().unwrap();
    let started = Host::start(files.manifest(), data.path(), options(&Default::default())).await;
    let refused = started.err().expect("the host refuses to start");
    let folder: &Path = files.folder.path();
    format!("{refused:#}").replace(&format!("{}/", folder.display()), "")
}

#[tokio::test]
async fn unusable_files_are_refused_at_the_start_with_the_manifest_line_and_next_step() {
    let files = Files::new();
    let refuses = async |what: &str| {
        let said = complaint(&files).await;
        assert!(
            said.contains("comptoir.toml:") && said.contains(": listeners.tls: ") && said.contains(what),
            "`{what}` is not in: {said}"
        );
    };
    refuses("cannot read certificate.pem").await;
    files.renew();
    fs::set_permissions(files.path("key.pem"), Permissions::from_mode(0o660)).unwrap();
    refuses("the key key.pem has mode 660: only its owner may read it, so set the mode to 600").await;
    files.put("key.pem", "no key");
    refuses("key.pem holds no private key in PEM: name the file that does").await;
    files.renew();
    files.put("certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    refuses("certificate.pem holds no certificate in PEM").await;
    files.renew();
    let other = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    files.put("key.pem", &other.signing_key.serialize_pem());
    refuses("certificate.pem and key.pem cannot be used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_begins_and_ends_tls_on_the_same_port() {
    let files = Files::new();
    let trusted = files.renew();
    let service = "[services.older]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/older\"]\naccess = \"public\"\n";
    let current = manifest_of(service);
    let mut shop = Shop::with(current.clone()).await;
    let gateway = shop.addresses().gateway;
    let mut plain_text = Wire::open(gateway).await.unwrap();
    assert_eq!(plain_text.send("GET", "/older").await.unwrap().0, 200);
    let mut secure = current.clone();
    secure.listeners.tls = files.manifest().listeners.tls;
    shop.reload(secure).await.succeeds(200);
    assert_eq!((shop.addresses().gateway, shop.addresses().scheme), (gateway, "https"));
    let stream = shake(gateway, &trusted, &[&TLS13], &[b"h2"]).await.unwrap();
    let (status, _, text) = get(stream, "https://localhost/older/origin").await;
    assert_eq!((status, text), (200, "0.2 Some(Scheme::Https) Some(\"localhost\")".to_owned()));
    // The connection from before closes after its next answer.
    assert_eq!(plain_text.send("GET", "/older").await.unwrap().0, 200);
    assert!(plain_text.send("GET", "/older").await.is_err());
    let kept = shake(gateway, &trusted, &[&TLS13], &[b"http/1.1"]).await.unwrap();
    shop.reload(current).await.succeeds(200);
    let seen = shop.anon().get("/older/origin").await.text;
    assert!(seen.starts_with("0.2 Some(Scheme::Http) "), "{seen}");
    let (status, _, text) = get(kept, "/older/origin").await;
    assert!(status == 200 && text.starts_with("0.2 Some(Scheme::Https) "), "{status} {text}");
}
