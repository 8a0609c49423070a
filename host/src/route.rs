//! Route tables: which service answers a method and path, and who may call it. Knows no wasm, no token and no HTTP status.
//!
//! A deployment builds its tables once and never changes them. The gateway has one. Each service has one for its listener and one
//! for internal calls. A route exists only on the listeners whose table has it.

mod normal;

use std::collections::HashMap;
use std::sync::Arc;

use hyper::Method;
use hyper::header::HeaderName;

pub use normal::{normal_path, normal_pattern, normal_query};

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anyone. A valid token still names the caller. An invalid one is ignored.
    Public,
    /// A caller with a valid token.
    User,
    /// A caller with a valid token and the role `admin`.
    Admin,
    /// Another service of this host, if the manifest lets it call this one. Also the host itself.
    Internal,
}

/// One path of a service, for one method or for all methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The service that answers.
    pub service: Arc<str>,
    /// None for every method: the catch-all of a component that describes no routes.
    pub method: Option<Method>,
    /// The path as clients see it, such as `/orders/{id}`. Logs and metrics name it.
    pub pattern: Arc<str>,
    /// The prefix that the host removes from the path before the guest sees it: the mount of a service with `strip`. None to keep
    /// the whole path.
    pub strip: Option<Arc<str>>,
    /// Who may call it.
    pub access: Access,
    /// The request headers that the component reads. None if it describes no routes. Then it gets all headers.
    pub headers: Option<Arc<[HeaderName]>>,
    /// Whether the guest gets the client's `Authorization`. Only on public routes.
    pub passes_credentials: bool,
}

impl Route {
    /// Routes for every method on a path, and on all paths below it.
    pub fn catch_alls(service: &Arc<str>, mount: &str, access: Access) -> Vec<Self> {
        let folder = mount.trim_end_matches('/');
        let mut patterns = vec![format!("{folder}/"), format!("{folder}/{{*rest}}")];
        if !folder.is_empty() {
            patterns.insert(0, folder.to_owned());
        }
        let route = |pattern: String| Self {
            service: service.clone(),
            method: None,
            pattern: pattern.into(),
            strip: None,
            access,
            headers: None,
            passes_credentials: false,
        };
        patterns.into_iter().map(route).collect()
    }

    /// The pattern as the guest sees it: without the prefix that the host removes.
    pub fn guest_pattern(&self) -> &str {
        let Some(prefix) = &self.strip else { return &self.pattern };
        match self.pattern.strip_prefix(&**prefix) {
            Some("") => "/",
            Some(below) => below,
            None => &self.pattern,
        }
    }

    /// Whether the guest would see a path that begins with two slashes.
    ///
    /// No guest gets such a path. A guest that redirects to it would redirect to another host (RFC 3986, section 4.2). A guest
    /// that takes two slashes for one would see the path of another route, perhaps with another access.
    fn leaves_two_slashes(&self, path: &str) -> bool {
        let prefix = self.strip.as_deref().unwrap_or_default();
        path.strip_prefix(prefix).is_some_and(|below| below.starts_with("//"))
    }

    /// The route at the root, with the pattern that the guest sees.
    pub fn at_root(&self) -> Self {
        Self { pattern: self.guest_pattern().into(), strip: None, ..self.clone() }
    }

    /// Whether this is a mount with a slash at its end, which leads where the mount itself leads.
    pub fn is_mount_with_slash(&self) -> bool {
        let is_mount = self.method.is_none() || self.strip.is_some() && self.guest_pattern() == "/";
        is_mount && self.pattern.len() > 1 && self.pattern.ends_with('/')
    }
}

/// Why no route was found.
#[derive(Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No route has this path.
    Path,
    /// The path has no route for this method. Holds the value of `Allow` (RFC 9110, section 10.2.1).
    Method(String),
    /// The method is `OPTIONS`, and the path exists. Holds the value of `Allow`.
    Options(String),
}

/// Why a table cannot hold a route.
#[derive(Debug, thiserror::Error)]
pub enum RouteConflict {
    /// The path is no route pattern.
    #[error("the path `{0}` is not a route pattern: segments are text or {{name}}, and the path starts with a slash")]
    Pattern(Arc<str>),
    /// Another route has the same method and path, or a pattern that matches the same paths.
    #[error("the route {method} {pattern} of service `{service}` collides with one of service `{other}`")]
    Taken {
        /// The method, or `*`.
        method: String,
        /// The pattern of the refused route.
        pattern: Arc<str>,
        /// The service of the refused route.
        service: Arc<str>,
        /// The service of the route that is in the table.
        other: Arc<str>,
    },
}

impl RouteConflict {
    /// The service whose route was refused, if it is known.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Pattern(_) => None,
            Self::Taken { service, .. } => Some(service),
        }
    }
}

/// The routes of one listener, or of the internal calls of one service.
#[derive(Debug, Default, Clone)]
pub struct RouteTable {
    paths: matchit::Router<usize>,
    routes: Vec<Vec<Arc<Route>>>,
    /// The index in `routes` of each shape.
    slots: HashMap<String, usize>,
}

