//! The shop with a million rows in each table that clients can fill, under the limits of the shipped manifest.
//!
//! Filling the tables takes too long for `just test`. `just rows-lab` runs these tests.

use comptoir::manifest::Limits;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, shop_manifest};

/// The numbers from 1 to a million, as `n(i)`.
const MILLION: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)";

/// 43 characters that differ with `i`, as long as a digest.
const DIGEST: &str = "CAST(1000000000 + i AS TEXT) || 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'";

async fn shop() -> Shop {
    let mut manifest = shop_manifest();
    for service in manifest.services.values_mut() {
        service.limits = Limits::default();
    }
    Shop::with(manifest).await
}

trait Million {
    /// Inserts a million rows.
    async fn insert(&self, service: &str, table: &str, values: &str);

    /// Asserts that a table has at least a million rows.
    async fn has_million(&self, service: &str, table: &str);
}

impl Million for Shop {
    async fn insert(&self, service: &str, table: &str, values: &str) {
        self.change_rows(service, &format!("{MILLION} INSERT INTO {table} SELECT {values} FROM n")).await;
    }

    async fn has_million(&self, service: &str, table: &str) {
        assert!(self.number(service, &format!("SELECT count(*) FROM {table}")).await >= 1_000_000, "{table}");
    }
}

/// The path of the next page of a list, from its `Link` header.
fn next(answer: &Answer) -> String {
    let link = answer.header("link");
    link[1..link.find('>').unwrap()].to_owned()
}

/// Deletes a user. Each request may delete a part and answer 503.
async fn delete_in_a_few_tries(admin: &Client, id: &Value) {
    for _ in 0..20 {
        let answer = admin.delete(&format!("/users/{id}")).await;
        match answer.status.as_u16() {
            200 => return,
            503 => assert_eq!(answer.header("retry-after"), "1"),
            status => panic!("{status}: {}", answer.text),
        }
    }
    panic!("the user still exists after twenty tries");
}

fn one_laptop() -> Value {
    json!({ "items": [{ "product_id": 1, "quantity": 1 }] })
}

