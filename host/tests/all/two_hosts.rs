//! Two hosts on one PostgreSQL database: they serve one shop, and one continues if the other is killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use futures::future::{join, join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::databases::Database;
use testing::ledger::Buyer;
use testing::shop_process::ShopProcess;
use testing::{Answer, Client, PASSWORD, Shop, component, send, shop_manifest};
use tokio::sync::watch;

/// Two hosts that serve the same shop.
async fn two_shops() -> [Shop; 2] {
    let database = Arc::new(Database::create().await);
    let host = || Shop::on(Some(database.clone()), shop_manifest(), |options| options);
    let (one, other) = join(Box::pin(host()), Box::pin(host())).await;
    [one, other]
}

/// The same client, for another host.
fn at(client: &Client, shop: &Shop) -> Client {
    client.clone().at(&format!("http://{}", shop.addresses().gateway))
}

/// Repeats a request until its answer has this status, because the other host learns of changes a moment later.
async fn until(status: u16, ask: impl AsyncFn() -> Answer) -> Answer {
    loop {
        let answer = ask().await;
        if answer.status == status {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

fn order(product: i64, quantity: i64) -> Value {
    json!({ "items": [{ "product_id": product, "quantity": quantity }] })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn two_hosts_that_start_together_on_an_empty_database_serve_one_shop() {
    let [one, other] = two_shops().await;
    let marta = one.user("marta").await;
    let profile = marta.get("/users/profile").await.succeeds(200).clone();
    assert_eq!(at(&marta, &other).get("/users/profile").await.succeeds(200), &profile);
    let placed = at(&marta, &other).post("/orders", order(1, 2)).await.succeeds(201).clone();
    assert_eq!(marta.get(&format!("/orders/{}", placed["id"])).await.succeeds(200)["items"], placed["items"]);
    for shop in [&one, &other] {
        assert_eq!(shop.anon().get("/products/1").await.succeeds(200)["stock"], 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_session_that_one_host_ends_is_closed_on_the_other() {
    let [one, other] = two_shops().await;
    let marta = one.user("marta").await;
    let there = at(&marta, &other);
    there.get("/orders").await.succeeds(200);
    marta.post("/auth/logout", json!({})).await.succeeds(200);
    marta.get("/orders").await.refuses(401, "INVALID_TOKEN");
    until(401, async || there.get("/orders").await).await.refuses(401, "INVALID_TOKEN");
    let refresh = json!({ "refresh_token": there.refresh_token() });
    assert_eq!(there.without_token().post("/auth/refresh", refresh).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_refresh_token_sent_to_both_hosts_at_once_is_accepted_once() {
    let [one, other] = two_shops().await;
    for turn in 0..10 {
        let login = one.user(&format!("user{turn}")).await;
        let refresh = json!({ "refresh_token": login.refresh_token() });
        let (here, there) =
            join(one.anon().post("/auth/refresh", refresh.clone()), other.anon().post("/auth/refresh", refresh)).await;
        let taken = [&here, &there].into_iter().filter(|answer| answer.status == 200).count();
        assert_eq!(taken, 1, "{} {}", here.body, there.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn two_hundred_buyers_on_two_hosts_share_ten_units() {
    let shops = two_shops().await;
    let marta = shops[0].user("marta").await;
    let buy = |number: usize| {
        let client = at(&marta, &shops[number % 2]);
        async move { client.post("/orders", order(1, 1)).await }
    };
    let answers = join_all((0..200).map(buy)).await;
    let placed = answers.iter().filter(|answer| answer.status == 201).count();
    let busy = answers.iter().filter(|answer| answer.status == 503).count();
    assert_eq!(placed, 10);
    assert!(answers.iter().all(|answer| [201, 400, 503].contains(&answer.status.as_u16())), "{busy} answers were 503");
    for shop in &shops {
        assert_eq!(shop.anon().get("/products/1").await.succeeds(200)["stock"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn an_idempotency_key_sent_to_both_hosts_places_one_order() {
    let shops = two_shops().await;
    let marta = shops[0].user("marta").await;
    let buy = |number: usize| {
        let client = at(&marta, &shops[number % 2]);
        let request = client.request(Method::POST, "/orders").header("idempotency-key", "\"k\"").json(&order(2, 1));
        send(request)
    };
    let answers = join_all((0..20).map(buy)).await;
    let ids: BTreeSet<i64> = answers.iter().map(|answer| answer.succeeds(201)["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(shops[1].anon().get("/products/2").await.succeeds(200)["stock"], 14);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn one_host_swaps_a_component_while_the_other_serves_the_previous_one() {
    let [one, other] = two_shops().await;
    let marta = one.user("marta").await;
    let mut orders = fs::read(component("orders")).unwrap();
    orders.extend([0, 2, 1, b'x']);
    let deployed = send(one.operator().request(Method::PUT, "/services/orders").body(orders)).await;
    assert_eq!(deployed.succeeds(200)["changed"], true);
    for shop in [&one, &other] {
        at(&marta, shop).post("/orders", order(3, 1)).await.succeeds(201);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_host_refuses_to_replace_sqlite_files_by_an_empty_database() {
    let database = Database::create().await;
    let mut manifest = shop_manifest();
    manifest.postgres = Some(database.manifest());
    let data = tempfile::tempdir().unwrap();
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.path().join("orders.db"), "").unwrap();
    let options = testing::options(&comptoir::clock::Clock::default());
    let refused =
        comptoir::host::Host::start(manifest, data.path(), options).await.err().expect("the host refuses to start");
    let said = format!("{refused:#}");
    assert!(said.contains("the service `orders` has a database in") && said.contains("move the file away"), "{said}");
}

/// A host in its own process, and its gateway's URL.
struct Side {
    folder: TempDir,
    process: ShopProcess,
    gateway: String,
}

impl Side {
    async fn start(database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(database.file(), folder.path().join("postgres.url")).unwrap();
        let mut process = ShopProcess::spawn(folder.path());
        let gateway = process.serves().await.expect("the host serves").gateway;
        Self { folder, process, gateway }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn killing_one_of_two_hosts_loses_no_acknowledged_write() {
    let database = Database::create().await;
    let (mut one, other) = (Side::start(&database).await, Side::start(&database).await);
    let outsider = database.outsider().await;
    outsider.batch_execute("UPDATE service_orders.products SET stock = 1000000").await.unwrap();
    let admin = Client::new(&one.gateway).log_in("admin", "admin").await;
    for turn in 0..3 {
        let mut buyers = Vec::new();
        for (number, side) in [&one, &other, &one, &other].into_iter().enumerate() {
            let (anon, admin) = (Client::new(&side.gateway), admin.clone().at(&side.gateway));
            buyers.push(Buyer::new(&format!("buyer{turn}{number}"), &anon, &admin).await);
        }
        let count = Arc::new(watch::Sender::new(0));
        let working = tokio::spawn(join_all(buyers.into_iter().map(|buyer| buyer.work(60, count.clone()))));
        count.subscribe().wait_for(|count| *count >= 60).await.unwrap();
        one.process.kill().await;
        let mut findings = Vec::new();
        for buyer in working.await.unwrap() {
            findings.extend(buyer.refused.iter().map(|refused| format!("refused: {refused}")));
            // All buyers move to the surviving host with their tokens.
            let mut buyer = buyer.moved_to(&other.gateway);
            buyer.check(&mut findings).await;
        }
        findings.extend(half_done(&outsider).await);
        assert_eq!(findings, [""; 0], "turn {turn}");
        one.process = ShopProcess::spawn(one.folder.path());
        one.gateway = one.process.serves().await.expect("the host serves again").gateway;
    }
    Client::new(&one.gateway).log_in("buyer00", PASSWORD).await;
}

/// Finds rows that a partial order or registration would leave.
async fn half_done(outsider: &tokio_postgres::Client) -> Vec<String> {
    let mut found = Vec::new();
    for (what, sql) in [
        (
            "a product whose stock and orders are not what there was",
            "SELECT p.id FROM service_orders.products AS p WHERE p.stock + coalesce((
                 SELECT sum(i.quantity) FROM service_orders.order_items AS i JOIN service_orders.orders AS o ON o.id = i.order_id
                 WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0) <> 1000000",
        ),
        (
            "an order that is not the sum of its items",
            "SELECT o.id FROM service_orders.orders AS o LEFT JOIN service_orders.order_items AS i ON i.order_id = o.id
             GROUP BY o.id HAVING o.total_cents <> coalesce(sum(i.quantity * i.price_cents), -1)",
        ),
        (
            "a login without a profile",
            "SELECT id FROM service_auth.logins AS l WHERE state = 'active' AND NOT EXISTS (
                 SELECT 1 FROM service_user.profiles AS p WHERE p.username = l.username)",
        ),
    ] {
        let rows = outsider.query(sql, &[]).await.unwrap();
        found.extend(rows.iter().map(|row| format!("{what}: {}", row.get::<_, i64>(0))));
    }
    found
}
