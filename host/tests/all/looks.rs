//! What the operator sees of a service's data, users' sessions and backups, and what stays masked.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Client, PASSWORD, Shop, send};

/// The rows of a table as the operator sees them, as objects.
async fn rows(operator: &Client, table: &str) -> Vec<Value> {
    let answer = operator.get(table).await;
    let page = answer.succeeds(200);
    let columns: Vec<&str> =
        page["table"]["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str().unwrap()).collect();
    let row = |row: &Value| {
        columns.iter().zip(row.as_array().unwrap()).map(|(name, cell)| (name.to_string(), cell.clone())).collect()
    };
    page["rows"].as_array().unwrap().iter().map(|cells| Value::Object(row(cells))).collect()
}

#[tokio::test]
async fn the_operator_sees_tables_and_rows_in_pages() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    let tables = operator.get("/services/orders/tables").await;
    let names: Vec<&Value> = tables.succeeds(200).as_array().unwrap().iter().map(|table| &table["name"]).collect();
    assert_eq!(names, [&json!("answers"), &json!("order_items"), &json!("orders"), &json!("products")]);
    let products = rows(&operator, "/services/orders/tables/products").await;
    assert_eq!((products.len(), &products[0]["id"], &products[4]["id"]), (5, &json!(5), &json!(1)), "newest first");
    assert_eq!((&products[4]["name"], &products[4]["price_cents"]), (&json!("Laptop Dell XPS 13"), &json!(129_900)));
    let page = operator.get("/services/orders/tables/products?limit=2&offset=3").await;
    let page = page.succeeds(200);
    assert_eq!((&page["count"], &page["more"], &page["rows"][1][0]), (&json!(2), &json!(false), &json!(1)));
    assert_eq!(operator.get("/services/orders/tables/products?limit=2").await.succeeds(200)["more"], true);
    for (path, status, code) in [
        ("orders/tables/products?limit=101", 400, "BAD_REQUEST"),
        ("orders/tables/products?limit=0", 400, "BAD_REQUEST"),
        ("orders/tables/products?offset=1000001", 400, "BAD_REQUEST"),
        ("orders/tables/products?order=name", 400, "BAD_REQUEST"),
        ("orders/tables/sqlite_schema", 404, "NOT_FOUND"),
        ("orders/tables/logins", 404, "NOT_FOUND"),
        ("nothing/tables", 404, "UNKNOWN_SERVICE"),
    ] {
        operator.get(&format!("/services/{path}")).await.refuses(status, code);
    }
    shop.operator().without_token().get("/services/orders/tables").await.refuses(401, "MISSING_TOKEN");
}

#[tokio::test]
async fn no_look_shows_a_password_hash_a_digest_or_a_token() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let operator = shop.operator();
    let tables = operator.get("/services/auth/tables").await;
    let mut seen = tables.text.clone();
    for table in tables.succeeds(200).as_array().unwrap() {
        seen.push_str(&operator.get(&format!("/services/auth/tables/{}", table["name"].as_str().unwrap())).await.text);
    }
    for secret in ["argon2", PASSWORD, ada.access_token(), ada.refresh_token()] {
        assert!(!seen.contains(secret), "{secret}");
    }
    let logins = rows(&operator, "/services/auth/tables/logins").await;
    let login = logins.iter().find(|login| login["username"] == "ada").unwrap();
    // `visible` of the manifest opens these columns. Numbers are no secrets.
    assert_eq!((&login["role"], &login["development"]), (&json!("user"), &json!(0)));
    assert!(login["password_hash"]["masked"].as_i64().unwrap() > 50, "{login}");
    assert!(login["registration"]["masked"].is_i64(), "{login}");
    for row in rows(&operator, "/services/auth/tables/refresh_tokens").await {
        assert_eq!(row["digest"], json!({ "masked": 43 }));
    }
}

