//! `DELETE /users/{id}` deletes the profile, the login and all sessions.

use futures::future::join_all;
use serde_json::json;
use testing::{Answer, Client, PASSWORD, Shop, shop_manifest};

use super::{has_message, path_of};

async fn refresh(client: &Client) -> Answer {
    client.without_token().post("/auth/refresh", json!({ "refresh_token": client.refresh_token() })).await
}

async fn assert_gone(shop: &Shop, client: &Client) {
    for path in ["/users/profile", "/orders", "/users/1"] {
        client.get(path).await.refuses(401, "INVALID_TOKEN");
    }
    let verify = json!({ "token": client.access_token() });
    shop.anon().post("/auth/verify", verify).await.refuses(401, "INVALID_TOKEN");
    refresh(client).await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn a_deleted_user_is_logged_out_at_once() {
    let shop = Shop::open().await;
    let (admin, marta, paul) = (shop.admin().await, shop.user("marta").await, shop.user("paul").await);
    let elsewhere = shop.anon().log_in("marta", PASSWORD).await;
    let path = path_of(&marta).await;
    for client in [&marta, &paul] {
        client.delete(&path).await.refuses(403, "FORBIDDEN");
    }

    let answer = admin.delete(&path).await;
    answer.succeeds(200);
    has_message(&answer);
    assert!(answer.body.get("data").is_none(), "{}", answer.text);
    for client in [&marta, &elsewhere] {
        assert_gone(&shop, client).await;
    }
    let login = json!({ "username": "marta", "password": PASSWORD });
    shop.anon().post("/auth/login", login).await.refuses(401, "INVALID_CREDENTIALS");
    admin.delete(&path).await.refuses(404, "USER_NOT_FOUND");
    admin.get(&path).await.refuses(404, "USER_NOT_FOUND");
    assert_eq!(admin.get("/users").await.body["count"], 2);
    paul.get("/users/profile").await.succeeds(200);
}

#[tokio::test]
async fn a_new_user_may_have_the_name_of_a_deleted_one_but_not_its_tokens() {
    let mut shop = Shop::open().await;
    let (admin, old) = (shop.admin().await, shop.user("marta").await);
    let old_path = path_of(&old).await;
    old.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })).await.succeeds(201);
    admin.delete(&old_path).await.succeeds(200);

    let new = shop.user("marta").await;
    assert_ne!(path_of(&new).await, old_path, "an id is never used again");
    assert_eq!(new.get("/orders").await.succeeds(200), &json!([]));
    new.get("/orders/1").await.refuses(404, "ORDER_NOT_FOUND");
    new.put("/orders/1", json!({ "status": "cancelled" })).await.refuses(404, "ORDER_NOT_FOUND");
    let kept = admin.get("/orders/1").await.succeeds(200).clone();
    assert_eq!((&kept["user_id"], &kept["status"]), (&json!(" former user"), &json!("pending")));
    let former = json!({ "username": kept["user_id"], "password": PASSWORD });
    shop.anon().post("/auth/register", former.clone()).await.refuses(400, "CREATION_FAILED");
    admin.post("/users", former).await.refuses(400, "CREATION_FAILED");
    assert_gone(&shop, &old).await;
    let tokens = json!({ "access_token": old.access_token(), "refresh_token": old.refresh_token() });
    shop.restart().await;
    assert_gone(&shop, &shop.anon().with_pair(&tokens)).await;
    shop.anon().log_in("marta", PASSWORD).await.get("/users/profile").await.succeeds(200);
}

#[tokio::test]
async fn a_user_without_a_login_can_be_deleted() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    let made = admin.post("/users", json!({ "username": "marta" })).await;
    let path = format!("/users/{}", made.succeeds(201)["id"]);
    admin.delete(&path).await.succeeds(200);
    admin.delete(&path).await.refuses(404, "USER_NOT_FOUND");
    shop.user("marta").await;
}

