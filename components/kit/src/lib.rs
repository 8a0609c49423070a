#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! The kit: the library for writing Comptoir services in Rust.
//!
//! A service is a table of routes, with a function for each:
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
//! The host reads the table at deploy time, and the kit dispatches requests with it. So the two cannot disagree.
//! `components/README.md` is a tutorial.
//!
//! # Invariants
//!
//! - The kit contains nothing of the shop: no user, token, product or order.
//! - Every JSON response except health has the envelope: `{"success":true,…}` or `{"success":false,"error":{…}}`.
//! - The cause of a 5xx goes to the log (stderr), never into the response.
//! - A component imports only the host interfaces that it calls, so linking the kit needs no grant, not even storage. The kit
//!   has no bindings for passwords and tokens, which few services may use. Such a service generates its own.
//! - Everything also builds natively, so tests need no host. A native call to the host panics without the feature `native`,
//!   which provides a stand-in.

#[doc(hidden)]
pub mod bindings;
mod service;

mod failure;
mod path;
mod request;
mod response;

mod body;
mod cookie;
mod input;
#[cfg(not(feature = "native"))]
mod wire;

pub mod clock;
pub mod condition;
pub mod config;
mod idempotency;
pub mod log;
pub mod outbound;
mod page;
pub mod pages;
pub mod peer;
mod quota;
pub mod storage;

#[cfg(feature = "native")]
pub mod native;
#[cfg(not(target_family = "wasm"))]
pub mod openapi;

pub use clock::now;
pub use cookie::Cookie;
pub use failure::Failure;
pub use idempotency::IdempotencyKey;
pub use input::{Fault, Int, Invalid, Text};
pub use kit_macros::pages;
pub use page::{Next, Page};
pub use path::{decode, encode};
pub use quota::Quota;
pub use request::{Caller, Request};
pub use response::{List, Response};
pub use service::{Access, Handler, Method, Probe, Route, Service};

/// A JSON object from a client. If a key occurs twice, the last value counts.
pub type JsonObject = serde_json::Map<String, JsonValue>;
/// Any JSON value.
pub type JsonValue = serde_json::Value;

/// Adds the documentation to a route. A component needs none of it, because it embeds the finished document.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! documented {
    ($route:expr, [$($doc:literal),*], $handler:expr, [$($part:tt)*]) => {
        $route.documented($crate::openapi::Documented {
            docs: &[$($doc),*],
            handler: stringify!($handler),
            describe: |operation| operation $($part)*,
        })
    };
}

/// Adds nothing.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! documented {
    ($route:expr, [$($doc:literal),*], $handler:expr, [$($part:tt)*]) => {
        $route
    };
}

/// Declares a service. Invoke it once, at the root of the crate.
///
/// It defines `SERVICE`, a static [`Service`], and the component's exports. The arguments, in this order:
///
/// - `name`: the name in the health response.
/// - `health`: the path of the health response.
/// - `migrations` (optional): the SQL of schema version 1, 2, … A service without migrations has no database and needs no
///   storage grant.
/// - `schema` (optional): the schema versions that the code works with, such as `2..=3`. By default only the last migration's.
/// - `pages` (optional): embedded pages, `kit::pages!("pages")`, see [`pages`](mod@pages).
/// - `probes` (optional): requests that must succeed before the component serves, see [`Probe`].
/// - `documentation` (optional): the OpenAPI description of the routes, `include_str!("../openapi.json")`. The macro adds the test
///   `the_openapi_document_is_current`. With the environment variable `UPDATE_OPENAPI`, that test writes the file.
/// - `routes`: each is `method("path", Access, function)`. The method is a constructor of [`Route`], the access a variant of
///   [`Access`], the function a [`Handler`]. A fourth argument lists the request headers that the route reads:
///   `post("/login", Public, log_in, ["x-client-address"])`. Caller and body need no entry. A comment `///` before a route is its
///   summary and its description in the OpenAPI document. Calls after it name its types and errors, see
///   [`Operation`](openapi::Operation): `.body::<NewNote>().creates::<Note>("The note.").error(404, "NO_BOOK", "…")`.
///
/// The version is the crate's.
#[macro_export]
macro_rules! service {
    (@pages) => { $crate::pages::Pages::NONE };
    (@pages $pages:expr) => { $pages };
    (@optional) => { None };
    (@optional $value:expr) => { Some($value) };
    (@database) => { None };
    (@database $($migration:expr),+) => { Some($crate::storage::ping) };
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
        $(pages: $pages:expr,)?
        $(probes: [$($probe:expr),* $(,)?],)?
        $(documentation: $documentation:expr,)?
        routes: [$(
            $(#[doc = $doc:literal])*
            $method:ident($path:expr, $access:ident, $handler:expr $(, [$($header:literal),+])?)
            $(.$part:ident $(::<$($type:ty),+>)? ($($value:expr),* $(,)?))*
        ),* $(,)?] $(,)?
    ) => {
        /// This component's description and routes.
        pub static SERVICE: $crate::Service = $crate::Service {
            name: $name,
            version: env!("CARGO_PKG_VERSION"),
            health: $health,
            migrations: &[$($($migration),*)?],
            schema: $crate::service!(@schema [$($($migration),*)?] $($minimum..=$maximum)?),
            database: $crate::service!(@database $($($migration),*)?),
            pages: $crate::service!(@pages $($pages)?),
            probes: &[$($($probe),*)?],
            documentation: $crate::service!(@optional $($documentation)?),
            routes: &[$(
                $crate::documented!(
                    $crate::Route::$method($path, $crate::Access::$access, $handler)$(.reading(&[$($header),+]))?,
                    [$($doc),*], $handler, [$(.$part $(::<$($type),+>)? ($($value),*))*]
                )
            ),*],
        };

        $(
            #[cfg(test)]
            #[test]
            fn the_openapi_document_is_current() {
                let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
                $crate::openapi::check(&SERVICE, $documentation, file);
            }
        )?

        // Only for wasm, because a native linker cannot handle the names of these symbols.
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
