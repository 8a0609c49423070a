//! Any sequence of orders and status changes is answered as a model of the shop predicts. Money is exact and stock conserved.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use testing::{Client, Shop};

use super::runner;

/// The price of each product in cents: low, odd, and the highest possible one.
const PRICES: [i64; 5] = [1, 333_333_333_333_333, 129_999, 1_000_000_000_000_000, 5_997];

/// The highest total of an order, in cents.
const LIMIT: i64 = 1_000_000_000_000_000;

/// Units of each product.
const STOCK: i64 = 1_500_000;

const STATUSES: [&str; 5] = ["pending", "paid", "shipped", "delivered", "cancelled"];

#[derive(Debug, Clone)]
enum Act {
    /// A buyer orders units of products. Some products do not exist.
    Place(usize, Vec<(i64, i64)>),
    /// A client changes the status of an order. The last client is an administrator.
    Change(usize, prop::sample::Index, &'static str),
}

fn act() -> impl Strategy<Value = Act> {
    let quantity = prop_oneof![6 => 1..5_i64, 2 => select(vec![0, -1, 999_999, 1_000_000, 1_000_001, i64::MAX])];
    let lines = prop::collection::vec((1..=6_i64, quantity), 1..4);
    prop_oneof![
        2 => (0..2_usize, lines).prop_map(|(buyer, lines)| Act::Place(buyer, lines)),
        3 => (0..3_usize, any::<prop::sample::Index>(), select(&STATUSES[..]))
            .prop_map(|(who, order, status)| Act::Change(who, order, status)),
    ]
}

/// The model: the expected state of the shop.
#[derive(Default)]
struct Model {
    orders: Vec<Order>,
}

struct Order {
    id: i64,
    buyer: usize,
    lines: BTreeMap<i64, i64>,
    status: &'static str,
}

fn cents(amount: &Value) -> i64 {
    (amount.as_f64().unwrap() * 100.0).round() as i64
}

impl Order {
    fn total(&self) -> Option<i64> {
        total(&self.lines)
    }
}

/// The total of lines. None if it is too high.
fn total(lines: &BTreeMap<i64, i64>) -> Option<i64> {
    let price = |product: &i64| i128::from(PRICES[*product as usize - 1]);
    let sum: i128 = lines.iter().map(|(product, units)| price(product) * i128::from(*units)).sum();
    i64::try_from(sum).ok().filter(|sum| *sum <= LIMIT)
}

impl Model {
    fn stock(&self, product: i64) -> i64 {
        let held = self.orders.iter().filter(|order| order.status != "cancelled");
        STOCK - held.filter_map(|order| order.lines.get(&product)).sum::<i64>()
    }

    /// The lines of an order as placed. None if the order is refused.
    fn place(&self, lines: &[(i64, i64)]) -> Option<BTreeMap<i64, i64>> {
        let mut wanted: BTreeMap<i64, i64> = BTreeMap::new();
        for (product, units) in lines {
            if !(1..=1_000_000).contains(units) {
                return None;
            }
            *wanted.entry(*product).or_default() += units;
        }
        let sold =
            |(product, units): (&i64, &i64)| *product <= 5 && *units <= 1_000_000 && *units <= self.stock(*product);
        (wanted.iter().all(sold) && total(&wanted).is_some()).then_some(wanted)
    }

    /// The status of the answer to a change, and whether the order changes.
    fn change(order: &Order, who: usize, wanted: &str) -> (u16, bool) {
        let legal = matches!(
            (order.status, wanted),
            ("pending", "paid") | ("paid", "shipped") | ("shipped", "delivered") | ("pending" | "paid", "cancelled")
        );
        match who {
            0 | 1 if who != order.buyer => (404, false),
            _ if order.status == wanted => (200, false),
            _ if !legal => (409, false),
            0 | 1 if wanted != "cancelled" => (403, false),
            _ => (200, true),
        }
    }

