//! A client of the shop that keeps a ledger of its writes, and checks the shop against it.
//!
//! It notes each write before it sends it, and each acknowledgement. Every acknowledged write must survive a crash.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::{Client, PASSWORD};

/// How many products the buyers order from: those with the ids 1 to this number.
pub const PRODUCTS: i64 = 4;

/// The most units of a product in one line of an order.
const UNITS: u64 = 3;

/// Units by product.
type Lines = BTreeMap<i64, i64>;

/// A buyer: sends one write after the other and notes each.
pub struct Buyer {
    name: String,
    /// Logged in as the buyer.
    client: Client,
    /// Logged in as the administrator, who may change any order.
    admin: Client,
    orders: BTreeMap<i64, Placed>,
    /// Another session of the buyer. The next write ends it.
    spare: Option<Client>,
    /// Sessions ended and names registered since the last check.
    ended: Vec<Client>,
    registered: Vec<String>,
    /// The write that was sent but not answered.
    intent: Option<Intent>,
    /// Writes that were answered with an error.
    pub refused: Vec<String>,
    /// The number of acknowledgements by kind of write.
    pub acknowledged: BTreeMap<&'static str, u64>,
    registrations: u64,
}

struct Placed {
    lines: Lines,
    status: &'static str,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
enum Intent {
    Order(Lines),
    Status(i64, &'static str),
    Refresh,
    Register(String),
    LogIn,
    LogOut,
}

/// A random number from 0 to `below` - 1.
pub fn random(below: u64) -> u64 {
    RandomState::new().build_hasher().finish() % below
}

impl Buyer {
    /// Registers a buyer and logs in.
    pub async fn new(name: &str, anon: &Client, admin: &Client) -> Self {
        anon.post("/auth/register", json!({ "username": name, "password": PASSWORD })).await.succeeds(201);
        Self {
            name: name.to_owned(),
            client: anon.log_in(name, PASSWORD).await,
            admin: admin.clone(),
            orders: BTreeMap::new(),
            spare: None,
            ended: Vec::new(),
            registered: Vec::new(),
            intent: None,
            refused: Vec::new(),
            acknowledged: BTreeMap::new(),
            registrations: 0,
        }
    }

    /// The same buyer, for a host that listens on another port after a restart.
    pub fn moved_to(mut self, gateway: &str) -> Self {
        self.client = self.client.at(gateway);
        self.admin = self.admin.at(gateway);
        self.spare = self.spare.map(|spare| spare.at(gateway));
        self.ended = self.ended.into_iter().map(|client| client.at(gateway)).collect();
        self
    }

    /// Sends writes until one is not acknowledged, at most `most` writes. Adds each acknowledgement to `count`.
    pub async fn work(mut self, most: usize, count: Arc<watch::Sender<u64>>) -> Self {
        for _ in 0..most {
            let intent = self.next_intent();
            self.intent = Some(intent.clone());
            let Ok(answer) = self.request(&intent).send().await else { break };
            let status = answer.status();
            let Ok(body) = answer.text().await else { break };
            if status == StatusCode::TOO_MANY_REQUESTS && intent == Intent::LogIn {
                // Kills interrupted ten logins of this account. To the lockout these are failed attempts.
                self.intent = None;
                continue;
            }
            if !status.is_success() {
                self.refused.push(format!("{} {intent:?}: {status} {body}", self.name));
                break;
            }
            self.intent = None;
            self.acknowledge(intent, &serde_json::from_str::<Value>(&body).unwrap()["data"]);
            count.send_modify(|count| *count += 1);
        }
        self
    }

    /// Half of all writes are orders. The rest changes orders and sessions.
    fn next_intent(&mut self) -> Intent {
        if self.spare.is_some() {
            return Intent::LogOut;
        }
        let intent = match random(40) {
            0 => {
                self.registrations += 1;
                Some(Intent::Register(format!("{}-{}", self.name, self.registrations)))
            }
            1 => Some(Intent::LogIn),
            2..6 => Some(Intent::Refresh),
            6..20 => self.next_status(),
            _ => None,
        };
        intent.unwrap_or_else(|| {
            let line = |_| (1 + random(PRODUCTS.unsigned_abs()).cast_signed(), 1 + random(UNITS).cast_signed());
            Intent::Order((0..=random(2)).map(line).collect())
        })
    }

    /// The next status of the newest order that is not cancelled.
    fn next_status(&self) -> Option<Intent> {
        let (id, placed) = self.orders.iter().rev().find(|(_, placed)| placed.status != "cancelled")?;
        let wanted = if placed.status == "pending" && id % 2 == 0 { "paid" } else { "cancelled" };
        Some(Intent::Status(*id, wanted))
    }

