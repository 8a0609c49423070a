//! What a component says it is, checked for what no service can be.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use wasmtime::Store;
use wasmtime::component::InstancePre;

use crate::gate;
use crate::guest::Guest;
use crate::guest::bindings::{DescribedIndices, service};
use crate::route::{Access, Route};
use crate::storage::Migration;

/// Routes that one component may declare, and migrations.
const PARTS: usize = 1000;

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
    let trapped = |error: wasmtime::Error| DescriptionError::Trapped(format!("{error:#}"));
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
    let routes = said.routes.into_iter().map(|declared| route(declared, service)).collect::<Result<_, _>>()?;
    Ok(Description {
        name: said.name,
        version: said.version,
        health: said.health,
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

fn route(declared: service::Route, service: &Arc<str>) -> Result<Route, DescriptionError> {
    let headers = declared.headers.iter().map(|name| header(name, &declared.path)).collect::<Result<_, _>>()?;
    Ok(Route {
        service: service.clone(),
        method: Some(method(declared.method)),
        pattern: declared.path.into(),
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
    let wrong = |why: &str| DescriptionError::Wrong(format!("the header `{name}` of the route {path} {why}"));
    let lower = HeaderName::from_lowercase(name.as_bytes());
    let header = lower.map_err(|_| wrong("is no header's name in lower case"))?;
    if gate::is_reserved(&header) {
        return Err(wrong(
            "is not asked for: a guest is given what the host says of the caller, and never a credential",
        ));
    }
    Ok(header)
}
