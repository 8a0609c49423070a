//! A service that misbehaves on request, so that tests can observe how the host reacts.

#[path = "../../endless.rs"]
mod endless;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kit::storage;
use kit::{Failure, Method, Request, Response, peer};
use serde_json::json;

kit::service! {
    name: "unruly-service",
    health: "/health",
    migrations: ["CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;"],
    schema: 0..=1,
    routes: [
        get("/unruly/headers", Public, headers),
        post("/unruly/echo", Public, echo),
        get("/unruly/spin", Public, spin),
        get("/unruly/trap", Public, trap),
        get("/unruly/grow", Public, grow),
        get("/unruly/sleep", Public, sleep),
        get("/unruly/print", Public, print),
        get("/unruly/notes", Public, notes),
        post("/unruly/notes", Public, add_note),
        post("/unruly/notes-then-trap", Public, add_note_then_trap),
        get("/unruly/call/{service}", Public, call),
        get("/unruly/ring", Public, ring),
        get("/unruly/internal/ring", Internal, ring),
        get("/unruly/nap", Public, nap),
        get("/unruly/internal/secret", Internal, secret),
        get("/unruly/count", Public, count),
        get("/unruly/count-and-leave-open", Public, leave_open),
        get("/unruly/count-and-swell", Public, swell),
    ],
}

/// Returns the caller headers, so that a test can detect forged ones.
fn headers(request: &Request) -> Result<Response, Failure> {
    let caller = request.caller().map(|caller| json!({ "username": caller.username, "role": caller.role }));
    Ok(Response::ok(&json!({ "caller": caller, "service": request.calling_service() })))
}

fn echo(request: &Request) -> Result<Response, Failure> {
    let body = request.json_object("MISSING_BODY")?;
    Ok(Response::ok(&json!({ "members": body.len() })))
}

fn spin(_: &Request) -> Result<Response, Failure> {
    endless::spin()
}

fn trap(_: &Request) -> Result<Response, Failure> {
    eprintln!("about to trap");
    panic!("trap on request");
}

fn grow(_: &Request) -> Result<Response, Failure> {
    endless::grow()
}

fn sleep(_: &Request) -> Result<Response, Failure> {
    std::thread::sleep(Duration::from_secs(3600));
    Ok(Response::ok(&"awake"))
}

fn nap(_: &Request) -> Result<Response, Failure> {
    std::thread::sleep(Duration::from_millis(300));
    Ok(Response::ok(&"rested"))
}

fn print(_: &Request) -> Result<Response, Failure> {
    for _ in 0..10_000 {
        println!("{{\"fake\":1}}\u{1b}[31m{}", "x".repeat(1000));
    }
    Ok(Response::ok(&"printed"))
}

fn notes(_: &Request) -> Result<Response, Failure> {
    let rows = storage::query("SELECT count(*) AS notes FROM notes", &[])?;
    let count: i64 = rows.iter().next().map(|row| row.get("notes")).transpose()?.unwrap_or_default();
    Ok(Response::ok(&json!({ "notes": count })))
}

fn add_note(_: &Request) -> Result<Response, Failure> {
    storage::execute("INSERT INTO notes (text) VALUES ($1)", &["a note".into()])?;
    Ok(Response::ok(&"added"))
}

fn add_note_then_trap(_: &Request) -> Result<Response, Failure> {
    let transaction = storage::begin()?;
    transaction.execute("INSERT INTO notes (text) VALUES ($1)", &["half a note".into()])?;
    panic!("in the middle of a transaction");
}

/// Calls another service, or any host name from the path.
fn call(request: &Request) -> Result<Response, Failure> {
    let service = request.param("service").unwrap_or_default().to_string();
    let (status, body) = peer::call(&service, Method::Get, "/unruly/internal/secret", None)?;
    Ok(Response::ok(&json!({ "status": status, "body": body })))
}

/// Calls its own service recursively. Returns the depth that it reached.
fn ring(_: &Request) -> Result<Response, Failure> {
    let below = peer::call("unruly", Method::Get, "/unruly/internal/ring", None);
    let depth = below.map_or(0, |(_, body)| body["data"].as_i64().unwrap_or_default());
    Ok(Response::ok(&(depth + 1)))
}

/// Number of requests that this instance has handled.
fn count(_: &Request) -> Result<Response, Failure> {
    static REQUESTS: AtomicU32 = AtomicU32::new(0);
    Ok(Response::ok(&(REQUESTS.fetch_add(1, Ordering::Relaxed) + 1)))
}

fn leave_open(request: &Request) -> Result<Response, Failure> {
    std::mem::forget(storage::begin()?);
    count(request)
}

fn swell(request: &Request) -> Result<Response, Failure> {
    std::mem::forget(std::hint::black_box(vec![1_u8; 20 << 20]));
    count(request)
}

fn secret(request: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&json!({ "told": request.calling_service() })))
}
