//! What a manifest names outside of itself: files, components and ports. All faults are reported at once, before anything is compiled
//! or migrated.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use storage::postgres::PostgresServer;
use tokio::net::{TcpListener, TcpSocket};

use super::Addresses;
use crate::clock::Clock;
use crate::deploy::{Record, component_faults};
use crate::listener::Tls;
use crate::manifest::{Fault, Manifest, ManifestError};

/// Connections that the kernel accepts while the host is not yet looking.
const BACKLOG: u32 = 1024;

/// What a host is built from, beside its data folder.
pub(super) struct Surroundings {
    /// The certificate that the manifest names.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) bound: Bound,
}

/// Ports that are bound, but not listened on: a client that connects is refused.
pub(super) struct Bound {
    gateway: Port,
    admin: Port,
    services: Vec<(String, Port)>,
}

struct Port {
    socket: TcpSocket,
    address: SocketAddr,
    /// The listener in words, for messages.
    whose: String,
}

/// Ports that clients can connect to.
pub(super) struct Listening {
    pub(super) gateway: TcpListener,
    pub(super) admin: TcpListener,
    pub(super) services: Vec<(String, TcpListener)>,
}

/// Checks what a manifest names as a first start does, except its ports, which a running host may have.
///
/// # Errors
/// All faults.
pub fn check(manifest: &Manifest, clock: &Clock) -> Result<(), ManifestError> {
    let mut faults = component_faults(manifest, None, clock.unix_seconds());
    tls(manifest, &mut faults);
    postgres(manifest, &mut faults);
    if faults.is_empty() { Ok(()) } else { Err(manifest.source.refuse(faults)) }
}

impl Surroundings {
    /// Checks all that a manifest names, and takes its ports.
    ///
    /// # Errors
    /// All faults. Nothing is taken then.
    pub(super) fn open(manifest: &Manifest, record: &Record, clock: &Clock) -> Result<Self, ManifestError> {
        let mut faults = component_faults(manifest, Some(record), clock.unix_seconds());
        let tls = tls(manifest, &mut faults);
        postgres(manifest, &mut faults);
        match bind(manifest, &mut faults) {
            Some(bound) if faults.is_empty() => Ok(Self { tls, bound }),
            _ => Err(manifest.source.refuse(faults)),
        }
    }
}

fn tls(manifest: &Manifest, faults: &mut Vec<Fault>) -> Option<Arc<Tls>> {
    let tls = manifest.listeners.tls.as_ref()?;
    match Tls::open(&tls.certificate, &tls.key) {
        Ok(opened) => Some(Arc::new(opened)),
        Err(error) => {
            faults.push(manifest.source.fault("listeners.tls", format!("listeners.tls: {error}")));
            None
        }
    }
}

fn postgres(manifest: &Manifest, faults: &mut Vec<Fault>) {
    let Some(postgres) = &manifest.postgres else { return };
    if let Err(error) = PostgresServer::read(&postgres.url, postgres.authority.as_deref()) {
        faults.push(manifest.source.fault("postgres", format!("[postgres]: {error}")));
    }
}

