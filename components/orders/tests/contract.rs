//! The orders service from request to row, over the kit's stand-in for the host.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kit::JsonValue;
use kit::native::{self, Answer, Connection, get, post, put};
use orders::SERVICE;
use serde_json::json;

fn start() -> Connection {
    native::install(&SERVICE)
}

fn order(user: &str, items: JsonValue) -> Answer {
    post("/orders", JsonValue::from_iter([("items", items)]))
        .by(user, "user")
        .send()
}

fn one(product: i64, quantity: i64) -> JsonValue {
    json!([{ "product_id": product, "quantity": quantity }])
}

fn become_(id: &JsonValue, status: &str, user: &str, role: &str) -> Answer {
    put(&format!("/orders/{id}"), json!({ "status": status }))
        .by(user, role)
        .send()
}

fn stock(product: i64) -> i64 {
    get(&format!("/products/{product}")).send().body["data"]["stock"]
        .as_i64()
        .unwrap()
}

fn stocks() -> Vec<i64> {
    (1..=5).map(stock).collect()
}

const SEED: [i64; 5] = [10, 15, 20, 12, 18];

mod products {
    use super::*;

    #[test]
    fn the_five_seeded_products_are_listed_by_id() {
        start();
        let answer = get("/products").send();
        assert_eq!((answer.status, &answer.body["count"]), (200, &json!(5)));
        let first = r#"{"success":true,"data":[{"id":1,"name":"Laptop Dell XPS 13","price":1299.0,"description":"#;
        assert!(answer.text.starts_with(first), "{}", answer.text);
        let list = answer.body["data"].as_array().unwrap();
        let seen: Vec<_> = list
            .iter()
            .map(|product| (&product["name"], &product["price"], &product["stock"]))
            .collect();
        assert_eq!(
            json!(seen),
            json!([
                ["Laptop Dell XPS 13", 1299.0, 10],
                ["iPhone 15 Pro", 1199.0, 15],
                ["Sony WH-1000XM5", 399.0, 20],
                ["iPad Air", 699.0, 12],
                ["Samsung Galaxy Watch", 349.0, 18],
            ])
        );
    }

    #[test]
    fn one_product_is_shown_as_in_the_list() {
        start();
        let answer = get("/products/3").send();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body["data"], get("/products").send().body["data"][2]);
        let members: Vec<&String> = answer.body["data"].as_object().unwrap().keys().collect();
        assert_eq!(
            members,
            ["date_creation", "description", "id", "name", "price", "stock"]
        );
    }

    #[test]
    fn what_is_not_for_sale_is_not_found() {
        start();
        for id in [
            "0",
            "6",
            "abc",
            "-1",
            "1.0",
            "9223372036854775808",
            "99999999999999999999",
            "%31%30",
            "%ff",
        ] {
            let answer = get(&format!("/products/{id}")).send();
            assert_eq!(answer.outcome(), (404, "PRODUCT_NOT_FOUND"), "{id}");
        }
    }
}

mod placing {
    use super::*;

    #[test]
    fn an_order_takes_the_stock_and_says_all_of_itself() {
        start();
        let items = json!([{ "product_id": 3, "quantity": 2 }, { "product_id": 1, "quantity": 1 }]);
        let answer = order("Łukasz 日本", items);
        assert_eq!(answer.status, 201);
        assert!(answer.body["message"].is_string());
        let data = &answer.body["data"];
        let date = data["date_creation"].as_str().unwrap();
        assert_eq!((date.len(), &date[10..11]), (19, " "));
        let laptop = json!({ "id": 1, "order_id": 1, "product_id": 1, "product_name": "Laptop Dell XPS 13",
            "quantity": 1, "price": 1299.0 });
        let headphones = json!({ "id": 2, "order_id": 1, "product_id": 3, "product_name": "Sony WH-1000XM5",
            "quantity": 2, "price": 399.0 });
        let expected = json!({ "id": 1, "user_id": "Łukasz 日本", "total": 2097.0, "status": "pending",
            "date_creation": date, "items": [laptop, headphones] });
        assert_eq!(data, &expected);
        assert_eq!(stocks(), [9, 15, 18, 12, 18]);
        assert_eq!(&get("/orders/1").by("Łukasz 日本", "user").send().body["data"], data);
        assert_eq!(&get("/orders").by("Łukasz 日本", "user").send().body["data"][0], data);
    }

    #[test]
    fn nobody_orders_without_a_name() {
        start();
        assert_eq!(
            post("/orders", json!({ "items": one(1, 1) })).send().outcome(),
            (401, "MISSING_TOKEN")
        );
    }

