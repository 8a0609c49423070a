//! Secrets of a service that its guests use without seeing them.
//!
//! A guest sees a placeholder. When a request with the placeholder in a listed header leaves for a listed host, the host inserts the
//! value. Anywhere else the placeholder stays what it is: a random text that is worth nothing. It is a different one in each revision.
//!
//! What such a host sends back is masked (`mask`), because some servers repeat a request in their answers. For this reason a request to it
//! asks for an answer that is not compressed and not a part. A server that repeats a secret in a form of its own, such as reversed, is
//! not covered: `to` names hosts that are trusted with the secret.

use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE};

use super::allow::{self, AllowedHost};
use super::mask::{Mask, MaskedParts};
use super::secret_file::{SecretError, SecretFile, SecretValue};
use super::target::Target;

/// Random bytes of a placeholder.
const RANDOM_BYTES: usize = 16;

/// One secret as the manifest describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRules {
    /// Its name, under which the guest finds it.
    pub name: String,
    /// The file with its value.
    pub file: PathBuf,
    /// The remote hosts for which it is inserted.
    pub to: Vec<AllowedHost>,
    /// The headers into which it is inserted.
    pub headers: Vec<HeaderName>,
    /// Whether the guest sees the value.
    pub expose: bool,
}

/// The secrets of one service.
#[derive(Debug)]
pub struct Secrets(Vec<Secret>);

#[derive(Debug)]
struct Secret {
    rules: SecretRules,
    file: SecretFile,
}

impl Secrets {
    /// Reads the secrets from their files.
    ///
    /// # Errors
    /// The name of the first secret that cannot be used, and why.
    pub fn open(rules: &[SecretRules]) -> Result<Self, (String, SecretError)> {
        let open = |rules: &SecretRules| {
            let file = SecretFile::open(&rules.file).map_err(|error| (rules.name.clone(), error))?;
            Ok(Secret { rules: rules.clone(), file })
        };
        rules.iter().map(open).collect::<Result<_, _>>().map(Self)
    }
}

/// The secrets of one revision, with its placeholders.
pub struct RevisionSecrets {
    secrets: Arc<Secrets>,
    /// One for each secret.
    placeholders: Vec<String>,
}

impl Debug for RevisionSecrets {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("RevisionSecrets")
    }
}

impl RevisionSecrets {
    /// Makes new placeholders.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub fn new(secrets: Arc<Secrets>) -> Result<Self, getrandom::Error> {
        let placeholder = |secret: &Secret| {
            let mut random = [0; RANDOM_BYTES];
            getrandom::fill(&mut random)?;
            let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(format!("placeholder-{}-{digits}", secret.rules.name))
        };
        let placeholders = secrets.0.iter().map(placeholder).collect::<Result<_, _>>()?;
        Ok(Self { secrets, placeholders })
    }

    fn each(&self) -> impl Iterator<Item = (&Secret, &str)> {
        self.secrets.0.iter().zip(self.placeholders.iter().map(String::as_str))
    }

    /// The name of each secret, and its placeholder.
    pub fn placeholders(&self) -> impl Iterator<Item = (String, String)> {
        self.each().map(|(secret, placeholder)| (secret.rules.name.clone(), placeholder.to_owned()))
    }

    /// The name and the value of each secret that the manifest exposes.
    pub fn exposed(&self) -> impl Iterator<Item = (String, String)> {
        let exposed = self.secrets.0.iter().filter(|secret| secret.rules.expose);
        exposed.map(|secret| (secret.rules.name.clone(), secret.file.value().text().to_owned()))
    }

    /// Whether the guest sees the value of a secret.
    pub fn exposes_any(&self) -> bool {
        self.secrets.0.iter().any(|secret| secret.rules.expose)
    }

    /// A text of the guest for a log, without the values that the guest sees. `is_cut` says that the text goes on.
    pub fn masked<'t>(&self, text: &'t [u8], is_cut: bool) -> Cow<'t, [u8]> {
        let exposed = self.secrets.0.iter().filter(|secret| secret.rules.expose);
        let mask = Mask::new(exposed.flat_map(|secret| forms(&secret.file.value())).collect());
        if mask.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut parts = MaskedParts::new(mask);
        let mut masked = parts.part(text).to_vec();
        // A text may be cut within a secret. The beginning of a secret at its end is left out.
        if !is_cut {
            masked.extend(parts.end().unwrap_or_default());
        }
        Cow::Owned(masked)
    }

    /// Inserts the secrets for this target into a request. Returns what its response must not contain, None if no secret is for it.
    pub(super) fn insert(&self, target: &Target, headers: &mut HeaderMap) -> Option<Mask> {
        let mut texts = Vec::new();
        for (secret, placeholder) in self.each().filter(|(secret, _)| allow::find(&secret.rules.to, target).is_some()) {
            let value = secret.file.value();
            texts.extend(forms(&value));
            for (_, header) in headers.iter_mut().filter(|(name, _)| secret.rules.headers.contains(name)) {
                if let Some(inserted) = insert(header.as_bytes(), placeholder.as_bytes(), value.bytes()) {
                    texts.extend(inserted.credential);
                    *header = inserted.header;
                }
            }
        }
        if texts.is_empty() {
            return None;
        }
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        for part in [RANGE, IF_RANGE] {
            headers.remove(part);
        }
        Some(Mask::new(texts))
    }
}

