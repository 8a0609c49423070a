//! Sessions, lockouts and idempotency keys across a swap of `auth`, a restart of the host, and SIGKILL.
//!
//! Each session is brought into a different state. Then the disruption happens, and afterwards each must behave as usual.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testing::shop_process::ShopProcess;
use testing::{Answer, Client, PASSWORD, Shop, component, send};

use super::{assert_lives, assert_over, log_in, refresh, refreshed};

/// A shop, and how it is disrupted.
enum House {
    Swapped(Shop),
    Restarted(Shop),
    Killed { folder: TempDir, process: ShopProcess, gateway: String },
}

impl House {
    async fn to_kill() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = ShopProcess::spawn(folder.path());
        let gateway = process.serves().await.expect("the host serves").gateway;
        Self::Killed { folder, process, gateway }
    }

    /// An anonymous caller of the shop's current address.
    fn anon(&self) -> Client {
        match self {
            Self::Swapped(shop) | Self::Restarted(shop) => shop.anon(),
            Self::Killed { gateway, .. } => Client::new(gateway),
        }
    }

    /// The same client, at the shop's current address.
    fn find(&self, client: &Client) -> Client {
        let pair = json!({ "access_token": client.access_token(), "refresh_token": client.refresh_token() });
        self.anon().with_pair(&pair)
    }

    async fn disrupt(&mut self) {
        match self {
            Self::Swapped(shop) => {
                // A custom section makes it another revision with the same code.
                let mut auth = std::fs::read(component("auth")).unwrap();
                auth.extend([0, 2, 1, b'x']);
                let answer = send(shop.operator().request(Method::PUT, "/services/auth").body(auth)).await;
                assert_eq!(answer.succeeds(200)["changed"], true);
            }
            Self::Restarted(shop) => shop.restart().await,
            Self::Killed { folder, process, gateway } => {
                process.kill().await;
                *process = ShopProcess::spawn(folder.path());
                *gateway = process.serves().await.expect("the host serves again").gateway;
            }
        }
    }
}

/// Sends twenty refreshes with one token at once, and disrupts the shop after the first answer. Returns the new pairs.
async fn refresh_during_a_disruption(house: &mut House, client: &Client) -> Vec<Value> {
    let body = json!({ "refresh_token": client.refresh_token() });
    let anon = house.anon();
    let ask = || async {
        let answer = anon.request(Method::POST, "/auth/refresh").json(&body).send().await.ok()?;
        let (status, text) = (answer.status(), answer.text().await.ok()?);
        (status == 200).then(|| serde_json::from_str::<Value>(&text).unwrap()["data"].take())
    };
    let mut asked: FuturesUnordered<_> = (0..20).map(|_| ask()).collect();
    let first = asked.next().await.flatten();
    let (rest, ()) = tokio::join!(asked.filter_map(std::future::ready).collect::<Vec<_>>(), house.disrupt());
    first.into_iter().chain(rest).collect()
}

/// Sessions in the states that matter. The clients of a session hold its token pairs, oldest first.
struct Sessions {
    /// When the first of them was refreshed, or before.
    began: Instant,
    /// A session that has not been refreshed yet.
    fresh: Client,
    /// Fifty requests raced to refresh it.
    raced: [Client; 2],
    /// Its first refresh token was reused late, so it ended.
    stolen: [Client; 3],
    child: [Client; 2],
    parent: [Client; 2],
    grandchild: [Client; 3],
}

async fn line<const LENGTH: usize>(anon: &Client) -> [Client; LENGTH] {
    let mut line = vec![anon.log_in("marta", PASSWORD).await];
    while line.len() < LENGTH {
        line.push(refreshed(&line[line.len() - 1]).await);
    }
    line.try_into().unwrap_or_else(|_| panic!("the loop ends at the length"))
}

