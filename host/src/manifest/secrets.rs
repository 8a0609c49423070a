//! The `[services.NAME.secrets]` table of the manifest.

use std::path::PathBuf;

use hyper::header::{CONTENT_LENGTH, HOST, HeaderName};
use serde::Deserialize;
use toml::Spanned;

use super::check::Check;
use super::outbound;
use crate::outbound::{AllowedHost, OutboundRules, SecretRules};

/// One secret as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretTable {
    file: PathBuf,
    #[serde(default)]
    to: Vec<Spanned<String>>,
    #[serde(default, rename = "in")]
    headers: Vec<Spanned<String>>,
    #[serde(default)]
    expose: bool,
}

impl SecretTable {
    /// Checks one secret. It goes only to hosts that `outbound` allows, or the guest sees it.
    pub(super) fn check(&self, name: &Spanned<String>, outbound: Option<&OutboundRules>, check: &Check) -> SecretRules {
        let word = name.get_ref();
        let report = |message: String| check.report(Some(name.span()), &message);
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if word.is_empty() || !word.bytes().all(is_plain) {
            report(format!("the name of the secret `{word}` may only contain a-z, 0-9 and -"));
        }
        if self.expose && !(self.to.is_empty() && self.headers.is_empty()) {
            report(format!(
                "the secret `{word}` is exposed, so the guest sends it by itself: remove `to` and `in`, or `expose`"
            ));
        }
        if !self.expose && (self.to.is_empty() || self.headers.is_empty()) {
            report(format!(
                "the secret `{word}` is for no host or no header: write both, such as to = [\"https://api.pay.example\"], in = [\"authorization\"]"
            ));
        }
        SecretRules {
            name: word.clone(),
            file: check.path(&self.file),
            to: self.to.iter().filter_map(|host| to(host, outbound, check)).collect(),
            headers: self.headers.iter().filter_map(|header| self::header(header, check)).collect(),
            expose: self.expose,
        }
    }
}

fn to(written: &Spanned<String>, rules: Option<&OutboundRules>, check: &Check) -> Option<AllowedHost> {
    let text = written.get_ref();
    let host = outbound::host(written, "to", check)?;
    if !rules.is_some_and(|rules| rules.allow.iter().any(|allowed| allowed.covers(&host))) {
        let message = format!(
            "to names `{text}`, which the service may not send requests to: add it to `allow` of its table `outbound`"
        );
        check.report(Some(written.span()), &message);
    }
    Some(host)
}

fn header(written: &Spanned<String>, check: &Check) -> Option<HeaderName> {
    let text = written.get_ref();
    let header = HeaderName::try_from(text.as_str()).ok();
    let header =
        header.filter(|name| ![HOST, CONTENT_LENGTH].contains(name) && !name.as_str().starts_with("transfer-"));
    if header.is_none() {
        let message = format!(
            "in names `{text}`, which is not a header that a guest can set: write one such as \"authorization\""
        );
        check.report(Some(written.span()), &message);
    }
    header
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::{Manifest, ManifestError};

    fn secrets(lines: &str) -> Result<Vec<SecretRules>, ManifestError> {
        let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        let service = "[services.a]\ncomponent = \"a.wasm\"\nmounts = [\"/a\"]\n[services.a.outbound]\nallow = [\"https://*.pay.example\"]\n";
        let text = format!("{listeners}{service}[services.a.secrets]\n{lines}\n");
        Manifest::parse(Path::new("/etc/c.toml"), &text).map(|manifest| manifest.services["a"].secrets.clone())
    }

    #[test]
    fn a_secret_names_its_file_and_its_hosts_and_headers() {
        let all = "payment-key = { file = \"payment.key\", to = [\"https://api.pay.example\"], in = [\"Authorization\"] }\n\
                   webhook = { file = \"/run/webhook\", expose = true }";
        let secrets = secrets(all).unwrap();
        assert_eq!(secrets[0].file, Path::new("/etc/payment.key"));
        assert_eq!(
            (secrets[0].to[0].to_string().as_str(), secrets[0].headers[0].as_str()),
            ("https://api.pay.example", "authorization")
        );
        assert_eq!((secrets[1].file.as_path(), secrets[1].expose), (Path::new("/run/webhook"), true));
    }

    #[test]
    fn a_secret_without_a_way_to_use_it_is_refused() {
        let to = "to = [\"https://api.pay.example\"]";
        for (lines, said) in [
            ("key = { file = \"k\" }".to_owned(), "is for no host or no header"),
            (format!("key = {{ file = \"k\", {to} }}"), "is for no host or no header"),
            (format!("key = {{ file = \"k\", expose = true, {to} }}"), "remove `to` and `in`, or `expose`"),
            (format!("Key = {{ file = \"k\", {to}, in = [\"authorization\"] }}"), "may only contain a-z, 0-9 and -"),
            (format!("key = {{ file = \"k\", {to}, in = [\"host\"] }}"), "not a header that a guest can set"),
            ("key = { file = \"k\", to = [\"https://evil.example\"], in = [\"x\"] }".to_owned(), "add it to `allow`"),
            ("key = { file = \"k\", to = [\"http://api.pay.example\"], in = [\"x\"] }".to_owned(), "add it to `allow`"),
            ("key = { file = \"k\", to = [\"api\"], in = [\"x\"] }".to_owned(), "which is not a remote host"),
            ("key = { expose = true }".to_owned(), "missing field `file`"),
        ] {
            let refused = secrets(&lines).unwrap_err();
            assert!(refused.to_string().contains(said), "{lines}: {refused}");
        }
    }
}
