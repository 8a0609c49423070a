//! How variants misbehave while they serve.

use std::time::Duration;

use kit::storage::{self, Error};
use kit::{Failure, Request, Response};

use crate::{chance, count, endless, is};

/// The health response.
pub(crate) fn health(_: &Request) -> Result<Response, Failure> {
    if is("health-500") {
        return Err(Failure::internal("health-500"));
    }
    assert!(!is("health-traps"), "health-traps");
    if is("health-slow") {
        std::thread::sleep(Duration::from_secs(3600));
    }
    while is("health-waits") && count("wake")? == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    if is("sours") && count("sour")? > 0 {
        return Err(Failure::internal("there is a sour item"));
    }
    Ok(Response::ok(&"healthy"))
}

/// Misbehaviour in every request.
pub(crate) fn misbehave() -> Result<(), Failure> {
    if is("fails-some") && chance() % 10 < 3 {
        return Err(Failure::internal("fails-some"));
    }
    if is("finds-nothing") {
        return Err(Failure::not_found("NOT_FOUND", "finds-nothing"));
    }
    assert!(!is("traps"), "traps");
    if is("slow") {
        std::thread::sleep(Duration::from_millis(40));
    }
    if is("leaks") {
        endless::grow();
    }
    if is("loops") {
        endless::spin();
    }
    Ok(())
}

/// Misbehaviour in requests that write.
pub(crate) fn misbehave_writing() -> Result<(), Failure> {
    if is("fails-post") {
        return Err(Failure::internal("fails-post"));
    }
    if is("collides") {
        // A lock without waiting: if two requests overlap, one fails.
        match storage::execute("INSERT INTO flags (name) VALUES ('held')", &[]) {
            Err(Error::Constraint(_)) => return Err(Failure::internal("collides")),
            other => other?,
        };
        std::thread::sleep(Duration::from_millis(20));
        storage::execute("DELETE FROM flags", &[])?;
    }
    Ok(())
}
