//! Retries with an Idempotency-Key, pages of orders, and changes with If-Match.

use kit::native::{TestResponse, get, post, put};
use serde_json::json;

use super::{one, order, start, stocks};

fn with_key(user: &str, key: impl AsRef<[u8]>, product: i64, quantity: i64) -> TestResponse {
    let items = json!({ "items": one(product, quantity) });
    post("/orders", items).by(user, "user").with_header("idempotency-key", key).send()
}

fn header<'a>(answer: &'a TestResponse, name: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_retry_gets_the_first_response_and_orders_nothing() {
    start();
    let first = with_key("ada", "\"k-1\"", 1, 2);
    assert_eq!((first.status, header(&first, "idempotency-replayed")), (201, None));
    put("/orders/1", json!({ "status": "cancelled" })).by("ada", "user").send();
    order("ada", one(2, 1));
    let again = with_key("ada", "k-1", 1, 2);
    assert_eq!((again.status, header(&again, "idempotency-replayed")), (201, Some("true")));
    assert_eq!(again.text, first.text);
    assert_eq!(stocks(), [10, 14, 20, 12, 18]);
}

#[test]
fn a_key_belongs_to_one_user_and_one_order() {
    start();
    with_key("ada", "k-1", 1, 2);
    assert_eq!(with_key("ada", "k-1", 1, 3).outcome(), (422, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(with_key("bob", "k-1", 1, 3).status, 201);
    for bad in ["", "\"\"", "two words", "\u{e9}"] {
        assert_eq!(with_key("ada", bad, 1, 1).outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "{bad:?}");
    }
    assert_eq!(with_key("ada", b"k\xff", 1, 1).outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "no UTF-8");
    for other in ["k-2", "k-3", ""] {
        let two =
            post("/orders", json!({ "items": one(1, 1) })).by("ada", "user").with_header("idempotency-key", "k-2");
        let answer = two.with_header("idempotency-key", other).send();
        assert_eq!(answer.outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "two header fields, the second is {other:?}");
    }
    assert_eq!(stocks(), [5, 15, 20, 12, 18]);
}

#[test]
fn the_key_of_a_refused_order_can_be_used_again() {
    start();
    assert_eq!(with_key("ada", "k-1", 1, 11).outcome(), (400, "ORDER_CREATION_FAILED"));
    assert_eq!(with_key("ada", "k-1", 1, 10).status, 201);
}

#[test]
fn a_response_is_deleted_after_a_day_and_with_its_buyer() {
    let database = start();
    with_key("ada", "k-1", 1, 1);
    database.execute("UPDATE answers SET given_at = given_at - 86400", []).unwrap();
    assert_eq!(header(&with_key("ada", "k-1", 1, 1), "idempotency-replayed"), None);
    kit::native::delete("/internal/buyers/ada").by_service("user").send();
    assert_eq!(header(&with_key("ada", "k-1", 1, 1), "idempotency-replayed"), None);
}

#[test]
fn an_order_with_a_key_deletes_some_expired_responses() {
    let database = start();
    let expired = "INSERT INTO answers (user_id, key, cart, answer, given_at)
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)
                   SELECT 'bob', 'k-' || i, '', '', i FROM n";
    database.execute(expired, []).unwrap();
    assert_eq!(with_key("ada", "k-1", 1, 1).status, 201);
    let left = || database.query_row("SELECT count(*) FROM answers", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(left(), 300_000 - 20 + 1);
    let mine = with_key("bob", "k-300000", 2, 1);
    assert_eq!((mine.status, header(&mine, "idempotency-replayed")), (201, None), "{}", mine.text);
    assert_eq!(header(&with_key("bob", "k-300000", 2, 1), "idempotency-replayed"), Some("true"));
    assert_eq!(left(), 300_000 - 40 + 1);
}

#[test]
fn pages_contain_every_order_once_and_in_sequence() {
    let database = start();
    database.execute("UPDATE products SET stock = 1000", []).unwrap();
    for _ in 0..25 {
        order("ada", one(1, 1));
        order("bob", one(2, 1));
    }
    let whole = get("/orders").by("ada", "user").send();
    let mut pages = Vec::new();
    let mut path = "/orders?limit=10".to_owned();
    loop {
        let page = get(&path).by("ada", "user").send();
        pages.extend(page.body["data"].as_array().unwrap().clone());
        // A new order comes before all pages.
        order("ada", one(1, 1));
        let Some(link) = header(&page, "link") else { break };
        assert!(link.ends_with("; rel=\"next\""), "{link}");
        path = link[1..link.find('>').unwrap()].to_owned();
    }
    assert_eq!(pages.len(), 25);
    assert_eq!(&pages, whole.body["data"].as_array().unwrap());
}

#[test]
fn an_invalid_page_is_refused() {
    start();
    order("ada", one(1, 1));
    order("bob", one(1, 1));
    order("bob", one(1, 1));
    let cursor_of = |path: &str| {
        let page = get(path).by("bob", "user").send();
        let link = header(&page, "link").unwrap().to_owned();
        link.split("after=").nth(1).unwrap().split('>').next().unwrap().to_owned()
    };
    let (bobs, products) = (cursor_of("/orders?limit=1"), cursor_of("/products?limit=1"));
    assert_eq!(get(&format!("/orders?after={bobs}")).by("bob", "user").send().body["data"][0]["id"], 2);
    let (of_bob, of_products) = (format!("after={bobs}"), format!("after={products}"));
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=",
        "limit=%ff",
        "after=x",
        "after=2",
        "after=77",
        &of_bob,
        &of_products,
        "limit=1&after=-1",
    ] {
        let answer = get(&format!("/orders?{query}")).by("ada", "user").send();
        assert_eq!(answer.outcome(), (400, "INVALID_PAGE"), "{query}");
    }
    let answer = get("/orders?limit=1000000000").by("ada", "user").send();
    assert_eq!((answer.status, &answer.body["count"]), (200, &json!(1)));
    assert_eq!(get("/orders?other=1").by("ada", "user").send().status, 200);
}

#[test]
fn a_change_with_an_old_entity_tag_is_refused() {
    start();
    order("ada", one(1, 1));
    let seen = get("/orders/1").by("ada", "user").send();
    let tag = header(&seen, "etag").unwrap().to_owned();
    let change = |tag: &str, status: &str| {
        put("/orders/1", json!({ "status": status })).by("root", "admin").with_header("if-match", tag).send()
    };
    let paid = change(&tag, "paid");
    assert_eq!(paid.status, 200);
    assert_eq!(change(&tag, "shipped").outcome(), (412, "PRECONDITION_FAILED"));
    assert_eq!(change(&tag, "paid").outcome(), (412, "PRECONDITION_FAILED"));
    let unreadable =
        put("/orders/1", json!({ "status": "shipped" })).by("root", "admin").with_header("if-match", b"\"\xff\"");
    assert_eq!(unreadable.send().outcome(), (412, "PRECONDITION_FAILED"));
    assert_eq!(change(header(&paid, "etag").unwrap(), "shipped").status, 200);
    assert_eq!(change("*", "delivered").status, 200);
}
