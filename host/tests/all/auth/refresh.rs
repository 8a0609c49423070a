//! `POST /auth/refresh`: rotation of refresh tokens, and reuse of an older one.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::Value;
use testing::{Client, Shop};

use super::{assert_lives, assert_over, claims, members, refresh, refresh_with, refreshed, seen};

const DAY_SECONDS: i64 = 24 * 3600;

/// Refreshes a session until it had `length` token pairs. Returns a client for each, oldest first.
async fn line(shop: &Shop, username: &str, length: usize) -> Vec<Client> {
    let mut line = vec![shop.user(username).await];
    while line.len() < length {
        line.push(refreshed(&line[line.len() - 1]).await);
    }
    line
}

#[tokio::test]
async fn a_refresh_returns_a_new_pair_of_the_same_session() {
    let shop = Shop::open().await;
    let first = shop.user("marta").await;
    let answer = refresh(&first).await;
    assert_eq!(members(&answer.body), ["data", "success"]);
    let pair = answer.succeeds(200);
    assert_eq!(members(pair), ["access_token", "expires_in", "refresh_expires_at", "refresh_token", "token_type"]);
    let second = first.with_pair(pair);
    assert_ne!(first.refresh_token(), second.refresh_token());
    let [before, after] = [&first, &second].map(|client| claims(client.access_token()));
    assert_eq!((&before["sub"], &before["sid"], &before["roles"]), (&after["sub"], &after["sid"], &after["roles"]));
    assert_lives(&second).await;
    assert_lives(&first).await;
}

#[tokio::test]
async fn of_fifty_refreshes_with_one_token_one_succeeds_and_the_session_stays_open() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let answers = join_all((0..50).map(|_| refresh(&user))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1, "a refresh token is used once");
    for answer in lost {
        answer.refuses(401, "INVALID_TOKEN");
    }
    let next = user.with_pair(won[0].data());
    assert_lives(&user).await;
    assert_lives(&next).await;
    assert_lives(&refreshed(&next).await).await;
}

#[tokio::test]
async fn reusing_the_token_before_the_last_ends_the_session_even_at_once() {
    let shop = Shop::open().await;
    let line = line(&shop, "marta", 3).await;
    let elsewhere = shop.anon().log_in("marta", testing::PASSWORD).await;
    refresh(&line[0]).await.refuses(401, "INVALID_TOKEN");
    for client in line.iter().rev() {
        assert_over(client).await;
    }
    assert_lives(&elsewhere).await;
    assert_lives(&refreshed(&elsewhere).await).await;
}

#[tokio::test]
async fn reusing_a_much_older_token_ends_the_session() {
    let mut shop = Shop::open().await;
    let line = line(&shop, "marta", 5).await;
    refresh(&line[1]).await.refuses(401, "INVALID_TOKEN");
    assert_over(&line[4]).await;
    shop.restart().await;
    let newest = shop.anon().with_token(line[4].access_token());
    newest.get("/users/profile").await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn reusing_the_last_token_within_ten_seconds_is_refused_but_ends_nothing() {
    let shop = Shop::open().await;
    let line = line(&shop, "marta", 2).await;
    for _ in 0..3 {
        refresh(&line[0]).await.refuses(401, "INVALID_TOKEN");
    }
    assert_lives(&line[1]).await;
    assert_lives(&refreshed(&line[1]).await).await;
}

#[tokio::test]
async fn reusing_the_last_token_after_ten_seconds_ends_the_session() {
    let shop = Shop::open().await;
    let line = line(&shop, "marta", 2).await;
    shop.clock.shift(11);
    refresh(&line[0]).await.refuses(401, "INVALID_TOKEN");
    assert_over(&line[1]).await;
}

#[tokio::test]
async fn the_newest_token_works_long_after_a_race() {
    let shop = Shop::open().await;
    let line = line(&shop, "marta", 2).await;
    shop.clock.shift(12 * 3600);
    assert_lives(&refreshed(&line[1]).await).await;
}

#[tokio::test]
async fn a_refresh_token_is_valid_for_thirty_days() {
    let shop = Shop::open().await;
    let first = shop.user("marta").await;
    shop.clock.shift(30 * DAY_SECONDS - 100);
    let second = refreshed(&first).await;
    assert_lives(&second).await;
    shop.clock.shift(30 * DAY_SECONDS + 1);
    assert_over(&second).await;
    assert_lives(&shop.anon().log_in("marta", testing::PASSWORD).await).await;
}

#[tokio::test]
async fn all_invalid_refresh_tokens_get_the_same_answer() {
    let shop = Shop::open().await;
    let line = line(&shop, "marta", 2).await;
    let unknown = refresh_with(&shop.anon(), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").await;
    unknown.refuses(401, "INVALID_TOKEN");
    assert_eq!(unknown.header("www-authenticate"), "Bearer");
    assert!(unknown.body.get("data").is_none());
    let newest = line[1].refresh_token();
    for (what, token) in [
        ("the parent", line[0].refresh_token().to_owned()),
        ("an access token", line[1].access_token().to_owned()),
        ("a longer token", format!("{newest}A")),
        ("a shorter token", newest[1..].to_owned()),
        ("a padded token", format!("{newest}=")),
        ("a token with a space", format!(" {newest}")),
        ("any text", "日本\u{0}' OR 1=1 --".to_owned()),
        ("a long text", "x".repeat(100_000)),
    ] {
        assert_eq!(seen(&refresh_with(&shop.anon(), &token).await), seen(&unknown), "{what}");
    }
    assert_lives(&refreshed(&line[1]).await).await;
}

#[tokio::test]
async fn no_token_is_issued_twice() {
    let shop = Shop::open().await;
    let mut client = shop.user("marta").await;
    let (mut refresh_tokens, mut ids) = (HashSet::new(), HashSet::<Value>::new());
    for _ in 0..50 {
        client = refreshed(&client).await;
        assert!(refresh_tokens.insert(client.refresh_token().to_owned()), "a refresh token was issued twice");
        assert!(ids.insert(claims(client.access_token())["jti"].clone()), "a `jti` was issued twice");
    }
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let mut shop = Shop::open().await;
    let line = line(&shop, "marta", 2).await;
    shop.restart().await;
    let [first, second] = [&line[0], &line[1]].map(|old| {
        let pair = serde_json::json!({ "access_token": old.access_token(), "refresh_token": old.refresh_token() });
        shop.anon().with_pair(&pair)
    });
    assert_lives(&second).await;
    assert_lives(&first).await;
    let third = refreshed(&second).await;
    refresh(&first).await.refuses(401, "INVALID_TOKEN");
    assert_over(&third).await;
}