/// The forms in which servers repeat a text: as it is, in a URI, and in JSON.
fn forms(value: &SecretValue) -> Vec<Bytes> {
    let plain = value.text();
    let json = serde_json::Value::from(plain).to_string();
    let uri: String = form_urlencoded::byte_serialize(plain.as_bytes()).collect();
    let mut forms: Vec<Bytes> = [plain, &json[1..json.len() - 1], &uri, &uri.replace('+', "%20")]
        .iter()
        .map(|form| Bytes::copy_from_slice(form.as_bytes()))
        .collect();
    forms.dedup();
    forms
}

/// A header with a secret in it.
struct Inserted {
    header: HeaderValue,
    /// The encoded credential of `Basic`, which contains the secret in another form.
    credential: Option<Bytes>,
}

/// Inserts a secret for a placeholder, also within the credential of `Basic` (RFC 7617). None if there is no placeholder.
fn insert(header: &[u8], placeholder: &[u8], secret: &[u8]) -> Option<Inserted> {
    const BASIC: &[u8] = b"basic ";
    if let Some((scheme, credential)) = header.split_at_checked(BASIC.len())
        && scheme.eq_ignore_ascii_case(BASIC)
        && let Ok(decoded) = STANDARD.decode(credential.trim_ascii())
        && let Some(replaced) = replace(&decoded, placeholder, secret)
    {
        let credential = STANDARD.encode(replaced);
        let header = sensitive([scheme, credential.as_bytes()].concat())?;
        return Some(Inserted { header, credential: Some(credential.into()) });
    }
    let header = sensitive(replace(header, placeholder, secret)?)?;
    Some(Inserted { header, credential: None })
}

