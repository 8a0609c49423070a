//! A deployment: the active revision of each service, and the route tables.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};

use super::documentation::Documentation;
use super::earlier::{EarlierAsset, EarlierAssets};
use super::lane::Resources;
use crate::manifest::Grant;
use crate::response_cache::etag;
use crate::revision::{Description, Revision};
use crate::route::{Access, Route, RouteConflict, RouteTable};

/// A revision as part of a deployment, with its routes and rights.
#[derive(Clone)]
pub struct Served {
    /// The compiled component.
    pub revision: Arc<Revision>,
    /// The bytes of the component's file, so that a rollback does not need the disk.
    pub bytes: Arc<[u8]>,
    /// How the component describes itself. None if it does not.
    pub description: Option<Arc<Description>>,
    /// Its routes on the gateway: those that it declares, or catch-all routes on its mounts. Also its internal routes.
    pub routes: Vec<Route>,
    /// Its part of the OpenAPI document.
    pub documentation: Arc<Documentation>,
    /// The interfaces that the component imports.
    pub imports: Vec<String>,
    /// The services that it may call.
    pub calls: BTreeSet<String>,
    /// Its grants.
    pub grants: BTreeSet<Grant>,
    /// What the manifest gave its service when it was made.
    pub(super) resources: Arc<Resources>,
}

impl Served {
    /// The route of the component's health check, if it has one.
    pub fn health(&self) -> Option<Route> {
        let path = self.description.as_ref()?.health.as_ref()?;
        let service = self.routes.first()?.service.clone();
        let (method, pattern) = (Some(Method::GET), path.as_str().into());
        Some(Route {
            service,
            method,
            pattern,
            strip: None,
            access: Access::Public,
            headers: Some([].into()),
            passes_credentials: false,
        })
    }
}

/// The routes of a service's own listener, which has no mount. A mount with and without a slash is one path there.
fn at_root(routes: Vec<Route>) -> Vec<Route> {
    let mut seen = HashSet::new();
    let routes = routes.into_iter().map(|route| if route.strip.is_some() { route.at_root() } else { route });
    routes.filter(|route| seen.insert((route.method.clone(), route.pattern.clone()))).collect()
}

/// A service that has no active revision.
#[derive(Debug, Clone)]
pub struct Vacancy {
    /// Its path prefixes. They answer 503.
    pub mounts: Vec<String>,
    /// Why no revision can serve it.
    pub reason: String,
}

/// The routes and active revisions of all services. Immutable, so that routes and revisions always match.
#[derive(Default)]
pub struct Deployment {
    services: BTreeMap<Arc<str>, Served>,
    vacant: BTreeMap<Arc<str>, Vacancy>,
    gateway: RouteTable,
    doors: BTreeMap<Arc<str>, RouteTable>,
    internal: BTreeMap<Arc<str>, RouteTable>,
    earlier: EarlierAssets,
    document: OnceLock<Document>,
}

/// The OpenAPI document of a deployment, and its entity tag.
pub struct Document {
    /// The document as JSON.
    pub text: Bytes,
    /// The entity tag. It changes whenever the text changes.
    pub tag: HeaderValue,
}

impl Deployment {
    /// Builds the route tables. Paths of vacant services get routes too, unless another service has them. A vacant service that is also
    /// in `services` is not vacant any more. `earlier` are other revisions whose assets it answers for.
    ///
    /// # Errors
    /// Two services claim the same route.
    pub fn new(
        services: BTreeMap<Arc<str>, Served>,
        mut vacant: BTreeMap<Arc<str>, Vacancy>,
        earlier: &[Served],
    ) -> Result<Self, RouteConflict> {
        vacant.retain(|name, _| !services.contains_key(name));
        let outside = |served: &Served| {
            let routes = served.routes.iter().filter(|route| route.access != Access::Internal);
            routes.cloned().collect::<Vec<_>>()
        };
        let mut gateway = RouteTable::new(services.values().flat_map(outside))?;
        let earlier = EarlierAssets::new(earlier, &gateway);
        let mut doors = BTreeMap::new();
        let mut internal = BTreeMap::new();
        for (name, served) in &services {
            let mut routes = at_root(outside(served));
            let health = served.health().filter(|health| {
                !routes.iter().any(|route| route.pattern == health.pattern && route.method == health.method)
            });
            routes.extend(health);
            doors.insert(name.clone(), RouteTable::new(routes)?);
            let calls = served.routes.iter().filter(|route| route.access == Access::Internal);
            internal.insert(name.clone(), RouteTable::new(calls.cloned())?);
        }
        for (name, Vacancy { mounts, .. }) in &vacant {
            gateway.add_where_free(mounts.iter().flat_map(|mount| Route::catch_alls(name, mount, Access::Public)));
            doors.insert(name.clone(), RouteTable::new(Route::catch_alls(name, "/", Access::Public))?);
            internal.insert(name.clone(), RouteTable::new(Route::catch_alls(name, "/", Access::Internal))?);
        }
        Ok(Self { services, vacant, gateway, doors, internal, earlier, document: OnceLock::new() })
    }

    /// The services with an active revision, by name.
    pub fn services(&self) -> &BTreeMap<Arc<str>, Served> {
        &self.services
    }

    /// The services without an active revision, by name.
    pub fn vacant(&self) -> &BTreeMap<Arc<str>, Vacancy> {
        &self.vacant
    }

    /// The routes of the gateway.
    pub fn gateway(&self) -> &RouteTable {
        &self.gateway
    }

    /// The route of another revision, for a path of the gateway that no active revision has.
    pub fn earlier(&self, method: &Method, path: &str) -> Option<&EarlierAsset> {
        self.earlier.find(method, path)
    }

    /// The routes of a service's own listener: those of the service, and its health check.
    pub fn door(&self, service: &str) -> Option<&RouteTable> {
        self.doors.get(service)
    }

    /// The routes of a service that other services may call.
    pub fn internal(&self, service: &str) -> Option<&RouteTable> {
        self.internal.get(service)
    }

    /// The OpenAPI document. `make` runs only for the first caller.
    pub fn document(&self, make: impl FnOnce(&Self) -> Bytes) -> &Document {
        self.document.get_or_init(|| {
            let text = make(self);
            Document { tag: etag::of(&HeaderMap::new(), &text), text }
        })
    }
}

impl Document {
    /// Whether a client that sends this `If-None-Match` already has the current text.
    pub fn is_named_by(&self, tags: &HeaderValue) -> bool {
        etag::matches(tags, &self.tag)
    }
}
