//! The host's gate, as far as a service can see it: access rules and undeclared headers.

use crate::bindings::exports::comptoir::platform::handler;
use crate::service::{Access, Route};
use crate::{Failure, Service};

/// The headers that every route sees.
const ALWAYS: [&str; 6] =
    ["x-user-id", "x-user-role", "x-session-id", "x-comptoir-caller", "content-type", "content-length"];

/// Refuses a caller whom the route does not admit. Removes the headers that the route does not declare.
///
/// Health and unknown routes pass: the service answers those itself.
pub(super) fn admit(service: &Service, mut request: handler::Request) -> Result<handler::Request, Failure> {
    let path = request.target.split('?').next().unwrap_or_default();
    if service.is_health(request.method, path) {
        return Ok(request);
    }
    let Ok(route) = service.find(request.method, path) else { return Ok(request) };
    check_access(route, &request)?;
    let declared = route.headers();
    request.headers.retain(|(name, _)| ALWAYS.contains(&name.as_str()) || declared.contains(&name.as_str()));
    Ok(request)
}

fn check_access(route: &Route, request: &handler::Request) -> Result<(), Failure> {
    let header = |wanted: &str| {
        let found = request.headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_slice()).filter(|value| !value.is_empty())
    };
    match route.access() {
        access if access != Access::Internal && header("x-comptoir-caller").is_some() => {
            Err(Failure::forbidden("Services may call internal routes only."))
        }
        Access::Public => Ok(()),
        Access::User | Access::Admin if header("x-user-id").is_none() => {
            Err(Failure::unauthorized("MISSING_TOKEN", "This request needs a bearer token."))
        }
        Access::Admin if header("x-user-role") != Some(b"admin") => {
            Err(Failure::forbidden("This request needs the role admin."))
        }
        Access::User | Access::Admin => Ok(()),
        Access::Internal if header("x-comptoir-caller").is_none() => {
            Err(Failure::not_found("NOT_FOUND", "There is no route for this path."))
        }
        Access::Internal => Ok(()),
    }
}
