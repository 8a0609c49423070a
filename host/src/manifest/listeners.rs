//! The listeners of a manifest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::{Check, ManifestError, limits};

/// The host's own listeners and what they accept.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// Serves the routes of all services.
    pub gateway: SocketAddr,
    /// Serves the operator. Must be loopback.
    pub admin: SocketAddr,
    /// Open connections on all listeners together. More wait in the kernel's queue.
    pub connections: usize,
    /// Open connections of one address, or of one /64 of IPv6. More are closed.
    pub connections_each: usize,
    /// From the first byte of a request (or the last answer) to the end of its headers; the same for a TLS handshake.
    pub header_time: Duration,
    /// What a shutdown gives to the requests that run.
    pub shutdown_time: Duration,
    /// With what the gateway and the services' own listeners speak TLS. Without it they do not; the admin listener never does.
    pub tls: Option<Tls>,
    /// Whose pages may read answers in a browser: origins, exactly as a browser sends them.
    pub cors: Vec<String>,
}

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate and those that lead from it towards a root, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM. Must be its owner's alone.
    pub key: PathBuf,
    /// Where the manifest names them, for messages: a line number.
    pub line: usize,
}

/// `[listeners]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenersTable {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    #[serde(default = "default_connections")]
    connections: usize,
    /// All, where there is none: behind a proxy one address is everybody.
    connections_each: Option<usize>,
    #[serde(default = "default_header_time", deserialize_with = "limits::duration")]
    header_time: Duration,
    #[serde(default = "default_shutdown_time", deserialize_with = "limits::duration")]
    shutdown_time: Duration,
    tls: Option<Spanned<TlsTable>>,
    #[serde(default)]
    cors: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
}

fn default_connections() -> usize {
    16_384
}

fn default_header_time() -> Duration {
    Duration::from_secs(30)
}

fn default_shutdown_time() -> Duration {
    Duration::from_secs(10)
}

impl ListenersTable {
    pub(super) fn check(&self, at: usize, check: &Check<'_>) -> Result<Listeners, ManifestError> {
        let Self { gateway, admin, connections, connections_each, header_time, shutdown_time, tls, cors } = self;
        if !admin.ip().is_loopback() {
            let message =
                format!("listeners.admin is {admin}: the admin listener must be on loopback, such as 127.0.0.1:8010");
            return Err(check.refuse(Some(at), &message));
        }
        if !(1..=1_000_000).contains(connections) {
            return Err(check.refuse(Some(at), "listeners.connections must be from 1 to 1000000"));
        }
        let connections_each = connections_each.unwrap_or(*connections);
        if !(1..=*connections).contains(&connections_each) {
            return Err(check.refuse(Some(at), "listeners.connections_each must be from 1 to listeners.connections"));
        }
        if let Some(wrong) = cors.iter().find(|origin| !is_origin(origin.get_ref())) {
            let message = format!(
                "cors names `{}`, which is no origin: write scheme, host and, where it is not the scheme's own, port, such as \
                 \"https://shop.example\"",
                wrong.get_ref()
            );
            return Err(check.refuse(Some(wrong.span().start), &message));
        }
        let folder = check.file.parent().unwrap_or(Path::new("."));
        let tls = tls.as_ref().map(|tls| Tls {
            certificate: folder.join(&tls.get_ref().certificate),
            key: folder.join(&tls.get_ref().key),
            line: check.line(tls.span().start),
        });
        Ok(Listeners {
            gateway: *gateway,
            admin: *admin,
            connections: *connections,
            connections_each,
            header_time: *header_time,
            shutdown_time: *shutdown_time,
            tls,
            cors: cors.iter().map(|origin| origin.get_ref().clone()).collect(),
        })
    }
}

/// Whether a browser could send it: it writes scheme and host in lower case, and no port that the scheme implies (RFC 6454,
/// section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme @ ("http" | "https"), authority)) = text.split_once("://") else { return false };
    let implied = if scheme == "http" { ":80" } else { ":443" };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    let is_whole = |uri: Uri| {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
        !host.is_empty() && (authority == host || port.is_some_and(|port| authority == format!("{host}:{port}")))
    };
    authority.bytes().all(plain) && !authority.ends_with(implied) && text.parse::<Uri>().is_ok_and(is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_and_nothing_else() {
        for origin in ["https://shop.example", "http://localhost:3000", "https://[2001:db8::1]:8443", "http://10.0.0.1"]
        {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "*",
            "null",
            "",
            "https://",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://Shop.example",
            "https://*.shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:",
            "https://user@shop.example",
            "ftp://shop.example",
            "https://shop.example:99999",
            "https://shop.example https://other.example",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
