//! Stock under load: no unit is sold twice, returned twice, or lost.

use std::collections::BTreeMap;

use futures::future::{join, join_all};
use serde_json::Value;
use testing::{Answer, Client, PASSWORD, Shop};

use super::{change, orders, place, placed, seed, stock};

/// A pseudo-random generator with a fixed seed (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    /// A number from 0 up to, but not including, `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn quantity(&mut self) -> i64 {
        i64::try_from(self.roll(4)).unwrap() + 1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_concurrent_orders_for_ten_units_ten_succeed() {
    let shop = Shop::open().await;
    let buyers = join_all(["ada", "bob", "cleo", "dan", "eve"].map(|name| shop.user(name))).await;
    let answers = join_all((0..200).map(|turn| place(&buyers[turn % buyers.len()], &[(1, 1)]))).await;
    let (sold, refused): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(sold.len(), 10);
    for answer in refused {
        // A busy machine may let some wait too long for the writer.
        match answer.status.as_u16() {
            503 => answer.refuses(503, "STORAGE_BUSY"),
            _ => answer.refuses(400, "ORDER_CREATION_FAILED"),
        }
    }
    assert_eq!(stock(&shop.anon()).await[&1], 0);
    let mut ids: Vec<&Value> = sold.iter().map(|answer| &answer.data()["id"]).collect();
    ids.sort_by_key(|id| id.as_i64());
    ids.dedup();
    assert_eq!(ids.len(), 10, "each order has its own id");
    let listed: usize = join_all(buyers.iter().map(orders)).await.iter().map(Vec::len).sum();
    assert_eq!(listed, 10, "the list has exactly the orders that were answered with 201");
}

/// Sends random orders, cancellations and forbidden requests.
async fn shop_around(client: &Client, mut dice: Dice) {
    let mut own: Vec<i64> = Vec::new();
    for _ in 0..40 {
        let answer = match dice.roll(5) {
            0 | 1 => {
                let lines: Vec<(i64, i64)> =
                    (0..=dice.roll(3)).map(|_| (i64::try_from(dice.roll(6)).unwrap() + 1, dice.quantity())).collect();
                place(client, &lines).await
            }
            2 | 3 if !own.is_empty() => change(client, own[dice.roll(own.len())], "cancelled").await,
            // An order of another user, or none.
            _ => change(client, i64::try_from(dice.roll(60)).unwrap(), "cancelled").await,
        };
        assert!(answer.status.as_u16() < 500, "{}", answer.text);
        if answer.status == 201 {
            own.push(answer.data()["id"].as_i64().unwrap());
        }
    }
}

/// Makes random status changes of all orders.
async fn run_the_shop(admin: &Client, mut dice: Dice) {
    for _ in 0..80 {
        let status = ["paid", "paid", "shipped", "delivered", "cancelled"][dice.roll(5)];
        let answer = change(admin, i64::try_from(dice.roll(60)).unwrap(), status).await;
        assert!([200, 404, 409].contains(&answer.status.as_u16()), "{}", answer.text);
    }
}

fn add_up(orders: &[Value], sums: &mut BTreeMap<i64, i64>) {
    for order in orders {
        let items = order["items"].as_array().unwrap();
        let cents = |amount: &Value| (amount.as_f64().unwrap() * 100.0).round() as i64;
        let total: i64 = items.iter().map(|item| cents(&item["price"]) * item["quantity"].as_i64().unwrap()).sum();
        assert_eq!(cents(&order["total"]), total, "{order}");
        if order["status"] != "cancelled" {
            for item in items {
                *sums.entry(item["product_id"].as_i64().unwrap()).or_default() += item["quantity"].as_i64().unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_concurrent_requests_stock_and_orders_add_up() {
    let mut shop = Shop::open().await;
    let names = ["ada", "bob", "cleo", "dan"];
    let (clients, admin) = (join_all(names.map(|name| shop.user(name))).await, shop.admin().await);
    let buying = clients.iter().zip(1..).map(|(client, start)| shop_around(client, Dice(start)));
    join(join_all(buying), run_the_shop(&admin, Dice(99))).await;

    let lists = join_all(clients.iter().map(orders)).await;
    let left = stock(&admin).await;
    let mut sums = left.clone();
    lists.iter().for_each(|list| add_up(list, &mut sums));
    assert_eq!(sums, seed(), "stock and the orders that are not cancelled add up to the seeded stock");
    let statuses: Vec<&Value> = lists.iter().flatten().map(|order| &order["status"]).collect();
    assert!(statuses.iter().any(|status| *status == "cancelled"), "no order was cancelled");
    assert!(statuses.iter().any(|status| *status != "cancelled"), "the mixture sold nothing");

    shop.restart().await;
    for (name, list) in names.into_iter().zip(lists) {
        assert_eq!(orders(&shop.anon().log_in(name, PASSWORD).await).await, list, "{name}'s orders after a restart");
    }
    assert_eq!(stock(&shop.anon()).await, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_concurrent_cancellations_return_the_stock_once() {
    let shop = Shop::open().await;
    let (ada, admin) = (shop.user("ada").await, shop.admin().await);
    let id = placed(&ada, &[(1, 4), (2, 3)]).await;
    assert_eq!((stock(&ada).await[&1], stock(&ada).await[&2]), (6, 12));
    let clients = [&ada, &admin];
    let answers = join_all((0..50).map(|turn| change(clients[turn % 2], id, "cancelled"))).await;
    for answer in &answers {
        assert_eq!(answer.succeeds(200)["status"], "cancelled");
    }
    assert_eq!(stock(&ada).await, seed());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_concurrent_cancellation_and_shipment_one_succeeds() {
    let shop = Shop::open().await;
    let (ada, admin) = (shop.user("ada").await, shop.admin().await);
    for round in 0..10 {
        let before = stock(&ada).await[&3];
        let id = placed(&ada, &[(3, 2)]).await;
        change(&admin, id, "paid").await.succeeds(200);
        // The two requests take turns in starting first.
        let (cancel, ship) = if round % 2 == 0 {
            join(change(&ada, id, "cancelled"), change(&admin, id, "shipped")).await
        } else {
            let (ship, cancel) = join(change(&admin, id, "shipped"), change(&ada, id, "cancelled")).await;
            (cancel, ship)
        };
        let (winner, loser, expected_stock) =
            if cancel.status == 200 { ("cancelled", &ship, before) } else { ("shipped", &cancel, before - 2) };
        loser.refuses(409, "INVALID_TRANSITION");
        let read = ada.get(&format!("/orders/{id}")).await;
        assert_eq!(read.succeeds(200)["status"], winner);
        assert_eq!(stock(&ada).await[&3], expected_stock, "after the order was {winner}");
    }
}