/// A header that no `Debug` output and no HPACK table of a connection contains.
fn sensitive(value: Vec<u8>) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(value)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn replace(text: &[u8], placeholder: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
    let (mut replaced, mut rest, mut found) = (Vec::with_capacity(text.len()), text, false);
    while let Some(at) = rest.windows(placeholder.len()).position(|window| window == placeholder) {
        replaced.extend_from_slice(&rest[..at]);
        replaced.extend_from_slice(secret);
        (rest, found) = (&rest[at + placeholder.len()..], true);
    }
    replaced.extend_from_slice(rest);
    found.then_some(replaced)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const KEY: &str = "sk_test/\"1234\"";

    fn secrets(folder: &tempfile::TempDir, expose: bool) -> RevisionSecrets {
        let file = folder.path().join("payment.key");
        std::fs::write(&file, KEY).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let rules = SecretRules {
            name: "payment-key".to_owned(),
            file,
            to: vec!["https://api.pay.example".parse().unwrap()],
            headers: vec![hyper::header::AUTHORIZATION],
            expose,
        };
        RevisionSecrets::new(Arc::new(Secrets::open(&[rules]).unwrap())).unwrap()
    }

    fn target(url: &str) -> Target {
        Target::of(&url.parse().unwrap()).unwrap()
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_placeholder_is_replaced_only_for_a_listed_host_and_header() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(&folder, false);
        let (_, placeholder) = secrets.placeholders().next().unwrap();
        let bearer = format!("Bearer {placeholder}");
        let mut headers = with("authorization", &bearer);
        let mask = secrets.insert(&target("https://api.pay.example/v1"), &mut headers).unwrap();
        assert_eq!(headers["authorization"], format!("Bearer {KEY}").as_str());
        assert!(headers["authorization"].is_sensitive());
        assert_eq!(headers["accept-encoding"], "identity");
        assert_eq!(mask.replace(format!("x{KEY}").as_bytes()).unwrap(), b"x**************");
        let mut elsewhere = with("authorization", &bearer);
        assert!(secrets.insert(&target("https://evil.example/"), &mut elsewhere).is_none());
        assert_eq!(elsewhere["authorization"], bearer.as_str());
        let mut other = with("x-key", &bearer);
        other.insert(RANGE, HeaderValue::from_static("bytes=0-3"));
        assert!(secrets.insert(&target("https://api.pay.example/v1"), &mut other).is_some());
        assert_eq!((&other["x-key"], other.get(RANGE)), (&HeaderValue::from_str(&bearer).unwrap(), None));
    }

    #[test]
    fn basic_credentials_contain_the_secret_and_are_masked() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(&folder, false);
        let (_, placeholder) = secrets.placeholders().next().unwrap();
        let mut headers = with("authorization", &format!("Basic {}", STANDARD.encode(format!("{placeholder}:"))));
        let mask = secrets.insert(&target("https://api.pay.example/v1"), &mut headers).unwrap();
        let credential = STANDARD.encode(format!("{KEY}:"));
        assert_eq!(headers["authorization"], format!("Basic {credential}").as_str());
        assert_eq!(mask.replace(credential.as_bytes()).unwrap(), vec![b'*'; credential.len()]);
    }

    #[test]
    fn usual_forms_of_a_secret_are_masked() {
        let folder = tempfile::tempdir().unwrap();
        let mask = secrets(&folder, false).insert(&target("https://api.pay.example/"), &mut HeaderMap::new()).unwrap();
        for form in [KEY, "sk_test%2F%221234%22", "sk_test/\\\"1234\\\""] {
            assert_eq!(mask.replace(form.as_bytes()).unwrap(), vec![b'*'; form.len()], "{form}");
        }
    }

    #[test]
    fn each_revision_has_placeholders_of_its_own_and_logs_contain_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (secrets(&folder, false), secrets(&folder, false));
        assert_ne!(one.placeholders().next(), two.placeholders().next());
        assert!(!format!("{:?} {one:?}", one.secrets).contains("sk_test"));
        assert_eq!(one.exposed().next(), None);
        assert!(!one.exposes_any());
        let exposing = secrets(&folder, true);
        assert!(exposing.exposes_any());
        assert_eq!(exposing.exposed().next(), Some(("payment-key".to_owned(), KEY.to_owned())));
        assert_eq!(&*exposing.masked(format!("key {KEY}!").as_bytes(), false), b"key **************!");
        assert_eq!(&*exposing.masked(b"key sk_te", true), b"key ");
        assert_eq!(&*exposing.masked(b"key sk_te", false), b"key sk_te");
    }
}