    #[test]
    fn a_body_without_items_is_missing_them() {
        start();
        for body in [
            json!({}),
            json!([]),
            json!(null),
            json!({ "items": null }),
            json!({ "items": [] }),
            json!({ "items": {} }),
        ] {
            let answer = post("/orders", body.clone()).by("ada", "user").send();
            assert_eq!(answer.outcome(), (400, "MISSING_ITEMS"), "{body}");
        }
        let good = br#"{"items":[{"product_id":1,"quantity":1}]}"#;
        for (content_type, body, status) in [
            ("text/plain", &good[..], 400),
            ("application/json", b"", 400),
            ("application/json", b"{", 400),
            ("application/vnd.shop+json; charset=utf-8", good, 201),
        ] {
            let answer = post("/orders", json!(null))
                .with_body(content_type, body)
                .by("ada", "user")
                .send();
            assert_eq!(answer.status, status, "{content_type}");
        }
    }

    #[test]
    fn a_bad_line_fails_the_order() {
        start();
        for items in [
            one(1, 0),
            one(1, -5),
            one(1, 1_000_001),
            one(99, 1),
            one(0, 1),
            one(1, 11),
            json!([1]),
            json!([{ "product_id": 1, "quantity": 1.5 }]),
            json!([{ "product_id": 1, "quantity": "2" }]),
            json!([{ "product_id": 1, "quantity": true }]),
            json!([{ "product_id": 1, "quantity": null }]),
            json!([{ "product_id": 1 }]),
            json!([{ "product_id": 1, "quantity": 6 }, { "product_id": 1, "quantity": 6 }]),
        ] {
            let answer = order("ada", items.clone());
            assert_eq!(answer.outcome(), (400, "ORDER_CREATION_FAILED"), "{items}");
        }
        assert_eq!(stocks(), SEED);
    }

    #[test]
    fn a_failure_on_a_later_line_takes_nothing() {
        let database = start();
        for second in [
            json!({ "product_id": 2, "quantity": 16 }),
            json!({ "product_id": 77, "quantity": 1 }),
        ] {
            let answer = order("ada", json!([{ "product_id": 1, "quantity": 1 }, second]));
            assert_eq!(answer.outcome(), (400, "ORDER_CREATION_FAILED"));
        }
        assert_eq!(stocks(), SEED);
        let orders: i64 = database
            .query_row("SELECT count(*) FROM orders", [], |row| row.get(0))
            .unwrap();
        assert_eq!(orders, 0);
    }

    #[test]
    fn the_last_piece_is_sold_once() {
        start();
        let sold = (0..30).filter(|_| order("ada", one(1, 1)).status == 201).count();
        assert_eq!((sold, stock(1)), (10, 0));
    }

    #[test]
    fn a_total_beyond_the_limit_is_refused() {
        let database = start();
        database
            .execute("UPDATE products SET price_cents = 1000000000000000", [])
            .unwrap();
        assert_eq!(order("ada", one(1, 1)).status, 201);
        assert_eq!(order("ada", one(1, 2)).outcome(), (400, "ORDER_CREATION_FAILED"));
        let two = json!([{ "product_id": 1, "quantity": 1 }, { "product_id": 2, "quantity": 1 }]);
        assert_eq!(order("ada", two).outcome(), (400, "ORDER_CREATION_FAILED"));
        assert_eq!(stocks(), [9, 15, 20, 12, 18]);
    }

    #[test]
    fn an_order_keeps_name_and_price_of_its_moment() {
        let database = start();
        let placed = order("ada", one(1, 2)).body["data"].clone();
        database
            .execute("UPDATE products SET name = 'Other', price_cents = 1 WHERE id = 1", [])
            .unwrap();
        assert_eq!(get("/orders/1").by("ada", "user").send().body["data"], placed);
        database.execute("DELETE FROM products WHERE id = 1", []).unwrap();
        assert_eq!(get("/orders/1").by("ada", "user").send().body["data"], placed);
        assert_eq!(become_(&json!(1), "cancelled", "ada", "user").status, 200);
    }

    #[test]
    fn while_another_holds_the_writer_the_client_is_asked_to_come_back() {
        let database = start();
        database.execute_batch("BEGIN IMMEDIATE").unwrap();
        let answer = order("ada", one(1, 1));
        assert_eq!(answer.outcome(), (503, "STORAGE_BUSY"));
        assert_eq!(answer.headers, [("retry-after", "1".to_owned())]);
    }
}

