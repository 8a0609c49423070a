//! Tests of the kit with a small service, from request to row, with the stand-in for the host.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kit::native::{self, Connection, TestResponse, get, post, put};
use kit::storage::{self, Constraint, Error};
use kit::{Cookie, Failure, Request, Response, params};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

kit::service! {
    name: "cats-service",
    health: "/cats/health",
    migrations: [
        "CREATE TABLE cats (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK (name <> ''), weight REAL) STRICT;",
        "INSERT INTO cats (id, name, weight) VALUES (1, 'Tom', 4.5), (2, 'Félicette', NULL);",
    ],
    schema: 1..=2,
    routes: [
        /// List cats.
        get("/cats", Public, list).lists::<Cat>("All cats."),
        /// Add a cat.
        ///
        /// Its name must be new.
        post("/cats", User, add).body::<NewCat>().creates::<Cat>("The cat.").error(409, "TAKEN", "The name is taken."),
        get("/cats/best", Public, best, ["x-mood"]),
        get("/cats/{name}", Public, show),
        put("/cats/{name}", Admin, rename),
        delete("/cats/{name}", Internal, remove),
        post("/cats/photos", Public, keep_photo, ["cookie"]),
        delete("/cats/photos/{id}", Public, drop_photo),
        get("/cats/photos/newest", Public, newest_photo),
    ],
}

fn list(_: &Request) -> Result<Response, Failure> {
    let rows = storage::query("SELECT name, weight FROM cats ORDER BY id", &[])?;
    Ok(Response::list(&rows.all::<(&str, Option<f64>)>()?))
}

