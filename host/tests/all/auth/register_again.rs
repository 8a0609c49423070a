//! `POST /auth/register` with an `Idempotency-Key`: repeating the request creates one account.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, send};

fn marta() -> Value {
    json!({ "username": "marta", "password": PASSWORD, "email": "marta@example.com" })
}

async fn register(client: &Client, key: impl AsRef<[u8]>, body: Value) -> Answer {
    send(client.request(Method::POST, "/auth/register").header("idempotency-key", key.as_ref()).json(&body)).await
}

#[track_caller]
fn is_replayed(answer: &Answer) -> bool {
    answer.succeeds(201);
    answer.header("idempotency-replayed") == "true"
}

/// The number of logins and of profiles with this name. Call it after the host has stopped.
async fn accounts(shop: &Shop, username: &str) -> [i64; 2] {
    let count = |table: &str| format!("SELECT count(*) FROM {table} WHERE username = '{username}'");
    [shop.number("auth", &count("logins")).await, shop.number("user", &count("profiles")).await]
}

#[tokio::test]
async fn fifty_registrations_with_one_key_create_one_account_and_replay_its_answer() {
    let mut shop = Shop::open().await;
    let anon = shop.anon();
    let answers = join_all((0..50).map(|_| register(&anon, "\"k-1\"", marta()))).await;
    let (made, others): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 201 && answer.header("idempotency-replayed").is_empty());
    assert_eq!(made.len(), 1);
    for answer in others {
        match answer.status.as_u16() {
            201 => assert_eq!(answer.text, made[0].text),
            409 => answer.refuses(409, "IDEMPOTENCY_KEY_IN_USE"),
            // A repeated registration checks the password, in the same queue as logins.
            429 => answer.refuses(429, "TOO_MANY_ATTEMPTS"),
            // On a loaded machine a write may wait for the writer for too long.
            _ if answer.body["error"]["code"] == "STORAGE_BUSY" => answer.refuses(503, "STORAGE_BUSY"),
            _ => answer.refuses(503, "SERVICE_BUSY"),
        }
        assert!(answer.status == 201 || !answer.header("retry-after").is_empty(), "{}", answer.text);
    }
    shop.clock.shift(61);
    let again = register(&anon, "k-1", marta()).await;
    assert!(is_replayed(&again));
    assert_eq!(again.text, made[0].text);
    shop.stop().await;
    assert_eq!(accounts(&shop, "marta").await, [1, 1]);
}

#[tokio::test]
async fn a_key_belongs_to_one_registration_and_survives_a_restart() {
    let mut shop = Shop::open().await;
    let first = register(&shop.anon(), "k", marta()).await;
    assert!(!is_replayed(&first));
    shop.restart().await;
    let again = register(&shop.anon(), "k", marta()).await;
    assert!(is_replayed(&again));
    assert_eq!(again.text, first.text);
    let mut other = marta();
    other["password"] = json!("another good one");
    register(&shop.anon(), "k", other).await.refuses(422, "IDEMPOTENCY_KEY_REUSED");
    let eve = json!({ "username": "eve", "password": PASSWORD });
    register(&shop.anon(), "k", eve.clone()).await.refuses(422, "IDEMPOTENCY_KEY_REUSED");
    register(&shop.anon(), "two words", eve.clone()).await.refuses(400, "INVALID_IDEMPOTENCY_KEY");
    register(&shop.anon(), b"no-utf-8-\xff", eve).await.refuses(400, "INVALID_IDEMPOTENCY_KEY");
    shop.clock.shift(24 * 3600 + 1);
    register(&shop.anon(), "k", marta()).await.refuses(400, "CREATION_FAILED");
}

#[tokio::test]
async fn guesses_with_a_key_are_throttled_like_logins() {
    let shop = Shop::open().await;
    register(&shop.anon(), "k", marta()).await.succeeds(201);
    let guess = |guess: usize| {
        let mut guessed = marta();
        guessed["password"] = json!(format!("guess number {guess}"));
        guessed
    };
    let anon = shop.anon();
    let answers = join_all((0..20).map(|number| register(&anon, "k", guess(number)))).await;
    let (evaluated, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 422);
    assert_eq!(evaluated.len(), 10);
    for answer in refused {
        answer.refuses(429, "TOO_MANY_ATTEMPTS");
        assert_eq!(answer.header("ratelimit"), format!("\"login\";r=0;t={}", answer.header("retry-after")));
    }
    shop.clock.shift(61);
    assert!(is_replayed(&register(&anon, "k", marta()).await));
}

#[tokio::test]
async fn a_retry_completes_a_registration_that_a_crash_interrupted() {
    let mut shop = Shop::open().await;
    let first = register(&shop.anon(), "k", marta()).await;
    first.succeeds(201);
    shop.stop().await;
    // The state on the disk if the host ends after `user` created the profile.
    let back = "UPDATE logins SET state = 'pending', password_hash = NULL WHERE username = 'marta';
                UPDATE answers SET answer = NULL;";
    shop.change_rows("auth", back).await;
    shop.start_again().await;

    let early = register(&shop.anon(), "k", marta()).await;
    early.refuses(409, "IDEMPOTENCY_KEY_IN_USE");
    assert_eq!(early.header("retry-after"), "1");
    shop.clock.shift(61);
    let made = register(&shop.anon(), "k", marta()).await;
    assert!(!is_replayed(&made));
    assert_eq!(made.data(), first.data(), "the retry adopts the profile that exists");
    let profile = shop.anon().log_in("marta", PASSWORD).await.get("/users/profile").await;
    assert_eq!(profile.succeeds(200)["email"], "marta@example.com");
    assert!(is_replayed(&register(&shop.anon(), "k", marta()).await));
    shop.stop().await;
    assert_eq!(accounts(&shop, "marta").await, [1, 1]);
}
