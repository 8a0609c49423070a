//! The description of a component, as its `describe` returns it, checked against limits.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName};
use storage::Migration;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::Revision;
use super::instance::{ComputedTooLong, Instance};
use super::metered::{Meter, in_background};
use crate::guest::bindings::{DescribedIndices, service};
use crate::guest::{DependencyFailure, Guest, Outgoing, Output};
use crate::head;
use crate::printable::{excerpt, is_printable};
use crate::route::{Access, Route, normal_pattern};

/// Maximum routes of a component. The same limit applies to migrations and to probes.
const MAX_ITEMS: usize = 1000;

/// Maximum length of a component's name and of its version, in characters.
const NAME_CHARACTERS: usize = 100;

/// Maximum length of a route's path and of the health path. Limited because each switch builds a table of all routes.
const PATH_BYTES: usize = 512;
/// Maximum segments of these paths.
const SEGMENTS: usize = 32;

/// Maximum request headers that a route lists: as many as a request may have.
const HEADERS: usize = 100;
/// Maximum length of a header's name.
const HEADER_BYTES: usize = 128;

/// Maximum length of a probe's path and query, as of a request's.
const TARGET_BYTES: usize = 8 << 10;
/// Maximum length of the name of a probe's caller.
const CALLER_BYTES: usize = 1 << 10;

/// What a component declares about itself: name, routes, schema, probes.
#[derive(Debug, Clone)]
pub struct Description {
    /// The service's name in its health response.
    pub name: String,
    /// The component's own version.
    pub version: String,
    /// A path that answers GET with 2xx while the component can work.
    pub health: Option<String>,
    /// The routes with their access rules.
    pub routes: Vec<Route>,
    /// The migrations of its schema in order, numbered from 1.
    pub migrations: Vec<Migration>,
    /// The lowest and highest schema version that it works with.
    pub schema: (u32, u32),
    /// Requests that it must answer with 2xx before it is activated. They run after the health check.
    pub probes: Vec<Probe>,
    /// The documentation of its routes (OpenAPI operations), as the component wrote it.
    pub documentation: Option<String>,
}

/// A test request for a component that is not active yet.
#[derive(Debug, Clone)]
pub struct Probe {
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The username of the caller, in the role `user`.
    pub caller: Option<String>,
    /// A JSON body.
    pub body: Option<String>,
}

/// Why a component's description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// `describe` trapped.
    #[error("its `describe` failed: {0}")]
    Trapped(String),
    /// `describe` did not return within the `time` limit.
    #[error("its `describe` did not return within its `time` limit")]
    TookTooLong,
    /// `describe` computed for longer than the `cpu` limit.
    #[error("its `describe` computed for longer than its `cpu` limit")]
    ComputedTooLong,
    /// No instance slot became free. Deploying again later may succeed.
    #[error(
        "no instance became free within {0:?} to describe the component: send it again when the service is less busy"
    )]
    Busy(Duration),
    /// It exceeds a limit or contradicts itself.
    #[error("its description is wrong: {0}")]
    Wrong(String),
}

impl DescriptionError {
    pub(super) fn with_output(self, output: &str) -> Self {
        match self {
            Self::Trapped(cause) => Self::Trapped(format!("{cause}; it printed: {output}")),
            other => other,
        }
    }
}