    async fn act(&mut self, clients: &[Client; 3], act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Place(buyer, lines) => {
                let items = lines.iter().map(|(product, units)| json!({ "product_id": product, "quantity": units }));
                let body = json!({ "items": items.collect::<Vec<_>>() });
                let answer = clients[buyer].post("/orders", body).await;
                let Some(lines) = self.place(&lines) else {
                    prop_assert_eq!(answer.status, 400, "{}", answer.text);
                    return Ok(());
                };
                prop_assert_eq!(answer.status, 201, "{}", answer.text);
                let id = answer.data()["id"].as_i64().unwrap();
                self.orders.push(Order { id, buyer, lines, status: "pending" });
                check(self.orders.last().expect("the order was placed"), answer.data())
            }
            Act::Change(_, _, _) if self.orders.is_empty() => Ok(()),
            Act::Change(who, order, wanted) => {
                let place = order.index(self.orders.len());
                let order = &mut self.orders[place];
                let (status, changes) = Self::change(order, who, wanted);
                let answer = clients[who].put(&format!("/orders/{}", order.id), json!({ "status": wanted })).await;
                prop_assert_eq!(answer.status, status, "{} to {} by {}: {}", order.status, wanted, who, answer.text);
                if changes {
                    order.status = wanted;
                }
                if status == 200 { check(order, answer.data()) } else { Ok(()) }
            }
        }
    }

    /// Checks the stock and both buyers' orders in the shop.
    async fn check(&self, clients: &[Client; 3]) -> Result<(), TestCaseError> {
        let products = clients[0].get("/products").await;
        for product in products.succeeds(200).as_array().unwrap() {
            let id = product["id"].as_i64().unwrap();
            prop_assert_eq!(product["stock"].as_i64(), Some(self.stock(id)), "of {}", product);
            prop_assert_eq!(cents(&product["price"]), PRICES[id as usize - 1]);
        }
        let order = self.orders.last();
        if let Some(order) = order {
            let answer = clients[order.buyer].get(&format!("/orders/{}", order.id)).await;
            check(order, answer.succeeds(200))?;
        }
        Ok(())
    }
}

/// Checks an order in an answer.
fn check(order: &Order, told: &Value) -> Result<(), TestCaseError> {
    prop_assert_eq!(&told["status"], order.status);
    prop_assert_eq!(Some(cents(&told["total"])), order.total(), "{}", told);
    let items = told["items"].as_array().unwrap();
    let lines = items.iter().map(|item| (item["product_id"].as_i64().unwrap(), item["quantity"].as_i64().unwrap()));
    prop_assert_eq!(&lines.collect::<BTreeMap<_, _>>(), &order.lines);
    let sum: i64 = items.iter().map(|item| cents(&item["price"]) * item["quantity"].as_i64().unwrap()).sum();
    prop_assert_eq!(Some(sum), order.total());
    Ok(())
}

/// The shop with these prices and stocks, two buyers and an administrator.
async fn stand() -> (Shop, [Client; 3]) {
    let mut shop = Shop::open().await;
    shop.stop().await;
    for (product, price) in (1..).zip(PRICES) {
        let sql = format!("UPDATE products SET price_cents = {price}, stock = {STOCK} WHERE id = {product}");
        shop.change_rows("orders", &sql).await;
    }
    shop.start_again().await;
    let clients = [shop.user("ada").await, shop.user("bob").await, shop.admin().await];
    (shop, clients)
}

#[test]
fn any_orders_and_changes_keep_money_exact_and_stock_conserved() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (shop, clients) = runtime.block_on(stand());
    let model = tokio::sync::Mutex::new(Model::default());
    let held = runner(12).run(&prop::collection::vec(act(), 1..24), |acts| {
        runtime.block_on(async {
            let mut model = model.lock().await;
            for act in acts {
                model.act(&clients, act).await?;
            }
            model.check(&clients).await
        })
    });
    held.unwrap();
    runtime.block_on(async move { drop(shop) });
}
