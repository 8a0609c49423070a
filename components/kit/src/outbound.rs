//! Requests to remote hosts. The manifest must list the host, in the table `outbound` of the service.
//!
//! ```no_run
//! # #[derive(serde::Serialize)] struct Charge { cents: i64 }
//! # #[derive(serde::Deserialize)] struct Charged { id: String }
//! # fn pay() -> Result<String, kit::Failure> {
//! let key = kit::config::secret("payment-key")?;
//! let request = kit::outbound::post("https://api.pay.example/charges").json(&Charge { cents: 1999 });
//! let charged: Charged = request.header("authorization", &format!("Bearer {key}")).send()?.success()?.json()?;
//! # Ok(charged.id)
//! # }
//! ```
//!
//! The service sees only a placeholder of a secret. The host puts the value into the headers that the manifest names, when the request
//! leaves. It follows no redirects, and bounds time, size and number of the requests. Probes send nothing.
//!
//! A test answers for remote hosts with `kit::native::on_outbound`.

mod error;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::body::LIMIT_BYTES;
use crate::{JsonValue, Method, input};

pub use error::{Error, Reason};

/// A request under construction. [`send`](Request::send) sends it.
#[derive(Clone, Debug)]
#[must_use = "a request does nothing before `send`"]
pub struct Request {
    method: Method,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
    limit_bytes: usize,
    /// Why it cannot be sent.
    invalid: Option<String>,
}

/// A GET request.
pub fn get(url: &str) -> Request {
    Request::new(Method::Get, url)
}

/// A POST request.
pub fn post(url: &str) -> Request {
    Request::new(Method::Post, url)
}

/// A PUT request.
pub fn put(url: &str) -> Request {
    Request::new(Method::Put, url)
}

/// A PATCH request.
pub fn patch(url: &str) -> Request {
    Request::new(Method::Patch, url)
}

/// A DELETE request.
pub fn delete(url: &str) -> Request {
    Request::new(Method::Delete, url)
}

impl Request {
    /// A request to `https://host[:port]/path?query`, or `http://…`. Path and query must be percent-encoded, see
    /// [`encode`](crate::encode).
    pub fn new(method: Method, url: &str) -> Request {
        Request {
            method,
            url: url.to_owned(),
            headers: Vec::new(),
            body: None,
            timeout: None,
            limit_bytes: LIMIT_BYTES,
            invalid: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Request {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.body("application/json", bytes),
            Err(error) => Request { invalid: Some(format!("the body cannot become JSON: {error}")), ..self },
        }
    }

    /// Sets a body of any content type.
    pub fn body(self, content_type: &str, bytes: impl Into<Vec<u8>>) -> Request {
        Request { body: Some(bytes.into()), ..self.header("content-type", content_type) }
    }

    /// Waits at most this long for the response, and for each further part of its body. Not longer than the limit of the manifest.
    pub fn timeout(self, timeout: Duration) -> Request {
        Request { timeout: Some(timeout), ..self }
    }

    /// Accepts a response body of this size, instead of 1 MiB. Not more than the limit of the manifest.
    pub fn limit_bytes(self, limit_bytes: usize) -> Request {
        Request { limit_bytes, ..self }
    }

    /// Sends the request and reads the whole response. An error status is no error here, see [`success`](Response::success).
    ///
    /// # Errors
    ///
    /// There is no response, see [`Reason`].
    pub fn send(self) -> Result<Response, Error> {
        let target = self.target();
        let sent = match self.invalid {
            Some(why) => Err((Reason::Invalid, why)),
            None => exchange(&self),
        };
        match sent {
            Ok((status, headers, body)) => Ok(Response { status, headers, body, target }),
            Err((reason, cause)) => Err(Error::new(reason, target, cause)),
        }
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first value of a header that was added. The name must be in lower case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The timeout that was set.
    pub fn timeout_value(&self) -> Option<Duration> {
        self.timeout
    }

    /// The body as JSON. None without a body, or if it is not JSON.
    pub fn json_value(&self) -> Option<JsonValue> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    #[cfg(feature = "native")]
    pub(crate) fn accepts(&self, body_bytes: usize) -> bool {
        body_bytes <= self.limit_bytes
    }

    /// Method and origin for the log, without path and query, which may contain secrets.
    fn target(&self) -> String {
        let origin = split(&self.url).map_or("an invalid URL".to_owned(), |(scheme, authority, _)| {
            format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or_default())
        });
        format!("{} {origin}", crate::service::method_token(self.method))
    }
}

/// Scheme, authority, path and query of a URL. None if it has no scheme or no authority.
fn split(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (!authority.is_empty()).then_some((scheme, authority, path))
}

fn find<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// Status, headers and body.
type Received = (u16, Vec<(String, String)>, Vec<u8>);

#[cfg(feature = "native")]
use crate::native::outbound::exchange;

#[cfg(not(feature = "native"))]
fn exchange(request: &Request) -> Result<Received, (Reason, String)> {
    use crate::bindings::wasi::http::types::Scheme;
    use crate::wire::{self, Outgoing};

    let invalid = || (Reason::Invalid, "the URL must start with https:// or http://, and name a host".to_owned());
    let (scheme, authority, path) = split(&request.url).ok_or_else(invalid)?;
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(invalid()),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let headers = request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes()));
    let response = wire::send(Outgoing {
        method: request.method,
        scheme,
        authority,
        path_and_query: &path,
        headers: headers.collect(),
        body: request.body.as_deref(),
        timeout: request.timeout,
    });
    let response = response.map_err(error::read)?;
    let headers = response.headers().entries().into_iter();
    let headers = headers.map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect();
    let body = wire::read(&response, request.limit_bytes).map_err(error::read)?;
    Ok((response.status(), headers, body))
}

