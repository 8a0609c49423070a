//! Which certificates of remote hosts the host accepts: the system's roots, and an authority that the manifest names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

/// The largest file of certificates, in bytes.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why no TLS connection can be made.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// The authority's file cannot be read.
    #[error("cannot read {}: {cause}. Name an existing file in PEM", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// The authority's file holds no certificate.
    #[error("{} holds no certificate in PEM: name the file that does", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The authority's file is too large.
    #[error("{} is larger than {}: name a file with the certificates of your own authorities only", path.display(), ByteSize::b(FILE_LIMIT_BYTES).display().iec())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The authority's file holds something that is no certificate.
    #[error("{} holds a certificate that cannot be used ({cause}): write it in PEM again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// There is no certificate to trust.
    #[error(
        "this system has no root certificates ({0}): install them (Debian: ca-certificates), or name a file in `authority`"
    )]
    NoRoots(String),
    /// rustls refuses its configuration.
    #[error("cannot use TLS: {0}")]
    Unusable(#[from] rustls::Error),
}

/// A configuration that trusts the system's roots and the authority. ALPN is left to the connector.
///
/// # Errors
/// The authority's file cannot be used, or there is no certificate to trust.
pub fn config(authority: Option<&Path>) -> Result<ClientConfig, RootsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    // One unusual certificate of the system must not keep the host from using the others.
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = authority {
        for certificate in read(path)? {
            let unusable =
                |cause: rustls::Error| RootsError::Malformed { path: path.to_owned(), cause: cause.to_string() };
            roots.add(certificate).map_err(unusable)?;
        }
    }
    if roots.is_empty() {
        let causes: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(RootsError::NoRoots(if causes.is_empty() {
            "none was found".to_owned()
        } else {
            causes.join(", ")
        }));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let unreadable = |cause| RootsError::Unreadable { path: path.to_owned(), cause };
    let mut pem = Vec::new();
    File::open(path).map_err(unreadable)?.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut pem).map_err(unreadable)?;
    if pem.len() as u64 > FILE_LIMIT_BYTES {
        return Err(RootsError::TooLarge { path: path.to_owned() });
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates =
        certificates.map_err(|cause| RootsError::Malformed { path: path.to_owned(), cause: cause.to_string() })?;
    if certificates.is_empty() { Err(RootsError::Missing { path: path.to_owned() }) } else { Ok(certificates) }
}

/// For a service that uses no TLS. Every handshake would fail.
///
/// # Errors
/// rustls refuses its configuration.
pub fn without_roots() -> Result<ClientConfig, RootsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    Ok(config
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
