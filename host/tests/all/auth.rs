//! Accounts, logins, sessions and tokens: `/auth/*`.

mod forge;

mod development;
mod forgeries;
mod keys;
mod login;
mod logout;
mod operator;
mod password;
mod refresh;
mod register;
mod register_again;
mod secrets;
mod sessions;
mod storm;
mod takeover;
mod throttle;
mod tokens;
mod upheaval;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop};

use crate::bodies::{JSON_TYPES, UNUSABLE};

/// Exchanges the client's refresh token.
async fn refresh(client: &Client) -> Answer {
    refresh_with(client, client.refresh_token()).await
}

async fn refresh_with(client: &Client, refresh_token: &str) -> Answer {
    client.without_token().post("/auth/refresh", json!({ "refresh_token": refresh_token })).await
}

/// The client with its next token pair.
async fn refreshed(client: &Client) -> Client {
    client.with_pair(refresh(client).await.succeeds(200))
}

async fn verify(client: &Client, token: &str) -> Answer {
    client.without_token().post("/auth/verify", json!({ "token": token })).await
}

async fn log_in(client: &Client, username: &str, password: &str) -> Answer {
    client.without_token().post("/auth/login", json!({ "username": username, "password": password })).await
}

/// Asserts that the session is open: a route and `/auth/verify` accept its access token.
async fn assert_lives(client: &Client) {
    client.get("/users/profile").await.succeeds(200);
    verify(client, client.access_token()).await.succeeds(200);
}

/// Asserts that the session ended: neither of its tokens is valid.
async fn assert_over(client: &Client) {
    client.get("/users/profile").await.refuses(401, "INVALID_TOKEN");
    verify(client, client.access_token()).await.refuses(401, "INVALID_TOKEN");
    refresh(client).await.refuses(401, "INVALID_TOKEN");
}

/// One of the first two segments of a token.
fn segment(token: &str, position: usize) -> Value {
    let encoded = token.split('.').nth(position).expect("a token has three segments");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).expect("base64url")).expect("JSON")
}

fn claims(token: &str) -> Value {
    segment(token, 1)
}

/// The members of an object, sorted.
fn members(object: &Value) -> Vec<&str> {
    let mut members: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    members
}

/// What a client sees of an answer, without its date, its request id and the framing of the body.
///
/// The framing differs because it depends on whether the guest had ended when the answer was sent.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    const OF_ONE_ANSWER: [&str; 4] = ["date", "x-request-id", "content-length", "transfer-encoding"];
    let mut body = answer.body.clone();
    if let Some(error) = body["error"].as_object_mut() {
        error.remove("request_id");
    }
    let headers = answer.headers.iter().filter(|(name, _)| !OF_ONE_ANSWER.contains(&name.as_str()));
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> = headers.map(|(name, value)| (name.to_string(), text(value))).collect();
    headers.sort();
    (answer.status.as_u16(), headers, body)
}

#[tokio::test]
async fn a_body_other_than_a_json_object_is_400_with_the_endpoints_code() {
    let shop = Shop::open().await;
    for (path, code) in [
        ("/auth/login", "MISSING_CREDENTIALS"),
        ("/auth/register", "MISSING_CREDENTIALS"),
        ("/auth/refresh", "MISSING_TOKEN"),
        ("/auth/verify", "MISSING_TOKEN"),
    ] {
        for body in &UNUSABLE {
            let answer = body.send(&shop.anon(), Method::POST, path).await;
            assert_eq!(answer.body["error"]["code"], code, "{path} with {}: {}", body.what, answer.text);
            answer.refuses(400, code);
            assert!(answer.body.get("data").is_none(), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_missing_empty_or_non_text_member_is_400_with_the_endpoints_code() {
    let shop = Shop::open().await;
    for (path, code, members) in [
        ("/auth/login", "MISSING_CREDENTIALS", &["username", "password"][..]),
        ("/auth/register", "MISSING_CREDENTIALS", &["username", "password"]),
        ("/auth/refresh", "MISSING_TOKEN", &["refresh_token"]),
        ("/auth/verify", "MISSING_TOKEN", &["token"]),
    ] {
        for member in members {
            for value in [None, Some(json!("")), Some(json!(null)), Some(json!(7)), Some(json!(["a"])), Some(json!({}))]
            {
                let mut body = json!({ "username": "marta", "password": PASSWORD, "refresh_token": "t", "token": "t" });
                match value {
                    Some(value) => body[member] = value,
                    None => drop(body.as_object_mut().unwrap().remove(*member)),
                }
                let answer = shop.anon().post(path, body.clone()).await;
                assert_eq!(answer.body["error"]["code"], code, "{path} with {body}: {}", answer.text);
                answer.refuses(400, code);
            }
        }
    }
}

#[tokio::test]
async fn every_content_type_of_json_is_accepted() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let token = json!({ "token": user.access_token() }).to_string();
    for content_type in JSON_TYPES {
        let answer = shop.anon().send_body(Method::POST, "/auth/verify", Some(content_type), token.clone()).await;
        assert_eq!(answer.status, 200, "{content_type}: {}", answer.text);
    }
    let login = json!({ "username": "marta", "password": PASSWORD }).to_string();
    let content_type = Some("application/vnd.x+json; charset=utf-8");
    shop.anon().send_body(Method::POST, "/auth/login", content_type, login).await.succeeds(200);
}
