//! The access matrix: every route of the contract for every kind of caller.

use std::collections::BTreeSet;

use comptoir::route::Access;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, send};

/// The expected status, and the code if it is an error.
type Expected = (u16, &'static str);

/// One row of the contract's table of endpoints. Path and body refer to something that marta owns.
struct Row {
    method: Method,
    /// The route's pattern, as the service declares it.
    pattern: &'static str,
    path: String,
    body: Value,
    /// The service whose own listener also serves the route.
    service: &'static str,
    expected: Answers,
}

/// The expected answers by caller.
enum Answers {
    /// The same answer for every caller.
    Public(Expected),
    /// The answers for the owner, another user and an administrator. Others are refused for lack of a token.
    Bearer { owner: Expected, other: Expected, admin: Expected },
}

use Answers::{Bearer, Public};

const OK: Expected = (200, "");
const CREATED: Expected = (201, "");
const FORBIDDEN: Expected = (403, "FORBIDDEN");

/// A caller, and the gate's refusal on a route that needs a token. None if the gate admits the caller.
struct Caller {
    who: &'static str,
    authorization: Option<String>,
    refused: Option<Expected>,
}

/// The table. Rows that delete or end something come last, because the rows before need it.
fn rows(user: &str, order: &str) -> Vec<Row> {
    let all = |expected| Bearer { owner: expected, other: expected, admin: expected };
    let admins = |admin| Bearer { owner: FORBIDDEN, other: FORBIDDEN, admin };
    let row = |service, method, pattern: &'static str, body, expected| {
        let id = if service == "user" { user } else { order };
        let path = match pattern {
            "/products/{id}" => "/products/1".to_owned(),
            "/auth/sessions" => "/auth/sessions?scope=others".to_owned(),
            _ => pattern.replace("{id}", id),
        };
        Row { method, pattern, path, body, service, expected }
    };
    let (get, post, put, delete) = (|| Method::GET, || Method::POST, || Method::PUT, || Method::DELETE);
    let (missing_order, none) = ((404, "ORDER_NOT_FOUND"), Value::Null);
    let login = json!({ "username": "marta", "password": PASSWORD });
    let items = json!({ "items": [{ "product_id": 3, "quantity": 1 }] });
    vec![
        row("auth", post(), "/auth/login", login, Public(OK)),
        row("auth", post(), "/auth/login", none.clone(), Public((400, "MISSING_CREDENTIALS"))),
        row("auth", post(), "/auth/refresh", json!({ "refresh_token": "x" }), Public((401, "INVALID_TOKEN"))),
        row("auth", post(), "/auth/verify", json!({ "token": "x" }), Public((401, "INVALID_TOKEN"))),
        row(
            "auth",
            post(),
            "/auth/register",
            json!({ "username": "admin", "password": PASSWORD }),
            Public((400, "CREATION_FAILED")),
        ),
        row("auth", post(), "/auth/logout", json!({ "refresh_token": "unknown" }), all(OK)),
        row(
            "auth",
            put(),
            "/auth/password",
            json!({ "current": PASSWORD, "new": PASSWORD }),
            // The seeded administrator has another password.
            Bearer { owner: OK, other: OK, admin: (401, "INVALID_CREDENTIALS") },
        ),
        row("auth", get(), "/auth/sessions", none.clone(), all(OK)),
        row("auth", delete(), "/auth/sessions", none.clone(), all(OK)),
        row("auth", delete(), "/auth/sessions/{id}", none.clone(), all((404, "SESSION_NOT_FOUND"))),
        row("user", get(), "/users", none.clone(), admins(OK)),
        row("user", post(), "/users", json!({}), admins((400, "MISSING_USERNAME"))),
        row("user", get(), "/users/profile", none.clone(), all(OK)),
        row("user", get(), "/users/{id}", none.clone(), Bearer { owner: OK, other: FORBIDDEN, admin: OK }),
        row("user", put(), "/users/{id}", json!({ "phone": "1" }), Bearer { owner: OK, other: FORBIDDEN, admin: OK }),
        row("orders", get(), "/products", none.clone(), Public(OK)),
        row("orders", get(), "/products/{id}", none.clone(), Public(OK)),
        row("orders", get(), "/orders", none.clone(), all(OK)),
        row("orders", post(), "/orders", items, all(CREATED)),
        row("orders", get(), "/orders/{id}", none.clone(), Bearer { owner: OK, other: missing_order, admin: OK }),
        row(
            "orders",
            put(),
            "/orders/{id}",
            json!({ "status": "paid" }),
            Bearer { owner: FORBIDDEN, other: missing_order, admin: OK },
        ),
        row(
            "orders",
            put(),
            "/orders/{id}",
            json!({ "status": "cancelled" }),
            Bearer { owner: OK, other: missing_order, admin: OK },
        ),
        row("user", delete(), "/users/{id}", none, admins(OK)),
    ]
}

