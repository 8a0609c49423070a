//! What a client asks, and who it is according to the host.

use std::borrow::Cow;
use std::cell::OnceCell;

use crate::source::Source;
use crate::storage::Transaction;
use crate::{Failure, JsonObject, body, path};

/// A request on its way through one handler. Headers and body cross from the host only when they are asked for.
#[derive(Debug)]
pub struct Request {
    source: Source,
    pattern: &'static str,
    path: String,
    query: String,
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
    /// `target` is the path and, behind a `?`, the query.
    pub(crate) fn new(source: Source, pattern: &'static str, target: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Request { source, pattern, path: path.to_owned(), query: query.to_owned(), caller: OnceCell::new() }
    }

    /// The path, still percent-encoded, without the query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The first value that the query has for a name, decoded. None if there is none, or it is badly encoded.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| *key == name).and_then(|(_, value)| path::decode(value))
    }

    /// What stands in the path where the route has `{name}`, decoded. None if it is not UTF-8 or badly encoded.
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        path::segment(self.pattern, &self.path, name).and_then(path::decode)
    }

    /// The same as a row's id. None for what cannot be one: the handler answers as for a row that is not there.
    pub fn id_param(&self, name: &str) -> Option<i64> {
        path::id(&self.param(name)?)
    }

    /// The caller. None on a public route without a good token.
    pub fn caller(&self) -> Option<&Caller> {
        let read = || {
            Some(Caller {
                username: self.header("x-user-id").filter(|name| !name.is_empty())?,
                role: self.header("x-user-role").unwrap_or_default(),
                session: self.header("x-session-id"),
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
        self.source.session_has_ended()
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
    pub fn calling_service(&self) -> Option<String> {
        self.header("x-comptoir-caller")
    }

    /// The network address of the client as the host sees it. For routes that read `x-client-address`.
    pub fn client_address(&self) -> Option<String> {
        self.header("x-client-address")
    }

    /// The first value of a header. None if it is absent or not UTF-8, and for a header that the route does not name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.source.header(name).and_then(|value| String::from_utf8(value).ok())
    }

    /// The body as a JSON object. May be called once.
    ///
    /// Of a key that came twice, the last value counts. Nesting is limited to 128 levels, the body to 1 MiB.
    ///
    /// # Errors
    ///
    /// 400 with the given code, and a message that says what was wrong: no body, another content type than
    /// `application/json` or `application/…+json`, not JSON, or not an object. 413 for a body that is too long.
    pub fn json_object(&self, code: &'static str) -> Result<JsonObject, Failure> {
        let content_type = self.header("content-type");
        body::check_content_type(content_type.as_deref()).map_err(|why| Failure::bad_request(code, why))?;
        let bytes = self.source.body(body::LIMIT_BYTES).map_err(|error| body::unread(error, code))?;
        body::object(&bytes).map_err(|why| Failure::bad_request(code, why))
    }
}
