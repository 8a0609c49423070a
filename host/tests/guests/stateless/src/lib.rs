//! A service with the kit and without a database.

use kit::{Failure, Request, Response};

kit::service! {
    name: "stateless-service",
    health: "/health",
    routes: [get("/stateless/{name}", Public, greet)],
}

fn greet(request: &Request) -> Result<Response, Failure> {
    let name = request.param("name").unwrap_or_default();
    Ok(Response::ok(&format!("Hello, {name}.")))
}
