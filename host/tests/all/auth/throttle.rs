//! The throttle of password guesses.

use futures::future::join_all;
use reqwest::StatusCode;
use testing::{Answer, PASSWORD, Shop};

use super::{assert_lives, log_in, refreshed};

/// Sends `count` wrong logins at once. Returns how many were evaluated, and asserts that the others must wait.
async fn guess(shop: &Shop, username: &str, count: usize) -> usize {
    let guesses = (0..count).map(|guess| format!("guess number {guess}")).collect::<Vec<_>>();
    let anon = shop.anon();
    let answers = join_all(guesses.iter().map(|guess| log_in(&anon, username, guess))).await;
    let (evaluated, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::UNAUTHORIZED);
    evaluated.iter().for_each(|answer| answer.refuses(401, "INVALID_CREDENTIALS"));
    refused.iter().for_each(|answer| is_told_to_wait(answer));
    evaluated.len()
}

#[track_caller]
fn is_told_to_wait(answer: &Answer) {
    answer.refuses(429, "TOO_MANY_ATTEMPTS");
    let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
    assert!((1..=15 * 60).contains(&seconds), "{seconds}");
    assert_eq!(answer.header("ratelimit-policy"), "\"login\";q=10;w=60, \"network\";q=100;w=900");
    assert_eq!(answer.header("ratelimit"), format!("\"login\";r=0;t={seconds}"), "the same as Retry-After");
}

#[tokio::test]
async fn of_sixty_concurrent_guesses_ten_are_evaluated_and_then_the_account_is_locked() {
    let mut shop = Shop::open().await;
    let user = shop.user("marta").await;
    assert_eq!(guess(&shop, "marta", 60).await, 10);

    is_told_to_wait(&log_in(&shop.anon(), "marta", PASSWORD).await);
    is_told_to_wait(&log_in(&shop.anon(), "MARTA", PASSWORD).await);
    assert_lives(&user).await;
    assert_lives(&refreshed(&user).await).await;
    shop.admin().await;

    shop.restart().await;
    is_told_to_wait(&log_in(&shop.anon(), "marta", PASSWORD).await);
    shop.clock.shift(61);
    log_in(&shop.anon(), "marta", PASSWORD).await.succeeds(200);
    log_in(&shop.anon(), "marta", "a wrong one").await.refuses(401, "INVALID_CREDENTIALS");
}

#[tokio::test]
async fn an_unknown_name_is_throttled_like_a_known_one() {
    let shop = Shop::open().await;
    assert_eq!(guess(&shop, "nobody", 30).await, 10);
    let unknown = log_in(&shop.anon(), "nobody", PASSWORD).await;
    is_told_to_wait(&unknown);
    shop.clock.shift(61);
    assert_eq!(guess(&shop, "nobody", 30).await, 10);
    // The second lockout is longer.
    shop.clock.shift(61);
    is_told_to_wait(&log_in(&shop.anon(), "nobody", PASSWORD).await);
}

#[tokio::test]
async fn a_successful_login_clears_earlier_failures() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    for _ in 0..2 {
        assert_eq!(guess(&shop, "marta", 6).await, 6);
        shop.anon().log_in("marta", PASSWORD).await;
    }
}

#[tokio::test]
async fn after_the_announced_wait_a_login_succeeds() {
    let shop = Shop::open().await;
    shop.user("marta").await;
    assert_eq!(guess(&shop, "marta", 12).await, 10);
    let answer = log_in(&shop.anon(), "marta", PASSWORD).await;
    is_told_to_wait(&answer);
    shop.clock.shift(answer.header("retry-after").parse().unwrap());
    let success = log_in(&shop.anon(), "marta", PASSWORD).await;
    success.succeeds(200);
    assert_eq!(success.header("ratelimit"), "\"login\";r=10");
}
