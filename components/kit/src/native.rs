//! A stand-in for the host, so that a component is tested natively from request to row.
//!
//! It has the host's interfaces and a database in memory, one for each thread and so for each test. It has none of the
//! host's limits, gate or routes: those are the host's to test.
//!
//! ```
//! # kit::service! { name: "hello-service", health: "/health",
//! #     routes: [get("/hello", User, hello)] }
//! # fn hello(request: &kit::Request) -> Result<kit::Response, kit::Failure> {
//! #     Ok(kit::Response::ok(&request.user()?.username))
//! # }
//! # fn main() {
//! kit::native::install(&SERVICE);
//! let answer = kit::native::get("/hello").by("Łukasz", "user").send();
//! assert_eq!((answer.status, &answer.body["data"]), (200, &"Łukasz".into()));
//! # }
//! ```

pub(crate) mod session;
pub(crate) mod storage;

use std::cell::Cell;

use crate::bindings::exports::comptoir::platform::handler;
use crate::{JsonValue, Method, Service};

pub use storage::Connection;

thread_local! {
    static SERVICE: Cell<Option<&'static Service>> = const { Cell::new(None) };
}

/// Puts a service on this thread, with a new database that its migrations have run on. Gives the database, for a test that
/// wants to look past the service.
///
/// # Panics
///
/// If a migration fails.
pub fn install(service: &'static Service) -> Connection {
    SERVICE.set(Some(service));
    storage::install(service.migrations)
}

/// A GET, as the host would pass it on.
pub fn get(path: &str) -> Call {
    Call::new(Method::Get, path)
}

/// A POST with a JSON body.
pub fn post(path: &str, body: impl Into<JsonValue>) -> Call {
    Call::new(Method::Post, path).json(&body.into())
}

/// A PUT with a JSON body.
pub fn put(path: &str, body: impl Into<JsonValue>) -> Call {
    Call::new(Method::Put, path).json(&body.into())
}

/// A DELETE.
pub fn delete(path: &str) -> Call {
    Call::new(Method::Delete, path)
}

/// A request that is being written.
#[derive(Debug)]
#[must_use = "a call does nothing before `send`"]
pub struct Call {
    method: Method,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    session_ended: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers but for `content-type` and `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// The body, parsed.
    pub body: JsonValue,
    /// The body as it was written.
    pub text: String,
}

impl Call {
    fn new(method: Method, path: &str) -> Call {
        Call { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new(), session_ended: false }
    }

    /// With the identity that the gate would have found.
    pub fn by(self, username: &str, role: &str) -> Call {
        self.with_header("x-user-id", username).with_header("x-user-role", role)
    }

    /// As if the caller's session had ended after the gate let the request in.
    pub fn whose_session_ended(self) -> Call {
        Call { session_ended: true, ..self }
    }

    /// With a header, in lower case.
    pub fn with_header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Call {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    /// With a body of any content type.
    pub fn with_body(mut self, content_type: &str, body: &[u8]) -> Call {
        self.headers.retain(|(name, _)| *name != "content-type");
        self.body = body.to_vec();
        self.with_header("content-type", content_type)
    }

    fn json(self, body: &JsonValue) -> Call {
        self.with_body("application/json", body.to_string().as_bytes())
    }

    /// Has the service answer.
    ///
    /// # Panics
    ///
    /// If no service is installed on this thread, or the answer is not JSON.
    pub fn send(self) -> Answer {
        let service = SERVICE.get().expect("`install` puts a service on this thread");
        let Call { method, path, headers, body, session_ended } = self;
        session::set_ended(session_ended);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = handler::Request { method, target: path, headers, body };
        let (status, headers, body) = service.answer(request).into_parts();
        let text = String::from_utf8(body).expect("JSON is UTF-8");
        Answer {
            status,
            headers: headers.into_iter().map(|(name, value)| (name, value.into_owned())).collect(),
            body: serde_json::from_str(&text).expect("every answer is JSON"),
            text,
        }
    }
}

impl Answer {
    /// The status and the code of a failure, which tests compare at once. The code of a success is empty.
    pub fn outcome(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }
}
