//! Many more concurrent logins than the host can check passwords.

use comptoir::manifest::PasswordRules;
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::Value;
use testing::{Answer, Client, Shop, shop_manifest};

use super::{log_in, refresh};

const LOGINS: usize = 200;

/// The value of a metric.
async fn metric(operator: &Client, name: &str) -> usize {
    let page = operator.get("/metrics").await.text;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
}

#[track_caller]
fn is_turned_away(answer: &Answer) {
    let code = answer.body["error"]["code"].as_str().unwrap_or_default();
    assert!(["SERVICE_BUSY", "OVERLOADED"].contains(&code), "{}", answer.text);
    answer.refuses(503, code);
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
}

/// New tokens. A write that waited two seconds for its turn is refused and changes nothing; a loaded machine can be that slow.
async fn refreshed(user: &Client) -> Value {
    for _ in 0..100 {
        let answer = refresh(user).await;
        if answer.body["error"]["code"] != "STORAGE_BUSY" {
            return answer.succeeds(200).clone();
        }
    }
    panic!("the writer was busy for a hundred refreshes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_storm_is_queued_refused_beyond_the_queue_and_hurts_no_other_client() {
    let mut manifest = shop_manifest();
    // As in the shipped manifest, one service may not use all instances of the host.
    manifest.instances = 400;
    manifest.passwords = PasswordRules::default();
    let shop = Shop::with(manifest).await;
    let (operator, mut user) = (shop.operator(), shop.user("marta").await);
    let computed_before = metric(&operator, "comptoir_passwords_computed_total").await;

    let anon = shop.anon();
    // A different name for each login, so that no account's throttle applies.
    let logins = (0..LOGINS).map(|number| {
        let anon = anon.clone();
        async move { log_in(&anon, &format!("nobody-{number}"), "not a password").await }
    });
    let storm = tokio::spawn(join_all(logins.collect::<Vec<_>>()));
    let (mut rounds, mut computing) = (0, 0);
    while !storm.is_finished() {
        computing = computing.max(metric(&operator, "comptoir_passwords_computing").await);
        assert_eq!(anon.get("/products").await.succeeds(200).as_array().unwrap().len(), 5);
        user.get("/users/profile").await.succeeds(200);
        user = user.with_pair(&refreshed(&user).await);
        rounds += 1;
    }
    let answers = storm.await.unwrap();

    let (evaluated, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::UNAUTHORIZED);
    evaluated.iter().for_each(|answer| answer.refuses(401, "INVALID_CREDENTIALS"));
    refused.iter().for_each(|answer| is_turned_away(answer));
    assert!(!refused.is_empty() && !evaluated.is_empty());
    let cap = comptoir::passwords::Limits::default().at_once;
    assert!(
        (1..=cap).contains(&computing),
        "{computing} hashes at once, at most {cap} allowed; checked {rounds} times"
    );
    let computed = metric(&operator, "comptoir_passwords_computed_total").await - computed_before;
    assert_eq!(computed, evaluated.len(), "no hash is computed for a refused login");
    assert_eq!(metric(&operator, "comptoir_passwords_waiting").await, 0);
    shop.admin().await;
}