#[tokio::test]
async fn secrets_are_masked_by_name_and_by_value_also_in_other_services() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let keyed = ada.request(Method::POST, "/orders").header("idempotency-key", "a-key-of-ada");
    send(keyed.json(&json!({ "items": [{ "product_id": 1, "quantity": 1 }] }))).await.succeeds(201);
    let profile = ada.get("/users/profile").await.data().clone();
    let changed = json!({ "address": "my password hash is\n$argon2id$v=19$m=1$abc$def", "phone": "$2b$12$abcdefghijklmnopqrstuv" });
    ada.put(&format!("/users/{}", profile["id"]), changed).await.succeeds(200);
    let operator = shop.operator();
    let answers = rows(&operator, "/services/orders/tables/answers").await;
    assert_eq!((&answers[0]["user_id"], &answers[0]["key"]), (&json!("ada"), &json!({ "masked": 12 })));
    let profiles = rows(&operator, "/services/user/tables/profiles").await;
    let ada = profiles.iter().find(|profile| profile["username"] == "ada").unwrap();
    assert_eq!(ada["phone"], json!({ "masked": 29 }));
}

#[tokio::test]
async fn each_look_at_data_is_in_the_audit_log() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    operator.get("/services/orders/tables").await.succeeds(200);
    operator.get("/services/orders/tables/products?limit=2").await.succeeds(200);
    let events = operator.get("/audit").await;
    let events = events.succeeds(200).as_array().unwrap();
    let result = |asked: &str| events.iter().find(|event| event["asked"] == asked).map(|event| event["result"].clone());
    assert_eq!(result("GET /services/orders/tables"), Some(json!("200 4")));
    assert_eq!(result("GET /services/orders/tables/products?limit=2"), Some(json!("200 2")));
}

#[tokio::test]
async fn the_operator_lists_and_ends_sessions_of_users() {
    let shop = Shop::open().await;
    let (ada, bob) = (shop.user("ada").await, shop.user("bob").await);
    let operator = shop.operator();
    let all = operator.get("/sessions").await;
    let users: Vec<&Value> = all.succeeds(200).as_array().unwrap().iter().map(|session| &session["user"]).collect();
    assert_eq!(users, [&json!("bob"), &json!("ada")]);
    let of_ada = operator.get("/sessions?user=ada").await;
    let session = of_ada.succeeds(200)[0].clone();
    assert_eq!((&session["role"], of_ada.body["count"].clone()), (&json!("user"), json!(1)));
    operator.delete(&format!("/sessions/{}", session["id"].as_str().unwrap())).await.succeeds(200);
    ada.get("/orders").await.refuses(401, "INVALID_TOKEN");
    let refresh = json!({ "refresh_token": ada.refresh_token() });
    shop.anon().post("/auth/refresh", refresh).await.refuses(401, "INVALID_TOKEN");
    bob.get("/orders").await.succeeds(200);
    assert_eq!(*operator.get("/sessions?user=ada").await.succeeds(200), json!([]));
    let audit = operator.get("/audit").await.text;
    assert!(audit.contains(&format!("DELETE /sessions/{}", session["id"].as_str().unwrap())), "{audit}");
    operator.delete(&format!("/sessions/{}", "x".repeat(2000))).await.refuses(400, "BAD_REQUEST");
}

#[tokio::test]
async fn the_operator_makes_a_backup_that_can_be_restored() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    assert_eq!(*operator.get("/backups").await.succeeds(200), json!([]));
    let made = send(operator.request(Method::POST, "/backups")).await;
    let made = made.succeeds(200);
    assert_eq!(*operator.get("/backups").await.succeeds(200), json!([made]));
    let elsewhere = tempfile::tempdir().unwrap();
    let contents =
        comptoir::backup::restore(made["path"].as_str().unwrap().as_ref(), &elsewhere.path().join("data"), false);
    assert_eq!(json!(contents.unwrap().bytes()), made["bytes"]);
    let audit = operator.get("/audit").await.text;
    assert!(audit.contains(&format!("200 {}", made["name"].as_str().unwrap())), "{audit}");
}

#[tokio::test]
async fn an_eleventh_backup_is_refused_and_says_what_to_do() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    let first =
        send(operator.request(Method::POST, "/backups")).await.succeeds(200)["path"].as_str().unwrap().to_owned();
    for number in 1..10 {
        let copy = format!("{first}-{number}");
        std::fs::create_dir(&copy).unwrap();
        std::fs::copy(format!("{first}/backup.json"), format!("{copy}/backup.json")).unwrap();
    }
    let refused = send(operator.request(Method::POST, "/backups")).await;
    refused.refuses(409, "BACKUP_REFUSED");
    assert!(refused.text.contains("has 10 backups already: move old ones elsewhere"), "{}", refused.text);
}