#[derive(Deserialize, JsonSchema)]
struct NewCat {
    /// The name that the cat
    /// listens to.
    name: String,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
struct Cat(String, Option<f64>);

fn add(request: &Request) -> Result<Response, Failure> {
    let by = &request.user()?.username;
    let NewCat { name } = request.json()?;
    let transaction = storage::begin()?;
    let sql = "INSERT INTO cats (name) VALUES ($1) RETURNING id";
    let id: i64 = match transaction.query(sql, params![&name]) {
        Ok(rows) => rows.one()?.ok_or_else(|| Failure::internal("no id"))?,
        Err(Error::Constraint(Constraint::Unique)) => return Err(Failure::conflict("TAKEN", "This name is taken.")),
        Err(error) => return Err(error.into()),
    };
    if name.len() > 20 {
        return Err(Failure::bad_request("TOO_LONG", "The name is too long."));
    }
    transaction.commit()?;
    Ok(Response::created(&json!({ "id": id, "by": by })))
}

fn best(request: &Request) -> Result<Response, Failure> {
    let header = |name: &str, default: &'static str| request.header(name).unwrap_or(default).to_owned();
    Ok(Response::ok(&format!("all of them, {}, {}", header("x-mood", "calm"), header("x-place", "nowhere"))))
}

fn show(request: &Request) -> Result<Response, Failure> {
    let missing = || Failure::not_found("NO_CAT", "There is no such cat.");
    let name = request.param("name").ok_or_else(missing)?;
    let rows = storage::query("SELECT id FROM cats WHERE name = $1", params![&*name])?;
    let id: i64 = rows.one()?.ok_or_else(missing)?;
    Ok(Response::ok(&json!({ "id": id, "name": name, "asked_by": request.caller().map(|caller| &caller.username) })))
}

fn rename(request: &Request) -> Result<Response, Failure> {
    let sql = "UPDATE cats SET nickname = $1";
    storage::execute(sql, params![request.header("x-nickname")])?;
    Ok(Response::message("Renamed."))
}

fn remove(request: &Request) -> Result<Response, Failure> {
    let caller = request.calling_service().unwrap_or_default();
    let gone = storage::execute("DELETE FROM cats WHERE name = $1", params![request.param("name").as_deref()])?;
    Ok(Response::message(&format!("{caller} deleted {gone}.")))
}

/// Answers with the same bytes, and with the cookie `seen`.
fn keep_photo(request: &Request) -> Result<Response, Failure> {
    let seen = request.cookie("seen").unwrap_or("0").len().to_string();
    let content_type = request.content_type().unwrap_or_default().to_owned();
    Ok(Response::raw(content_type, request.body()).with_status(201).with_cookie(&Cookie::new("seen", &seen)))
}

fn drop_photo(_: &Request) -> Result<Response, Failure> {
    Ok(Response::empty())
}

fn newest_photo(_: &Request) -> Result<Response, Failure> {
    Ok(Response::redirect("/cats/photos/7"))
}

#[test]
fn a_response_can_have_any_body_or_none() {
    start();
    let photo =
        post("/cats/photos", json!({})).with_body("image/png", b"\x89PNG\xff").with_header("cookie", "seen=abc");
    let answer = photo.send();
    assert_eq!((answer.status, answer.content_type.as_str(), &*answer.bytes), (201, "image/png", &b"\x89PNG\xff"[..]));
    assert_eq!(answer.headers, [("set-cookie", "seen=3; Path=/; Secure; SameSite=Lax; HttpOnly".to_owned())]);
    let gone = native::delete("/cats/photos/7").send();
    assert_eq!((gone.status, gone.content_type.as_str(), gone.bytes.len()), (204, "", 0));
    let there = get("/cats/photos/newest").send();
    assert_eq!((there.status, there.headers), (303, vec![("location", "/cats/photos/7".to_owned())]));
}

fn start() -> Connection {
    native::install(&SERVICE)
}

fn data(answer: &TestResponse) -> &kit::JsonValue {
    assert_eq!(answer.status, 200, "{}", answer.text);
    &answer.body["data"]
}

#[test]
fn the_description_is_the_route_table() {
    let description = SERVICE.describe();
    let routes: Vec<String> = description
        .routes
        .iter()
        .map(|route| format!("{:?} {} {:?}", route.method, route.path, route.access))
        .collect();
    assert_eq!(
        routes,
        [
            "Method::Get /cats Access::Public",
            "Method::Post /cats Access::User",
            "Method::Get /cats/best Access::Public",
            "Method::Get /cats/{name} Access::Public",
            "Method::Put /cats/{name} Access::Admin",
            "Method::Delete /cats/{name} Access::Internal",
            "Method::Post /cats/photos Access::Public",
            "Method::Delete /cats/photos/{id} Access::Public",
            "Method::Get /cats/photos/newest Access::Public",
        ]
    );
    let versions: Vec<u32> = description.migrations.iter().map(|migration| migration.version).collect();
    assert_eq!((versions, description.schema.minimum, description.schema.maximum), (vec![1, 2], 1, 2));
    assert_eq!((description.name.as_str(), description.health.as_deref()), ("cats-service", Some("/cats/health")));
    assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
}

#[test]
fn rows_become_json() {
    start();
    let answer = get("/cats").send();
    assert_eq!(answer.text, r#"{"success":true,"data":[["Tom",4.5],["Félicette",null]],"count":2}"#);
}

#[test]
fn literal_segments_come_before_parameters() {
    start();
    assert_eq!(data(&get("/cats/best").send()), "all of them, calm, nowhere");
    assert_eq!(data(&get("/cats/Tom").send())["id"], 1);
    assert_eq!(data(&get("/cats/F%C3%A9licette").send())["id"], 2);
    assert_eq!(get("/cats/%FF").send().outcome(), (404, "NO_CAT"));
    assert_eq!(
        put("/cats/best", json!({})).by("eve", "admin").send().status,
        500,
        "PUT has only the route with a parameter"
    );
}

#[test]
fn the_caller_comes_from_the_host() {
    start();
    assert_eq!(data(&get("/cats/Tom").send())["asked_by"], json!(null));
    assert_eq!(data(&get("/cats/Tom").by("Łukasz 日本", "user").send())["asked_by"], "Łukasz 日本");
    assert_eq!(data(&get("/cats/Tom").by("", "user").send())["asked_by"], json!(null));
    let answer = post("/cats", json!({ "name": "Kit" })).send();
    assert_eq!(answer.outcome(), (401, "MISSING_TOKEN"));
    assert_eq!(answer.headers, [("www-authenticate", "Bearer".to_owned())]);
}

#[test]
fn a_dropped_transaction_rolls_back() {
    start();
    let long = post("/cats", json!({ "name": "a name that is far too long" })).by("ada", "user").send();
    assert_eq!(long.outcome(), (400, "TOO_LONG"));
    assert_eq!(get("/cats").send().body["count"], 2);
    let answer = post("/cats", json!({ "name": "Kit" })).by("ada", "user").send();
    assert_eq!((answer.status, &answer.body["data"]), (201, &json!({ "id": 3, "by": "ada" })));
    assert_eq!(get("/cats").send().body["count"], 3);
}

#[test]
fn a_handler_can_match_on_a_constraint_violation() {
    start();
    let add = |name: &str| post("/cats", json!({ "name": name })).by("ada", "user").send();
    assert_eq!(add("Tom").outcome(), (409, "TAKEN"));
    assert_eq!(add("").outcome(), (500, "INTERNAL_ERROR"), "the handler does not expect this violation");
}

#[test]
fn a_response_does_not_reveal_a_wrong_statement() {
    start();
    let answer = put("/cats/Tom", json!({})).by("eve", "admin").send();
    assert_eq!(answer.outcome(), (500, "INTERNAL_ERROR"));
    assert!(!answer.text.contains("nickname") && !answer.text.contains("SQL"), "{}", answer.text);
}

#[test]
fn a_query_outside_a_transaction_writes_nothing() {
    start();
    let error = storage::query("DELETE FROM cats RETURNING id", &[]).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)));
    assert!(matches!(storage::execute("SELECT 1", &[]), Err(Error::Invalid(_))));
    assert!(matches!(storage::query("SELECT $1", &[]), Err(Error::Invalid(_))));
}

