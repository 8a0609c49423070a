//! The service from request to row, with a database in memory, a host that stands still, and the real user.

mod again;
mod audited;
mod changing_password;
mod logging_in;
mod operating;
mod own_sessions;
mod registering;
mod sessions;

use kit::native::{Answer, Connection, delete, get, install, post, put};
use kit::{JsonValue, Method};
use serde_json::json;

use crate::SERVICE;
use crate::stand_in::peer;

const PASSWORD: &str = "correct horse battery";

/// A client that logged in.
#[derive(Clone, Debug)]
struct Client {
    username: String,
    access_token: String,
    refresh_token: String,
}

impl Client {
    /// Logs in, which must succeed.
    fn log_in(username: &str, password: &str) -> Client {
        let answer = log_in(username, password);
        assert_eq!(answer.status, 200, "{}", answer.text);
        Client::from(&answer)
    }

    fn from(answer: &Answer) -> Client {
        let text = |key: &str| answer.body["data"][key].as_str().unwrap().to_owned();
        let access_token = text("access_token");
        let username = access_token.split(' ').next().unwrap().to_owned();
        Client { username, access_token, refresh_token: text("refresh_token") }
    }

    fn session(&self) -> &str {
        self.access_token.split(' ').nth(2).unwrap()
    }

    /// Refreshes, which must succeed, and gives the client with its new pair.
    fn refreshed(&self) -> Client {
        let answer = refresh(&self.refresh_token);
        assert_eq!(answer.status, 200, "{}", answer.text);
        Client::from(&answer)
    }

    /// Whether the access token is good at the gate.
    fn is_in(&self) -> bool {
        verify(&self.access_token).status == 200
    }

    fn log_out(&self, body: Option<JsonValue>) -> Answer {
        let call = match body {
            Some(body) => post("/auth/logout", body),
            None => post("/auth/logout", JsonValue::Null).with_body("", b""),
        };
        call.by(&self.username, "user").with_header("x-session-id", self.session()).send()
    }
}

fn log_in(username: &str, password: &str) -> Answer {
    post("/auth/login", json!({ "username": username, "password": password })).send()
}

fn log_in_from(address: &str, username: &str, password: &str) -> Answer {
    let body = json!({ "username": username, "password": password });
    post("/auth/login", body).with_header("x-client-address", address).send()
}

fn refresh(token: &str) -> Answer {
    post("/auth/refresh", json!({ "refresh_token": token })).send()
}

fn verify(token: &str) -> Answer {
    post("/auth/verify", json!({ "token": token })).send()
}

fn register(username: &str) -> Answer {
    post("/auth/register", json!({ "username": username, "password": PASSWORD })).send()
}

fn end_login(username: &str) -> Answer {
    delete(&format!("/internal/logins/{}", kit::encode(username))).send()
}

/// Makes a login an administrator's. No route does that.
fn promote(database: &Connection, username: &str) {
    let changed = database.execute("UPDATE logins SET role = 'admin' WHERE username = $1", [username]).unwrap();
    assert_eq!(changed, 1);
}

/// The usernames of all profiles that user has.
fn profiles() -> Vec<String> {
    let (_, body) = peer::ask_user(Method::Get, "/users", None);
    let list = body["data"].as_array().unwrap().clone();
    list.iter().map(|profile| profile["username"].as_str().unwrap().to_owned()).collect()
}

/// How many rows a table has.
fn count(database: &Connection, table: &str) -> i64 {
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}
