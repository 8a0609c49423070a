//! `/products`: public and read-only.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Shop, is_date_time, send};

#[tokio::test]
async fn everybody_can_list_the_seeded_products_by_id() {
    let shop = Shop::open().await;
    let answer = shop.anon().get("/products").await;
    let products = answer.succeeds(200).as_array().unwrap();
    let seen: Vec<Value> =
        products.iter().map(|product| json!([product["id"], product["name"], product["stock"]])).collect();
    assert_eq!(
        seen,
        [
            json!([1, "Laptop Dell XPS 13", 10]),
            json!([2, "iPhone 15 Pro", 15]),
            json!([3, "Sony WH-1000XM5", 20]),
            json!([4, "iPad Air", 12]),
            json!([5, "Samsung Galaxy Watch", 18]),
        ]
    );
    assert_eq!(answer.body["count"], 5);
    assert_eq!(answer.body["message"], Value::Null, "a read has no message");
    products.iter().for_each(has_the_shape_of_a_product);
    for price in ["1299.0", "1199.0", "399.0", "699.0", "349.0"] {
        assert!(answer.text.contains(&format!(r#""price":{price},"#)), "{price} in {}", answer.text);
    }
}

#[tokio::test]
async fn a_product_is_the_same_alone_and_in_the_list() {
    let shop = Shop::open().await;
    let list = shop.anon().get("/products").await;
    for listed in list.data().as_array().unwrap() {
        let answer = shop.anon().get(&format!("/products/{}", listed["id"])).await;
        assert_eq!(answer.succeeds(200), listed);
        assert_eq!(answer.body.as_object().unwrap().len(), 2, "only `success` and `data`: {}", answer.text);
    }
    let laptop = shop.anon().get("/products/1").await;
    assert!(laptop.text.contains(r#""price":1299.0,"#), "{}", laptop.text);
}

#[tokio::test]
async fn an_invalid_product_id_is_not_found() {
    let shop = Shop::open().await;
    for id in ["6", "0", "-1", "1.0", "1e0", "abc", "%ff", "%00", "9223372036854775807", "9223372036854775808", "%20"] {
        shop.anon().get(&format!("/products/{id}")).await.refuses(404, "PRODUCT_NOT_FOUND");
    }
    for path in ["/products/", "/products/1/", "/products/1/price", "/product"] {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn products_are_the_same_for_every_caller_and_token() {
    let shop = Shop::open().await;
    let (anon, user, admin) = (shop.anon(), shop.user("ada").await, shop.admin().await);
    let expected = anon.get("/products").await;
    for client in [&user, &admin, &anon.with_token("nonsense"), &anon.with_token("a.b.c")] {
        let answer = client.get("/products").await;
        assert_eq!((answer.status, &answer.text), (expected.status, &expected.text));
        assert_eq!(client.get("/products/3").await.succeeds(200)["name"], "Sony WH-1000XM5");
    }
    for scheme in ["Basic YTpi", "Bearer", "Bearer ", ""] {
        let answer = send(anon.request(Method::GET, "/products").header("authorization", scheme)).await;
        assert_eq!((answer.status, &answer.text), (expected.status, &expected.text), "{scheme:?}");
    }
}

#[tokio::test]
async fn products_are_read_only() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        for path in ["/products", "/products/1"] {
            let answer: Answer = send(admin.request(method.clone(), path)).await;
            answer.refuses(405, "METHOD_NOT_ALLOWED");
            assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS", "{method} {path}");
        }
    }
}

fn has_the_shape_of_a_product(product: &Value) {
    let names: Vec<&str> = product.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["date_creation", "description", "id", "name", "price", "stock"], "{product}");
    assert!(product["id"].is_i64() && product["stock"].is_i64() && product["price"].is_f64(), "{product}");
    assert!(product["name"].is_string(), "{product}");
    assert!(product["description"].as_str().is_some_and(|text| !text.is_empty()), "{product}");
    assert!(is_date_time(&product["date_creation"]), "{product}");
}