#[test]
fn the_test_client_enforces_the_access_of_a_route() {
    start();
    let rename = || put("/cats/Tom", json!({}));
    assert_eq!(rename().send().outcome(), (401, "MISSING_TOKEN"));
    assert_eq!(rename().by("ada", "user").send().outcome(), (403, "FORBIDDEN"));
    assert_eq!(rename().by("eve", "admin").send().status, 500, "the handler runs");
    let remove = || native::delete("/cats/Tom");
    assert_eq!(remove().send().outcome(), (404, "NOT_FOUND"));
    assert_eq!(remove().by("eve", "admin").send().outcome(), (404, "NOT_FOUND"), "no client is a service");
    assert_eq!(get("/cats").by_service("dogs").send().outcome(), (403, "FORBIDDEN"));
    assert_eq!(get("/cats/health").send().status, 200, "health is for everyone");
}

#[test]
fn a_route_sees_only_the_headers_that_it_declares() {
    start();
    let greet = |name: &str| get("/cats/best").with_header("x-mood", name).with_header("x-place", "Paris").send();
    assert_eq!(data(&greet("wild")), "all of them, wild, nowhere");
}

#[test]
fn the_openapi_document_comes_from_the_table_and_the_types() {
    let text = kit::openapi::document(&SERVICE);
    let document: kit::JsonValue = serde_json::from_str(&text).unwrap();
    let operations = document["operations"].as_object().unwrap();
    assert_eq!(operations.keys().collect::<Vec<_>>(), ["GET /cats", "POST /cats"], "only documented routes");
    let add = &operations["POST /cats"];
    assert_eq!((&add["summary"], &add["description"]), (&json!("Add a cat"), &json!("Its name must be new.")));
    assert_eq!(
        (&add["operationId"], &add["errors"]),
        (&json!("add"), &json!({ "409": { "TAKEN": "The name is taken." } }))
    );
    let body = &add["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/NewCat");
    let name = &document["schemas"]["NewCat"]["properties"]["name"];
    assert_eq!(*name, json!({ "type": "string", "description": "The name that the cat listens to." }));
    assert!(add["responses"]["201"]["content"]["application/json"]["schema"]["properties"]["message"].is_object());
    assert!(document["errors"]["503"]["STORAGE_BUSY"].is_string());
    kit::openapi::check(&SERVICE, &text, "unused");
    let stale = std::panic::catch_unwind(|| kit::openapi::check(&SERVICE, "{}", "cats.json"));
    assert!(stale.unwrap_err().downcast::<String>().unwrap().contains("cats.json does not match"));
}

/// A service whose handler reads another body than its route documents.
mod drifted {
    use kit::{Failure, Request, Response};

    kit::service! {
        name: "drifted-service",
        health: "/health",
        routes: [
            /// Add a cat.
            post("/cats", Public, add).body::<super::NewCat>(),
        ],
    }

    fn add(request: &Request) -> Result<Response, Failure> {
        let other: kit::JsonObject = request.json()?;
        Ok(Response::ok(&other))
    }
}

#[test]
#[should_panic(expected = "but documents Some(\"service::NewCat\")")]
fn a_handler_that_reads_another_body_than_documented_fails_its_tests() {
    native::install(&drifted::SERVICE);
    post("/cats", json!({})).send();
}

#[test]
fn another_service_calls_by_name() {
    start();
    let answer = native::delete("/cats/Tom").by_service("dogs").send();
    assert_eq!(answer.body["message"], "dogs deleted 1.");
}

#[test]
fn health_has_no_envelope_and_serves_only_get() {
    start();
    assert_eq!(get("/cats/health").send().text, r#"{"status":"healthy","service":"cats-service"}"#);
    assert_eq!(
        native::delete("/cats/health").by_service("dogs").send().status,
        200,
        "for DELETE, the path names a cat"
    );
}

#[test]
fn unknown_routes_are_refused_in_the_envelope() {
    start();
    assert_eq!(get("/dogs").send().outcome(), (404, "NOT_FOUND"));
    assert_eq!(get("/cats/").send().outcome(), (404, "NOT_FOUND"));
    let answer = post("/cats/best", json!({})).send();
    assert_eq!(answer.outcome(), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(answer.headers, [("allow", "GET, HEAD, PUT, DELETE".to_owned())]);
}

#[test]
fn a_body_that_does_not_fit_its_type_is_refused() {
    start();
    let send = |content_type: &str, body: &[u8]| {
        post("/cats", json!({})).with_body(content_type, body).by("ada", "user").send().outcome().0
    };
    assert_eq!(send("application/json", br#"{"name":"Kit"}"#), 201);
    assert_eq!(send("text/plain", br#"{"name":"Kitten"}"#), 400);
    assert_eq!(send("application/json", &vec![b' '; (1 << 20) + 1]), 413);
    assert_eq!(send("application/json", b"{"), 400);
    assert_eq!(send("application/json", b"[]"), 422);
    let outcome = |body: kit::JsonValue| {
        let answer = post("/cats", body).by("ada", "user").send();
        assert_eq!(answer.outcome(), (422, "INVALID_FIELD"));
        answer.body["error"]["details"]["field"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome(json!({ "name": 7 })), "name");
    assert_eq!(outcome(json!({ "name": "Kit", "colour": "red" })), "colour");
    assert_eq!(outcome(json!({})), "name");
}