/// All callers without a valid token. A route that needs one refuses each.
fn unauthenticated(shop: &Shop, expired: &str, ended: &str) -> Vec<Caller> {
    let missing = Some((401, "MISSING_TOKEN"));
    let invalid = Some((401, "INVALID_TOKEN"));
    let forged = forged(shop);
    let somebody = |who, authorization: Option<String>, refused| Caller { who, authorization, refused };
    vec![
        somebody("nobody", None, missing),
        somebody("an empty header", Some(String::new()), missing),
        somebody("a scheme alone", Some("Bearer".to_owned()), missing),
        somebody("an empty token", Some("Bearer ".to_owned()), missing),
        somebody("another scheme", Some("Basic YWRtaW46YWRtaW4=".to_owned()), missing),
        somebody("a longer scheme", Some(format!("Bearers {expired}")), missing),
        somebody("a token without a scheme", Some(expired.to_owned()), missing),
        somebody("nonsense", Some("Bearer nonsense".to_owned()), invalid),
        somebody("a forged token", Some(format!("Bearer {forged}")), invalid),
        somebody("an expired token", Some(format!("Bearer {expired}")), invalid),
        somebody("a session that ended", Some(format!("Bearer {ended}")), invalid),
    ]
}

/// A valid administrator's token, except that it is signed by another key.
fn forged(shop: &Shop) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let now = shop.clock.unix_seconds();
    let claims = json!({
        "iss": "comptoir", "aud": "comptoir", "sub": "admin", "client_id": "comptoir", "iat": now, "exp": now + 3600,
        "jti": "j", "sid": "s", "roles": ["admin"], "type": "access",
    });
    let header = r#"{"alg":"HS256","typ":"at+jwt"}"#;
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let key = jsonwebtoken::EncodingKey::from_secret(&[7; 32]);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

async fn ask(client: &Client, row: &Row, authorization: Option<&str>) -> Answer {
    let request = client.request(row.method.clone(), &row.path);
    let request = if row.body.is_null() { request } else { request.json(&row.body) };
    send(match authorization {
        Some(value) => request.header("authorization", value),
        None => request,
    })
    .await
}

#[track_caller]
fn assert_expected(answer: &Answer, (status, code): Expected, row: &Row, who: &str) {
    let error = answer.body["error"]["code"].as_str().unwrap_or_default();
    let what = format!("{} {} for {who}: {}", row.method, row.path, answer.text);
    assert_eq!((answer.status.as_u16(), error), (status, code), "{what}");
    if status == 401 {
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{what}");
    }
    assert_eq!(answer.body.get("error").is_some(), status >= 400, "{what}");
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_contract_says() {
    let shop = Shop::open().await;
    let expired = shop.admin().await.access_token().to_owned();
    shop.clock.shift(3601);
    let ended = shop.admin().await;
    ended.post("/auth/logout", json!({})).await.succeeds(200);
    let (admin, marta, paul) = (shop.admin().await, shop.user("marta").await, shop.user("paul").await);
    let user = marta.get("/users/profile").await.data()["id"].to_string();
    let order =
        marta.post("/orders", json!({ "items": [{ "product_id": 3, "quantity": 1 }] })).await.data()["id"].to_string();

    let strangers = unauthenticated(&shop, &expired, ended.access_token());
    for row in rows(&user, &order) {
        for client in [shop.anon(), shop.door(row.service)] {
            for Caller { who, authorization, refused } in &strangers {
                let answer = ask(&client, &row, authorization.as_deref()).await;
                match row.expected {
                    Public(expected) => assert_expected(&answer, expected, &row, who),
                    Bearer { .. } => assert_expected(
                        &answer,
                        refused.expect("the gate refuses every caller without a valid token"),
                        &row,
                        who,
                    ),
                }
            }
        }
        let (owner, other, of_admin) = match row.expected {
            Public(expected) => (expected, expected, expected),
            Bearer { owner, other, admin } => (owner, other, admin),
        };
        for (who, caller, expected) in
            [("another user", &paul, other), ("the owner", &marta, owner), ("admin", &admin, of_admin)]
        {
            let at_door = shop.door(row.service).with_token(caller.access_token());
            // A change made through the gateway cannot be made again on the service's own listener.
            let places = if row.method == Method::DELETE && expected == OK {
                vec![caller.clone()]
            } else {
                vec![caller.clone(), at_door]
            };
            for place in places {
                assert_expected(&ask(&place, &row, None).await, expected, &row, who);
            }
        }
    }
    marta.get("/users/profile").await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn the_matrix_names_every_route_of_the_gateway() {
    let shop = Shop::open().await;
    let class = |access: &Answers| match access {
        Public(_) => "public",
        Bearer { owner: FORBIDDEN, other: FORBIDDEN, .. } => "admin",
        Bearer { .. } => "user",
    };
    // The owner may call this route, but only an administrator may set this status.
    let table = rows("7", "7").into_iter().filter(|row| row.body["status"] != "paid");
    let table: BTreeSet<(String, &str, &str)> =
        table.map(|row| (row.method.to_string(), row.pattern, class(&row.expected))).collect();
    let served = shop.deployment().gateway().iter().map(|route| {
        let access = match route.access {
            Access::Public => "public",
            Access::User => "user",
            Access::Admin => "admin",
            Access::Internal => "internal",
        };
        (route.method.as_ref().expect("a method").to_string(), &*route.pattern, access)
    });
    assert_eq!(served.collect::<BTreeSet<_>>(), table);
}
