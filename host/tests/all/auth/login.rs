//! `POST /auth/login` and `POST /auth/verify`.

use futures::future::join_all;
use serde_json::json;
use testing::{PASSWORD, Shop};

use super::{claims, log_in, members, seen, verify};

const THIRTY_DAYS_SECONDS: u64 = 30 * 24 * 3600;

#[tokio::test]
async fn a_login_returns_a_token_pair() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    let before = shop.clock.unix_seconds();
    let answer = log_in(&shop.anon(), "marta", PASSWORD).await;
    let after = shop.clock.unix_seconds();

    assert_eq!(members(&answer.body), ["data", "success"]);
    let pair = answer.succeeds(200);
    assert_eq!(members(pair), ["access_token", "expires_in", "refresh_expires_at", "refresh_token", "token_type"]);
    assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(3600)));
    assert_eq!(claims(pair["access_token"].as_str().unwrap())["sub"], "marta");
    assert!(pair["refresh_token"].as_str().unwrap().len() >= 43, "at least 256 bits");
    let expires = pair["refresh_expires_at"].as_u64().unwrap();
    assert!((before + THIRTY_DAYS_SECONDS..=after + THIRTY_DAYS_SECONDS).contains(&expires), "{expires}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_failed_login_does_not_reveal_whether_the_account_exists() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    let wrong = log_in(&shop.anon(), "marta", "not her password").await;
    wrong.refuses(401, "INVALID_CREDENTIALS");
    assert!(wrong.body.get("data").is_none());
    assert_eq!(wrong.header("www-authenticate"), "Bearer");
    let longest = "x".repeat(5000);
    let others = [
        ("nobody", PASSWORD),
        ("marta", longest.as_str()),
        ("nobody", longest.as_str()),
        ("admin", "not the operator's"),
        ("marta ", PASSWORD),
        ("mar\u{0}ta", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
        ("日本", PASSWORD),
        (longest.as_str(), PASSWORD),
    ];
    let anon = shop.anon();
    // All at once, because each takes a while.
    let answers = join_all(others.iter().map(|(username, password)| log_in(&anon, username, password))).await;
    for ((username, _), answer) in others.iter().zip(&answers) {
        assert_eq!(seen(answer), seen(&wrong), "{username}");
    }
}

#[tokio::test]
async fn all_bytes_of_a_password_count_in_both_forms_of_unicode() {
    let shop = Shop::open().await;
    // Longer than the 72 bytes at which bcrypt stops reading, with letters that have two forms in Unicode.
    let password = format!("  é{}🦀 ", "x".repeat(80));
    let made = shop.anon().post("/auth/register", json!({ "username": "marta", "password": password })).await;
    made.succeeds(201);
    for same in [&password, &password.replace('é', "e\u{301}")] {
        log_in(&shop.anon(), "marta", same).await.succeeds(200);
    }
    let others = [
        password.trim().to_owned(),
        password.replace('é', "e"),
        password.replace('x', "X"),
        password[..73].to_owned(),
        format!("{password}x"),
    ];
    let anon = shop.anon();
    for answer in join_all(others.iter().map(|other| log_in(&anon, "marta", other))).await {
        answer.refuses(401, "INVALID_CREDENTIALS");
    }
}

#[tokio::test]
async fn verifying_a_token_returns_its_user_and_expiry() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let answer = verify(&shop.anon(), user.access_token()).await;
    let expires_at = &claims(user.access_token())["exp"];
    assert_eq!(*answer.succeeds(200), json!({ "username": "marta", "expires_at": expires_at }));
    assert_eq!(members(&answer.body), ["data", "success"]);

    let refused = verify(&shop.anon(), "nonsense").await;
    refused.refuses(401, "INVALID_TOKEN");
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    assert!(refused.body.get("data").is_none());
    let with_refresh_token = verify(&shop.anon(), user.refresh_token()).await;
    assert_eq!(seen(&with_refresh_token), seen(&refused), "a refresh token is not an access token");
}

#[tokio::test]
async fn an_access_token_is_valid_for_an_hour() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    shop.clock.shift(3500);
    user.get("/users/profile").await.succeeds(200);
    verify(&user, user.access_token()).await.succeeds(200);
    shop.clock.shift(101);
    let expired = user.get("/users/profile").await;
    expired.refuses(401, "INVALID_TOKEN");
    assert_eq!(seen(&expired), seen(&user.with_token("nonsense").get("/users/profile").await));
    verify(&user, user.access_token()).await.refuses(401, "INVALID_TOKEN");
    user.get("/products").await.succeeds(200);
}