impl Sessions {
    async fn begin(anon: &Client) -> Self {
        let began = Instant::now();
        let [first] = line(anon).await;
        let answers = join_all((0..50).map(|_| refresh(&first))).await;
        let won: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "a refresh token is used once");
        let raced = [first.clone(), first.with_pair(won[0].data())];
        let stolen: [Client; 3] = line(anon).await;
        refresh(&stolen[0]).await.refuses(401, "INVALID_TOKEN");
        let [fresh] = line(anon).await;
        let (child, parent, grandchild) = (line(anon).await, line(anon).await, line(anon).await);
        Self { began, fresh, raced, stolen, child, parent, grandchild }
    }

    /// Whether a parent that was just presented was presented in time. Auth ends its session if that took ten seconds, as it may on a
    /// busy machine.
    fn counts_as_race(&self) -> bool {
        self.began.elapsed() < Duration::from_secs(10)
    }

    async fn go_on(&self, house: &House) {
        let answers =
            join_all((0..50).map(|_| house.find(&self.fresh)).map(|client| async move { refresh(&client).await }))
                .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "a refresh token is used once");
        assert_lives(&house.find(&self.fresh)).await;

        refresh(&house.find(&self.raced[0])).await.refuses(401, "INVALID_TOKEN");
        if self.counts_as_race() {
            assert_lives(&refreshed(&house.find(&self.raced[1])).await).await;
        }

        assert_over(&house.find(&self.stolen[2])).await;

        let [first, second] = self.child.each_ref().map(|client| house.find(client));
        let third = refreshed(&second).await;
        refresh(&first).await.refuses(401, "INVALID_TOKEN");
        assert_over(&third).await;

        let [first, second] = self.parent.each_ref().map(|client| house.find(client));
        refresh(&first).await.refuses(401, "INVALID_TOKEN");
        if self.counts_as_race() {
            assert_lives(&second).await;
            assert_lives(&refreshed(&second).await).await;
        }

        let [first, _, third] = self.grandchild.each_ref().map(|client| house.find(client));
        refresh(&first).await.refuses(401, "INVALID_TOKEN");
        assert_over(&third).await;
    }
}

/// Sends a registration and an order, each with an idempotency key. Repeating this must change nothing.
async fn with_keys(anon: &Client, marta: &Client) -> [Answer; 2] {
    let account = json!({ "username": "carl", "password": PASSWORD });
    let order = json!({ "items": [{ "product_id": 1, "quantity": 1 }] });
    let send_one = |client: &Client, path: &str, body: Value| {
        send(client.request(Method::POST, path).header("idempotency-key", "k").json(&body))
    };
    [send_one(anon, "/auth/register", account).await, send_one(marta, "/orders", order).await]
}

async fn guess(anon: &Client, name: &str, count: usize) {
    for answer in join_all((0..count).map(|_| log_in(anon, name, "a wrong password"))).await {
        answer.refuses(401, "INVALID_CREDENTIALS");
    }
}

async fn live_through(mut house: House) {
    let anon = house.anon();
    for name in ["marta", "paul"] {
        let account = json!({ "username": name, "password": PASSWORD });
        anon.post("/auth/register", account).await.succeeds(201);
    }
    let before = with_keys(&anon, &anon.log_in("marta", PASSWORD).await).await;
    for name in ["paul", "nobody"] {
        guess(&anon, name, 9).await;
    }
    let [torn] = line(&anon).await;
    let sessions = Sessions::begin(&anon).await;

    let won = refresh_during_a_disruption(&mut house, &torn).await;
    sessions.go_on(&house).await;
    assert!(won.len() <= 1, "a refresh token is used once");
    // The answer with the new pair may be lost. Then the first token is either used or still valid.
    assert_lives(&house.find(&torn)).await;
    for pair in &won {
        assert_lives(&refreshed(&house.anon().with_pair(pair)).await).await;
    }

    let anon = house.anon();
    for name in ["paul", "nobody"] {
        guess(&anon, name, 1).await;
        log_in(&anon, name, PASSWORD).await.refuses(429, "TOO_MANY_ATTEMPTS");
    }
    let marta = anon.log_in("marta", PASSWORD).await;
    for (first, again) in before.iter().zip(&with_keys(&anon, &marta).await) {
        first.succeeds(201);
        assert_eq!((&again.text, again.header("idempotency-replayed")), (&first.text, "true"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_lockouts_and_keys_survive_a_swap_of_auth() {
    live_through(House::Swapped(Shop::open().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_lockouts_and_keys_survive_a_restart() {
    live_through(House::Restarted(Shop::open().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_lockouts_and_keys_survive_a_kill() {
    live_through(House::to_kill().await).await;
}
