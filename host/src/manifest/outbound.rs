//! The `[services.NAME.outbound]` table of the manifest.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use super::check::Check;
use super::limits;
use crate::outbound::{AllowedHost, OutboundRules};

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboundTable {
    allow: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    private: Vec<Spanned<String>>,
    #[serde(default = "default_timeout", deserialize_with = "limits::duration")]
    timeout: Duration,
    #[serde(default = "default_concurrency", deserialize_with = "limits::count")]
    concurrency: usize,
    #[serde(default = "default_response", deserialize_with = "limits::size")]
    response: ByteSize,
    authority: Option<PathBuf>,
}

fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

fn default_concurrency() -> usize {
    32
}

fn default_response() -> ByteSize {
    ByteSize::mib(8)
}

impl OutboundTable {
    /// Checks the table. Reports entries that are no remote hosts and no networks.
    pub(super) fn check(&self, check: &Check) -> OutboundRules {
        if self.allow.get_ref().is_empty() {
            let message =
                "allow is empty: write at least one remote host, such as allow = [\"https://api.pay.example\"]";
            check.report(Some(self.allow.span()), message);
        }
        OutboundRules {
            allow: self.allow.get_ref().iter().filter_map(|entry| host(entry, "allow", check)).collect(),
            private: self.private.iter().filter_map(|network| private(network, check)).collect(),
            timeout: self.timeout,
            concurrency: self.concurrency,
            response_bytes: self.response.as_u64(),
            authority: self.authority.as_ref().map(|authority| check.path(authority)),
        }
    }
}

/// Reads a remote host of the list `key`.
pub(super) fn host(written: &Spanned<String>, key: &str, check: &Check) -> Option<AllowedHost> {
    let text = written.get_ref();
    match text.parse::<AllowedHost>() {
        Ok(host) => Some(host),
        Err(error) => {
            check.report(Some(written.span()), &format!("{key} names `{text}`, which {error}"));
            None
        }
    }
}

fn private(written: &Spanned<String>, check: &Check) -> Option<IpNet> {
    let text = written.get_ref();
    match text.parse::<IpNet>() {
        Ok(network) if network.prefix_len() == 0 => {
            let message =
                format!("private names `{text}`, which is every address: write the networks that the service needs");
            check.report(Some(written.span()), &message);
        }
        Ok(network) if network == network.trunc() => return Some(network),
        Ok(network) => {
            let message =
                format!("private names `{text}`, which is an address within a network: write \"{}\"", network.trunc());
            check.report(Some(written.span()), &message);
        }
        Err(_) => {
            let message = format!(
                "private names `{text}`, which is not a network: write one such as \"10.1.0.0/16\" or \"127.0.0.1/32\""
            );
            check.report(Some(written.span()), &message);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::{Manifest, ManifestError};

    fn outbound(lines: &str) -> Result<OutboundRules, ManifestError> {
        let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        let text = format!(
            "{listeners}[services.a]\ncomponent = \"a.wasm\"\nmounts = [\"/a\"]\n[services.a.outbound]\n{lines}\n"
        );
        let manifest = Manifest::parse(Path::new("/etc/c.toml"), &text)?;
        Ok(manifest.services["a"].outbound.clone().expect("there is a table"))
    }

    #[test]
    fn a_table_has_defaults_for_everything_but_its_hosts() {
        let rules = outbound("allow = [\"https://api.pay.example\"]").unwrap();
        assert_eq!((rules.timeout.as_secs(), rules.concurrency, rules.response_bytes), (10, 32, 8 << 20));
        assert!(rules.private.is_empty() && rules.authority.is_none());
        let all = "allow = [\"http://10.1.2.3:81\"]\nprivate = [\"10.1.0.0/16\"]\ntimeout = \"1s\"\nconcurrency = 2\nresponse = 10\n\
                   authority = \"ca.pem\"";
        let rules = outbound(all).unwrap();
        assert_eq!((rules.timeout.as_secs(), rules.concurrency, rules.response_bytes), (1, 2, 10));
        assert_eq!(rules.private[0].to_string(), "10.1.0.0/16");
        assert_eq!(rules.authority.as_deref(), Some(Path::new("/etc/ca.pem")));
    }

    #[test]
    fn a_wrong_host_or_network_is_refused_with_what_to_write() {
        for (lines, said) in [
            ("", "missing field `allow`"),
            ("allow = []", "allow is empty"),
            ("allow = [\"api.pay.example\"]", "`api.pay.example`, which is not a remote host: write scheme, host"),
            ("allow = [\"http://auth.internal\"]", "names a service of this host: list the service in `calls`"),
            ("allow = [\"https://*\"]", "would allow the hosts of strangers"),
            ("allow = [\"https://a.example\"]\nprivate = [\"10.1.2.3/16\"]", "write \"10.1.0.0/16\""),
            ("allow = [\"https://a.example\"]\nprivate = [\"10.1.2.3\"]", "which is not a network"),
            ("allow = [\"https://a.example\"]\nprivate = [\"::/0\"]", "which is every address"),
            ("allow = [\"https://é.example\"]", "which begins with `xn--`"),
            ("allow = [\"https://a.example\"]\nconcurrency = 0", "from 1 to 10000"),
            ("allow = [\"https://a.example\"]\ntimeout = \"0s\"", "is not a duration"),
            ("allow = [\"https://a.example\"]\nredirects = 1", "unknown field `redirects`"),
        ] {
            let refused = outbound(lines).unwrap_err();
            assert!(refused.to_string().contains(said), "{lines}: {refused}");
            assert!(refused.faults.iter().all(|fault| fault.line.is_some()), "{lines}: {refused}");
        }
    }
}
