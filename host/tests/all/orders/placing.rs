//! `POST /orders`: valid and invalid orders, and what an order stores.

use super::{change, orders, place, placed, seed, stock};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, send};

/// Places an order with this text as `items`.
async fn place_text(client: &Client, items: &str) -> Answer {
    client.send_body(Method::POST, "/orders", Some("application/json"), format!(r#"{{"items":{items}}}"#)).await
}

#[tokio::test]
async fn a_quantity_is_an_integer_from_one_to_a_million() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let quantities = [
        "0",
        "-1",
        "-5",
        "-0",
        "1.5",
        "5.0",
        "1e2",
        "\"2\"",
        "\"\"",
        "true",
        "false",
        "null",
        "[]",
        "[1]",
        "{}",
        "1000001",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1e300",
    ];
    for quantity in quantities {
        let answer = place_text(&ada, &format!(r#"[{{"product_id":1,"quantity":{quantity}}}]"#)).await;
        assert_eq!(answer.body["error"]["code"], "ORDER_CREATION_FAILED", "quantity {quantity}: {}", answer.text);
        answer.refuses(400, "ORDER_CREATION_FAILED");
    }
    // The parser refuses a number beyond the range of doubles, so the body is malformed.
    let huge = format!("1{}", "0".repeat(400));
    for quantity in [&huge, "1e400"] {
        let answer = place_text(&ada, &format!(r#"[{{"product_id":1,"quantity":{quantity}}}]"#)).await;
        answer.refuses(400, "MISSING_ITEMS");
    }
    place_text(&ada, r#"[{"product_id":1}]"#).await.refuses(400, "ORDER_CREATION_FAILED");
    assert_eq!((stock(&ada).await, orders(&ada).await), (seed(), Vec::<Value>::new()), "no order was placed");
    place_text(&ada, r#"[{"product_id":1,"quantity":10,"note":"what else a line says is ignored"}]"#)
        .await
        .succeeds(201);
}

#[tokio::test]
async fn a_line_names_an_existing_product_by_its_integer_id() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    for id in ["6", "0", "-1", "\"1\"", "1.0", "true", "null", "[1]", "9223372036854775808"] {
        let answer = place_text(&ada, &format!(r#"[{{"product_id":{id},"quantity":1}}]"#)).await;
        assert_eq!(answer.body["error"]["code"], "ORDER_CREATION_FAILED", "product {id}: {}", answer.text);
    }
    for line in ["1", "null", "[]", "\"1\"", "true", "{}", r#"{"quantity":1}"#] {
        let answer = place_text(&ada, &format!(r#"[{{"product_id":1,"quantity":1}},{line}]"#)).await;
        assert_eq!(answer.body["error"]["code"], "ORDER_CREATION_FAILED", "line {line}: {}", answer.text);
        answer.refuses(400, "ORDER_CREATION_FAILED");
    }
    assert_eq!(stock(&ada).await, seed());
}

#[tokio::test]
async fn items_are_a_list_of_one_to_a_hundred_lines() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    for items in ["[]", "{}", "null", "1", "true", "\"[]\"", r#"{"product_id":1,"quantity":1}"#] {
        let answer = place_text(&ada, items).await;
        assert_eq!(answer.body["error"]["code"], "MISSING_ITEMS", "items {items}: {}", answer.text);
        answer.refuses(400, "MISSING_ITEMS");
    }
    let lines = |count: usize| format!("[{}]", vec![r#"{"product_id":3,"quantity":1}"#; count].join(","));
    place_text(&ada, &lines(101)).await.refuses(400, "ORDER_CREATION_FAILED");
    // A hundred lines are accepted, but only twenty units are in stock.
    let answer = place_text(&ada, &lines(100)).await;
    answer.refuses(400, "ORDER_CREATION_FAILED");
    assert!(answer.body["error"]["message"].as_str().unwrap().contains("stock"), "{}", answer.text);
    assert_eq!(stock(&ada).await, seed());
    place_text(&ada, &lines(20)).await.succeeds(201);
    assert_eq!(stock(&ada).await[&3], 0);
}

#[tokio::test]
async fn lines_of_one_product_are_summed_before_the_stock_is_checked() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    place(&ada, &[(1, 6), (1, 6)]).await.refuses(400, "ORDER_CREATION_FAILED");
    place(&ada, &[(1, 1_000_000), (1, 1)]).await.refuses(400, "ORDER_CREATION_FAILED");
    assert_eq!(stock(&ada).await, seed());
    let answer = place(&ada, &[(1, 6), (2, 1), (1, 4)]).await;
    let items = answer.succeeds(201)["items"].as_array().unwrap().clone();
    let sold: Vec<Value> = items.iter().map(|item| json!([item["product_id"], item["quantity"]])).collect();
    assert_eq!(sold, [json!([1, 10]), json!([2, 1])]);
    assert_eq!((stock(&ada).await[&1], stock(&ada).await[&2]), (0, 14));
}

#[tokio::test]
async fn an_order_that_fails_on_one_line_takes_no_stock() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    for lines in [
        [(1, 1), (2, 16), (3, 1)],
        [(1, 16), (2, 1), (3, 1)],
        [(1, 1), (2, 1), (3, 21)],
        [(1, 1), (2, 1), (99, 1)],
        [(99, 1), (2, 1), (1, 1)],
    ] {
        place(&ada, &lines).await.refuses(400, "ORDER_CREATION_FAILED");
        assert_eq!(stock(&ada).await, seed(), "{lines:?}");
    }
    assert_eq!(orders(&ada).await, Vec::<Value>::new());
    let id = placed(&ada, &[(1, 1), (2, 15)]).await;
    change(&ada, id, "cancelled").await.succeeds(200);
    assert_eq!(stock(&ada).await, seed());
}

#[tokio::test]
async fn an_order_keeps_the_names_and_prices_of_its_time() {
    let mut shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let id = placed(&ada, &[(3, 2), (5, 1)]).await;
    let path = format!("/orders/{id}");
    let before = ada.get(&path).await.succeeds(200).clone();
    shop.stop().await;
    let edits = "UPDATE products SET price_cents = 1999, name = 'Headphones' WHERE id = 3;
                 DELETE FROM products WHERE id = 5;
                 UPDATE products SET price_cents = 600000000000000 WHERE id = 4;";
    shop.change_rows("orders", edits).await;
    shop.start_again().await;
    let ada = shop.anon().log_in("ada", PASSWORD).await;

    assert_eq!(
        ada.get(&path).await.succeeds(200),
        &before,
        "a product's change reaches no order that was placed before"
    );
    assert_eq!(orders(&ada).await, [before]);
    ada.get("/products/5").await.refuses(404, "PRODUCT_NOT_FOUND");
    let product = ada.get("/products/3").await;
    assert!(product.text.contains(r#""price":19.99,"#), "{}", product.text);
    let cheap = place(&ada, &[(3, 3)]).await;
    assert_eq!(cheap.succeeds(201)["items"][0]["product_name"], "Headphones");
    assert!(cheap.text.contains(r#""total":59.97,"#), "{}", cheap.text);

    // The highest total is 10^15 cents. One unit costs less, two cost more.
    let dear = place(&ada, &[(4, 1)]).await;
    dear.succeeds(201);
    assert!(dear.text.contains(r#""total":6000000000000.0,"#), "{}", dear.text);
    place(&ada, &[(4, 2)]).await.refuses(400, "ORDER_CREATION_FAILED");
    assert_eq!(stock(&ada).await, [(1, 10), (2, 15), (3, 15), (4, 11)].into());
    change(&ada, id, "cancelled").await.succeeds(200);
    assert_eq!(stock(&ada).await[&3], 17, "a cancelled order returns only products that still exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_orders_with_one_key_place_one_and_keys_belong_to_their_buyer() {
    let shop = Shop::open().await;
    let (ada, bob) = (shop.user("ada").await, shop.user("bob").await);
    let items = json!({ "items": [{ "product_id": 1, "quantity": 2 }] });
    let order = |client: &Client| {
        send(client.request(Method::POST, "/orders").header("idempotency-key", "\"k-1\"").json(&items))
    };
    let answers = join_all((0..50).map(|_| order(&ada))).await;
    let (made, again): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.header("idempotency-replayed").is_empty());
    assert_eq!((made.len(), made[0].status.as_u16()), (1, 201), "one key places one order");
    assert!(again.iter().all(|answer| answer.status == 201 && answer.text == made[0].text));
    assert_ne!(order(&bob).await.succeeds(201)["id"], made[0].data()["id"]);
    assert_eq!((orders(&ada).await.len(), orders(&bob).await.len()), (1, 1));
    assert_eq!(stock(&ada).await[&1], seed()[&1] - 4);

    for second in ["\"k-1\"", "\"k-2\""] {
        let twice = bob.request(Method::POST, "/orders").header("idempotency-key", "\"k-1\"");
        send(twice.header("idempotency-key", second).json(&items)).await.refuses(400, "INVALID_IDEMPOTENCY_KEY");
    }
    assert_eq!(orders(&bob).await.len(), 1);
}
