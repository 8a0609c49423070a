//! `/auth/sessions`: lists a user's sessions and ends them.

use serde_json::Value;
use testing::{Client, PASSWORD, Shop, is_date_time};

use super::{assert_lives, assert_over, claims};

fn id(client: &Client) -> String {
    claims(client.access_token())["sid"].as_str().expect("a session").to_owned()
}

async fn end(client: &Client, id: &str) -> testing::Answer {
    client.delete(&format!("/auth/sessions/{id}")).await
}

#[tokio::test]
async fn ending_one_of_three_sessions_takes_effect_at_once_and_spares_the_others() {
    let shop = Shop::open().await;
    let first = shop.user("marta").await;
    let second = shop.anon().log_in("marta", PASSWORD).await;
    let third = shop.anon().log_in("marta", PASSWORD).await;
    let listed = first.get("/auth/sessions").await;
    assert_eq!(listed.body["count"], 3);
    let mut ids: Vec<String> = Vec::new();
    for session in listed.succeeds(200).as_array().unwrap() {
        assert!(["date_creation", "date_last_use", "date_expiry"].iter().all(|name| is_date_time(&session[name])));
        assert_eq!(session["current"], Value::from(session["id"] == *id(&first)));
        ids.push(session["id"].as_str().unwrap().to_owned());
    }
    ids.sort();
    let mut all = [&first, &second, &third].map(id);
    all.sort();
    assert_eq!(ids, all);

    end(&first, &id(&second)).await.succeeds(200);
    assert_over(&second).await;
    assert_lives(&first).await;
    assert_lives(&third).await;
    end(&first, &id(&second)).await.refuses(404, "SESSION_NOT_FOUND");
}

#[tokio::test]
async fn ending_a_session_of_another_user_is_404_even_for_an_administrator() {
    let shop = Shop::open().await;
    let (marta, paul, admin) = (shop.user("marta").await, shop.user("paul").await, shop.admin().await);
    for caller in [&paul, &admin] {
        let refused = end(caller, &id(&marta)).await;
        refused.refuses(404, "SESSION_NOT_FOUND");
        let unknown = end(caller, "unknown").await;
        assert_eq!(
            refused.body["error"]["message"], unknown.body["error"]["message"],
            "the answer does not reveal whether the session exists"
        );
        caller.delete("/auth/sessions?scope=others").await.succeeds(200);
    }
    assert_lives(&marta).await;
}

#[tokio::test]
async fn logging_out_everywhere_ends_all_sessions_even_after_a_restart() {
    let mut shop = Shop::open().await;
    let (first, paul) = (shop.user("marta").await, shop.user("paul").await);
    let second = shop.anon().log_in("marta", PASSWORD).await;
    first.delete("/auth/sessions?scope=everywhere").await.refuses(400, "INVALID_SCOPE");
    assert_lives(&second).await;
    first.delete("/auth/sessions").await.succeeds(200);
    let at = |shop: &Shop, client: &Client| {
        let pair =
            serde_json::json!({ "access_token": client.access_token(), "refresh_token": client.refresh_token() });
        shop.anon().with_pair(&pair)
    };
    for client in [&first, &second] {
        assert_over(client).await;
    }
    shop.restart().await;
    for client in [&first, &second] {
        assert_over(&at(&shop, client)).await;
    }
    assert_lives(&at(&shop, &paul)).await;
}
