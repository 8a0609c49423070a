//! A request, with its caller as the host verified it.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::de::DeserializeOwned;

#[cfg(not(feature = "native"))]
use crate::bindings::comptoir::platform::session;
use crate::bindings::exports::comptoir::platform::handler;
use crate::input::{self, Fault, Invalid};
#[cfg(feature = "native")]
use crate::native::session;
use crate::service::Route;
use crate::storage::Transaction;
use crate::{Failure, JsonObject, JsonValue, body, cookie, path};

/// A request to one handler.
#[derive(Debug)]
pub struct Request {
    raw: handler::Request,
    pattern: &'static str,
    caller: OnceCell<Option<Caller>>,
    /// What the route's documentation says about the body.
    #[cfg(feature = "native")]
    documented: Option<crate::openapi::Documented>,
}

/// The caller, as the host verified it from an access token. The host removes forged caller headers from requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The username, in any script.
    pub username: String,
    /// The token's role, such as `admin` or `user`.
    pub role: String,
    /// The session that the token belongs to.
    pub session: Option<String>,
}

impl Caller {
    /// Whether the caller is an administrator.
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }
}

impl Request {
    /// A request for a route.
    pub(crate) fn new(raw: handler::Request, route: &Route) -> Request {
        Request {
            raw,
            pattern: route.path,
            caller: OnceCell::new(),
            #[cfg(feature = "native")]
            documented: route.documentation().copied(),
        }
    }

    /// Panics if the route documents another body, so that the document cannot differ from the code.
    #[cfg(feature = "native")]
    fn check_documentation<T>(&self) {
        let Some(documented) = &self.documented else { return };
        let (read, declared) = (std::any::type_name::<T>(), documented.body_type());
        assert!(declared == Some(read), "{} reads the body {read}, but documents {declared:?}", self.pattern);
    }

    #[cfg(not(feature = "native"))]
    fn check_documentation<T>(&self) {}

    /// The path without the query, still percent-encoded.
    pub fn path(&self) -> &str {
        self.split_target().0
    }

    /// The first value of a query parameter, or None. Decoded, unless its encoding is invalid.
    ///
    /// A percent-encoded name is the same name (RFC 3986, section 6.2.2.2).
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = self.split_target().1.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| path::decode(key).as_deref() == Some(name))?;
        Some(path::decode(value).unwrap_or(Cow::Borrowed(value)))
    }

    fn split_target(&self) -> (&str, &str) {
        self.raw.target.split_once('?').unwrap_or((&self.raw.target, ""))
    }

    /// The path parameter `{name}` of the route, decoded. None if its encoding is invalid or it is not UTF-8.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        path::segment(self.pattern, self.path(), name).and_then(path::decode)
    }

    /// A path parameter that is a row id. None if it cannot be one: then respond as for a missing row.
    pub fn id_param(&self, name: &str) -> Option<i64> {
        path::id(&self.param(name)?)
    }

    /// The caller. None on a public route without a valid token.
    pub fn caller(&self) -> Option<&Caller> {
        let read = || {
            Some(Caller {
                username: self.header("x-user-id").filter(|name| !name.is_empty())?.to_owned(),
                role: self.header("x-user-role").unwrap_or_default().to_owned(),
                session: self.header("x-session-id").map(str::to_owned),
            })
        };
        self.caller.get_or_init(read).as_ref()
    }

    /// The caller of a route that requires one.
    ///
    /// # Errors
    ///
    /// 401 `MISSING_TOKEN` without a caller. The host's gate already refuses such requests, so this only happens if the route
    /// was declared public by mistake.
    pub fn user(&self) -> Result<&Caller, Failure> {
        self.caller().ok_or_else(|| Failure::unauthorized("MISSING_TOKEN", "This request needs a bearer token."))
    }

    /// Whether the caller's session has ended since the gate admitted the request.
    pub fn session_has_ended(&self) -> bool {
        session::has_ended()
    }

    /// Refuses the request if the caller's session ended while it waited. Call it first in a transaction.
    ///
    /// This prevents late writes of an ended session. If a service ends a session and then writes to the same database, every
    /// transaction of that session either has committed before this write or is refused.
    ///
    /// # Errors
    ///
    /// 401 `INVALID_TOKEN`, as at the gate. Then drop the transaction.
    pub fn check_session(&self, _inside: &Transaction) -> Result<(), Failure> {
        if self.session_has_ended() {
            return Err(Failure::unauthorized("INVALID_TOKEN", "The token is invalid or has expired"));
        }
        Ok(())
    }

    /// The name of the calling service on this host. None for a request from outside.
    pub fn calling_service(&self) -> Option<&str> {
        self.header("x-comptoir-caller")
    }

    /// The client's network address, as the host sees it. The route must declare that it reads `x-client-address`.
    pub fn client_address(&self) -> Option<&str> {
        self.header("x-client-address")
    }

    /// The first value of a header. None if it is absent, not UTF-8, or not declared by the route.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The first value of a header as bytes. Use it if an unreadable header must not count as absent.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.header_fields(name).next()
    }

    /// All values of a header, in the order of the request.
    pub fn header_fields(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.raw.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The whole body, of any content type.
    pub fn body(&self) -> &[u8] {
        &self.raw.body
    }

    /// The content type of the body, with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.header("content-type")
    }

    /// The value of a cookie. The route must declare that it reads `cookie`.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie::find(self.header_fields("cookie"), name)
    }

    /// Reads the body as a type.
    ///
    /// If a key occurs twice, the last value counts. Limits: 128 levels of nesting, 1 MiB.
    ///
    /// # Errors
    ///
    /// Names the field by its path. A member that the type does not have is an error. `?` turns an error into a 400, 413 or 422,
    /// see [`Invalid`].
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        self.check_documentation::<T>();
        input::read(&self.json_value()?, true)
    }

    /// Like [`json`](Request::json), but ignores members that the type does not have.
    ///
    /// # Errors
    ///
    /// See [`json`](Request::json).
    pub fn json_ignoring_unknown<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        self.check_documentation::<T>();
        input::read(&self.json_value()?, false)
    }

    fn json_value(&self) -> Result<JsonValue, Invalid> {
        let refused = |why| Invalid::body(Fault::NotJson, why);
        body::check_content_type(self.header_bytes("content-type")).map_err(refused)?;
        if self.raw.body.len() > body::LIMIT_BYTES {
            return Err(Invalid::body(Fault::TooLarge, "The body is longer than 1 MiB."));
        }
        body::value(&self.raw.body).map_err(refused)
    }

    /// Reads the query as a type.
    ///
    /// # Errors
    ///
    /// Names the parameter. A parameter that the type does not have, or that is given twice, is an error.
    pub fn query_as<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        T::deserialize(input::query(self.split_target().1))
    }

    /// Parses the body as a JSON object.
    ///
    /// If a key occurs twice, the last value counts. Limits: 128 levels of nesting, 1 MiB.
    ///
    /// # Errors
    ///
    /// 400 with the given code if there is no body, its content type is neither `application/json` nor `application/…+json`, or
    /// it is no JSON object. The message names the reason. 413 if the body is too long.
    pub fn json_object(&self, code: &'static str) -> Result<JsonObject, Failure> {
        let value = self.json_value().map_err(|invalid| invalid.with_code(code))?;
        body::object(value).map_err(|why| Failure::bad_request(code, why))
    }
}
