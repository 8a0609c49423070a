//! `PUT /auth/password`, and which Unicode forms of a password are equal.

use serde_json::json;
use testing::{Answer, Client, PASSWORD, Shop};

use super::{assert_lives, assert_over, log_in, refreshed};

const NEW: &str = "another good one";

async fn change(client: &Client, current: &str, new: &str) -> Answer {
    client.put("/auth/password", json!({ "current": current, "new": new })).await
}

#[tokio::test]
async fn a_password_change_ends_the_users_other_sessions() {
    let mut shop = Shop::open().await;
    let here = shop.user("marta").await;
    let elsewhere = shop.anon().log_in("marta", PASSWORD).await;
    let paul = shop.user("paul").await;
    let answer = change(&here, PASSWORD, NEW).await;
    answer.succeeds(200);
    assert!(answer.body.get("data").is_none() && answer.body["message"].is_string(), "{}", answer.text);
    assert_lives(&paul).await;
    let tokens =
        |client: &Client| json!({ "access_token": client.access_token(), "refresh_token": client.refresh_token() });
    let (here, elsewhere) = (tokens(&here), tokens(&elsewhere));
    for _ in 0..2 {
        assert_lives(&shop.anon().with_pair(&here)).await;
        assert_over(&shop.anon().with_pair(&elsewhere)).await;
        log_in(&shop.anon(), "marta", PASSWORD).await.refuses(401, "INVALID_CREDENTIALS");
        shop.anon().log_in("marta", NEW).await;
        shop.restart().await;
    }
}

#[tokio::test]
async fn a_refused_change_keeps_the_password_and_states_the_reason() {
    let shop = Shop::open().await;
    let (here, elsewhere) = (shop.user("marta").await, shop.anon().log_in("marta", PASSWORD).await);
    shop.anon().put("/auth/password", json!({})).await.refuses(401, "MISSING_TOKEN");
    for body in [json!({}), json!({ "current": PASSWORD }), json!({ "new": NEW }), json!({ "current": 7, "new": NEW })]
    {
        here.put("/auth/password", body).await.refuses(400, "MISSING_CREDENTIALS");
    }
    for new in ["short", "password", "qwertyuiop", &"x".repeat(1025)] {
        change(&here, PASSWORD, new).await.refuses(400, "CREATION_FAILED");
    }
    change(&here, "a wrong one", NEW).await.refuses(401, "INVALID_CREDENTIALS");
    assert_lives(&elsewhere).await;
    shop.anon().log_in("marta", PASSWORD).await;
    for _ in 0..10 {
        change(&here, "a wrong one", NEW).await.refuses(401, "INVALID_CREDENTIALS");
    }
    change(&here, PASSWORD, NEW).await.refuses(429, "TOO_MANY_ATTEMPTS");
    log_in(&shop.anon(), "marta", PASSWORD).await.refuses(429, "TOO_MANY_ATTEMPTS");
    assert_lives(&refreshed(&here).await).await;
}

#[tokio::test]
async fn both_unicode_forms_of_a_password_are_equal() {
    let shop = Shop::open().await;
    let [composed, decomposed] = ["crème brûlée", "cre\u{300}me bru\u{302}le\u{301}e"];
    for (name, registered, typed) in [("marta", composed, decomposed), ("paul", decomposed, composed)] {
        let body = json!({ "username": name, "password": registered });
        shop.anon().post("/auth/register", body).await.succeeds(201);
        let client = shop.anon().log_in(name, typed).await;
        change(&client, typed, &format!("{registered}!")).await.succeeds(200);
        shop.anon().log_in(name, &format!("{typed}!")).await;
        log_in(&shop.anon(), name, "creme brulee!").await.refuses(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn after_the_clock_was_set_back_a_lockout_ends_within_15_minutes() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    for _ in 0..10 {
        log_in(&shop.anon(), "marta", "a wrong one").await.refuses(401, "INVALID_CREDENTIALS");
    }
    log_in(&shop.anon(), "marta", PASSWORD).await.refuses(429, "TOO_MANY_ATTEMPTS");
    shop.clock.shift(-24 * 3600);
    shop.clock.shift(15 * 60);
    log_in(&shop.anon(), "marta", PASSWORD).await.succeeds(200);
}
