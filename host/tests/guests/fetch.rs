//! How a test tells a guest what to request. Shared by the guests that send requests to remote hosts.

/// A request as a test writes it: `METHOD SCHEME AUTHORITY PATH`, a line for each header, an empty line, and the body.
pub(crate) struct Order<'t> {
    pub(crate) method: &'t str,
    pub(crate) scheme: &'t str,
    pub(crate) authority: &'t str,
    pub(crate) path: &'t str,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: &'t str,
}

impl<'t> Order<'t> {
    pub(crate) fn read(text: &'t str) -> Self {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, scheme, authority, path) = (word(), word(), word(), word());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), value.as_bytes().to_vec()))
        };
        Self { method, scheme, authority, path, headers: lines.filter_map(header).collect(), body }
    }
}

/// Answers an order that is no request: `ENVIRONMENT` shows the variables, and `PRINT` prints the key.
pub(crate) fn without_request(order: &str) -> Option<String> {
    match order {
        "ENVIRONMENT" => {
            Some(std::env::vars().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n"))
        }
        "PRINT" => {
            println!("the key is {}", key());
            Some(String::new())
        }
        _ => None,
    }
}

/// Inserts what the component knows of its key, also as the credential of `Basic`.
pub(crate) fn with_key(order: &str) -> String {
    let basic = base64(format!("{}:", key()).as_bytes());
    order.replace("$BASIC_PAYMENT_KEY", &basic).replace("$PAYMENT_KEY", &key())
}

fn key() -> String {
    std::env::var("PAYMENT_KEY").unwrap_or_default()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | usize::from(group.get(at).copied().unwrap_or_default()));
        let digit = |at: usize| if at > group.len() { '=' } else { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) };
        (0..4).map(digit).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// What came of it: the status, a line for each header, an empty line, and the body.
pub(crate) fn answered(status: u16, headers: &[(String, Vec<u8>)], body: &[u8]) -> String {
    let mut lines = vec![status.to_string()];
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))));
    format!("{}\n\n{}", lines.join("\n"), String::from_utf8_lossy(body))
}
