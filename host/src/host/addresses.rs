//! The addresses on which a host listens, and the file through which the operator's commands find it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

/// The file in the data folder with the address of the admin listener.
const ADMIN_ADDRESS: &str = "admin.address";

/// The addresses on which a host listens, with the real ports.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The scheme of the gateway and the services' own listeners: `https` if they use TLS, else `http`.
    pub scheme: &'static str,
    /// The gateway, with the routes of all services.
    pub gateway: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The services' own listeners, by service.
    pub services: BTreeMap<String, SocketAddr>,
}

impl Addresses {
    /// The URL of each listener: `gateway`, `admin`, and the services with a listener of their own.
    pub(super) fn by_name(&self) -> BTreeMap<String, String> {
        let scheme = self.scheme;
        let own = self.services.iter().map(|(name, address)| (name.clone(), format!("{scheme}://{address}")));
        let gateway = ("gateway".to_owned(), format!("{scheme}://{}", self.gateway));
        own.chain([gateway, ("admin".to_owned(), format!("http://{}", self.admin))]).collect()
    }

    /// Writes the address of the admin listener into the data folder. Readers see the old file or the new one.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(super) fn publish(&self, data: &Path) -> io::Result<()> {
        let new = data.join(format!("{ADMIN_ADDRESS}.new"));
        std::fs::write(&new, format!("{}\n", self.admin))?;
        std::fs::rename(new, data.join(ADMIN_ADDRESS))
    }
}

/// The address of the admin listener of the host that last started with this data folder. None if no host ever did.
///
/// # Errors
/// The file cannot be read, or contains no address.
pub fn admin_address(data: &Path) -> io::Result<Option<SocketAddr>> {
    let text = match std::fs::read_to_string(data.join(ADMIN_ADDRESS)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    text.trim().parse().map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_address_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(admin_address(folder.path()).unwrap(), None);
        for admin in ["127.0.0.1:8010", "[::1]:9"] {
            let addresses = Addresses {
                scheme: "http",
                gateway: "127.0.0.1:1".parse().unwrap(),
                admin: admin.parse().unwrap(),
                services: BTreeMap::new(),
            };
            addresses.publish(folder.path()).unwrap();
            assert_eq!(admin_address(folder.path()).unwrap().unwrap().to_string(), admin);
        }
        std::fs::write(folder.path().join(ADMIN_ADDRESS), "nowhere").unwrap();
        assert_eq!(admin_address(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