impl RouteTable {
    /// Builds a table.
    ///
    /// # Errors
    /// The first route that is no pattern or collides with an earlier one.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Result<Self, RouteConflict> {
        let mut table = Self::default();
        for route in routes {
            table.add(Arc::new(route))?;
        }
        Ok(table)
    }

    /// Adds routes, except those that collide with a route of the table.
    pub fn add_where_free(&mut self, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            // A refused route leaves the table unchanged.
            let _ = self.add(Arc::new(route));
        }
    }

    fn add(&mut self, route: Arc<Route>) -> Result<(), RouteConflict> {
        let wrong = || RouteConflict::Pattern(route.pattern.clone());
        let shape = shape(&route.pattern).ok_or_else(wrong)?;
        let slot = match self.slots.get(&shape) {
            Some(slot) => *slot,
            None => {
                let slot = self.routes.len();
                self.paths.insert(&shape, slot).map_err(|_| wrong())?;
                self.routes.push(Vec::new());
                self.slots.insert(shape, slot);
                slot
            }
        };
        let clashes = |other: &&Arc<Route>| {
            other.service != route.service
                || other.method == route.method
                || other.method.is_none()
                || route.method.is_none()
        };
        if let Some(other) = self.routes[slot].iter().find(clashes) {
            return Err(RouteConflict::Taken {
                method: route.method.as_ref().map_or_else(|| "*".to_owned(), Method::to_string),
                pattern: route.pattern.clone(),
                service: route.service.clone(),
                other: other.service.clone(),
            });
        }
        self.routes[slot].push(route);
        Ok(())
    }

    /// Finds the route of a request. `HEAD` finds the route of `GET`.
    ///
    /// # Errors
    /// `NoRoute`. If the path exists, it holds the methods of the path.
    pub fn find(&self, method: &Method, path: &str) -> Result<&Arc<Route>, NoRoute> {
        let found = self.paths.at(path).map_err(|_| NoRoute::Path)?;
        let here = &self.routes[*found.value];
        if here.iter().any(|route| route.leaves_two_slashes(path)) {
            return Err(NoRoute::Path);
        }
        let wanted = if method == Method::HEAD { &Method::GET } else { method };
        if let Some(route) = here.iter().find(|route| route.method.as_ref().is_none_or(|method| method == wanted)) {
            return Ok(route);
        }
        let allow = allow(here);
        Err(if method == Method::OPTIONS { NoRoute::Options(allow) } else { NoRoute::Method(allow) })
    }

    /// All routes of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().flatten()
    }
}

/// A pattern whose parameters are named by position, so that `/users/{id}` and `/users/{name}` are equal.
fn shape(pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix('/')?;
    let mut shape = String::with_capacity(pattern.len());
    for (position, segment) in rest.split('/').enumerate() {
        shape.push('/');
        match segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) {
            Some("*rest") => shape.push_str("{*rest}"),
            Some(name) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
                shape.push_str(&format!("{{p{position}}}"));
            }
            None if !segment.contains(['{', '}']) => shape.push_str(segment),
            _ => return None,
        }
    }
    Some(shape)
}