/// A response of a remote host, with its whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    target: String,
}

/// Constructors, for tests.
impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Vec::new(), target: String::new() }
    }

    /// Adds a JSON body.
    #[must_use]
    pub fn with_json(self, body: impl Into<JsonValue>) -> Response {
        self.with_body("application/json", body.into().to_string())
    }

    /// Adds a body.
    #[must_use]
    pub fn with_body(self, content_type: &str, body: impl Into<Vec<u8>>) -> Response {
        Response { body: body.into(), ..self.with_header("content-type", content_type) }
    }

    /// Adds a header. The name must be in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Response {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[cfg(feature = "native")]
    pub(crate) fn into_parts(self) -> Received {
        (self.status, self.headers, self.body)
    }
}

impl Response {
    /// The same response, if its status is 200 to 299.
    ///
    /// # Errors
    ///
    /// [`Reason::Status`] for any other status.
    pub fn success(self) -> Result<Response, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let cause = format!("it answered {}", self.status);
        Err(Error::new(Reason::Status(self.status), self.target, cause))
    }

    /// The body as a type. Members that it does not have are ignored.
    ///
    /// # Errors
    ///
    /// [`Reason::Json`] if the body is not JSON, or does not fit. The log names the field.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let wrong = |cause: String| Error::new(Reason::Json, self.target.clone(), cause);
        let value: JsonValue =
            serde_json::from_slice(&self.body).map_err(|error| wrong(format!("its body is not JSON: {error}")))?;
        input::read(&value, false).map_err(|invalid| wrong(format!("its JSON does not fit: {invalid}")))
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body as text. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first value of a header. The name must be in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_an_authority_and_a_path() {
        let table = [
            ("https://a.example", Some(("https", "a.example", ""))),
            ("https://a.example:8443/b?c=d#e", Some(("https", "a.example:8443", "/b?c=d"))),
            ("http://a.example?c=/d", Some(("http", "a.example", "?c=/d"))),
            ("https:///path", None),
            ("a.example/path", None),
            ("", None),
        ];
        for (url, parts) in table {
            assert_eq!(split(url), parts, "{url}");
        }
    }

    #[test]
    fn a_log_line_has_no_path_no_query_and_no_credential() {
        let request = post("https://me:secret@a.example/secret?secret");
        assert_eq!(request.target(), "POST https://a.example");
        assert_eq!(get("secret").target(), "GET an invalid URL");
    }
}