mod reading {
    use super::*;

    #[test]
    fn orders_are_listed_newest_first_and_by_id_within_a_second() {
        let database = start();
        for product in 1..=5 {
            order("ada", one(product, 1));
        }
        order("bob", one(1, 1));
        database
            .execute(
                "UPDATE orders SET date_creation = '2020-01-01 00:00:00' WHERE id = 5",
                [],
            )
            .unwrap();
        database
            .execute(
                "UPDATE orders SET date_creation = '2024-01-01 00:00:00' WHERE id <> 5",
                [],
            )
            .unwrap();
        let answer = get("/orders").by("ada", "user").send();
        let ids: Vec<_> = answer.body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|order| &order["id"])
            .collect();
        assert_eq!(json!(ids), json!([4, 3, 2, 1, 5]));
        assert_eq!(answer.body["count"], 5);
        assert_eq!(answer.body["data"][0]["items"][0]["product_id"], 4);
    }

    #[test]
    fn a_user_without_orders_has_an_empty_list() {
        start();
        let answer = get("/orders").by("ada", "user").send();
        assert_eq!(answer.text, r#"{"success":true,"data":[],"count":0}"#);
    }

    #[test]
    fn anothers_order_is_not_there_but_for_administrators() {
        start();
        order("ada", one(1, 1));
        assert_eq!(
            get("/orders/1").by("bob", "user").send().outcome(),
            (404, "ORDER_NOT_FOUND")
        );
        assert_eq!(
            get("/orders/1").by("Ada", "user").send().outcome(),
            (404, "ORDER_NOT_FOUND")
        );
        assert_eq!(
            become_(&json!(1), "cancelled", "bob", "user").outcome(),
            (404, "ORDER_NOT_FOUND")
        );
        assert_eq!(get("/orders/1").by("root", "admin").send().status, 200);
        assert_eq!(get("/orders").by("root", "admin").send().body["count"], 0);
        for id in ["2", "abc", "-1", "9223372036854775808"] {
            assert_eq!(
                get(&format!("/orders/{id}")).by("ada", "user").send().outcome(),
                (404, "ORDER_NOT_FOUND")
            );
        }
    }

    #[test]
    fn an_order_is_listed_whole_or_not_at_all() {
        let database = start();
        for id in 6..=99 {
            let sql = "INSERT INTO products VALUES (?1, 'Thing', 1, '', 1000, '2024-01-01 00:00:00')";
            database.execute(sql, [id]).unwrap();
        }
        let lines: Vec<_> = (6..=99).map(|id| json!({ "product_id": id, "quantity": 1 })).collect();
        for _ in 0..60 {
            assert_eq!(order("ada", json!(lines)).status, 201);
        }
        let answer = get("/orders").by("ada", "user").send();
        assert_eq!(answer.body["count"], 5_000 / lines.len());
        let listed = answer.body["data"].as_array().unwrap();
        assert!(
            listed
                .iter()
                .all(|order| order["items"].as_array().unwrap().len() == lines.len())
        );
        assert_eq!(listed[0]["id"], 60);
    }
}

mod changing {
    use super::*;

