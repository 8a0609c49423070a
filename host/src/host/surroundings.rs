//! Checks everything outside of the manifest that it names: files, components and ports. Reports all faults at once, before the host
//! compiles or migrates anything.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use storage::postgres::PostgresServer;
use tokio::net::TcpSocket;

use super::listeners::{Bound, Open, Port, Socket, wanted};
use crate::clock::Clock;
use crate::deploy::{Outbounds, Record, component_faults};
use crate::guest::Folders;
use crate::listener::Tls;
use crate::manifest::{Fault, Manifest, ManifestError};
use crate::outbound::{Outbound, Secrets, SystemLookup};

/// The certificate and the ports of a host.
pub(super) struct Surroundings {
    /// The TLS certificate, if the manifest names one.
    pub(super) tls: Option<Arc<Tls>>,
    /// The services' ways to remote hosts, by service.
    pub(super) outbounds: Outbounds,
    /// The services' secrets, by service.
    pub(super) secrets: BTreeMap<String, Arc<Secrets>>,
    pub(super) bound: Bound,
}

/// What a manifest names and a check opens.
pub(super) struct Named {
    /// The services' ways to remote hosts, by service.
    pub(super) outbounds: Outbounds,
    /// The services' secrets, by service.
    pub(super) secrets: BTreeMap<String, Arc<Secrets>>,
}

/// Checks everything that a manifest names, as for a first start. Skips the ports, because a running host may have them.
///
/// # Errors
/// All faults.
pub(super) fn check(manifest: &Manifest, clock: &Clock) -> Result<Named, ManifestError> {
    let mut faults = component_faults(manifest, None, clock.unix_seconds());
    tls(manifest, &mut faults);
    let (outbounds, secrets) = (outbounds(manifest, &mut faults), secrets(manifest, &mut faults));
    postgres(manifest, &mut faults);
    folders(manifest, None, &mut faults);
    development(manifest, &mut faults);
    if faults.is_empty() { Ok(Named { outbounds, secrets }) } else { Err(manifest.source.refuse(faults)) }
}

