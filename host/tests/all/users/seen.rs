//! Conditional updates of profiles with `If-Match`, and paginated lists.

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use testing::{Answer, Client, Shop, send};

use super::{own_profile, path_of};

async fn change(client: &Client, path: &str, tag: &str, phone: &str) -> Answer {
    send(client.request(Method::PUT, path).header("if-match", tag).json(&json!({ "phone": phone }))).await
}

#[tokio::test]
async fn of_twenty_updates_with_the_same_etag_one_succeeds() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let path = path_of(&marta).await;
    let tag = marta.get(&path).await.header("etag").to_owned();
    assert_eq!(marta.get("/users/profile").await.header("etag"), tag);
    let phones: Vec<String> = (0..20).map(|writer| writer.to_string()).collect();
    let writers = phones
        .iter()
        .enumerate()
        .map(|(writer, phone)| change(if writer % 2 == 0 { &admin } else { &marta }, &path, &tag, phone));
    let answers = join_all(writers).await;
    let (done, late): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 1);
    late.iter().for_each(|answer| answer.refuses(412, "PRECONDITION_FAILED"));
    assert_eq!(own_profile(&marta).await, *done[0].data());

    let read = marta.get(&path).await;
    assert_eq!(read.header("etag"), done[0].header("etag"));
    let unless = |tag: &str| send(marta.request(Method::GET, &path).header("if-none-match", tag));
    assert_eq!(unless(read.header("etag")).await.status, 304);
    unless(&tag).await.succeeds(200);
    change(&marta, &path, read.header("etag"), "last").await.succeeds(200);
    marta.put(&path, json!({ "phone": "without a condition" })).await.succeeds(200);
}

#[tokio::test]
async fn the_etag_of_a_compressed_profile_is_valid_for_an_update() {
    let shop = Shop::open().await;
    let marta = shop.user("marta").await;
    let path = path_of(&marta).await;
    marta.put(&path, json!({ "address": "1, rue X ".repeat(100), "first_name": "x".repeat(900) })).await.succeeds(200);
    let packed = send(marta.request(Method::GET, &path).header("accept-encoding", "gzip")).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    change(&marta, &path, packed.header("etag"), "1").await.succeeds(200);
    change(&marta, &path, packed.header("etag"), "2").await.refuses(412, "PRECONDITION_FAILED");
}

#[tokio::test]
async fn the_lists_of_users_and_products_are_paginated_on_request() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for name in ["zoe", "adam", "bob"] {
        admin.post("/users", json!({ "username": name })).await.succeeds(201);
    }
    for list in ["/users", "/products"] {
        let whole = admin.get(list).await.succeeds(200).clone();
        let first = admin.get(&format!("{list}?limit=3")).await;
        let next = first.header("link").trim_start_matches('<').split('>').next().unwrap().to_owned();
        let rest = admin.get(&next).await;
        assert_eq!(rest.header("link"), "");
        let parts = [first.succeeds(200), rest.succeeds(200)].map(|part| part.as_array().unwrap().clone()).concat();
        assert_eq!(json!(parts), whole);
        assert_eq!(json!(admin.all(&format!("{list}?limit=2")).await), whole, "page by page");
        let (start, cursor) = next.split_once("after=").unwrap();
        let other = if list == "/users" { "/products" } else { "/users" };
        let (id, cut) = (format!("{list}?after=3"), format!("{start}after={}", &cursor[1..]));
        let elsewhere = format!("{other}?limit=3&after={cursor}");
        for tampered in [format!("{list}?limit=0"), id, cut, format!("{next}0"), elsewhere] {
            admin.get(&tampered).await.refuses(400, "INVALID_PAGE");
        }
    }
    shop.anon().get("/products?limit=1").await.succeeds(200);
}