fn allow(routes: &[Arc<Route>]) -> String {
    let mut methods: Vec<&str> = routes.iter().filter_map(|route| route.method.as_ref()).map(Method::as_str).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.push("OPTIONS");
    methods.sort_unstable();
    methods.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn route(service: &str, method: &Method, pattern: &str) -> Route {
        let (service, method, pattern) = (service.into(), Some(method.clone()), pattern.into());
        Route { service, method, pattern, strip: None, access: Access::User, headers: None, passes_credentials: false }
    }

    fn shop() -> RouteTable {
        RouteTable::new([
            route("orders", &Method::GET, "/orders"),
            route("orders", &Method::POST, "/orders"),
            route("orders", &Method::GET, "/orders/{id}"),
            route("user", &Method::GET, "/users/profile"),
            route("user", &Method::PUT, "/users/{id}"),
            Route {
                service: "plain".into(),
                method: None,
                pattern: "/plain/{*rest}".into(),
                strip: None,
                access: Access::Public,
                headers: None,
                passes_credentials: false,
            },
        ])
        .unwrap()
    }

    #[test]
    fn a_literal_segment_wins_over_a_parameter() {
        let table = shop();
        assert_eq!(&*table.find(&Method::GET, "/users/profile").unwrap().pattern, "/users/profile");
        assert_eq!(&*table.find(&Method::PUT, "/users/7").unwrap().pattern, "/users/{id}");
    }

    #[test]
    fn head_finds_get_and_a_catch_all_takes_any_method() {
        let table = shop();
        assert_eq!(&*table.find(&Method::HEAD, "/orders").unwrap().pattern, "/orders");
        assert_eq!(&*table.find(&Method::PATCH, "/plain/a/b").unwrap().service, "plain");
    }

    #[test]
    fn another_method_gets_the_list_of_methods() {
        let table = shop();
        assert_eq!(table.find(&Method::PUT, "/orders"), Err(NoRoute::Method("GET, HEAD, OPTIONS, POST".into())));
        assert_eq!(table.find(&Method::OPTIONS, "/orders"), Err(NoRoute::Options("GET, HEAD, OPTIONS, POST".into())));
    }

    #[test]
    fn catch_alls_match_only_paths_without_a_route() {
        let mut table =
            RouteTable::new(["/orders", "/orders/list"].map(|path| route("orders", &Method::GET, path))).unwrap();
        table.add_where_free(Route::catch_alls(&"vacant".into(), "/orders", Access::Public));
        let service = |path| table.find(&Method::GET, path).map(|route| route.service.to_string());
        assert_eq!([service("/orders"), service("/orders/list")], [Ok("orders".into()), Ok("orders".into())]);
        assert_eq!([service("/orders/li"), service("/orders/1/items")], [Ok("vacant".into()), Ok("vacant".into())]);
        assert_eq!(table.find(&Method::DELETE, "/orders"), Err(NoRoute::Method("GET, HEAD, OPTIONS".into())));
    }

    #[test]
    fn a_guest_sees_its_patterns_without_the_stripped_prefix() {
        let stripped = |pattern: &str| Route { strip: Some("/shop".into()), ..route("a", &Method::GET, pattern) };
        for (pattern, seen, is_slash) in [
            ("/shop", "/", false),
            ("/shop/", "/", true),
            ("/shop/x/{id}", "/x/{id}", false),
            ("/shop/x/", "/x/", false),
        ] {
            let route = stripped(pattern);
            assert_eq!((route.guest_pattern(), route.is_mount_with_slash()), (seen, is_slash), "{pattern}");
            let root = route.at_root();
            assert_eq!((&*root.pattern, root.strip), (seen, None));
        }
        let whole = route("a", &Method::GET, "/shop/");
        assert_eq!((whole.guest_pattern(), whole.is_mount_with_slash()), ("/shop/", false));
    }

    #[test]
    fn a_path_with_two_slashes_after_the_stripped_prefix_has_no_route() {
        let routes = |strip: Option<Arc<str>>| {
            let routes = Route::catch_alls(&"a".into(), "/shop", Access::Public).into_iter();
            RouteTable::new(routes.map(move |route| Route { strip: strip.clone(), ..route })).unwrap()
        };
        for path in ["/shop//", "/shop///", "/shop//x", "/shop//evil.example/x"] {
            assert_eq!(routes(Some("/shop".into())).find(&Method::GET, path), Err(NoRoute::Path), "{path}");
            assert!(routes(None).find(&Method::GET, path).is_ok(), "{path}");
        }
        for path in ["/shop", "/shop/", "/shop/x//y", "/shop/x//"] {
            assert!(routes(Some("/shop".into())).find(&Method::GET, path).is_ok(), "{path}");
        }
    }

    #[test]
    fn catch_alls_cover_the_mount_with_and_without_a_slash() {
        let patterns = |mount: &str| {
            let routes = Route::catch_alls(&"a".into(), mount, Access::Public);
            routes.iter().map(|route| route.pattern.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(patterns("/a"), ["/a", "/a/", "/a/{*rest}"]);
        assert_eq!(patterns("/"), ["/", "/{*rest}"]);
    }

    #[test]
    fn an_unknown_path_has_no_route_and_a_trailing_slash_matters() {
        let table = shop();
        for path in ["/", "/order", "/orders/", "//orders", "/orders/1/2", "/users"] {
            assert_eq!(table.find(&Method::GET, path), Err(NoRoute::Path), "{path}");
        }
    }

    #[test]
    fn each_of_a_thousand_long_routes_is_found() {
        let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let path = |number: usize| format!("/{}/{{id}}/{number}", "x".repeat(480));
        let routes = (0..200).flat_map(|number| methods.iter().map(move |method| route("long", method, &path(number))));
        let table = RouteTable::new(routes).unwrap();
        assert_eq!((table.routes.len(), table.iter().count()), (200, 1000));
        for (number, method) in (0..200).flat_map(|number| methods.iter().map(move |method| (number, method))) {
            let found = table.find(method, &path(number).replace("{id}", "7")).unwrap();
            assert_eq!((&*found.pattern, found.method.as_ref()), (&*path(number), Some(method)));
        }
    }

    #[test]
    fn colliding_routes_and_broken_patterns_are_refused() {
        let taken = RouteTable::new([route("a", &Method::GET, "/x/{id}"), route("b", &Method::GET, "/x/{name}")]);
        assert_eq!(
            taken.unwrap_err().to_string(),
            "the route GET /x/{name} of service `b` collides with one of service `a`"
        );
        for pattern in ["x", "/x/{}", "/x/{a", "/x/a}b", "/{a-b}"] {
            assert!(RouteTable::new([route("a", &Method::GET, pattern)]).is_err(), "{pattern}");
        }
    }
}