    #[test]
    fn an_administrator_takes_an_order_all_the_way() {
        start();
        order("ada", one(1, 1));
        for status in ["paid", "shipped", "delivered"] {
            let answer = become_(&json!(1), status, "root", "admin");
            assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!(status)));
            assert!(answer.body["message"].is_string());
            assert_eq!(
                get("/orders/1").by("ada", "user").send().body["data"],
                answer.body["data"]
            );
        }
        for status in ["pending", "paid", "shipped", "cancelled"] {
            assert_eq!(
                become_(&json!(1), status, "root", "admin").outcome(),
                (409, "INVALID_TRANSITION")
            );
        }
        assert_eq!(stock(1), 9);
    }

    #[test]
    fn the_buyer_may_only_cancel() {
        start();
        order("ada", one(1, 1));
        assert_eq!(become_(&json!(1), "paid", "ada", "user").outcome(), (403, "FORBIDDEN"));
        assert_eq!(
            become_(&json!(1), "delivered", "ada", "user").outcome(),
            (409, "INVALID_TRANSITION")
        );
        assert_eq!(become_(&json!(1), "pending", "ada", "user").status, 200);
        assert_eq!(become_(&json!(1), "cancelled", "ada", "user").status, 200);
    }

    #[test]
    fn cancelling_gives_the_stock_back_once() {
        start();
        let items = json!([{ "product_id": 1, "quantity": 3 }, { "product_id": 5, "quantity": 4 }]);
        order("ada", items);
        order("ada", one(1, 1));
        assert_eq!(stocks(), [6, 15, 20, 12, 14]);
        for _ in 0..3 {
            let answer = become_(&json!(1), "cancelled", "ada", "user");
            assert_eq!(
                (answer.status, &answer.body["data"]["status"]),
                (200, &json!("cancelled"))
            );
            assert_eq!(stocks(), [9, 15, 20, 12, 18]);
        }
        assert_eq!(
            become_(&json!(1), "paid", "root", "admin").outcome(),
            (409, "INVALID_TRANSITION")
        );
    }

    #[test]
    fn the_status_is_checked_before_the_row_and_its_meaning_after() {
        start();
        order("ada", one(1, 1));
        for body in [
            json!({}),
            json!({ "status": null }),
            json!({ "status": 1 }),
            json!([]),
            json!({ "Status": "paid" }),
        ] {
            for id in [1, 99] {
                let answer = put(&format!("/orders/{id}"), body.clone()).by("ada", "user").send();
                assert_eq!(answer.outcome(), (400, "MISSING_STATUS"), "{body}");
            }
        }
        assert_eq!(
            become_(&json!(99), "nonsense", "ada", "user").outcome(),
            (404, "ORDER_NOT_FOUND")
        );
        for status in ["nonsense", "", "PAID", "canceled"] {
            assert_eq!(
                become_(&json!(1), status, "ada", "user").outcome(),
                (400, "INVALID_STATUS")
            );
        }
    }

    #[test]
    fn the_stock_is_conserved_whatever_is_done() {
        let database = start();
        let mut state = 42_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            i64::try_from((state >> 33) % below).unwrap()
        };
        let statuses = ["pending", "paid", "shipped", "delivered", "cancelled"];
        for _ in 0..2_000 {
            if random(2) == 0 {
                let lines = random(3) + 1;
                let line = |random: &mut dyn FnMut(u64) -> i64| json!({ "product_id": random(6) + 1, "quantity": random(4) + 1 });
                let items: Vec<_> = (0..lines).map(|_| line(&mut random)).collect();
                assert!(matches!(order("ada", json!(items)).status, 201 | 400));
            } else {
                let status = statuses[usize::try_from(random(5)).unwrap()];
                let answer = become_(&json!(random(60) + 1), status, "root", "admin");
                assert!(matches!(answer.status, 200 | 404 | 409));
            }
            let sql = "SELECT p.stock + coalesce((SELECT sum(i.quantity) FROM order_items i JOIN orders o ON o.id = i.order_id
                       WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0) FROM products p ORDER BY p.id";
            let mut statement = database.prepare_cached(sql).unwrap();
            let held: Vec<i64> = statement
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!(held, SEED);
        }
    }
}

mod serving {
    use super::*;

    #[test]
    fn health_is_bare_and_asks_the_database() {
        start();
        let answer = get("/health").send();
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (200, r#"{"status":"healthy","service":"orders-service"}"#)
        );
    }

    #[test]
    fn what_the_host_never_sends_is_refused_in_the_envelope() {
        start();
        assert_eq!(get("/nothing").send().outcome(), (404, "NOT_FOUND"));
        assert_eq!(get("/products/").send().outcome(), (404, "NOT_FOUND"));
        let answer = native::delete("/orders").send();
        assert_eq!(answer.outcome(), (405, "METHOD_NOT_ALLOWED"));
        assert_eq!(answer.headers, [("allow", "GET, HEAD, POST".to_owned())]);
    }

    #[test]
    fn the_service_describes_what_it_serves() {
        let description = SERVICE.describe();
        assert_eq!(
            (description.name.as_str(), description.health.as_deref()),
            ("orders-service", Some("/health"))
        );
        assert_eq!((description.schema.minimum, description.schema.maximum), (1, 1));
        assert_eq!(description.migrations.len(), 1);
        let routes: Vec<String> = description
            .routes
            .iter()
            .map(|route| format!("{:?} {} {:?}", route.method, route.path, route.access))
            .collect();
        assert_eq!(
            routes,
            [
                "Method::Get /products Access::Public",
                "Method::Get /products/{id} Access::Public",
                "Method::Get /orders Access::User",
                "Method::Post /orders Access::User",
                "Method::Get /orders/{id} Access::User",
                "Method::Put /orders/{id} Access::User",
            ]
        );
    }
}
