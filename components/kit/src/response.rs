//! Responses: a status, headers, and a body, usually JSON in the envelope.

use std::borrow::Cow;

use serde::Serialize;

use crate::{Cookie, Failure, JsonValue};

/// Names in lower case, with values.
type Headers = Vec<(&'static str, Cow<'static, str>)>;

/// A response. Most have the envelope: their constructors serialize the data directly into the body, without copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    status: u16,
    /// None without a body.
    content_type: Option<Cow<'static, str>>,
    headers: Headers,
    /// The body. While `open`, the brace that closes the envelope is still missing.
    body: Vec<u8>,
    open: bool,
}

impl Response {
    /// 200 with `data`.
    pub fn ok(data: &(impl Serialize + ?Sized)) -> Response {
        Response::with_data(200, data)
    }

    /// 201 with `data`.
    pub fn created(data: &(impl Serialize + ?Sized)) -> Response {
        Response::with_data(201, data)
    }

    /// 200 with a list as `data` and its length as `count`.
    pub fn list(items: &[impl Serialize]) -> Response {
        let mut list = List::default();
        items.iter().for_each(|item| list.push(item));
        list.finish()
    }

    /// Adds the `total` of the list that this page belongs to.
    #[must_use]
    pub(crate) fn with_total(mut self, total: i64) -> Response {
        if self.open {
            self.append(b",\"total\":", &total);
        }
        self
    }

    /// 200 with a `message` and no `data`.
    pub fn message(text: &str) -> Response {
        let mut response = Response::json(200, Vec::with_capacity(128), true);
        response.body.extend_from_slice(b"{\"success\":true");
        response.with_message(text)
    }

    /// 200 with any body and content type, without the envelope: `Response::raw("text/csv", rows)`.
    pub fn raw(content_type: impl Into<Cow<'static, str>>, body: impl Into<Vec<u8>>) -> Response {
        let content_type = Some(content_type.into());
        Response { status: 200, content_type, headers: Vec::new(), body: body.into(), open: false }
    }

    /// 204 without a body.
    pub fn empty() -> Response {
        Response { status: 204, content_type: None, headers: Vec::new(), body: Vec::new(), open: false }
    }

    /// 303: the client continues with a GET of `location` (RFC 9110, section 15.4.4).
    ///
    /// Never pass a text from a client without a check: it could lead to another site. [`with_status`](Response::with_status) makes
    /// it another redirect.
    pub fn redirect(location: impl Into<Cow<'static, str>>) -> Response {
        Response::empty().with_status(303).with_header("location", location)
    }

    /// Changes the status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Response {
        Response { status, ..self }
    }

    /// Sets a cookie. A response with a cookie is not cached.
    #[must_use]
    pub fn with_cookie(self, cookie: &Cookie) -> Response {
        self.with_header("set-cookie", cookie.to_string())
    }

    /// The content type. None without a body.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    fn json(status: u16, body: Vec<u8>, open: bool) -> Response {
        Response { status, content_type: Some("application/json".into()), headers: Vec::new(), body, open }
    }

    /// A stored response to an earlier request with the same `Idempotency-Key`. Adds `Idempotency-Replayed: true`.
    pub fn replayed(status: u16, body: Vec<u8>) -> Response {
        let stored = Response::json(status, body, false);
        stored.with_header("idempotency-replayed", "true")
    }

    /// A copy of the whole body, to store for retries.
    pub fn to_body(&self) -> Vec<u8> {
        self.clone().into_parts().2
    }

    /// Adds a `message`.
    #[must_use]
    pub fn with_message(mut self, text: &str) -> Response {
        if self.open {
            self.append(b",\"message\":", text);
        }
        self
    }

    /// Adds a header. The name must be in lower case, and neither `content-type` nor `content-length`.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// JSON without the envelope.
    pub(crate) fn bare(status: u16, body: &impl Serialize) -> Response {
        let mut response = Response::json(status, Vec::with_capacity(128), false);
        response.append(b"", body);
        response
    }

    /// The status, the headers without `content-type` and `content-length`, and the whole body.
    pub fn into_parts(mut self) -> (u16, Headers, Vec<u8>) {
        if self.open {
            self.body.push(b'}');
        }
        (self.status, self.headers, self.body)
    }

    fn with_data(status: u16, data: &(impl Serialize + ?Sized)) -> Response {
        let mut response = Response::json(status, Vec::with_capacity(1024), true);
        response.append(b"{\"success\":true,\"data\":", data);
        response
    }

    /// Adds a member to the envelope. A value that cannot become JSON turns the response into a 500.
    fn append(&mut self, key: &[u8], value: &(impl Serialize + ?Sized)) {
        self.body.extend_from_slice(key);
        if let Err(error) = serde_json::to_writer(&mut self.body, value) {
            *self = Failure::internal(error).into();
        }
    }
}