/// Binds every port before anything slow or lasting happens, so that a port that another program listens on is found at once.
fn bind(manifest: &Manifest, faults: &mut Vec<Fault>) -> Option<Bound> {
    let mut bind = |key: &str, address: SocketAddr, whose: String| {
        let bound = bind_one(address).map(|(socket, address)| Port { socket, address, whose: whose.clone() });
        bound.map_err(|error| faults.push(manifest.source.fault(key, cannot_listen(&whose, address, &error)))).ok()
    };
    let gateway = bind("listeners.gateway", manifest.listeners.gateway, "the gateway".to_owned());
    let admin = bind("listeners.admin", manifest.listeners.admin, "the admin listener".to_owned());
    let own = manifest.services.iter().filter_map(|(name, service)| Some((name, service.listen?)));
    let services = own.map(|(name, address)| {
        let key = format!("services.{name}.listen");
        bind(&key, address, format!("the service `{name}`")).map(|port| (name.clone(), port))
    });
    // All of them, to report each that cannot be taken.
    let services: Vec<_> = services.collect();
    Some(Bound { gateway: gateway?, admin: admin?, services: services.into_iter().collect::<Option<_>>()? })
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: a restart need not wait for the connections of the host before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn cannot_listen(whose: &str, address: SocketAddr, error: &io::Error) -> String {
    format!(
        "{whose} cannot listen on {address}: {error}. Stop what uses that port, or give another one in the manifest"
    )
}

impl Bound {
    pub(super) fn addresses(&self, scheme: &'static str) -> Addresses {
        let services: BTreeMap<_, _> = self.services.iter().map(|(name, port)| (name.clone(), port.address)).collect();
        Addresses { scheme, gateway: self.gateway.address, admin: self.admin.address, services }
    }

    /// Lets clients connect.
    pub(super) fn listen(self) -> anyhow::Result<Listening> {
        let services = self.services.into_iter().map(|(name, port)| Ok((name, port.listen()?)));
        Ok(Listening {
            gateway: self.gateway.listen()?,
            admin: self.admin.listen()?,
            services: services.collect::<anyhow::Result<_>>()?,
        })
    }
}

impl Port {
    /// Fails if another program listens by now. Binding does not keep out one that sets SO_REUSEADDR, as this one does.
    fn listen(self) -> anyhow::Result<TcpListener> {
        let Self { socket, address, whose } = self;
        socket
            .listen(BACKLOG)
            .with_context(|| format!("{whose} cannot listen on {address}: another program does since"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpStream;

    use super::*;

    fn manifest(gateway: &str, rest: &str) -> Manifest {
        let text = format!("[listeners]\ngateway = \"{gateway}\"\nadmin = \"127.0.0.1:0\"\n{rest}");
        Manifest::parse(Path::new("/nowhere/shop.toml"), &text).unwrap()
    }

    fn service(name: &str) -> String {
        format!("[services.{name}]\ncomponent = \"{name}.wasm\"\nmounts = [\"/{name}\"]\n")
    }

    #[tokio::test]
    async fn a_port_refuses_clients_until_the_host_listens_and_takes_them_from_then_on() {
        let bound = bind(&manifest("127.0.0.1:0", &service("a")), &mut Vec::new()).unwrap();
        let gateway = bound.addresses("http").gateway;
        let refused = TcpStream::connect(gateway).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listening = bound.listen().unwrap();
        TcpStream::connect(gateway).await.unwrap();
    }

    #[tokio::test]
    async fn all_that_a_manifest_names_and_is_not_there_is_reported_at_once_with_its_line() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let tls = "tls = { certificate = \"shop.pem\", key = \"shop.key\" }\n";
        let rest = [tls, "[postgres]\nurl = \"postgres.url\"\n", &service("a"), &service("b")].concat();
        let (manifest, data) = (manifest(&address, &rest), tempfile::tempdir().unwrap());
        let record = Record::open(data.path(), Clock::default()).unwrap();
        let refused = Surroundings::open(&manifest, &record, &Clock::default()).err().expect("it is refused");
        let found: Vec<_> = refused.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(found, [2, 4, 5, 8, 11].map(Some), "{refused}");
        for said in [
            format!("/nowhere/shop.toml:2: the gateway cannot listen on {address}: ").as_str(),
            "shop.toml:4: listeners.tls: cannot read /nowhere/shop.pem",
            "shop.toml:5: [postgres]: ",
            "shop.toml:8: the service `a` could not be received: cannot read /nowhere/a.wasm",
            "11 | component = \"b.wasm\"\n   |             ^^^^^^^^",
        ] {
            assert!(refused.to_string().contains(said), "`{said}` is not in: {refused}");
        }
        // A running host may have the ports.
        assert_eq!(check(&manifest, &Clock::default()).unwrap_err().faults.len(), 4);
    }
}