impl Revision {
    /// Calls the component's `describe`.
    ///
    /// The instance needs a slot of the service. It waits for the queue time and the request time together. In that time, each request
    /// that has a slot now must free it. So even an overloaded service can get a new revision.
    ///
    /// # Errors
    /// `describe` trapped, exceeded a limit or returned an invalid description, or no slot became free.
    pub async fn describe(&self) -> Result<Description, DescriptionError> {
        let patience = self.limits.queue_time + self.limits.time;
        let slot = self.slots.acquire(self.host_instances, patience).await;
        let slot = slot.map_err(|_| DescriptionError::Busy(patience))?;
        let output = Output::new(self.limits.log_bytes);
        let outgoing = Outgoing::none(self.forbidden_headers.clone(), DependencyFailure::default());
        let guest = Guest::new(&self.clock, self.grants.for_describe(), self.limits.memory_bytes, outgoing, &output);
        let mut instance = Instance::new(&self.handler, guest);
        let meter = Arc::new(Meter::new(self.ticker.clone()));
        // No `limit_copies`: a description may copy only as much as a host call, which is less than a response may.
        instance.limit_time(&self.limits, &meter);
        let (handler, service) = (self.handler.clone(), self.service.clone());
        let call = async move {
            // Dropped after the store, so that the store's memory is free when the next request takes the slot.
            let _slot = slot;
            describe(handler.instance_pre(), instance.into_store(), &service).await
        };
        let described = tokio::time::timeout(self.limits.time, in_background(call, meter, &self.background)).await;
        described.unwrap_or(Err(DescriptionError::TookTooLong)).map_err(|error| match output.to_log() {
            Some(text) => error.with_output(&text),
            None => error,
        })
    }
}

/// Instantiates a component, calls `describe` and checks the result.
async fn describe(
    pre: &InstancePre<Guest>,
    mut store: Store<Guest>,
    service: &Arc<str>,
) -> Result<Description, DescriptionError> {
    let trapped = |error: wasmtime::Error| match error.is::<ComputedTooLong>() {
        true => DescriptionError::ComputedTooLong,
        false => DescriptionError::Trapped(format!("{error:#}")),
    };
    let instance = pre.instantiate_async(&mut store).await.map_err(trapped)?;
    let described = DescribedIndices::new(pre).and_then(|indices| indices.load(&mut store, &instance));
    let described = described.map_err(trapped)?;
    let declared = described.comptoir_platform_service().call_describe(&mut store).await.map_err(trapped)?;
    check(declared, service)
}

fn check(declared: service::Description, service: &Arc<str>) -> Result<Description, DescriptionError> {
    let wrong = |message: String| Err(DescriptionError::Wrong(message));
    if declared.routes.len() > MAX_ITEMS || declared.migrations.len() > MAX_ITEMS || declared.probes.len() > MAX_ITEMS {
        return wrong(format!("it has more than {MAX_ITEMS} routes, migrations or probes"));
    }
    check_label("name", &declared.name).and_then(|()| check_label("version", &declared.version))?;
    if let Some(health) = &declared.health {
        check_path("health path", health)?;
    }
    declared.routes.iter().try_for_each(|route| check_path("route", &route.path))?;
    declared.probes.iter().try_for_each(check_probe)?;
    let (minimum, maximum) = (declared.schema.minimum, declared.schema.maximum);
    if minimum > maximum {
        return wrong(format!("the schema range {minimum} to {maximum} is empty"));
    }
    for (position, migration) in declared.migrations.iter().enumerate() {
        if migration.version as usize != position + 1 {
            return wrong(format!(
                "migration {} has position {} in the list: number the migrations from 1 without gaps",
                migration.version,
                position + 1
            ));
        }
    }
    let last = u32::try_from(declared.migrations.len()).unwrap_or(u32::MAX);
    if !(minimum..=maximum).contains(&last) {
        return wrong(format!("its migrations end at schema {last}, outside of its range {minimum} to {maximum}"));
    }
    if let Some(health) = declared.health.as_ref().filter(|health| !health.starts_with('/') || health.contains('{')) {
        return wrong(format!("the health path `{health}` must begin with `/` and have no parameters"));
    }
    let routes = declared.routes.iter().map(|declared| route(declared, service)).collect::<Result<_, _>>()?;
    Ok(Description {
        name: declared.name,
        version: declared.version,
        health: declared.health.map(|health| normal_pattern(&health)),
        routes,
        migrations: declared
            .migrations
            .into_iter()
            .map(|step| Migration { version: step.version, sql: step.sql })
            .collect(),
        schema: (minimum, maximum),
        probes: declared.probes.into_iter().map(probe).collect(),
        documentation: declared.documentation,
    })
}

