//! Profiles: `/users` and its subpaths.

mod late;
mod names;
mod removal;
mod seen;

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, is_date_time};

use crate::bodies::{JSON_TYPES, UNUSABLE};

const FIELDS: [&str; 5] = ["email", "first_name", "last_name", "phone", "address"];

/// Asserts the shape of a user.
#[track_caller]
fn assert_user(user: &Value) {
    let mut members: Vec<&str> = user.as_object().expect("an object").keys().map(String::as_str).collect();
    members.sort_unstable();
    let all =
        ["address", "date_creation", "date_update", "email", "first_name", "id", "last_name", "phone", "username"];
    assert_eq!(members, all);
    assert!(user["id"].is_i64() && user["username"].is_string(), "{user}");
    assert!(FIELDS.iter().all(|field| user[field].is_string() || user[field].is_null()), "{user}");
    assert!(is_date_time(&user["date_creation"]) && is_date_time(&user["date_update"]), "{user}");
}

#[track_caller]
fn has_message(answer: &Answer) {
    assert!(answer.body["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", answer.text);
}

async fn own_profile(client: &Client) -> Value {
    let answer = client.get("/users/profile").await;
    answer.succeeds(200).clone()
}

async fn path_of(client: &Client) -> String {
    format!("/users/{}", own_profile(client).await["id"])
}

#[tokio::test]
async fn only_administrators_can_list_the_users_by_id() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    for name in ["zoe", "adam"] {
        admin.post("/users", json!({ "username": name })).await.succeeds(201);
    }
    let answer = admin.get("/users").await;
    let users = answer.succeeds(200).as_array().unwrap();
    assert_eq!(answer.body["count"], 4);
    users.iter().for_each(assert_user);
    let names: Vec<&str> = users.iter().map(|user| user["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "marta", "zoe", "adam"]);
    assert!(users.is_sorted_by_key(|user| user["id"].as_i64()));
    assert!(answer.body.get("message").is_none());

    let refused = marta.get("/users").await;
    refused.refuses(403, "FORBIDDEN");
    assert!(refused.body.get("data").is_none() && refused.body.get("count").is_none());
}

#[tokio::test]
async fn the_administrator_exists_from_the_start() {
    let shop = Shop::open().await;
    let profile = own_profile(&shop.admin().await).await;
    assert_user(&profile);
    let said = ["username", "email", "first_name", "last_name"].map(|member| profile[member].clone());
    assert_eq!(json!(said), json!(["admin", "admin@example.com", "Admin", "User"]));
}

#[tokio::test]
async fn only_its_owner_and_administrators_can_see_a_profile() {
    let shop = Shop::open().await;
    let (admin, marta, paul) = (shop.admin().await, shop.user("marta").await, shop.user("paul").await);
    let profile = own_profile(&marta).await;
    assert_user(&profile);
    let path = path_of(&marta).await;
    assert_eq!(*marta.get(&path).await.succeeds(200), profile);
    assert_eq!(*admin.get(&path).await.succeeds(200), profile);
    let refused = paul.get(&path).await;
    refused.refuses(403, "FORBIDDEN");
    assert!(!refused.text.contains("marta"), "{}", refused.text);
}

#[tokio::test]
async fn an_invalid_user_id_is_404() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for id in
        ["0", "999", "-1", "abc", "1.0", "1e0", "0x1", "+1", "%31a", "9223372036854775808", "99999999999999999999", "٣"]
    {
        let path = format!("/users/{id}");
        admin.get(&path).await.refuses(404, "USER_NOT_FOUND");
        admin.put(&path, json!({ "email": "a@b" })).await.refuses(404, "USER_NOT_FOUND");
        admin.delete(&path).await.refuses(404, "USER_NOT_FOUND");
    }
}

#[tokio::test]
async fn an_administrator_can_create_a_user_without_a_login() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    let answer = admin.post("/users", json!({ "username": "marta" })).await;
    let user = answer.succeeds(201);
    assert_user(user);
    has_message(&answer);
    assert!(FIELDS.iter().all(|field| user[field].is_null()), "{user}");

    let fields = json!({
        "username": "paul", "email": "paul@example.com", "first_name": "Paul", "last_name": "O'Neil",
        "phone": "+33 1", "address": "1, rue X\n75001 Paris", "id": 77, "date_creation": "1999-01-01 00:00:00",
    });
    let answer = admin.post("/users", fields.clone()).await;
    let user = answer.succeeds(201);
    assert_user(user);
    assert!(FIELDS.iter().all(|field| user[field] == fields[field]), "{user}");
    assert_ne!((&user["id"], &user["date_creation"]), (&fields["id"], &fields["date_creation"]));
    assert_eq!(admin.get(&format!("/users/{}", user["id"])).await.succeeds(200), user);

    for password in [PASSWORD, ""] {
        let login = json!({ "username": "paul", "password": password });
        assert_ne!(shop.anon().post("/auth/login", login).await.status, 200);
    }
    let registration = json!({ "username": "paul", "password": PASSWORD });
    shop.anon().post("/auth/register", registration).await.refuses(400, "CREATION_FAILED");
}

