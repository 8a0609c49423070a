//! A service for tests of the response cache. Some of its responses can be cached. Each of the others bypasses the cache for
//! another reason.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use kit::storage;
use kit::{Failure, Method, Request, Response, peer};
use serde_json::json;

kit::service! {
    name: "answers-service",
    health: "/health",
    migrations: [
        "CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT;
         CREATE TABLE others (n INTEGER NOT NULL) STRICT;
         WITH RECURSIVE ids (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM ids WHERE id < 8)
         INSERT INTO counters SELECT id, 0 FROM ids;",
    ],
    schema: 1..=1,
    routes: [
        get("/answers/counters", Public, counters),
        get("/answers/counters/{id}", Public, counter),
        put("/answers/counters/{id}", Public, set_counter),
        post("/answers/counters/move", Public, move_counters),
        post("/answers/others", Public, add_other),
        get("/answers/mine", User, mine),
        get("/answers/language", Public, language, ["accept-language"]),
        get("/answers/does/{what}", Public, does),
        post("/answers/leave", User, leave),
        get("/answers/internal/counters", Internal, counters),
    ],
}

fn counters(_: &Request) -> Result<Response, Failure> {
    let rows = storage::query("SELECT n FROM counters ORDER BY id", &[])?;
    let numbers = rows.iter().map(|row| row.get("n")).collect::<Result<Vec<i64>, _>>()?;
    Ok(Response::ok(&numbers))
}

fn counter(request: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&number(&storage::Database, request.id_param("id"))?))
}

fn number(reads: &impl storage::Reads, id: Option<i64>) -> Result<i64, Failure> {
    let rows = reads.query("SELECT n FROM counters WHERE id = $1", kit::params![id])?;
    let row = rows.first().ok_or_else(|| Failure::not_found("NO_COUNTER", "There is no such counter."))?;
    Ok(row.get("n")?)
}

fn set_counter(request: &Request) -> Result<Response, Failure> {
    let n = request.json_object("MISSING_NUMBER")?.get("n").and_then(|n| n.as_i64());
    let id = request.id_param("id");
    storage::execute("UPDATE counters SET n = $1 WHERE id = $2", kit::params![n, id])?;
    Ok(Response::ok(&n))
}

/// Moves one from the first counter to the second. Commits if the body says so.
fn move_counters(request: &Request) -> Result<Response, Failure> {
    let keeps = request.json_object("MISSING_CHOICE")?.get("keeps").and_then(|keeps| keeps.as_bool());
    let transaction = storage::begin()?;
    transaction.execute("UPDATE counters SET n = n - 1 WHERE id = 1", &[])?;
    transaction.execute("UPDATE counters SET n = n + 1 WHERE id = 2", &[])?;
    if keeps == Some(true) {
        transaction.commit()?;
    }
    Ok(Response::ok(&keeps))
}

fn add_other(_: &Request) -> Result<Response, Failure> {
    storage::execute("INSERT INTO others VALUES (1)", &[])?;
    Ok(Response::ok(&"added"))
}

fn mine(request: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&json!({ "caller": request.user()?.username, "n": number(&storage::Database, Some(1))? })))
}

fn language(request: &Request) -> Result<Response, Failure> {
    let headers = ["accept-language", "accept", "cookie", "host", "x-request-id", "x-client-address"];
    Ok(Response::ok(&headers.map(|name| request.header(name))))
}

/// Reads the first counter and does one more thing, which the path selects.
fn does(request: &Request) -> Result<Response, Failure> {
    let n = number(&storage::Database, Some(1))?;
    let answer = Response::ok(&n);
    match request.param("what").as_deref() {
        Some("nothing") => return Ok(answer),
        Some("time") => drop(kit::now()),
        Some("sleep") => std::thread::sleep(Duration::from_micros(1)),
        Some("stopwatch") => drop(std::time::Instant::now()),
        Some("chance") => drop(RandomState::new().build_hasher().finish()),
        Some("print") => println!("{n}"),
        Some("write") => drop(storage::execute("INSERT INTO others VALUES (1)", &[])?),
        Some("fail") => drop(storage::query("SELECT n FROM absent", &[])),
        Some("transaction") => return Ok(Response::ok(&number(&storage::begin()?, Some(1))?)),
        Some("session") => drop(request.session_has_ended()),
        Some("call") => drop(peer::call("answers", Method::Get, "/answers/internal/counters", None)?),
        Some("cookie") => return Ok(answer.with_header("set-cookie", "a=b")),
        Some("forbid") => return Ok(answer.with_header("cache-control", "no-store")),
        Some("large") => return Ok(Response::ok(&"x".repeat(600 << 10))),
        Some("refuse") => return Err(Failure::not_found("NOTHING", "Refused on request.")),
        Some("forge") => return Ok(answer.with_header("x-comptoir-cache", "hit")),
        _ => return Err(Failure::bad_request("UNKNOWN", "The path names an unknown action.")),
    }
    Ok(answer)
}

/// Asks auth to delete the caller's login. Returns whether the caller's session had ended before and after.
fn leave(request: &Request) -> Result<Response, Failure> {
    let before = request.session_has_ended();
    let path = format!("/internal/logins/{}", kit::encode(&request.user()?.username));
    let (status, _) = peer::call("auth", Method::Delete, &path, None)?;
    Ok(Response::ok(&json!({ "before": before, "status": status, "after": request.session_has_ended() })))
}
