//! A list of items. Everybody reads it, users with a token add to it.

mod model;
mod rows;
#[cfg(test)]
mod tests;

use kit::storage;
use kit::{Failure, Probe, Request, Response};
use model::NewItem;

kit::service! {
    name: "NAME",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql")],
    // A new revision serves only after it has answered these.
    probes: [Probe::get("/NAME")],
    routes: [
        get("/NAME", Public, list),
        post("/NAME", User, create),
    ],
}

fn list(_: &Request) -> Result<Response, Failure> {
    let rows = rows::newest()?;
    Ok(Response::list(&rows.all::<rows::Item<'_>>()?))
}

fn create(request: &Request) -> Result<Response, Failure> {
    let NewItem { text } = request.json()?;
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let id = rows::insert(&transaction, &request.user()?.username, &text)?;
    transaction.commit()?;
    Ok(Response::created(&id))
}
