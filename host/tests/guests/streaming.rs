//! The routes of the guests whose bodies stream. Both WASI versions have the same ones, below the name of their service.

use crate::bindings::exports::comptoir::platform::service::{Access, Description, Method, Route};

/// The trailer that the guests return, and the headers that their routes read. Each route reads the trailers of a request too.
pub(crate) const CHECKSUM: &str = "x-checksum";

/// The description of the service with this name.
pub(crate) fn describe(name: &str) -> Description {
    let route = |method, path: &str, access| Route {
        method,
        path: format!("/{name}/{path}"),
        access,
        headers: vec![CHECKSUM.to_owned()],
    };
    let routes = vec![
        route(Method::Post, "echo", Access::Public),
        route(Method::Post, "private", Access::User),
        route(Method::Post, "internal/echo", Access::Internal),
        route(Method::Post, "count", Access::Public),
        route(Method::Get, "events", Access::Public),
        route(Method::Post, "double/{service}", Access::Public),
    ];
    crate::description::of(name, routes)
}

/// The service that `/…/double/{service}` calls.
pub(crate) fn callee(path: &str) -> Option<&str> {
    path.split_once("/double/").map(|(_, service)| service)
}
