//! Usernames in every script work in headers, tokens, paths between services and databases.

use serde_json::json;
use testing::{PASSWORD, Shop};

use super::{own_profile, path_of};

const NAMES: [&str; 8] =
    ["Łukasz Żółć", "张伟", "نور", "Ольга", "🦀🐙", "O'Neil, \"Jr.\" <b>", "a/b%2F?#&=+", "../admin"];

#[tokio::test]
async fn a_username_in_any_script_works_everywhere() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for name in NAMES {
        let user = shop.user(name).await;
        let profile = own_profile(&user).await;
        assert_eq!(profile["username"], name);
        let verified = shop.anon().post("/auth/verify", json!({ "token": user.access_token() })).await;
        assert_eq!(verified.succeeds(200)["username"], name);

        let order = user.post("/orders", json!({ "items": [{ "product_id": 2, "quantity": 1 }] })).await;
        assert_eq!(order.succeeds(201)["user_id"], name);
        let orders = user.get("/orders").await;
        assert_eq!((orders.succeeds(200)[0]["user_id"].as_str(), &orders.body["count"]), (Some(name), &json!(1)));

        let path = path_of(&user).await;
        assert_eq!(user.put(&path, json!({ "first_name": name })).await.succeeds(200)["first_name"], name);
        let refreshed = shop.anon().post("/auth/refresh", json!({ "refresh_token": user.refresh_token() })).await;
        let user = user.with_pair(refreshed.succeeds(200));
        assert_eq!(own_profile(&user).await["first_name"], name);
        let list = admin.get("/users").await;
        assert!(list.succeeds(200).as_array().unwrap().iter().any(|user| user["username"] == name), "{name}");

        admin.delete(&path).await.succeeds(200);
        user.get("/users/profile").await.refuses(401, "INVALID_TOKEN");
        shop.user(name).await.post("/auth/logout", json!({})).await.succeeds(200);
    }
    assert_eq!(admin.get("/users").await.body["count"], NAMES.len() + 1);
}

#[tokio::test]
async fn the_longest_username_fits_a_header_and_a_token() {
    let shop = Shop::open().await;
    let name = "🦀".repeat(150);
    let user = shop.user(&name).await;
    assert_eq!(own_profile(&user).await["username"], name);
    let made = json!({ "username": "界".repeat(150), "password": PASSWORD });
    shop.admin().await.post("/users", made).await.succeeds(201);
}
