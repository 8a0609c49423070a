//! Which revision serves each service now, and the routes that follow from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderValue};

use super::documentation::Documentation;
use crate::answers::tag;
use crate::manifest::Grant;
use crate::revision::{Description, Revision};
use crate::route::{Access, Route, RouteConflict, RouteTable};

/// One service of a deployment.
#[derive(Clone)]
pub struct Served {
    /// What answers.
    pub revision: Arc<Revision>,
    /// The component's file, so that going back to it does not need what lies on the disk.
    pub bytes: Arc<[u8]>,
    /// What the component says it is; none for one that describes nothing.
    pub description: Option<Arc<Description>>,
    /// The routes that it serves: declared, or catch-alls on its mounts.
    pub routes: Vec<Route>,
    /// What the component documents of its routes.
    pub documentation: Arc<Documentation>,
    /// The interfaces that the component imports.
    pub imports: Vec<String>,
    /// Services that it may call.
    pub calls: BTreeSet<String>,
    /// Its grants.
    pub grants: BTreeSet<Grant>,
}

impl Served {
    /// The route by which the component's health is asked, if it has one.
    pub fn health(&self) -> Option<Route> {
        let path = self.description.as_ref()?.health.as_ref()?;
        let service = self.routes.first()?.service.clone();
        let (method, pattern) = (Some(Method::GET), path.as_str().into());
        Some(Route { service, method, pattern, access: Access::Public, headers: Some([].into()) })
    }
}

/// A service that has no active revision.
#[derive(Debug, Clone)]
pub struct Vacancy {
    /// Its path prefixes, which are answered with 503.
    pub mounts: Vec<String>,
    /// Why nothing serves it.
    pub reason: String,
}

/// A complete picture of what the host serves. Never changed: whoever holds one sees routes and revisions that fit.
#[derive(Default)]
pub struct Deployment {
    services: BTreeMap<Arc<str>, Served>,
    vacant: BTreeMap<Arc<str>, Vacancy>,
    gateway: RouteTable,
    doors: BTreeMap<Arc<str>, RouteTable>,
    internal: BTreeMap<Arc<str>, RouteTable>,
    document: OnceLock<Document>,
}

/// What describes a deployment to its clients, and the tag that names this text.
pub struct Document {
    /// A JSON text.
    pub text: Bytes,
    /// Another text has another.
    pub tag: HeaderValue,
}

impl Deployment {
    /// Builds the route tables for these services. The paths of the vacant ones have routes too, wherever nothing else is served; a
    /// vacant service that has a revision by now is vacant no more.
    ///
    /// # Errors
    /// Two services that claim the same route.
    pub fn new(
        services: BTreeMap<Arc<str>, Served>,
        mut vacant: BTreeMap<Arc<str>, Vacancy>,
    ) -> Result<Self, RouteConflict> {
        vacant.retain(|name, _| !services.contains_key(name));
        let outside = |served: &Served| {
            let routes = served.routes.iter().filter(|route| route.access != Access::Internal);
            routes.cloned().collect::<Vec<_>>()
        };
        let mut gateway = RouteTable::new(services.values().flat_map(outside))?;
        let mut doors = BTreeMap::new();
        let mut internal = BTreeMap::new();
        for (name, served) in &services {
            let mut routes = outside(served);
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
        Ok(Self { services, vacant, gateway, doors, internal, document: OnceLock::new() })
    }

    /// All services that have a revision, by name.
    pub fn services(&self) -> &BTreeMap<Arc<str>, Served> {
        &self.services
    }

    /// The services that have none.
    pub fn vacant(&self) -> &BTreeMap<Arc<str>, Vacancy> {
        &self.vacant
    }

    /// The routes of the gateway.
    pub fn gateway(&self) -> &RouteTable {
        &self.gateway
    }

    /// The routes of a service's own listener: its own and its health.
    pub fn door(&self, service: &str) -> Option<&RouteTable> {
        self.doors.get(service)
    }

    /// The routes of a service that other services may call.
    pub fn internal(&self, service: &str) -> Option<&RouteTable> {
        self.internal.get(service)
    }

    /// What describes it to its clients, made for whoever asks first.
    pub fn document(&self, make: impl FnOnce(&Self) -> Bytes) -> &Document {
        self.document.get_or_init(|| {
            let text = make(self);
            Document { tag: tag::of(&HeaderMap::new(), &text), text }
        })
    }
}

impl Document {
    /// Whether a client that sends this `If-None-Match` has the text already.
    pub fn is_named_by(&self, tags: &HeaderValue) -> bool {
        tag::matches(tags, &self.tag)
    }
}
