//! GET /products and GET /products/{id}

use kit::native::get;
use serde_json::json;

use super::start;

#[test]
fn the_five_seeded_products_are_listed_by_id() {
    start();
    let answer = get("/products").send();
    assert_eq!((answer.status, &answer.body["count"]), (200, &json!(5)));
    let first = r#"{"success":true,"data":[{"id":1,"name":"Laptop Dell XPS 13","price":1299.0,"description":"#;
    assert!(answer.text.starts_with(first), "{}", answer.text);
    let list = answer.body["data"].as_array().unwrap();
    let seen: Vec<_> = list.iter().map(|product| (&product["name"], &product["price"], &product["stock"])).collect();
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
fn a_product_has_the_same_fields_as_in_the_list() {
    start();
    let answer = get("/products/3").send();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["data"], get("/products").send().body["data"][2]);
    let members: Vec<&String> = answer.body["data"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["date_creation", "description", "id", "name", "price", "stock"]);
}

#[test]
fn pages_contain_every_product_once_and_in_sequence() {
    start();
    let (mut pages, mut path) = (Vec::new(), "/products?limit=2".to_owned());
    loop {
        let page = get(&path).send();
        pages.extend(page.body["data"].as_array().unwrap().clone());
        let Some((_, link)) = page.headers.iter().find(|(name, _)| *name == "link") else { break };
        path = link[1..link.find('>').unwrap()].to_owned();
    }
    assert_eq!(json!(pages), get("/products").send().body["data"]);
    let cursor = path.split("after=").nth(1).unwrap();
    let changed = format!("after={cursor}0");
    for query in ["limit=0", "limit=x", "after=-1", "after=4", &changed] {
        assert_eq!(get(&format!("/products?{query}")).send().outcome(), (400, "INVALID_PAGE"), "{query}");
    }
}

#[test]
fn an_unknown_product_is_not_found() {
    start();
    for id in ["0", "6", "abc", "-1", "1.0", "9223372036854775808", "99999999999999999999", "%31%30", "%ff"] {
        let answer = get(&format!("/products/{id}")).send();
        assert_eq!(answer.outcome(), (404, "PRODUCT_NOT_FOUND"), "{id}");
    }
}

#[test]
fn front_reads_products_in_pieces() {
    start();
    let piece = |path: &str| {
        let answer = get(path).by_service("front").send();
        let ids: Vec<i64> =
            answer.body["data"].as_array().unwrap().iter().map(|product| product["id"].as_i64().unwrap()).collect();
        ids
    };
    assert_eq!(piece("/internal/products?limit=2"), [1, 2]);
    assert_eq!(piece("/internal/products?after=2&limit=2"), [3, 4]);
    assert_eq!(piece("/internal/products?after=4"), [5]);
    assert_eq!(piece("/internal/products?after=x&limit=-1"), [1, 2, 3, 4, 5]);
    assert_eq!(get("/internal/products").send().outcome(), (404, "NOT_FOUND"));
}
