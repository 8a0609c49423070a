//! A service: its description for the host, and the dispatch of requests to its routes.

use std::ops::RangeInclusive;

use crate::bindings::exports::comptoir::platform::{handler, service as exported};
use crate::pages::Pages;
use crate::{Failure, Request, Response, path, storage};

#[cfg(not(target_family = "wasm"))]
use crate::openapi::Documented;

pub use exported::{Access, Method};

/// The function of a route. A failure becomes an error response.
pub type Handler = fn(&Request) -> Result<Response, Failure>;

/// One method of one path, with its access rule and its handler.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    method: Method,
    pub(crate) path: &'static str,
    access: Access,
    handler: Handler,
    headers: &'static [&'static str],
    #[cfg(not(target_family = "wasm"))]
    documentation: Option<Documented>,
}

/// Only tests look into a route.
#[cfg(not(target_family = "wasm"))]
impl Route {
    /// Adds the documentation.
    #[doc(hidden)]
    pub const fn documented(self, documentation: Documented) -> Route {
        Route { documentation: Some(documentation), ..self }
    }

    /// The documentation, unless the documentation comment is missing.
    pub(crate) fn documentation(&self) -> Option<&Documented> {
        self.documentation.as_ref().filter(|documentation| !documentation.docs.is_empty())
    }

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn access(&self) -> Access {
        self.access
    }

    pub(crate) fn headers(&self) -> &'static [&'static str] {
        self.headers
    }
}

impl Route {
    /// A route for GET. It also serves HEAD: the host sends the response without its body.
    pub const fn get(path: &'static str, access: Access, handler: Handler) -> Route {
        Route::new(Method::Get, path, access, handler)
    }

    /// A route for POST.
    pub const fn post(path: &'static str, access: Access, handler: Handler) -> Route {
        Route::new(Method::Post, path, access, handler)
    }

    /// A route for PUT.
    pub const fn put(path: &'static str, access: Access, handler: Handler) -> Route {
        Route::new(Method::Put, path, access, handler)
    }

    /// A route for PATCH.
    pub const fn patch(path: &'static str, access: Access, handler: Handler) -> Route {
        Route::new(Method::Patch, path, access, handler)
    }

    /// A route for DELETE.
    pub const fn delete(path: &'static str, access: Access, handler: Handler) -> Route {
        Route::new(Method::Delete, path, access, handler)
    }

    const fn new(method: Method, path: &'static str, access: Access, handler: Handler) -> Route {
        Route {
            method,
            path,
            access,
            handler,
            headers: &[],
            #[cfg(not(target_family = "wasm"))]
            documentation: None,
        }
    }

    /// Declares request headers that the route reads. Names must be in lower case.
    pub const fn reading(self, headers: &'static [&'static str]) -> Route {
        Route { headers, ..self }
    }
}

/// A request that must succeed (2xx) before the component serves. The host rolls its writes back.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    method: Method,
    path: &'static str,
    caller: Option<&'static str>,
    body: Option<&'static str>,
}

impl Probe {
    /// A GET by an anonymous caller.
    pub const fn get(path: &'static str) -> Probe {
        Probe { method: Method::Get, path, caller: None, body: None }
    }

    /// A POST with a JSON body by an anonymous caller.
    pub const fn post(path: &'static str, body: &'static str) -> Probe {
        Probe { method: Method::Post, path, caller: None, body: Some(body) }
    }

    /// Sets the caller: this username, with the role `user`.
    pub const fn by(self, username: &'static str) -> Probe {
        Probe { caller: Some(username), ..self }
    }

    fn describe(&self) -> exported::Probe {
        exported::Probe {
            method: self.method,
            path: self.path.to_owned(),
            caller: self.caller.map(str::to_owned),
            body: self.body.map(str::to_owned),
        }
    }
}

/// A service, as [`service!`](macro@crate::service) declares it.
#[derive(Debug)]
pub struct Service {
    /// The name in the health response.
    pub name: &'static str,
    /// The component's version, for people.
    pub version: &'static str,
    /// The path of the health response.
    pub health: &'static str,
    /// The SQL of schema version 1, 2, …
    pub migrations: &'static [&'static str],
    /// The schema versions that the code works with.
    pub schema: RangeInclusive<u32>,
    /// Checks that the database responds. None for a service without a database.
    ///
    /// A function pointer, because a direct call would make every component import storage.
    pub database: Option<fn() -> storage::Result<()>>,
    /// The embedded pages.
    pub pages: Pages,
    /// Requests that must succeed before the component serves. The host sends them after the health request.
    pub probes: &'static [Probe],
    /// The OpenAPI description of the routes, as a JSON text. `wit/service.wit` describes its format.
    pub documentation: Option<&'static str>,
    /// All routes except health.
    pub routes: &'static [Route],
}

