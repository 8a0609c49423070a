//! What a client asks, and who it is according to the host.

use std::borrow::Cow;
use std::cell::OnceCell;

#[cfg(not(feature = "native"))]
use crate::bindings::comptoir::platform::session;
use crate::bindings::exports::comptoir::platform::handler;
#[cfg(feature = "native")]
use crate::native::session;
use crate::storage::Transaction;
use crate::{Failure, JsonObject, body, path};

/// A request on its way through one handler.
#[derive(Debug)]
pub struct Request {
    given: handler::Request,
    pattern: &'static str,
    caller: OnceCell<Option<Caller>>,
}

/// Whoever sent the request, as the host found by checking a token. A client cannot set it: the host strips its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The username, in any script.
    pub username: String,
    /// `admin`, or what else the token says.
    pub role: String,
    /// The session that the token belongs to.
    pub session: Option<String>,
}

impl Caller {
    /// Whether the caller may do what is reserved to administrators.
    pub fn is_admin(&self) -> bool {
        self.role == "admin"
    }
}

impl Request {
    /// For a route with this pattern.
    pub(crate) fn new(given: handler::Request, pattern: &'static str) -> Request {
        Request { given, pattern, caller: OnceCell::new() }
    }

    /// The path, still percent-encoded, without the query.
    pub fn path(&self) -> &str {
        self.split_target().0
    }

    /// The first value that the query has for a name, decoded, or as it stands if it is badly encoded. None if there is none.
    /// A name that the client encoded is the same name (RFC 3986, section 6.2.2.2).
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = self.split_target().1.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(key, _)| path::decode(key).as_deref() == Some(name))?;
        Some(path::decode(value).unwrap_or(Cow::Borrowed(value)))
    }

    fn split_target(&self) -> (&str, &str) {
        self.given.target.split_once('?').unwrap_or((&self.given.target, ""))
    }

    /// What stands in the path where the route has `{name}`, decoded. None if it is not UTF-8 or badly encoded.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        path::segment(self.pattern, self.path(), name).and_then(path::decode)
    }

    /// The same as a row's id. None for what cannot be one: the handler answers as for a row that is not there.
    pub fn id_param(&self, name: &str) -> Option<i64> {
        path::id(&self.param(name)?)
    }

    /// The caller. None on a public route without a good token.
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

    /// The caller of a route that is not public.
    ///
    /// # Errors
    ///
    /// 401 `MISSING_TOKEN` without one. The host's gate refuses such a request before, so this guards against a route
    /// that was declared public by mistake.
    pub fn user(&self) -> Result<&Caller, Failure> {
        self.caller().ok_or_else(|| Failure::unauthorized("MISSING_TOKEN", "This needs a bearer token."))
    }

    /// Whether the caller's session ended since the host let the request in.
    pub fn session_has_ended(&self) -> bool {
        session::has_ended()
    }

    /// Refuses a caller whose session ended while the request waited, for the writer at the latest. So whoever ends a session
    /// and then writes to the same database, writes after all that was done in it.
    ///
    /// # Errors
    ///
    /// 401 `INVALID_TOKEN`, as at the gate. The transaction is to be dropped.
    pub fn check_session(&self, _inside: &Transaction) -> Result<(), Failure> {
        if self.session_has_ended() {
            return Err(Failure::unauthorized("INVALID_TOKEN", "The token is invalid or has expired"));
        }
        Ok(())
    }

    /// The service of this host that calls. None for a request from outside.
    pub fn calling_service(&self) -> Option<&str> {
        self.header("x-comptoir-caller")
    }

    /// The network address of the client as the host sees it. For routes that read `x-client-address`.
    pub fn client_address(&self) -> Option<&str> {
        self.header("x-client-address")
    }

    /// The first value of a header. None if it is absent or not UTF-8, and for a header that the route does not name.
    pub fn header(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.header_bytes(name)?).ok()
    }

    /// The same as it was sent, for a header that must not be taken for absent because nobody can read it.
    pub fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        self.header_fields(name).next()
    }

    /// Every value of a header, in the order in which they were sent, for one that must not come twice.
    pub fn header_fields(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.given.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// All values of a header, in the order in which they were sent.
    pub fn all_header_bytes<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.given.headers.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The body as a JSON object.
    ///
    /// Of a key that came twice, the last value counts. Nesting is limited to 128 levels, the body to 1 MiB.
    ///
    /// # Errors
    ///
    /// 400 with the given code, and a message that says what was wrong: no body, another content type than
    /// `application/json` or `application/…+json`, not JSON, or not an object. 413 for a body that is too long.
    pub fn json_object(&self, code: &'static str) -> Result<JsonObject, Failure> {
        body::check_content_type(self.header_bytes("content-type")).map_err(|why| Failure::bad_request(code, why))?;
        if self.given.body.len() > body::LIMIT_BYTES {
            return Err(Failure::new(413, "BODY_TOO_LARGE", "The body is longer than 1 MiB."));
        }
        body::object(&self.given.body).map_err(|why| Failure::bad_request(code, why))
    }
}