/// Checks a name or version, which people read on one line.
fn check_label(what: &str, text: &str) -> Result<(), DescriptionError> {
    if text.chars().count() <= NAME_CHARACTERS && text.chars().all(is_printable) {
        return Ok(());
    }
    let rule = format!("it may have at most {NAME_CHARACTERS} characters and no control characters");
    Err(DescriptionError::Wrong(format!("the {what} `{}` is not allowed: {rule}", excerpt(text, NAME_CHARACTERS))))
}

fn check_path(what: &str, path: &str) -> Result<(), DescriptionError> {
    let wrong = |why: String| DescriptionError::Wrong(format!("the {what} `{}` {why}", excerpt(path, NAME_CHARACTERS)));
    let segments = path.split('/').count() - 1;
    if path.len() > PATH_BYTES || segments > SEGMENTS {
        let limits = format!("at most {PATH_BYTES} and {SEGMENTS} are allowed");
        return Err(wrong(format!("has {} bytes and {segments} segments: {limits}", path.len())));
    }
    if path.chars().all(is_printable) { Ok(()) } else { Err(wrong("has a control character".to_owned())) }
}

fn check_probe(probe: &service::Probe) -> Result<(), DescriptionError> {
    let caller_bytes = probe.caller.as_ref().map_or(0, String::len);
    if probe.path.len() <= TARGET_BYTES && caller_bytes <= CALLER_BYTES && probe.path.chars().all(is_printable) {
        return Ok(());
    }
    let rule = format!(
        "its path may have at most {TARGET_BYTES} bytes and no control characters, its caller at most {CALLER_BYTES} bytes"
    );
    Err(DescriptionError::Wrong(format!(
        "the probe `{}` is not allowed: {rule}",
        excerpt(&probe.path, NAME_CHARACTERS)
    )))
}

fn method(declared: service::Method) -> Method {
    match declared {
        service::Method::Get => Method::GET,
        service::Method::Post => Method::POST,
        service::Method::Put => Method::PUT,
        service::Method::Patch => Method::PATCH,
        service::Method::Delete => Method::DELETE,
    }
}

fn probe(declared: service::Probe) -> Probe {
    Probe { method: method(declared.method), path: declared.path, caller: declared.caller, body: declared.body }
}

fn route(declared: &service::Route, service: &Arc<str>) -> Result<Route, DescriptionError> {
    if declared.headers.len() > HEADERS {
        let (path, count) = (&declared.path, declared.headers.len());
        return Err(DescriptionError::Wrong(format!(
            "the route {path} lists {count} headers, more than the limit of {HEADERS}"
        )));
    }
    let headers = declared.headers.iter().map(|name| header(name, &declared.path)).collect::<Result<_, _>>()?;
    Ok(Route {
        service: service.clone(),
        method: Some(method(declared.method)),
        pattern: normal_pattern(&declared.path).into(),
        access: match declared.access {
            service::Access::Public => Access::Public,
            service::Access::User => Access::User,
            service::Access::Admin => Access::Admin,
            service::Access::Internal => Access::Internal,
        },
        headers: Some(headers),
        strip: None,
        passes_credentials: false,
    })
}

/// A header that a route may list.
fn header(name: &str, path: &str) -> Result<HeaderName, DescriptionError> {
    let shown = excerpt(name, HEADER_BYTES);
    let wrong = |why: &str| DescriptionError::Wrong(format!("the header `{shown}` of the route {path} {why}"));
    if name.len() > HEADER_BYTES {
        return Err(wrong(&format!("has a name of {} bytes, more than the limit of {HEADER_BYTES}", name.len())));
    }
    let lower = HeaderName::from_lowercase(name.as_bytes());
    let header = lower.map_err(|_| wrong("is not a valid header name in lower case"))?;
    // Whether the route may read the credential depends on the manifest (`deploy::check`).
    if head::is_reserved(&header) && header != AUTHORIZATION {
        return Err(wrong("must not be listed: the host sets the caller's headers itself"));
    }
    Ok(header)
}
