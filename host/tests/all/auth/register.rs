//! `POST /auth/register`: a login and a profile, both or neither.

use std::collections::HashSet;

use futures::future::join_all;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, manifest_of, shop_manifest};

use super::{claims, log_in, members};

async fn register(client: &Client, username: &str, password: &str) -> Answer {
    client.post("/auth/register", json!({ "username": username, "password": password })).await
}

/// The names of all profiles.
async fn names(shop: &Shop) -> Vec<String> {
    let answer = shop.admin().await.get("/users").await;
    let users = answer.succeeds(200).as_array().expect("a list");
    users.iter().map(|user| user["username"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_registration_creates_a_login_and_a_profile() {
    let shop = Shop::open().await;
    let body = json!({ "username": "marta", "password": PASSWORD, "email": "marta@example.com", "role": "admin" });
    let answer = shop.anon().post("/auth/register", body).await;
    let created = answer.succeeds(201);
    assert_eq!(members(&answer.body), ["data", "message", "success"]);
    assert!(answer.body["message"].is_string());
    assert_eq!(members(created), ["user_id", "username"]);
    assert_eq!(created["username"], "marta");

    let user = shop.anon().log_in("marta", PASSWORD).await;
    assert_eq!(claims(user.access_token())["roles"], json!(["user"]), "a registration cannot create an administrator");
    let profile = user.get("/users/profile").await;
    let profile = profile.succeeds(200);
    assert_eq!((&profile["id"], &profile["email"]), (&created["user_id"], &json!("marta@example.com")));
    let list = shop.admin().await.get("/users").await;
    assert!(list.succeeds(200).as_array().unwrap().contains(profile), "{}", list.text);
}

#[tokio::test]
async fn a_taken_lookalike_or_invalid_username_is_refused() {
    let shop = Shop::open().await;
    for name in ["Zoë", "straße", "ΣΊΣΥΦΟΣ"] {
        register(&shop.anon(), name, PASSWORD).await.succeeds(201);
    }
    let before = names(&shop).await;
    let long = "x".repeat(151);
    for name in [
        "Zoë",
        "zoë",
        "ZOE\u{308}",
        "Zo\u{200b}ë",
        "STRASSE",
        "σίσυφος",
        "admin",
        "ADMIN",
        "ａｄｍｉｎ",
        "ad\u{ad}min",
        "   ",
        "\u{200b}",
        " ada",
        "ada\u{a0}",
        "a\nda",
        "ada\u{0}",
        "a\u{1b}[2J",
        &long,
    ] {
        let answer = register(&shop.anon(), name, PASSWORD).await;
        assert_eq!(answer.status, 400, "{name:?}: {}", answer.text);
        answer.refuses(400, "CREATION_FAILED");
        assert!(answer.body.get("data").is_none());
    }
    assert_eq!(names(&shop).await, before);
    shop.admin().await;
}

#[tokio::test]
async fn a_longer_minimum_applies_to_new_passwords_only() {
    let mut shop = Shop::open().await;
    register(&shop.anon(), "fourteen before", &"x7 ".repeat(5)[..14]).await.succeeds(201);
    shop.stop().await;
    let mut strict = shop_manifest();
    strict.passwords.minimum = 15;
    let refused =
        shop.start_again_as(strict.clone(), Some("14 characters.")).await.expect_err("the host refuses to start");
    assert!(refused.to_string().contains("at least 15 characters"), "{refused}");
    shop.start_again_as(strict, Some("15 characters..")).await.expect("the host starts");
    shop.anon().log_in("fourteen before", &"x7 ".repeat(5)[..14]).await;
    let admin = shop.anon().log_in("admin", "15 characters..").await;
    let of = |length: usize| "x7 ".repeat(400)[..length].to_owned();
    for (length, status) in [(7, 400), (8, 400), (14, 400), (15, 201), (64, 201), (1024, 201), (1025, 400)] {
        let answer = register(&shop.anon(), &format!("with {length}"), &of(length)).await;
        assert_eq!(answer.status, status, "{length}: {}", answer.text);
        let said = answer.body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(said.contains("at least 15 characters"), length < 15, "{length}: {said}");
    }
    let made = json!({ "username": "by the admin", "password": of(14) });
    admin.post("/users", made).await.refuses(400, "CREATION_FAILED");
}

#[tokio::test]
async fn a_component_that_ignores_the_minimum_length_needs_the_lowest_one() {
    let service = "[services.caller]\ncomponent = \"guest_caller.wasm\"\nmounts = [\"/caller\"]\naccess = \"public\"\n\
                   grants = [\"storage\", \"tokens\", \"token-verifier\", \"passwords\", \"audit\"]\ncalls = [\"caller\"]\n";
    let mut shop = Shop::with(manifest_of(service)).await;
    shop.stop().await;
    let mut strict = manifest_of(service);
    strict.passwords.minimum = 9;
    let refused = shop.start_again_as(strict, None).await.expect_err("the host refuses to start").to_string();
    assert!(
        refused.contains(
            "hashes passwords, but does not ask for their minimum length. `minimum` in [passwords] sets it to 9"
        ),
        "{refused}"
    );
    shop.start_again_as(manifest_of(service), None).await.expect("the host starts");
}

#[tokio::test]
async fn a_password_has_8_to_1024_characters_and_is_not_a_common_one() {
    let shop = Shop::open().await;
    let accepted = [
        ("eight", "8 chars.".to_owned()),
        ("fourteen", "x7 ".repeat(5)[..14].to_owned()),
        ("fifteen", "x7 ".repeat(5)),
        ("sixty-four", "x7".repeat(32)),
        ("seventy-three", format!("{}y", "x7".repeat(36))),
        ("the longest", "🦀".repeat(1024)),
        ("eight emoji", "🦀🐙🦑🦐🦞🐚🐡🐠".to_owned()),
        ("no letters", "~~~ ~~~ ~~~".to_owned()),
    ];
    for (name, password) in &accepted {
        let answer = register(&shop.anon(), name, password).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.text);
        shop.anon().log_in(name, password).await;
    }
    let before = names(&shop).await;
    for (why, password) in [
        ("seven characters", "7 chars"),
        ("seven emoji of four bytes", "🦀🐙🦑🦐🦞🐚🐡"),
        ("too long", &"🦀".repeat(1025)),
        ("far too long", &"x".repeat(100_000)),
        ("common", "password"),
        ("common in capitals", "PASSWORD1"),
        ("common digits", "12345678"),
        ("the shop's name", "Comptoir"),
        ("the username", "marta martinez"),
        ("the username in capitals", "MARTA MARTINEZ"),
    ] {
        let answer = register(&shop.anon(), "marta martinez", password).await;
        assert_eq!(answer.body["error"]["code"], "CREATION_FAILED", "{why}: {}", answer.text);
        answer.refuses(400, "CREATION_FAILED");
    }
    let over_the_limit = register(&shop.anon(), "marta martinez", &"x".repeat(1 << 20)).await;
    over_the_limit.refuses(413, "BODY_TOO_LARGE");
    assert_eq!(names(&shop).await, before, "a refused registration leaves no profile");
    log_in(&shop.anon(), "marta martinez", "password").await.refuses(401, "INVALID_CREDENTIALS");
    register(&shop.anon(), "marta martinez", PASSWORD).await.succeeds(201);
}

#[tokio::test]
async fn an_email_address_is_valid_or_absent() {
    let shop = Shop::open().await;
    for (name, email) in [("ada", json!(null)), ("bob", json!("bob@example.com"))] {
        let body = json!({ "username": name, "password": PASSWORD, "email": email });
        shop.anon().post("/auth/register", body).await.succeeds(201);
        let user = shop.anon().log_in(name, PASSWORD).await;
        assert_eq!(user.get("/users/profile").await.data()["email"], email);
    }
    for email in [
        json!("nonsense"),
        json!(""),
        json!("eve@-example.com"),
        json!(7),
        json!({}),
        json!(format!("{}@example.com", "x".repeat(300))),
    ] {
        let body = json!({ "username": "eve", "password": PASSWORD, "email": email });
        shop.anon().post("/auth/register", body).await.refuses(400, "CREATION_FAILED");
    }
    assert!(!names(&shop).await.contains(&"eve".to_owned()));
}

/// Registers these names at once, each with its own password. Returns the index of the one that succeeded.
async fn race(shop: &Shop, names: &[&str]) -> usize {
    let anon = shop.anon();
    let passwords: Vec<String> = (0..names.len()).map(|runner| format!("password of {runner}")).collect();
    let runners = names.iter().zip(&passwords).map(|(name, password)| register(&anon, name, password));
    let answers = join_all(runners).await;
    let won: Vec<usize> = (0..names.len()).filter(|runner| answers[*runner].status == 201).collect();
    assert_eq!(won.len(), 1, "exactly one registration succeeds");
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        answer.refuses(400, "CREATION_FAILED");
    }
    won[0]
}

#[tokio::test]
async fn of_fifty_registrations_of_a_name_one_succeeds() {
    let mut shop = Shop::open().await;
    let winner = race(&shop, &["marta"; 50]).await;
    let loser = (winner + 1) % 50;
    shop.anon().log_in("marta", &format!("password of {winner}")).await.get("/users/profile").await.succeeds(200);
    log_in(&shop.anon(), "marta", &format!("password of {loser}")).await.refuses(401, "INVALID_CREDENTIALS");

    let alike = ["Zoë", "zoë", "ZOË", "Zoe\u{308}", "Zo\u{200b}ë"];
    let winner = race(&shop, &alike).await;
    assert_eq!(names(&shop).await, ["admin", "marta", alike[winner]]);

    shop.stop().await;
    assert_eq!(shop.number("auth", "SELECT count(*) FROM logins").await, 3);
    assert_eq!(shop.number("user", "SELECT count(*) FROM profiles").await, 3);
}

#[tokio::test]
async fn registrations_of_different_names_do_not_disturb_each_other() {
    let shop = Shop::open().await;
    let anon = shop.anon();
    let names: Vec<String> = (0..20).map(|number| format!("user {number}")).collect();
    let answers = join_all(names.iter().map(|name| register(&anon, name, PASSWORD))).await;
    let ids: HashSet<Value> = answers.iter().map(|answer| answer.succeeds(201)["user_id"].clone()).collect();
    assert_eq!(ids.len(), names.len());
    for (name, answer) in names.iter().zip(&answers) {
        assert_eq!(answer.data()["username"], **name);
    }
}
