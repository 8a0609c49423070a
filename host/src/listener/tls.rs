//! TLS 1.2 and 1.3. The certificate's files may be replaced while the host serves.
//!
//! Each handshake checks the files' metadata, which costs little, and reloads changed files. If they cannot be used, the previous
//! certificate stays active. The host logs that once, and tries again when the files change again.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use storage::permissions;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ServerConfig, crypto};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

/// The protocols that ALPN offers, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The largest PEM file, in bytes. Certificates and keys have a few thousand.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The certificate and key of the public listeners.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// The state of the files at the last attempt to load them, also if it failed.
    stamps: Stamps,
}

/// Identifies one state of a file: device, inode, length, and ctime in seconds and nanoseconds. None if there is no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

type Stamps = [Stamp; 2];

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file does not exist or cannot be read.
    #[error("cannot read {}: {cause}. Name an existing file in PEM", path.display())]
    Unreadable {
        /// The path of the certificate or the key.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users may read the key.
    #[error("the key {} has mode {mode:03o}: only its owner may read it, so set the mode to 600 (640 if root owns it)", path.display())]
    KeyExposed {
        /// The path of the certificate or the key.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not contain what it should.
    #[error("{} holds no {what} in PEM: name the file that does", path.display())]
    Missing {
        /// The path of the certificate or the key.
        path: PathBuf,
        /// The missing content: a certificate or a private key.
        what: &'static str,
    },
    /// rustls rejects the certificate or the key, or they do not belong together.
    #[error(
        "{} and {} cannot be used: {cause}. Name a file with the certificate followed by its chain, and the key that belongs to it",
        certificate.display(), key.display()
    )]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The error of rustls.
        cause: rustls::Error,
    },
}

impl Tls {
    /// Loads a certificate chain and its key.
    ///
    /// # Errors
    /// A [`TlsError`], which names the file and what to do.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // Taken before the files are read, so that a change in between is noticed at the next handshake.
        let stamps = stamps(certificate, key);
        let config = load(certificate, key)?;
        let loaded = Mutex::new(Loaded { config, stamps });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), loaded })
    }

    /// An acceptor for one handshake. Reloads the certificate if its files have changed.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate, &self.key);
        if stamps != loaded.stamps {
            loaded.stamps = stamps;
            match load(&self.certificate, &self.key) {
                Ok(config) => {
                    tracing::info!(certificate = %self.certificate.display(), "reloaded the TLS certificate");
                    loaded.config = config;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot reload the changed TLS certificate; the previous one stays active");
                }
            }
        }
        TlsAcceptor::from(loaded.config.clone())
    }
}

/// When the first certificate of a file ends, as the time since 1970-01-01 UTC. None if the file has none that can be read.
pub fn certificate_ends(certificate: &Path) -> Option<Duration> {
    let (pem, _) = read(certificate).ok()?;
    let first = CertificateDer::pem_slice_iter(&pem).next()?.ok()?;
    let parsed = Certificate::from_der(&first).ok()?;
    Some(parsed.tbs_certificate.validity.not_after.to_unix_duration())
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    let stamp = |file: Metadata| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec());
    [certificate, key].map(|path| fs::metadata(path).ok().map(stamp))
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let missing = |path: &Path, what| TlsError::Missing { path: path.to_owned(), what };
    let (pem, _) = read(certificate)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| missing(certificate, "certificate"))?;
    if chain.is_empty() {
        return Err(missing(certificate, "certificate"));
    }
    let (mut pem, metadata) = read(key)?;
    if let Some(mode) = permissions::exposed(&metadata) {
        return Err(TlsError::KeyExposed { path: key.to_owned(), mode });
    }
    let private = PrivateKeyDer::from_pem_slice(&pem);
    pem.fill(0);
    std::hint::black_box(&pem);
    let private = private.map_err(|_| missing(key, "private key"))?;
    let unusable = |cause| TlsError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), cause };
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private))
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let unreadable = |cause| TlsError::Unreadable { path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok((bytes, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.pem");
        fs::write(&file, "no certificate").unwrap();
        assert_eq!(certificate_ends(&file), None);
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let certificate = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        fs::write(&file, certificate.pem()).unwrap();
        assert_eq!(certificate_ends(&file), Some(Duration::from_secs(1_893_456_000)));
    }
}
