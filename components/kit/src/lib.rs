#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! What every Comptoir component shares: HTTP in and out, JSON, and SQL with types.
//!
//! A component is a table of routes and a function for each of them:
//!
//! ```
//! use kit::{Failure, Request, Response};
//!
//! kit::service! {
//!     name: "hello-service",
//!     health: "/health",
//!     migrations: ["CREATE TABLE visits (name TEXT NOT NULL) STRICT;"],
//!     schema: 1..=1,
//!     routes: [
//!         get("/hello/{name}", Public, hello),
//!     ],
//! }
//!
//! fn hello(request: &Request) -> Result<Response, Failure> {
//!     let name = request.param("name").unwrap_or_default();
//!     Ok(Response::ok(&format!("Hello, {name}.")))
//! }
//! # fn main() {}
//! ```
//!
//! The one table tells the host what to route (`describe`) and finds the function for a request, so the two cannot disagree.
//!
//! # Invariants
//!
//! - The kit knows no business noun: no user, token, product or order.
//! - Every answer but the health's wears the envelope: `{"success":true,…}` or `{"success":false,"error":{…}}`.
//! - The cause of a 5xx goes to the log (stderr), never into the answer.
//! - What a component does not call is not imported: linking the kit asks for no grant, storage included. Interfaces that few services may use
//!   (passwords, tokens) are absent; a component that has them generates them itself.
//! - Everything builds natively too, so that decisions are tested without a host. Calling the host natively panics, unless
//!   the feature `native` puts a stand-in there.

#[doc(hidden)]
pub mod bindings;
mod service;

mod failure;
mod path;
mod request;
mod response;

mod body;

pub mod clock;
pub mod condition;
mod idempotency;
mod page;
pub mod peer;
mod quota;
pub mod storage;

#[cfg(feature = "native")]
pub mod native;

pub use clock::now;
pub use failure::Failure;
pub use idempotency::IdempotencyKey;
pub use page::{Next, Page};
pub use path::{decode, encode};
pub use quota::Quota;
pub use request::{Caller, Request};
pub use response::{List, Response};
pub use service::{Access, Handler, Method, Probe, Route, Service};

/// A JSON object as a client sent it. Of a key that came twice, the last value counts.
pub type JsonObject = serde_json::Map<String, JsonValue>;
/// Any JSON value.
pub type JsonValue = serde_json::Value;

/// Declares the component: one table that both describes it to the host and dispatches its requests.
///
/// `health` is the path of the health answer. `migrations` lists the SQL of version 1, 2, … in order; a service without them has no
/// database, and needs no grant of storage. `schema` gives the versions of the schema that the code works with: without it, the
/// version of the last migration alone. A route is `method("path", Access, function)`, with [`Route`]'s
/// constructors as methods and [`Access`]'s names; its function is a [`Handler`]. One that reads headers of the request beyond
/// its caller and its body names them last: `post("/login", Public, log_in, ["x-client-address"])`. `documentation` is a JSON text
/// that says what the routes take and give: `include_str!("../openapi.json")`. The version is the crate's own.
///
/// Invoke it once, at the root of the crate. It defines `SERVICE`, a static [`Service`], and the component's exports.
#[macro_export]
macro_rules! service {
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
    (@database) => { None };
    (@database $($migration:expr),+) => { Some($crate::storage::answers) };
    (@schema [$($migration:expr),*]) => {{
        const MIGRATIONS: &[&str] = &[$($migration),*];
        const LAST: u32 = MIGRATIONS.len() as u32;
        LAST..=LAST
    }};
    (@schema [$($migration:expr),*] $minimum:literal..=$maximum:literal) => { $minimum..=$maximum };
    (
        name: $name:expr,
        health: $health:expr,
        $(migrations: [$($migration:expr),* $(,)?],)?
        $(schema: $minimum:literal..=$maximum:literal,)?
        $(probes: [$($probe:expr),* $(,)?],)?
        $(documentation: $documentation:expr,)?
        routes: [$($method:ident($path:expr, $access:ident, $handler:expr $(, [$($header:literal),+])?)),* $(,)?] $(,)?
    ) => {
        /// What this component is and how it answers.
        pub static SERVICE: $crate::Service = $crate::Service {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            health: $health,
            migrations: &[$($($migration),*)?],
            schema: $crate::service!(@schema [$($($migration),*)?] $($minimum..=$maximum)?),
            database: $crate::service!(@database $($($migration),*)?),
            probes: &[$($($probe),*)?],
            documentation: $crate::service!(@optional $($documentation)?),
            routes: &[$(
                $crate::Route::$method($path, $crate::Access::$access, $handler)$(.reading(&[$($header),+]))?
            ),*],
        };

        // Only a component exports: the names of these symbols mean something else to a native linker.
        #[cfg(target_family = "wasm")]
        const _: () = {
            struct Component;

            impl $crate::bindings::exports::comptoir::platform::service::Guest for Component {
                fn describe() -> $crate::bindings::exports::comptoir::platform::service::Description {
                    SERVICE.describe()
                }
            }

            impl $crate::bindings::exports::comptoir::platform::handler::Guest for Component {
                fn handle(
                    request: $crate::bindings::exports::comptoir::platform::handler::Request,
                ) -> $crate::bindings::exports::comptoir::platform::handler::Response {
                    SERVICE.handle(request)
                }
            }

            $crate::bindings::export!(Component with_types_in $crate::bindings);
        };
    };
}