#[tokio::test]
async fn a_user_created_with_a_password_can_log_in() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    let body = json!({ "username": "marta", "email": "m@example.com", "phone": "+33 1", "password": PASSWORD });
    let answer = admin.post("/users", body).await;
    let user = answer.succeeds(201);
    assert_user(user);
    has_message(&answer);
    assert_eq!((&user["email"], &user["phone"]), (&json!("m@example.com"), &json!("+33 1")));
    let marta = shop.anon().log_in("marta", PASSWORD).await;
    assert_eq!(own_profile(&marta).await, *user);
    marta.get("/users").await.refuses(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_refused_user_leaves_no_rows() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for body in &UNUSABLE {
        let answer = body.send(&admin, Method::POST, "/users").await;
        assert_eq!(answer.body["error"]["code"], "MISSING_USERNAME", "{}: {}", body.what, answer.text);
        answer.refuses(400, "MISSING_USERNAME");
    }
    for username in [json!(null), json!(""), json!(7), json!(["marta"])] {
        admin.post("/users", json!({ "username": username })).await.refuses(400, "MISSING_USERNAME");
    }
    admin.post("/users", json!({ "email": "m@example.com" })).await.refuses(400, "MISSING_USERNAME");
    for body in [
        json!({ "username": "admin" }),
        json!({ "username": "ADMIN" }),
        json!({ "username": "a\nb" }),
        json!({ "username": "x".repeat(151) }),
        json!({ "username": "m\u{430}rta" }),
        json!({ "username": "m\u{430}rta", "password": PASSWORD }),
        json!({ "username": "marta", "email": 7 }),
        json!({ "username": "marta", "email": "nowhere" }),
        json!({ "username": "marta", "email": "marta@", "password": PASSWORD }),
        json!({ "username": "marta", "phone": "x".repeat(2000) }),
        json!({ "username": "marta", "password": "short" }),
        json!({ "username": "marta", "password": "" }),
        json!({ "username": "marta", "password": "password" }),
        json!({ "username": "marta", "password": 12_345_678 }),
        json!({ "username": "admin", "password": PASSWORD }),
        json!({ "username": "marta", "password": PASSWORD, "address": [] }),
    ] {
        let answer = admin.post("/users", body.clone()).await;
        assert_eq!(answer.body["error"]["code"], "CREATION_FAILED", "{body}: {}", answer.text);
        answer.refuses(400, "CREATION_FAILED");
    }
    assert_eq!(admin.get("/users").await.body["count"], 1);
    let login = json!({ "username": "marta", "password": PASSWORD });
    shop.anon().post("/auth/login", login).await.refuses(401, "INVALID_CREDENTIALS");
    shop.user("marta").await;
}