#[tokio::test]
async fn an_interrupted_deletion_locks_the_user_and_is_completed_later() {
    let mut manifest = shop_manifest();
    manifest.services.get_mut("user").unwrap().calls.remove("orders");
    let mut shop = Shop::with(manifest).await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let path = path_of(&marta).await;
    marta.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })).await.succeeds(201);
    admin.delete(&path).await.refuses(503, "PEER_UNAVAILABLE");
    assert_gone(&shop, &marta).await;
    let registration = json!({ "username": "marta", "password": PASSWORD });
    shop.anon().post("/auth/register", registration).await.refuses(400, "CREATION_FAILED");
    admin.get(&path).await.succeeds(200);

    shop.stop().await;
    shop.start_again_as(shop_manifest(), None).await.unwrap();
    let admin = shop.admin().await;
    admin.delete(&path).await.succeeds(200);
    admin.delete(&path).await.refuses(404, "USER_NOT_FOUND");
    assert_eq!(shop.user("marta").await.get("/orders").await.succeeds(200), &json!([]));
}

/// A shop with a second administrator, `marta`. No route creates one, so this changes the database.
async fn with_two_administrators() -> (Shop, Client, Client) {
    let mut shop = Shop::open().await;
    shop.user("marta").await;
    shop.stop().await;
    shop.change_rows("auth", "UPDATE logins SET role = 'admin' WHERE username = 'marta'").await;
    shop.start_again().await;
    let (admin, marta) = (shop.admin().await, shop.anon().log_in("marta", PASSWORD).await);
    (shop, admin, marta)
}

#[tokio::test]
async fn the_last_administrator_cannot_be_deleted() {
    let (shop, admin, marta) = with_two_administrators().await;
    let (of_admin, of_marta) = (path_of(&admin).await, path_of(&marta).await);
    marta.delete(&of_admin).await.succeeds(200);
    assert_gone(&shop, &admin).await;
    marta.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })).await.succeeds(201);
    marta.delete(&of_marta).await.refuses(409, "LAST_ADMIN");
    assert_eq!(marta.get("/orders").await.body["count"], 1, "her orders are unchanged");
    marta.get("/users").await.succeeds(200);
    shop.anon().log_in("marta", PASSWORD).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_administrators_who_delete_each_other_one_remains() {
    let (shop, admin, marta) = with_two_administrators().await;
    let (of_admin, of_marta) = (path_of(&admin).await, path_of(&marta).await);
    let deletions = (0..20).flat_map(|_| [admin.delete(&of_marta), marta.delete(&of_admin)]);
    let answers = join_all(deletions).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    // The other request is refused: it would delete the last administrator, the id is gone, or its session ended.
    assert!(answers.iter().all(|answer| [200, 401, 404, 409].contains(&answer.status.as_u16())), "{answers:?}");
    let mut let_in = 0;
    for (username, password) in [("admin", "admin"), ("marta", PASSWORD)] {
        let login = json!({ "username": username, "password": password });
        let_in += usize::from(shop.anon().post("/auth/login", login).await.status == 200);
    }
    assert_eq!(let_in, 1);
}

#[tokio::test]
async fn of_many_concurrent_deletions_one_succeeds() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let path = path_of(&marta).await;
    let answers = join_all((0..20).map(|_| admin.delete(&path))).await;
    let (done, late): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 1);
    late.iter().for_each(|answer| answer.refuses(404, "USER_NOT_FOUND"));
    assert_gone(&shop, &marta).await;
}

#[tokio::test]
async fn a_deletion_during_logins_leaves_no_session() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let path = path_of(&marta).await;
    let anon = shop.anon();
    let login = json!({ "username": "marta", "password": PASSWORD });
    let logins = join_all((0..8).map(|_| anon.post("/auth/login", login.clone())));
    let refreshes = join_all((0..8).map(|_| refresh(&marta)));
    let (logins, refreshes, deleted) = tokio::join!(logins, refreshes, admin.delete(&path));
    deleted.succeeds(200);
    for answer in logins.iter().chain(&refreshes).filter(|answer| answer.status == 200) {
        assert_gone(&shop, &anon.with_pair(answer.data())).await;
    }
    assert_gone(&shop, &marta).await;
    anon.post("/auth/login", login).await.refuses(401, "INVALID_CREDENTIALS");
}