    fn request(&self, intent: &Intent) -> reqwest::RequestBuilder {
        let post = |client: &Client, path: &str, body: Value| client.request(Method::POST, path).json(&body);
        let credentials = |name: &str| json!({ "username": name, "password": PASSWORD });
        match intent {
            Intent::Order(lines) => {
                let item = |(product, quantity): (&i64, &i64)| json!({ "product_id": product, "quantity": quantity });
                post(&self.client, "/orders", json!({ "items": lines.iter().map(item).collect::<Vec<_>>() }))
            }
            Intent::Status(order, wanted) => {
                let client = if *wanted == "paid" { &self.admin } else { &self.client };
                client.request(Method::PUT, &format!("/orders/{order}")).json(&json!({ "status": wanted }))
            }
            Intent::Refresh => {
                post(&self.client, "/auth/refresh", json!({ "refresh_token": self.client.refresh_token() }))
            }
            Intent::Register(name) => post(&self.client, "/auth/register", credentials(name)),
            Intent::LogIn => post(&self.client, "/auth/login", credentials(&self.name)),
            Intent::LogOut => post(self.spare.as_ref().expect("a spare session"), "/auth/logout", json!({})),
        }
    }

    fn acknowledge(&mut self, intent: Intent, data: &Value) {
        let word = match intent {
            Intent::Order(lines) => {
                self.orders.insert(data["id"].as_i64().unwrap(), Placed { lines, status: "pending" });
                "orders"
            }
            Intent::Status(order, wanted) => {
                self.orders.get_mut(&order).expect("a known order").status = wanted;
                "status changes"
            }
            Intent::Refresh => {
                self.client = self.client.with_pair(data);
                "refreshes"
            }
            Intent::Register(name) => {
                self.registered.push(name);
                "registrations"
            }
            Intent::LogIn => {
                self.spare = Some(self.client.with_pair(data));
                "logins"
            }
            Intent::LogOut => {
                self.ended.extend(self.spare.take());
                "logouts"
            }
        };
        *self.acknowledged.entry(word).or_default() += 1;
    }

    /// Compares the ledger with the shop. A write without an answer may have happened or not; the ledger then adopts what the
    /// shop has.
    pub async fn check(&mut self, findings: &mut Vec<String>) {
        let intent = self.intent.take();
        self.check_orders(intent.as_ref(), findings).await;
        let refresh = self.request(&Intent::Refresh).send().await.unwrap();
        if refresh.status() == 200 {
            let answer: Value = serde_json::from_str(&refresh.text().await.unwrap()).unwrap();
            self.client = self.client.with_pair(&answer["data"]);
        } else {
            if intent != Some(Intent::Refresh) {
                findings.push(format!("{}: an acknowledged refresh token was refused", self.name));
            }
            self.log_in_again().await;
        }
        for ended in self.ended.drain(..) {
            if ended.get("/orders").await.status != 401 {
                findings.push(format!("{}: a session still works after its logout was acknowledged", self.name));
            }
        }
        for name in self.registered.drain(..) {
            let body = json!({ "username": name, "password": PASSWORD });
            if self.client.without_token().post("/auth/login", body).await.status != 200 {
                findings.push(format!("{name}: the registration was acknowledged, but the login fails"));
            }
        }
        if intent == Some(Intent::LogOut) {
            self.spare = None;
        }
    }

    /// Logs in. If the account is locked out, because kills interrupted its logins, waits as long as `Retry-After` says.
    async fn log_in_again(&mut self) {
        loop {
            let body = json!({ "username": self.name, "password": PASSWORD });
            let answer = self.client.without_token().post("/auth/login", body).await;
            if answer.status != StatusCode::TOO_MANY_REQUESTS {
                self.client = self.client.with_pair(answer.succeeds(200));
                return;
            }
            let seconds = answer.header("retry-after").parse().expect("seconds");
            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        }
    }

    async fn check_orders(&mut self, intent: Option<&Intent>, findings: &mut Vec<String>) {
        let mut found: BTreeMap<i64, (Lines, String)> = BTreeMap::new();
        for order in &self.client.all("/orders").await {
            let number = |value: &Value| value.as_i64().unwrap();
            let items = order["items"].as_array().unwrap();
            let lines = items.iter().map(|item| (number(&item["product_id"]), number(&item["quantity"]))).collect();
            let status = order["status"].as_str().unwrap().to_owned();
            if found.insert(number(&order["id"]), (lines, status)).is_some() {
                findings.push(format!("{}: order {} is listed twice", self.name, order["id"]));
            }
        }
        for (id, placed) in &mut self.orders {
            let Some((lines, status)) = found.remove(id) else {
                findings.push(format!("{}: order {id} is lost", self.name));
                continue;
            };
            match intent {
                Some(Intent::Status(order, wanted)) if order == id && status == *wanted => placed.status = wanted,
                _ => {}
            }
            if lines != placed.lines || status != placed.status {
                findings.push(format!(
                    "{}: order {id} has {lines:?} and is {status}, not {:?} and {}",
                    self.name, placed.lines, placed.status
                ));
            }
        }
        for (number, (id, (lines, status))) in found.into_iter().enumerate() {
            if number > 0 || intent != Some(&Intent::Order(lines.clone())) || status != "pending" {
                findings.push(format!("{}: order {id} was never placed", self.name));
            }
            self.orders.insert(id, Placed { lines, status: "pending" });
        }
    }
}