async fn order_once(client: &Client, key: &str) -> Answer {
    testing::send(client.request(reqwest::Method::POST, "/orders").header("idempotency-key", key).json(&one_laptop()))
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills tables for a minute: `just rows-lab`"]
async fn a_million_profiles_are_listed_in_pages() {
    let shop = shop().await;
    let admin = shop.admin().await;
    let dates = "'2025-01-01 00:00:00', '2025-01-01 00:00:00'";
    let columns = "profiles (username, name_key, email, address, date_creation, date_update)";
    shop.insert("user", columns, &format!("'u' || i, 'u' || i, 'u@example.com', 'a street in a town', {dates}")).await;
    let mut path = "/users".to_owned();
    for page in 0..5 {
        let answer = admin.get(&path).await;
        let first = &answer.succeeds(200)[0]["id"];
        assert_eq!((&answer.body["count"], &answer.body["total"]), (&json!(1000), &json!(1_000_001)), "{path}");
        assert_eq!(first, &json!(page * 1000 + 1));
        path = next(&answer);
    }
    let marta = shop.user("marta").await;
    let profile = marta.get("/users/profile").await.succeeds(200).clone();
    delete_in_a_few_tries(&admin, &profile["id"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills tables for a minute: `just rows-lab`"]
async fn a_thousand_of_the_longest_profiles_are_listed_in_a_few_pages() {
    let shop = shop().await;
    let admin = shop.admin().await;
    // Each character is four bytes, or six once it is escaped.
    let [name, email, long] =
        ["😀".repeat(100), "😀".repeat(254), format!("{}{}", "😀".repeat(500), "\u{1}".repeat(500))];
    let texts = format!("'{email}', '{long}', '{long}', '{long}', '{long}'");
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
         INSERT INTO profiles (username, name_key, email, first_name, last_name, phone, address, date_creation, date_update)
         SELECT '{name}' || i, '{name}' || i, {texts}, '2025-01-01 00:00:00', '2025-01-01 00:00:00' FROM n"
    );
    shop.change_rows("user", &sql).await;
    let (mut path, mut listed) = (Some("/users".to_owned()), 0);
    while let Some(here) = path {
        let answer = admin.get(&here).await;
        answer.succeeds(200);
        listed += answer.body["count"].as_u64().unwrap();
        path = answer.body.get("total").map(|_| next(&answer));
        assert!(path.is_none() || answer.text.len() > 8 << 20, "{} bytes", answer.text.len());
    }
    assert_eq!(listed, 1000);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills tables for a minute: `just rows-lab`"]
async fn a_million_rows_in_each_table_of_auth_hold_nobody_up() {
    let shop = shop().await;
    let admin = shop.admin().await;
    let marta = shop.user("marta").await;
    let profile = marta.get("/users/profile").await.succeeds(200).clone();
    let login = "(SELECT id FROM logins WHERE username = 'marta')";
    let session = format!("(SELECT id FROM sessions WHERE login_id = {login})");
    let used = "refresh_tokens (digest, session_id, generation, issued_at, expires_at, used_at)";
    shop.insert("auth", used, &format!("{DIGEST}, {session}, i + 10, 0, 4000000000000, 0")).await;
    shop.insert("auth", "attempts", &format!("{DIGEST}, 1, 0, 1")).await;
    let logins = "logins (username, name_key, password_hash, role, state, registration, claimed_at, development)";
    shop.insert("auth", logins, "'u' || i, 'u' || i, 'x', 'user', 'active', 'r' || i, 0, 0").await;
    shop.insert("auth", "answers", &format!("'k' || i, 'r' || i, {DIGEST}, '{{}}', i")).await;
    let sessions = "sessions (id, login_id, created_at, generation, expires_at)";
    let owner = "(SELECT min(id) FROM logins WHERE username LIKE 'u%') - 1 + i";
    shop.insert("auth", sessions, &format!("'s' || i, {owner}, 0, 1, i")).await;
    for table in ["refresh_tokens", "attempts", "logins", "answers", "sessions"] {
        shop.has_million("auth", table).await;
    }

    let paul = shop.user("paul").await;
    assert_eq!(paul.get("/auth/sessions").await.body["count"], 1);
    let body = json!({ "refresh_token": paul.refresh_token() });
    let paul = paul.with_pair(shop.anon().post("/auth/refresh", body).await.succeeds(200));
    let registration = json!({ "username": "zoe", "password": PASSWORD });
    let request = shop.anon().request(reqwest::Method::POST, "/auth/register").header("idempotency-key", "k1");
    testing::send(request.json(&registration)).await.succeeds(201);
    shop.anon().log_in("zoe", PASSWORD).await;
    paul.post("/auth/logout", json!({})).await.succeeds(200);

    marta.post("/auth/logout", json!({})).await.succeeds(200);
    marta.get("/orders").await.refuses(401, "INVALID_TOKEN");
    delete_in_a_few_tries(&admin, &profile["id"]).await;
    shop.user("marta").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "fills tables for a minute: `just rows-lab`"]
async fn a_million_rows_in_each_table_of_orders_hold_nobody_up() {
    let shop = shop().await;
    let admin = shop.admin().await;
    let marta = shop.user("marta").await;
    let profile = marta.get("/users/profile").await.succeeds(200).clone();
    shop.insert("orders", "answers", "'marta', 'k' || i, '', '', i").await;
    let orders = "orders (id, user_id, total_cents, status, date_creation)";
    shop.insert("orders", orders, "i, 'marta', 1, 'pending', '2025-01-01 00:00:0' || (i % 10)").await;
    shop.insert("orders", "order_items", "i, i, 1, 'Thing', 1, 1").await;
    let products = "products (id, name, price_cents, description, stock, date_creation)";
    shop.insert("orders", products, "i + 5, 'Thing', 1, 'a thing', 5, '2025-01-01 00:00:00'").await;
    if shop.database.is_some() {
        shop.change_rows("orders", "SELECT setval(pg_get_serial_sequence('orders', 'id'), 2000000)").await;
        shop.change_rows("orders", "SELECT setval(pg_get_serial_sequence('order_items', 'id'), 2000000)").await;
    }

    let mut path = "/orders".to_owned();
    for _ in 0..3 {
        let answer = marta.get(&path).await;
        answer.succeeds(200);
        assert_eq!((&answer.body["count"], &answer.body["total"]), (&json!(1000), &json!(100_000)));
        path = next(&answer);
    }
    // Half of the orders lie behind this one.
    let middle = marta.get("/orders/500004").await.succeeds(200)["date_creation"].clone();
    assert_eq!(middle, "2025-01-01 00:00:04");
    let products = shop.anon().get("/products").await;
    products.succeeds(200);
    assert_eq!((&products.body["count"], &products.body["total"]), (&json!(1000), &json!(1_000_005)));
    for key in ["k1", "another"] {
        let placed = order_once(&marta, key).await;
        placed.succeeds(201);
        assert_eq!(placed.header("idempotency-replayed"), "");
    }
    assert_eq!(order_once(&marta, "k1").await.header("idempotency-replayed"), "true");

    delete_in_a_few_tries(&admin, &profile["id"]).await;
    assert_eq!(shop.number("orders", "SELECT count(*) FROM orders WHERE user_id = 'marta'").await, 0);
    assert_eq!(shop.number("orders", "SELECT count(*) FROM answers WHERE user_id = 'marta'").await, 0);
}