#[tokio::test]
async fn an_update_changes_only_the_given_fields() {
    let shop = Shop::open().await;
    let (admin, marta, paul) = (shop.admin().await, shop.user("marta").await, shop.user("paul").await);
    let (path, before) = (path_of(&marta).await, own_profile(&marta).await);
    shop.clock.shift(5);

    let body = json!({
        "email": "marta@example.com", "first_name": "Łucja", "phone": null, "username": "admin", "id": 1, "role": "admin",
        "date_creation": "1999-01-01 00:00:00",
    });
    let answer = marta.put(&path, body).await;
    let user = answer.succeeds(200);
    assert_user(user);
    has_message(&answer);
    assert!(user["date_update"].as_str() > before["date_update"].as_str(), "{user}");
    let mut expected = before;
    expected["email"] = json!("marta@example.com");
    expected["first_name"] = json!("Łucja");
    expected["date_update"] = user["date_update"].clone();
    assert_eq!(*user, expected);
    assert_eq!(own_profile(&marta).await, expected);

    for content_type in JSON_TYPES {
        let body = json!({ "phone": content_type }).to_string();
        let answer = marta.send_body(Method::PUT, &path, Some(content_type), body).await;
        assert_eq!(answer.succeeds(200)["phone"], content_type);
    }
    assert_eq!(admin.put(&path, json!({ "address": "" })).await.succeeds(200)["address"], "");
    paul.put(&path, json!({ "address": "paul's" })).await.refuses(403, "FORBIDDEN");
    assert_eq!(own_profile(&marta).await["address"], "");
}

#[tokio::test]
async fn an_update_without_a_field_is_refused_before_the_row_is_checked() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let (own, before) = (path_of(&marta).await, own_profile(&marta).await);
    for path in [own.as_str(), "/users/999", "/users/abc"] {
        for body in &UNUSABLE {
            let answer = body.send(&admin, Method::PUT, path).await;
            assert_eq!(answer.body["error"]["code"], "UPDATE_FAILED", "{}: {}", body.what, answer.text);
            answer.refuses(400, "UPDATE_FAILED");
        }
        for body in [
            json!({}),
            json!({ "username": "eve", "id": 7, "role": "admin" }),
            json!({ "email": null, "first_name": null, "last_name": null, "phone": null, "address": null }),
            json!({ "email": 7 }),
            json!({ "email": "" }),
            json!({ "email": "nowhere" }),
            json!({ "email": "marta@example..com", "phone": "1" }),
            json!({ "phone": ["+33"] }),
            json!({ "address": "x".repeat(5000) }),
        ] {
            admin.put(path, body).await.refuses(400, "UPDATE_FAILED");
        }
        if path != own {
            admin.put(path, json!({ "email": "a@b" })).await.refuses(404, "USER_NOT_FOUND");
        }
    }
    assert_eq!(own_profile(&marta).await, before);
}

#[tokio::test]
async fn profiles_and_orders_survive_a_restart() {
    let mut shop = Shop::open().await;
    let marta = shop.user("marta").await;
    let path = path_of(&marta).await;
    marta.put(&path, json!({ "address": "1, rue X", "last_name": "Müller" })).await.succeeds(200);
    let made = json!({ "username": "paul", "password": PASSWORD });
    shop.admin().await.post("/users", made).await.succeeds(201);
    let order = marta.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 2 }] })).await;
    order.succeeds(201);
    let before = [shop.admin().await.get("/users").await.body, marta.get("/orders").await.body];
    let access_token = marta.access_token().to_owned();

    shop.restart().await;
    let marta = shop.anon().with_token(&access_token);
    assert_eq!([shop.admin().await.get("/users").await.body, marta.get("/orders").await.body], before);
    assert_eq!(own_profile(&shop.anon().log_in("marta", PASSWORD).await).await["last_name"], "Müller");
    shop.anon().log_in("paul", PASSWORD).await;
}
