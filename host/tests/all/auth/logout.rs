//! `POST /auth/logout`: which session ends, immediately and permanently.

use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, send};

use super::{assert_lives, assert_over, members};

async fn log_out(client: &Client, body: Value) -> Answer {
    client.post("/auth/logout", body).await
}

#[track_caller]
fn is_logged_out(answer: &Answer) {
    answer.succeeds(200);
    assert_eq!(members(&answer.body), ["message", "success"]);
    assert!(answer.body["message"].as_str().is_some_and(|message| !message.is_empty()));
}

#[tokio::test]
async fn a_logout_ends_the_callers_session_at_once() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    for body in [None, Some(json!({})), Some(json!({ "refresh_token": null }))] {
        let here = shop.anon().log_in("marta", PASSWORD).await;
        let elsewhere = shop.anon().log_in("marta", PASSWORD).await;
        let answer = match &body {
            None => send(here.request(reqwest::Method::POST, "/auth/logout")).await,
            Some(body) => log_out(&here, body.clone()).await,
        };
        is_logged_out(&answer);
        assert_over(&here).await;
        assert_lives(&elsewhere).await;
        log_out(&here, json!({})).await.refuses(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn a_logout_with_a_refresh_token_ends_the_callers_session_of_that_token() {
    let shop = Shop::open().await;
    let here = shop.user("marta").await;
    let elsewhere = shop.anon().log_in("marta", PASSWORD).await;
    is_logged_out(&log_out(&here, json!({ "refresh_token": elsewhere.refresh_token() })).await);
    assert_over(&elsewhere).await;
    assert_lives(&here).await;

    is_logged_out(&log_out(&here, json!({ "refresh_token": here.refresh_token() })).await);
    assert_over(&here).await;
}

#[tokio::test]
async fn a_logout_with_the_refresh_token_of_another_user_ends_nothing_and_is_200() {
    let shop = Shop::open().await;
    let (marta, paul) = (shop.user("marta").await, shop.user("paul").await);
    let of_paul = log_out(&marta, json!({ "refresh_token": paul.refresh_token() })).await;
    is_logged_out(&of_paul);
    let unknown = log_out(&marta, json!({ "refresh_token": "unknown" })).await;
    is_logged_out(&unknown);
    assert_eq!(of_paul.text, unknown.text, "the answer does not reveal whether the token exists");
    for client in [&marta, &paul] {
        assert_lives(client).await;
    }
    // Here, an administrator cannot end the session of another user either.
    is_logged_out(&log_out(&shop.admin().await, json!({ "refresh_token": paul.refresh_token() })).await);
    assert_lives(&paul).await;
}

#[tokio::test]
async fn a_logout_accepts_a_used_refresh_token() {
    let shop = Shop::open().await;
    let first = shop.user("marta").await;
    let second = super::refreshed(&first).await;
    is_logged_out(&log_out(&second, json!({ "refresh_token": first.refresh_token() })).await);
    assert_over(&second).await;
}

#[tokio::test]
async fn a_logout_survives_a_restart() {
    let mut shop = Shop::open().await;
    let user = shop.user("marta").await;
    let (access_token, refresh_token) = (user.access_token().to_owned(), user.refresh_token().to_owned());
    is_logged_out(&log_out(&user, json!({})).await);
    shop.restart().await;
    let pair = json!({ "access_token": access_token, "refresh_token": refresh_token });
    assert_over(&shop.anon().with_pair(&pair)).await;
}
