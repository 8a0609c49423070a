//! What a component says it is, checked for what no service can be.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use storage::Migration;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::instance::ComputedTooLong;
use crate::guest::Guest;
use crate::guest::bindings::{DescribedIndices, service};
use crate::head;
use crate::printable::{excerpt, is_printable};
use crate::route::{Access, Route, normal_pattern};

/// Routes that one component may declare, and migrations, and probes.
const PARTS: usize = 1000;

/// Characters of a component's name and of its version.
const NAME_CHARACTERS: usize = 100;

/// Bytes and segments of a route's path, and of the health path. Each switch builds tables of all routes of all services.
const PATH_BYTES: usize = 512;
const SEGMENTS: usize = 32;

/// Request headers that a route may ask for: as many as a request may have. And bytes of the name of one.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 128;

/// Bytes of the path and query of a probe, as of a request's target, and of the name of its caller.
const TARGET_BYTES: usize = 8 << 10;
const CALLER_BYTES: usize = 1 << 10;

/// What a component says it is.
#[derive(Debug, Clone)]
pub struct Description {
    /// The name of the service as its health answer gives it.
    pub name: String,
    /// The component's own version.
    pub version: String,
    /// A path that answers GET with 2xx while the component can do its work.
    pub health: Option<String>,
    /// What it answers, and who may ask.
    pub routes: Vec<Route>,
    /// The steps of its schema, in order, from 1.
    pub migrations: Vec<Migration>,
    /// The first and last schema version that it works with.
    pub schema: (u32, u32),
    /// What it must answer with 2xx before it serves, after its health.
    pub probes: Vec<Probe>,
    /// What its routes take and give, as the component wrote it.
    pub documentation: Option<String>,
}

/// A request by which a component is tried out.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The method.
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
    /// `describe` failed.
    #[error("its `describe` failed: {0}")]
    Trapped(String),
    /// `describe` did not return.
    #[error("its `describe` did not return in time")]
    TookTooLong,
    /// `describe` computed without end.
    #[error("its `describe` computed for longer than the `cpu` of its limits allows")]
    ComputedTooLong,
    /// It could not be asked.
    #[error("no instance became free within {0:?} to ask it what it is: send it again when the service is less busy")]
    Busy(Duration),
    /// What it says makes no sense.
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

/// Instantiates a component and asks it.
pub(super) async fn ask(
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
    let said = described.comptoir_platform_service().call_describe(&mut store).await.map_err(trapped)?;
    check(said, service)
}

fn check(said: service::Description, service: &Arc<str>) -> Result<Description, DescriptionError> {
    let wrong = |message: String| Err(DescriptionError::Wrong(message));
    if said.routes.len() > PARTS || said.migrations.len() > PARTS || said.probes.len() > PARTS {
        return wrong(format!("more than {PARTS} routes, migrations or probes"));
    }
    check_label("name", &said.name).and_then(|()| check_label("version", &said.version))?;
    if let Some(health) = &said.health {
        check_path("health path", health)?;
    }
    said.routes.iter().try_for_each(|route| check_path("route", &route.path))?;
    said.probes.iter().try_for_each(check_probe)?;
    let (minimum, maximum) = (said.schema.minimum, said.schema.maximum);
    if minimum > maximum {
        return wrong(format!("the schema range {minimum} to {maximum} is empty"));
    }
    for (position, migration) in said.migrations.iter().enumerate() {
        if migration.version as usize != position + 1 {
            return wrong(format!(
                "migration {} stands in place {}: count from 1, without gaps",
                migration.version,
                position + 1
            ));
        }
    }
    let last = u32::try_from(said.migrations.len()).unwrap_or(u32::MAX);
    if !(minimum..=maximum).contains(&last) {
        return wrong(format!("its migrations end at schema {last}, outside of its range {minimum} to {maximum}"));
    }
    if let Some(health) = said.health.as_ref().filter(|health| !health.starts_with('/') || health.contains('{')) {
        return wrong(format!("the health path `{health}` is not a plain path"));
    }
    let routes = said.routes.iter().map(|declared| route(declared, service)).collect::<Result<_, _>>()?;
    Ok(Description {
        name: said.name,
        version: said.version,
        health: said.health.map(|health| normal_pattern(&health)),
        routes,
        migrations: said
            .migrations
            .into_iter()
            .map(|step| Migration { version: step.version, sql: step.sql })
            .collect(),
        schema: (minimum, maximum),
        probes: said.probes.into_iter().map(probe).collect(),
        documentation: said.documentation,
    })
}

/// A name or a version is shown to people, on one line.
fn check_label(what: &str, text: &str) -> Result<(), DescriptionError> {
    if text.chars().count() <= NAME_CHARACTERS && text.chars().all(is_printable) {
        return Ok(());
    }
    let rule = format!("at most {NAME_CHARACTERS} characters, none of them a control character");
    Err(DescriptionError::Wrong(format!("the {what} `{}` does not fit: {rule}", excerpt(text, NAME_CHARACTERS))))
}

fn check_path(what: &str, path: &str) -> Result<(), DescriptionError> {
    let wrong = |why: String| DescriptionError::Wrong(format!("the {what} `{}` {why}", excerpt(path, NAME_CHARACTERS)));
    let segments = path.split('/').count() - 1;
    if path.len() > PATH_BYTES || segments > SEGMENTS {
        let limits = format!("more than {PATH_BYTES} or {SEGMENTS}");
        return Err(wrong(format!("has {} bytes and {segments} segments: {limits}", path.len())));
    }
    if path.chars().all(is_printable) { Ok(()) } else { Err(wrong("has a control character".to_owned())) }
}

fn check_probe(probe: &service::Probe) -> Result<(), DescriptionError> {
    let caller_bytes = probe.caller.as_ref().map_or(0, String::len);
    if probe.path.len() <= TARGET_BYTES && caller_bytes <= CALLER_BYTES && probe.path.chars().all(is_printable) {
        return Ok(());
    }
    let rule =
        format!("at most {TARGET_BYTES} bytes of a path without control characters, and {CALLER_BYTES} of a caller");
    Err(DescriptionError::Wrong(format!("the probe `{}` does not fit: {rule}", excerpt(&probe.path, NAME_CHARACTERS))))
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
        return Err(DescriptionError::Wrong(format!("the route {path} asks for {count} headers, more than {HEADERS}")));
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
    })
}

/// A header that a route may ask for.
fn header(name: &str, path: &str) -> Result<HeaderName, DescriptionError> {
    let shown = excerpt(name, HEADER_BYTES);
    let wrong = |why: &str| DescriptionError::Wrong(format!("the header `{shown}` of the route {path} {why}"));
    if name.len() > HEADER_BYTES {
        return Err(wrong(&format!("has a name of {} bytes, more than {HEADER_BYTES}", name.len())));
    }
    let lower = HeaderName::from_lowercase(name.as_bytes());
    let header = lower.map_err(|_| wrong("is no header's name in lower case"))?;
    if head::is_reserved(&header) {
        return Err(wrong(
            "is not asked for: a guest is given what the host says of the caller, and never a credential",
        ));
    }
    Ok(header)
}
