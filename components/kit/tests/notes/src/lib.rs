//! Notes: every user keeps short notes.

mod model;
mod rows;
#[cfg(test)]
mod tests;

use kit::storage;
use kit::{Failure, Request, Response};
use model::NewNote;

kit::service! {
    name: "notes-service",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql")],
    routes: [
        get("/notes", User, list),
        post("/notes", User, create),
        delete("/notes/{id}", User, delete),
    ],
}

fn list(request: &Request) -> Result<Response, Failure> {
    let rows = rows::newest(&request.user()?.username)?;
    Ok(Response::list(&rows.all::<rows::Note<'_>>()?))
}

fn create(request: &Request) -> Result<Response, Failure> {
    let NewNote { text } = request.json()?;
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let id = rows::insert(&transaction, &request.user()?.username, &text)?;
    transaction.commit()?;
    Ok(Response::created(&id))
}

fn delete(request: &Request) -> Result<Response, Failure> {
    let id = request.id_param("id").unwrap_or_default();
    match rows::delete(&request.user()?.username, id)? {
        true => Ok(Response::message("The note was deleted.")),
        false => Err(Failure::not_found("NOTE_NOT_FOUND", "There is no such note.")),
    }
}
