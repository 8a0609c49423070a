//! Tests of the whole service, from request to row: with a database in memory, a scripted host, and the real service user.

mod audited;
mod changing_password;
mod idempotency;
mod logging_in;
mod operating;
mod own_sessions;
mod registering;
mod sessions;

use kit::native::{Connection, TestResponse, delete, get, on_peer, post, put};
use kit::{JsonValue, Method, Service};
use serde_json::json;

use crate::SERVICE;
use crate::test_host::peer;

const PASSWORD: &str = "correct horse battery";

/// Installs auth, with the service user as its peer.
fn install(auth: &'static Service) -> Connection {
    let database = kit::native::install(auth);
    on_peer(peer::answer);
    database
}

/// A client with an open session.
#[derive(Clone, Debug)]
struct Client {
    username: String,
    access_token: String,
    refresh_token: String,
}

impl Client {
    /// Logs in. Panics if that fails.
    fn log_in(username: &str, password: &str) -> Client {
        let answer = log_in(username, password);
        assert_eq!(answer.status, 200, "{}", answer.text);
        Client::from(&answer)
    }

    fn from(answer: &TestResponse) -> Client {
        let text = |key: &str| answer.body["data"][key].as_str().unwrap().to_owned();
        let access_token = text("access_token");
        let username = access_token.split(' ').next().unwrap().to_owned();
        Client { username, access_token, refresh_token: text("refresh_token") }
    }

    fn session(&self) -> &str {
        self.access_token.split(' ').nth(2).unwrap()
    }

    /// The client with a new token pair. Panics if the refresh fails.
    fn refreshed(&self) -> Client {
        let answer = refresh(&self.refresh_token);
        assert_eq!(answer.status, 200, "{}", answer.text);
        Client::from(&answer)
    }

    /// Whether the access token is valid.
    fn has_access(&self) -> bool {
        verify(&self.access_token).status == 200
    }

    fn log_out(&self, body: Option<JsonValue>) -> TestResponse {
        let call = match body {
            Some(body) => post("/auth/logout", body),
            None => post("/auth/logout", JsonValue::Null).with_body("", b""),
        };
        call.by(&self.username, "user").with_header("x-session-id", self.session()).send()
    }
}

fn log_in(username: &str, password: &str) -> TestResponse {
    post("/auth/login", json!({ "username": username, "password": password })).send()
}

fn log_in_from(address: &str, username: &str, password: &str) -> TestResponse {
    let body = json!({ "username": username, "password": password });
    post("/auth/login", body).with_header("x-client-address", address).send()
}

fn refresh(token: &str) -> TestResponse {
    post("/auth/refresh", json!({ "refresh_token": token })).send()
}

fn verify(token: &str) -> TestResponse {
    post("/auth/verify", json!({ "token": token })).send()
}

fn register(username: &str) -> TestResponse {
    post("/auth/register", json!({ "username": username, "password": PASSWORD })).send()
}

fn end_login(username: &str) -> TestResponse {
    delete(&format!("/internal/logins/{}", kit::encode(username))).by_service("user").send()
}

/// Gives a login the role admin. No route does that.
fn promote(database: &Connection, username: &str) {
    let changed = database.execute("UPDATE logins SET role = 'admin' WHERE username = $1", [username]).unwrap();
    assert_eq!(changed, 1);
}

/// The usernames of all profiles at user.
fn profiles() -> Vec<String> {
    let (_, body) = peer::call_user(Method::Get, "/users", None);
    let list = body["data"].as_array().unwrap().clone();
    list.iter().map(|profile| profile["username"].as_str().unwrap().to_owned()).collect()
}

/// Number of rows of a table.
fn count(database: &Connection, table: &str) -> i64 {
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}