/// A list response that is built item by item, so only one item needs to be in memory.
#[derive(Clone, Debug)]
pub struct List {
    response: Response,
    count: u32,
}

impl Default for List {
    fn default() -> List {
        let mut body = Vec::with_capacity(1024);
        body.extend_from_slice(b"{\"success\":true,\"data\":[");
        List { response: Response::json(200, body, true), count: 0 }
    }
}

impl List {
    /// Adds an item.
    pub fn push(&mut self, item: &(impl Serialize + ?Sized)) {
        if self.response.open {
            self.response.append(if self.count == 0 { b"" } else { b"," }, item);
            self.count += 1;
        }
    }

    /// Number of items so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Length of the body so far.
    pub fn bytes(&self) -> usize {
        self.response.body.len()
    }

    /// 200 with the list as `data` and its length as `count`.
    pub fn finish(mut self) -> Response {
        if self.response.open {
            self.response.append(b"],\"count\":", &self.count);
        }
        self.response
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Response {
        let body = FailureBody {
            success: false,
            error: ErrorBody { code: failure.code, message: &failure.message, details: failure.details.as_ref() },
        };
        let mut response = Response::bare(failure.status, &body);
        if failure.status == 401 {
            response = response.with_header("www-authenticate", "Bearer");
        }
        if let Some(seconds) = failure.retry_after_seconds {
            response = response.with_header("retry-after", seconds.to_string());
        }
        response.headers.extend(failure.headers.into_iter().map(|(name, value)| (name, value.into())));
        response
    }
}

#[derive(Serialize)]
struct FailureBody<'a> {
    success: bool,
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a JsonValue>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(response: Response) -> String {
        String::from_utf8(response.into_parts().2).unwrap()
    }

    fn header(response: Response, name: &str) -> Option<String> {
        let headers = response.into_parts().1;
        headers.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn successes_have_the_envelope() {
        assert_eq!(text(Response::ok(&json!({ "id": 1 }))), r#"{"success":true,"data":{"id":1}}"#);
        assert_eq!(text(Response::list(&["a", "b"])), r#"{"success":true,"data":["a","b"],"count":2}"#);
        assert_eq!(text(Response::message("Gone.")), r#"{"success":true,"message":"Gone."}"#);
        let created = Response::created(&1).with_message("It's \"new\".");
        assert_eq!(text(created), r#"{"success":true,"data":1,"message":"It's \"new\"."}"#);
    }

    #[test]
    fn failures_have_the_envelope() {
        let failure = Failure::not_found("NO_CAT", "There is no such cat.");
        let expected = r#"{"success":false,"error":{"code":"NO_CAT","message":"There is no such cat."}}"#;
        assert_eq!(text(failure.clone().into()), expected);
        let detailed = failure.with_details(json!({ "cat": 7 }));
        assert!(text(detailed.into()).ends_with(r#""details":{"cat":7}}}"#));
    }

    #[test]
    fn a_failure_has_the_headers_of_its_status() {
        let unauthorized = Failure::unauthorized("INVALID_TOKEN", "No.");
        assert_eq!(header(unauthorized.into(), "www-authenticate").as_deref(), Some("Bearer"));
        let busy = Failure::unavailable("BUSY", "Later.", 3);
        assert_eq!(header(busy.into(), "retry-after").as_deref(), Some("3"));
        let limited = Failure::new(429, "LATER", "Later.").with_header("ratelimit", "\"cats\";r=0".to_owned());
        assert_eq!(header(limited.into(), "ratelimit").as_deref(), Some("\"cats\";r=0"));
    }

    #[test]
    fn data_that_cannot_become_json_is_an_internal_error() {
        let keys_are_lists = std::collections::BTreeMap::from([(vec![1], 1)]);
        let response = Response::ok(&keys_are_lists).with_message("Done.");
        let (status, _, body) = response.into_parts();
        assert_eq!(status, 500);
        assert!(String::from_utf8(body).unwrap().starts_with(r#"{"success":false,"error":{"code":"INTERNAL_ERROR""#));
    }
}
