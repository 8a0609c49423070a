//! A stand-in for the host, for native tests of a service from request to row.
//!
//! It implements the host's interfaces, with an SQLite database in memory for each thread, and so for each test. It enforces the
//! access of each route and hides undeclared headers, as the gate does. It has no limits: the host's own tests cover those.
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

pub(crate) mod config;
mod gate;
pub(crate) mod log;
pub(crate) mod outbound;
pub(crate) mod peer;
pub(crate) mod session;
pub(crate) mod storage;

use std::cell::Cell;

use crate::bindings::exports::comptoir::platform::handler;
use crate::{JsonValue, Method, Response, Service};

pub use config::set as config;
pub use log::{Line, taken as logged};
pub use outbound::{Answer, on_outbound};
pub use peer::{PeerCall, on_peer};
pub use storage::Connection;

thread_local! {
    static SERVICE: Cell<Option<&'static Service>> = const { Cell::new(None) };
}

/// Installs a service on this thread, with a new database, and runs its migrations. The configuration and the log are
/// empty, and nothing answers calls and requests to remote hosts.
///
/// Returns the database, so that a test can read and change rows directly.
///
/// # Panics
///
/// If a migration fails.
pub fn install(service: &'static Service) -> Connection {
    SERVICE.set(Some(service));
    config::set::<&str, _>([]);
    log::clear();
    outbound::clear();
    peer::clear();
    storage::install(service.migrations)
}

/// A GET request.
pub fn get(path: &str) -> TestRequest {
    TestRequest::new(Method::Get, path)
}

/// A POST request with a JSON body.
pub fn post(path: &str, body: impl Into<JsonValue>) -> TestRequest {
    TestRequest::new(Method::Post, path).json(&body.into())
}

/// A PUT request with a JSON body.
pub fn put(path: &str, body: impl Into<JsonValue>) -> TestRequest {
    TestRequest::new(Method::Put, path).json(&body.into())
}

/// A DELETE request.
pub fn delete(path: &str) -> TestRequest {
    TestRequest::new(Method::Delete, path)
}

/// A request under construction. [`send`](TestRequest::send) sends it.
#[derive(Debug)]
#[must_use = "a request does nothing before `send`"]
pub struct TestRequest {
    method: Method,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    session_ended: bool,
}

/// A response of the service.
#[derive(Clone, Debug)]
pub struct TestResponse {
    /// The HTTP status.
    pub status: u16,
    /// The headers without `content-type` and `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// The content type. Empty without a body.
    pub content_type: String,
    /// The body as JSON. Null if it has another content type.
    pub body: JsonValue,
    /// The body as text.
    pub text: String,
    /// The body.
    pub bytes: Vec<u8>,
}

impl TestRequest {
    fn new(method: Method, path: &str) -> TestRequest {
        TestRequest { method, path: path.to_owned(), headers: Vec::new(), body: Vec::new(), session_ended: false }
    }

    /// Sets the caller, as the gate would.
    pub fn by(self, username: &str, role: &str) -> TestRequest {
        self.with_header("x-user-id", username).with_header("x-user-role", role)
    }

    /// Makes another service of the host the caller. Only a service can call a route with the access `Internal`.
    pub fn by_service(self, name: &str) -> TestRequest {
        self.with_header("x-comptoir-caller", name)
    }

    /// Ends the caller's session after the gate admitted the request.
    pub fn whose_session_ended(self) -> TestRequest {
        TestRequest { session_ended: true, ..self }
    }

    /// Adds a header. The name must be in lower case. The service sees it only if the route declares it.
    pub fn with_header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> TestRequest {
        self.headers.push((name, value.as_ref().to_vec()));
        self
    }

    /// Replaces the body and its content type.
    pub fn with_body(mut self, content_type: &str, body: &[u8]) -> TestRequest {
        self.headers.retain(|(name, _)| *name != "content-type");
        self.body = body.to_vec();
        self.with_header("content-type", content_type)
    }

    fn json(self, body: &JsonValue) -> TestRequest {
        self.with_body("application/json", body.to_string().as_bytes())
    }

    /// Sends the request to this thread's service.
    ///
    /// # Panics
    ///
    /// If no service is installed on this thread.
    pub fn send(self) -> TestResponse {
        let service = SERVICE.get().expect("a test calls `install` first");
        let TestRequest { method, path, headers, body, session_ended } = self;
        session::set_ended(session_ended);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let request = handler::Request { method, target: path, headers, body };
        let response = gate::admit(service, request).map_or_else(Response::from, |request| service.answer(request));
        let content_type = response.content_type().unwrap_or_default().to_owned();
        let (status, headers, bytes) = response.into_parts();
        let is_json = content_type == "application/json";
        TestResponse {
            status,
            headers: headers.into_iter().map(|(name, value)| (name, value.into_owned())).collect(),
            body: if is_json { serde_json::from_slice(&bytes).expect("the kit writes JSON") } else { JsonValue::Null },
            text: String::from_utf8_lossy(&bytes).into_owned(),
            content_type,
            bytes,
        }
    }
}

impl TestResponse {
    /// The status and the error code, for comparison in one assertion. The code of a success is empty.
    pub fn outcome(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }
}