impl Service {
    /// The description that the host reads when it deploys the component.
    pub fn describe(&self) -> exported::Description {
        let pages = self.pages.paths().map(|path| exported::Route {
            method: Method::Get,
            path: path.to_owned(),
            access: Access::Public,
            headers: Vec::new(),
        });
        let routes = self.routes.iter();
        let migrations = (1..).zip(self.migrations);
        exported::Description {
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            health: Some(self.health.to_owned()),
            routes: routes
                .map(|route| exported::Route {
                    method: route.method,
                    path: route.path.to_owned(),
                    access: route.access,
                    headers: route.headers.iter().map(|name| (*name).to_owned()).collect(),
                })
                .chain(pages)
                .collect(),
            migrations: migrations
                .map(|(version, sql)| exported::Migration { version, sql: (*sql).to_owned() })
                .collect(),
            schema: exported::SchemaRange { minimum: *self.schema.start(), maximum: *self.schema.end() },
            probes: self.probes.iter().map(Probe::describe).collect(),
            documentation: self.documentation.map(str::to_owned),
        }
    }

    /// Handles one request from the host.
    #[doc(hidden)]
    pub fn handle(&self, request: handler::Request) -> handler::Response {
        let response = self.answer(request);
        let content_type = response.content_type().map(|sent| ("content-type".to_owned(), sent.as_bytes().to_vec()));
        let (status, headers, body) = response.into_parts();
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned().into_bytes()));
        handler::Response { status, headers: content_type.into_iter().chain(headers).collect(), body }
    }

    pub(crate) fn answer(&self, request: handler::Request) -> Response {
        let path = request.target.split('?').next().unwrap_or_default();
        if self.is_health(request.method, path) {
            return self.health();
        }
        if request.method == Method::Get
            && let Some(page) = self.pages.response(path)
        {
            return page;
        }
        match self.find(request.method, path) {
            Ok(route) => (route.handler)(&Request::new(request, route)).unwrap_or_else(Response::from),
            Err(refusal) => refusal,
        }
    }

    pub(crate) fn is_health(&self, method: Method, path: &str) -> bool {
        path == self.health && method == Method::Get
    }

    /// The most specific route for a method and a path. Otherwise the 404 or 405 response.
    pub(crate) fn find(&self, method: Method, path: &str) -> Result<&Route, Response> {
        let here = || self.routes.iter().filter(|route| path::matches(route.path, path));
        let mut best: Option<&Route> = None;
        for route in here().filter(|route| route.method == method) {
            if best.is_none_or(|best| path::outranks(route.path, best.path)) {
                best = Some(route);
            }
        }
        best.ok_or_else(|| {
            let mut allowed: Vec<&str> = if self.pages.response(path).is_some() { vec![GET] } else { Vec::new() };
            for name in here().map(|route| method_name(route.method)) {
                if !allowed.contains(&name) {
                    allowed.push(name);
                }
            }
            if allowed.is_empty() { not_found() } else { method_not_allowed(allowed.join(", ")) }
        })
    }

    /// The health response. A service with a database is healthy if the database responds.
    fn health(&self) -> Response {
        match self.database.map_or(Ok(()), |ping| ping()) {
            Ok(()) => Response::bare(200, &Health { status: "healthy", service: self.name }),
            Err(error) => {
                eprintln!("health check failed: the database does not respond: {error:?}");
                Response::bare(503, &Health { status: "unhealthy", service: self.name })
            }
        }
    }
}

#[derive(serde::Serialize)]
struct Health {
    status: &'static str,
    service: &'static str,
}

fn not_found() -> Response {
    Failure::not_found("NOT_FOUND", "There is no route for this path.").into()
}

fn method_not_allowed(allowed: String) -> Response {
    let failure = Failure::new(405, "METHOD_NOT_ALLOWED", "This path does not support this method.");
    Response::from(failure).with_header("allow", allowed)
}

/// A route for GET in `Allow`.
const GET: &str = "GET, HEAD";

/// The methods of a route in `Allow`.
fn method_name(method: Method) -> &'static str {
    if method == Method::Get { GET } else { method_token(method) }
}

pub(crate) fn method_token(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}
