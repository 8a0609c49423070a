//! A component as a whole: its description, and the way of a request through its route table.

use std::ops::RangeInclusive;

use crate::bindings::exports::comptoir::platform::{handler, service as exported};
use crate::{Failure, Request, Response, path, storage};

pub use exported::{Access, Method};

/// Answers one route. What it fails with becomes the answer too.
pub type Handler = fn(&Request) -> Result<Response, Failure>;

/// One method of one path, who may call it, and what answers.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    handler: Handler,
    headers: &'static [&'static str],
}

impl Route {
    /// A route for GET, and so for HEAD, whose answer the host sends without its body.
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
        Route { method, path, access, handler, headers: &[] }
    }

    /// The same, given these headers of the request too. Names are in lower case.
    pub const fn reading(self, headers: &'static [&'static str]) -> Route {
        Route { headers, ..self }
    }
}

/// A request that must be answered with 2xx before the component serves. Whatever it writes is rolled back.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    method: Method,
    path: &'static str,
    caller: Option<&'static str>,
    body: Option<&'static str>,
}

impl Probe {
    /// A GET by nobody.
    pub const fn get(path: &'static str) -> Probe {
        Probe { method: Method::Get, path, caller: None, body: None }
    }

    /// A POST of a JSON body by nobody.
    pub const fn post(path: &'static str, body: &'static str) -> Probe {
        Probe { method: Method::Post, path, caller: None, body: Some(body) }
    }

    /// The same, by a user of this name.
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

/// A component: what [`service!`](macro@crate::service) declares.
#[derive(Debug)]
pub struct Service {
    /// The name that the health answer gives.
    pub name: &'static str,
    /// The component's own version, for people.
    pub version: &'static str,
    /// The path that answers GET while the database, if there is one, can be read.
    pub health: &'static str,
    /// The SQL of version 1, 2, … of the schema.
    pub migrations: &'static [&'static str],
    /// The versions of the schema that the code works with.
    pub schema: RangeInclusive<u32>,
    /// Whether the database answers; none for a service without one. Behind a pointer, because a component imports what it names.
    pub database: Option<fn() -> storage::Result<()>>,
    /// What must be answered with 2xx before the component serves, after its health.
    pub probes: &'static [Probe],
    /// What the routes take and give, as a JSON text. The host's `service.wit` says how it is written.
    pub documentation: Option<&'static str>,
    /// Every route but the health's.
    pub routes: &'static [Route],
}

impl Service {
    /// What the host reads when the component is deployed.
    pub fn describe(&self) -> exported::Description {
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
                .collect(),
            migrations: migrations
                .map(|(version, sql)| exported::Migration { version, sql: (*sql).to_owned() })
                .collect(),
            schema: exported::SchemaRange { minimum: *self.schema.start(), maximum: *self.schema.end() },
            probes: self.probes.iter().map(Probe::describe).collect(),
            documentation: self.documentation.map(str::to_owned),
        }
    }

    /// Answers one request of the host.
    #[doc(hidden)]
    pub fn handle(&self, request: handler::Request) -> handler::Response {
        let (status, headers, body) = self.answer(request).into_parts();
        let content_type = ("content-type".to_owned(), b"application/json".to_vec());
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_owned().into_bytes()));
        handler::Response { status, headers: std::iter::once(content_type).chain(headers).collect(), body }
    }

    pub(crate) fn answer(&self, request: handler::Request) -> Response {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == self.health && request.method == Method::Get {
            return self.health();
        }
        match self.find(request.method, path) {
            Ok(route) => (route.handler)(&Request::new(request, route.path)).unwrap_or_else(Response::from),
            Err(refusal) => refusal,
        }
    }

    /// The route that says most about the path, among those with the method.
    fn find(&self, method: Method, path: &str) -> Result<&Route, Response> {
        let here = || self.routes.iter().filter(|route| path::matches(route.path, path));
        let mut best: Option<&Route> = None;
        for route in here().filter(|route| route.method == method) {
            if best.is_none_or(|best| path::outranks(route.path, best.path)) {
                best = Some(route);
            }
        }
        best.ok_or_else(|| {
            let mut allowed: Vec<&str> = Vec::new();
            for name in here().map(|route| method_name(route.method)) {
                if !allowed.contains(&name) {
                    allowed.push(name);
                }
            }
            if allowed.is_empty() { not_found() } else { method_not_allowed(allowed.join(", ")) }
        })
    }

    /// Healthy means that the database, if there is one, answers: without it, no route could.
    fn health(&self) -> Response {
        match self.database.map_or(Ok(()), |answers| answers()) {
            Ok(()) => Response::bare(200, &Health { status: "healthy", service: self.name }),
            Err(error) => {
                eprintln!("the health query failed: {error:?}");
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
    Failure::not_found("NOT_FOUND", "There is nothing at this path.").into()
}

fn method_not_allowed(allowed: String) -> Response {
    let failure = Failure::new(405, "METHOD_NOT_ALLOWED", "This path does not answer this method.");
    Response::from(failure).with_header("allow", allowed)
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Get => "GET, HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    }
}