impl Surroundings {
    /// Checks everything that a manifest names, and binds its ports, except those that are `open` already.
    ///
    /// # Errors
    /// All faults. No port stays bound then.
    pub(super) fn open(
        manifest: &Manifest,
        data: &Path,
        record: &Record,
        clock: &Clock,
        open: &[Arc<Open>],
    ) -> Result<Self, ManifestError> {
        let mut faults = component_faults(manifest, Some(record), clock.unix_seconds());
        let tls = tls(manifest, &mut faults);
        let outbounds = outbounds(manifest, &mut faults);
        let secrets = secrets(manifest, &mut faults);
        postgres(manifest, &mut faults);
        folders(manifest, Some(data), &mut faults);
        development(manifest, &mut faults);
        match bind(manifest, open, &mut faults) {
            Some(bound) if faults.is_empty() => Ok(Self { tls, outbounds, secrets, bound }),
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

fn outbounds(manifest: &Manifest, faults: &mut Vec<Fault>) -> Outbounds {
    let mut outbounds = Outbounds::new();
    for (name, service) in &manifest.services {
        let Some(rules) = &service.outbound else { continue };
        match Outbound::open(name.as_str().into(), rules.clone(), Arc::new(SystemLookup)) {
            Ok(outbound) => {
                outbounds.insert(name.clone(), Arc::new(outbound));
            }
            Err(error) => {
                let key = format!("services.{name}.outbound");
                faults.push(manifest.source.fault(&key, format!("{key}: {error}")));
            }
        }
    }
    outbounds
}

fn secrets(manifest: &Manifest, faults: &mut Vec<Fault>) -> BTreeMap<String, Arc<Secrets>> {
    let mut secrets = BTreeMap::new();
    for (name, service) in manifest.services.iter().filter(|(_, service)| !service.secrets.is_empty()) {
        match Secrets::open(&service.secrets) {
            Ok(opened) => {
                secrets.insert(name.clone(), Arc::new(opened));
            }
            Err((secret, error)) => {
                let key = format!("services.{name}.secrets.{secret}");
                faults.push(manifest.source.fault(&key, format!("{key}: {error}")));
            }
        }
    }
    secrets
}

fn postgres(manifest: &Manifest, faults: &mut Vec<Fault>) {
    let Some(postgres) = &manifest.postgres else { return };
    if let Err(error) = PostgresServer::read(&postgres.url, postgres.authority.as_deref()) {
        faults.push(manifest.source.fault("postgres", format!("[postgres]: {error}")));
    }
}

/// Refuses the keys of `[development]` on a listener that other machines reach.
fn development(manifest: &Manifest, faults: &mut Vec<Fault>) {
    let open = wanted(manifest).into_iter().find(|wanted| !wanted.written.ip().is_loopback());
    if let (true, Some(open)) = (manifest.development.tokens, open) {
        let message = format!(
            "development.tokens: {} listens on {}, which is not a loopback address, so `comptoir token` must be off: remove \
             [development], or listen on 127.0.0.1",
            open.whose, open.written
        );
        faults.push(manifest.source.fault("development.tokens", message));
    }
}

/// Checks the folders that components may read. `data` is the data folder, if it is known.
fn folders(manifest: &Manifest, data: Option<&Path>, faults: &mut Vec<Fault>) {
    let own = [
        (data, "the data folder"),
        (manifest.listeners.tls.as_ref().map(|tls| &*tls.key), "the key of the certificate"),
        (manifest.postgres.as_ref().map(|postgres| &*postgres.url), "the URL of PostgreSQL"),
    ];
    let of_services = manifest.services.values().flat_map(|service| &service.secrets);
    let of_services = of_services.map(|secret| (Some(&*secret.file), "a secret of a service"));
    let secret: Vec<_> = own.into_iter().chain(of_services).collect();
    for (name, service) in &manifest.services {
        for folder in &service.files {
            let shares = |(path, _): &&(Option<&Path>, _)| path.is_some_and(|path| shares(&folder.from, path));
            let message = match (Folders::open([(&*folder.from, &*folder.to)]), secret.iter().find(shares)) {
                (Err(error), _) => error.to_string(),
                (Ok(_), Some((_, what))) => format!(
                    "the folder {} shares files with {what}, which no component may read: name another folder",
                    folder.from.display()
                ),
                (Ok(_), None) => continue,
            };
            let key = format!("services.{name}.files");
            faults.push(manifest.source.fault(&key, format!("files of {name}: {message}")));
        }
    }
}

/// Whether one path lies in the other. Both are resolved first, as far as they exist.
fn shares(folder: &Path, secret: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (folder, secret) = (resolved(folder), resolved(secret));
    folder.starts_with(&secret) || secret.starts_with(&folder)
}

/// Binds all ports that are not open yet. This runs before any slow or lasting step, so that a port in use is reported at once.
fn bind(manifest: &Manifest, open: &[Arc<Open>], faults: &mut Vec<Fault>) -> Option<Bound> {
    let ports = wanted(manifest).into_iter().map(|wanted| {
        if let Some(open) = wanted.find(open) {
            return Some(Port { wanted, address: open.address(), socket: Socket::Open(open) });
        }
        let (key, whose, address) = (&wanted.key, &wanted.whose, wanted.written);
        if let Some(blocking) = wanted.blocked_by(open) {
            let message = format!(
                "{whose} cannot listen on {address}, because this host listens on {blocking}: choose another port, or restart to change it"
            );
            faults.push(manifest.source.fault(key, message));
            return None;
        }
        match bind_one(address) {
            Ok((socket, address)) => Some(Port { wanted, address, socket: Socket::Bound(socket) }),
            Err(error) => {
                faults.push(manifest.source.fault(key, cannot_listen(whose, address, &error)));
                None
            }
        }
    });
    // Collected before any is missed, so that every port in use is reported.
    let ports: Vec<_> = ports.collect();
    ports.into_iter().collect::<Option<_>>().map(Bound)
}

fn bind_one(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As in `TcpListener::bind`: a restart does not have to wait for old connections in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

fn cannot_listen(whose: &str, address: SocketAddr, error: &io::Error) -> String {
    format!(
        "{whose} cannot listen on {address}: {error}. Stop the program that uses this port, or choose another in the manifest"
    )
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
    async fn a_port_refuses_connections_until_the_host_listens() {
        let bound = bind(&manifest("127.0.0.1:0", &service("a")), &[], &mut Vec::new()).unwrap();
        let gateway = bound.addresses("http").gateway;
        let refused = TcpStream::connect(gateway).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listening = bound.listen().unwrap();
        TcpStream::connect(gateway).await.unwrap();
    }

    #[tokio::test]
    async fn everything_that_is_missing_is_reported_at_once_with_its_line() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let tls = "tls = { certificate = \"shop.pem\", key = \"shop.key\" }\n";
        let rest = [tls, "[postgres]\nurl = \"postgres.url\"\n", &service("a"), &service("b")].concat();
        let (manifest, data) = (manifest(&address, &rest), tempfile::tempdir().unwrap());
        let record = Record::open(data.path(), Clock::default()).unwrap();
        let refused =
            Surroundings::open(&manifest, data.path(), &record, &Clock::default(), &[]).err().expect("it is refused");
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
        assert_eq!(check(&manifest, &Clock::default()).err().expect("it is refused").faults.len(), 4);
    }

    #[test]
    fn tokens_for_development_need_listeners_on_loopback() {
        let faults = |gateway: &str, rest: &str| {
            let manifest = manifest(gateway, &[rest, &service("a"), "listen = \"127.0.0.1:7\"\n"].concat());
            let mut faults = Vec::new();
            development(&manifest, &mut faults);
            faults
        };
        let on = "[development]\ntokens = true\n";
        for (gateway, rest) in
            [("127.0.0.1:1", on), ("[::1]:1", on), ("0.0.0.0:1", ""), ("0.0.0.0:1", "[development]\n")]
        {
            assert!(faults(gateway, rest).is_empty(), "{gateway} {rest}");
        }
        let refused = &faults("0.0.0.0:1", on)[0];
        assert_eq!(refused.line, Some(5));
        assert!(refused.message.contains("the gateway listens on 0.0.0.0:1"), "{}", refused.message);
        let own = faults("127.0.0.1:1", &[on, &service("b"), "listen = \"[::]:8\"\n"].concat());
        assert!(own[0].message.contains("listens on [::]:8"), "{}", own[0].message);
    }

    #[test]
    fn a_folder_of_a_component_exists_and_shares_nothing_with_secrets() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["site/images", "data/cache"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        std::fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink(path("data"), path("link")).unwrap();
        let faults = |from: &str| {
            let from = path(from).display().to_string();
            let files = format!("files = [{{ from = \"{from}\", to = \"/\" }}]\n");
            let manifest = manifest("127.0.0.1:0", &[service("a"), files].concat());
            let mut faults = Vec::new();
            folders(&manifest, Some(&path("data")), &mut faults);
            manifest.source.refuse(faults).to_string()
        };
        for sound in ["site", "site/images"] {
            assert_eq!(faults(sound).matches("files of").count(), 0, "{sound}");
        }
        for (from, message) in [
            ("absent", "absent: No such file or directory (os error 2): create it, or correct `from`"),
            ("file", "file: not a directory"),
            ("", "shares files with the data folder, which no component may read: name another folder"),
            ("data", "shares files with the data folder"),
            ("data/cache", "shares files with the data folder"),
            ("link/cache", "shares files with the data folder"),
        ] {
            let said = faults(from);
            assert!(said.contains(message) && said.contains("/nowhere/shop.toml:7: files of a: "), "{from}: {said}");
        }
    }
}
