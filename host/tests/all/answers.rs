//! Answers that are given again: which, to whom, until when, and that nobody could tell but by the header.

mod property;

use reqwest::Method;
use serde_json::json;
use testing::{Answer, Client, Shop, manifest_of, send, shop_manifest};

/// The shop, and a component beside it whose answers can be remembered, with limits of its own.
async fn stand(limits: &str) -> Shop {
    let mut manifest = shop_manifest();
    let more = manifest_of(&format!(
        r#"
[services.answers]
component = "guest_answers.wasm"
listen = "127.0.0.1:0"
mounts = ["/answers"]
public = ["/answers"]
grants = ["storage"]
calls = ["answers"]
limits = {{ {limits} }}
"#
    ));
    manifest.services.extend(more.services);
    Shop::with(manifest).await
}

/// What became of a question: `hit`, `miss` or `bypass`.
fn became(answer: &Answer) -> &str {
    answer.header("x-comptoir-cache")
}

impl Client {
    /// Asks, and asserts what became of it.
    async fn asks(&self, path: &str, expected: &str) -> Answer {
        let answer = self.get(path).await;
        assert_eq!(became(&answer), expected, "{path}: {}", answer.text);
        answer
    }

    async fn sets(&self, id: u32, n: i64) {
        self.put(&format!("/answers/counters/{id}"), json!({ "n": n })).await.succeeds(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_given_again_until_its_table_is_written_and_no_longer() {
    let shop = stand("").await;
    let anon = shop.anon();
    let first = anon.asks("/answers/counters/1", "miss").await;
    let again = anon.asks("/answers/counters/1", "hit").await;
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    for name in ["content-type", "content-length", "etag", "x-comptoir-revision", "x-content-type-options"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    let other = anon.post("/answers/others", json!({})).await;
    assert_eq!((other.status.as_u16(), became(&other)), (200, ""));
    anon.asks("/answers/counters/1", "hit").await;
    anon.sets(1, 7).await;
    assert_eq!(anon.asks("/answers/counters/1", "miss").await.data(), 7);
    assert_eq!(anon.asks("/answers/counters/1", "hit").await.data(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_the_same_in_every_trace() {
    let shop = stand("").await;
    for (number, expected) in [(1, "miss"), (2, "hit"), (3, "hit")] {
        let trace = format!("00-0af7651916cd43dd8448eb211c80319{number}-b7ad6b7169203331-01");
        let request = shop.anon().request(Method::GET, "/answers/counters/1").header("traceparent", trace);
        assert_eq!(became(&send(request).await), expected, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_counts_when_it_is_committed_and_not_at_all_when_it_is_not() {
    let shop = stand("").await;
    let anon = shop.anon();
    anon.asks("/answers/counters", "miss").await;
    anon.post("/answers/counters/move", json!({ "keeps": false })).await.succeeds(200);
    // The writer takes its jobs in order: behind this one the transaction is undone.
    anon.post("/answers/others", json!({})).await.succeeds(200);
    assert_eq!(anon.asks("/answers/counters", "hit").await.data()[0], 0);
    anon.post("/answers/counters/move", json!({ "keeps": true })).await.succeeds(200);
    assert_eq!(anon.asks("/answers/counters", "miss").await.data().as_array().unwrap()[..2], [json!(-1), json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_did_more_than_read_is_asked_each_time() {
    let shop = stand("").await;
    let anon = shop.anon();
    anon.asks("/answers/does/nothing", "miss").await;
    anon.asks("/answers/does/nothing", "hit").await;
    let more = [
        "time",
        "sleep",
        "stopwatch",
        "chance",
        "print",
        "write",
        "fail",
        "transaction",
        "call",
        "cookie",
        "forbid",
        "large",
        "refuse",
        "session",
    ];
    for what in more {
        for _ in 0..2 {
            anon.asks(&format!("/answers/does/{what}"), "bypass").await;
        }
    }
    // What a guest says of it has no effect.
    anon.asks("/answers/does/forge", "miss").await;
    let with_body = anon.request(Method::GET, "/answers/does/nothing").body("{}");
    assert_eq!(became(&send(with_body).await), "bypass");
    anon.asks("/answers/does/nothing", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_is_given_their_own_and_a_dead_session_nothing() {
    let shop = stand("").await;
    let (ada, eve) = (shop.user("ada").await, shop.user("eve").await);
    for client in [&ada, &eve] {
        client.asks("/answers/mine", "miss").await;
    }
    assert_eq!(ada.asks("/answers/mine", "hit").await.data()["caller"], "ada");
    let eves = eve.asks("/answers/mine", "hit").await;
    assert_eq!((&eves.data()["caller"], eves.header("cache-control")), (&json!("eve"), "no-store"));
    // Another session of hers is still hers.
    let elsewhere = shop.anon().log_in("ada", testing::PASSWORD).await;
    elsewhere.asks("/answers/mine", "hit").await;
    ada.post("/auth/logout", json!({})).await.succeeds(200);
    ada.get("/answers/mine").await.refuses(401, "INVALID_TOKEN");
    shop.anon().get("/answers/mine").await.refuses(401, "MISSING_TOKEN");
    elsewhere.asks("/answers/mine", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_path_the_query_and_the_headers_that_a_route_reads_make_a_difference() {
    let shop = stand("").await;
    let anon = shop.anon();
    let ask = async |name: &'static str, value: &'static str| {
        send(anon.request(Method::GET, "/answers/language").header(name, value)).await
    };
    let spoken = ask("accept-language", "fr").await;
    let given = json!(["fr", null, null, null, null, null]);
    assert_eq!((became(&spoken), spoken.succeeds(200)), ("miss", &given));
    assert_eq!(became(&ask("accept-language", "fr").await), "hit");
    assert_eq!(became(&ask("accept-language", "de").await), "miss");
    let silent = anon.asks("/answers/language", "miss").await;
    assert_eq!(silent.data()[0], json!(null));
    for (name, value) in [("accept", "text/html"), ("cookie", "a=b"), ("x-request-id", "mine"), ("content-type", "a/b")]
    {
        let answer = ask(name, value).await;
        assert_eq!((became(&answer), answer.succeeds(200)), ("hit", silent.data()), "{name}");
    }
    anon.asks("/answers/language?page=2", "miss").await;
    anon.asks("/answers/language?page=2", "hit").await;
    shop.door("answers").asks("/answers/language?page=2", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_names_what_it_has_is_told_when_it_still_is_that() {
    let shop = stand("").await;
    let anon = shop.anon();
    let first = anon.get("/answers/counters/1").await;
    assert_eq!(first.header("cache-control"), "no-cache", "nobody's, so anybody may keep it who asks before using it");
    let tag = first.header("etag").to_owned();
    let ask = async |method: Method, tag: &str| {
        send(anon.request(method, "/answers/counters/1").header("if-none-match", tag)).await
    };
    for method in [Method::GET, Method::HEAD] {
        for list in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = ask(method.clone(), &list).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text.as_str(), became(&answer)),
                (304, "", "hit"),
                "{method} {list}"
            );
            assert_eq!((answer.header("etag"), answer.header("cache-control")), (&*tag, "no-cache"));
            assert!(!answer.headers.contains_key("content-type"), "{:?}", answer.headers);
            assert!(!answer.headers.contains_key("content-length"), "{:?}", answer.headers);
        }
        assert_eq!(ask(method, "\"x\"").await.status, 200);
    }
    anon.sets(1, 1).await;
    let changed = ask(Method::GET, &tag).await;
    assert_eq!((changed.status.as_u16(), changed.data(), became(&changed)), (200, &json!(1), "miss"));
    anon.sets(1, 0).await;
    let back = ask(Method::GET, &tag).await;
    assert_eq!((back.status.as_u16(), became(&back)), (304, "miss"), "the tag is of the content");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_in_the_manifest_turns_it_off() {
    let shop = stand(r#"answers = "off""#).await;
    for _ in 0..2 {
        let answer = shop.anon().asks("/answers/counters/1", "bypass").await;
        assert_eq!((answer.header("etag"), answer.header("cache-control")), ("", "no-store"));
    }
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(!metrics.contains("comptoir_answers_total{service=\"answers\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_is_counted_and_stays_within_its_share() {
    let shop = stand(r#"answers = "64 KiB""#).await;
    let anon = shop.anon();
    for number in 0..500 {
        anon.asks(&format!("/answers/counters?{number}"), "miss").await;
    }
    anon.asks("/answers/counters?499", "hit").await;
    anon.asks("/answers/does/time", "bypass").await;
    let metrics = shop.operator().get("/metrics").await.text;
    let number = |name: &str| {
        let line =
            metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.trim().parse::<u64>().unwrap()
    };
    assert_eq!(number(r#"comptoir_answers_total{service="answers",cache="miss"}"#), 500);
    assert_eq!(number(r#"comptoir_answers_total{service="answers",cache="hit"}"#), 1);
    assert_eq!(number(r#"comptoir_answers_total{service="answers",cache="bypass"}"#), 1);
    let bytes = number(r#"comptoir_answers_bytes{service="answers"}"#);
    assert!((32 << 10..=64 << 10).contains(&bytes), "{bytes}");
    let requests = metrics.lines().filter(|line| line.starts_with("comptoir_requests_total{service=\"answers\""));
    let counters = requests.filter(|line| line.contains("/answers/counters\"") && line.ends_with(" 501"));
    assert_eq!(counters.count(), 1, "a hit is a request like any other: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_describes_nothing_is_given_all_headers_and_asked_each_time() {
    let shop = Shop::with(manifest_of(
        "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\n",
    ))
    .await;
    for _ in 0..2 {
        shop.anon().asks("/plain/x", "bypass").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_remembers_what_is_for_sale_and_an_order_is_seen_at_once() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    for (client, path) in [(&shop.anon(), "/products/1"), (&ada, "/orders"), (&ada, "/users/profile")] {
        client.asks(path, "miss").await;
        client.asks(path, "hit").await;
    }
    let order = json!({ "items": [{ "product_id": 1, "quantity": 3 }] });
    ada.post("/orders", order).await.succeeds(201);
    assert_eq!(shop.anon().asks("/products/1", "miss").await.data()["stock"], 7);
    assert_eq!(ada.asks("/orders", "miss").await.body["count"], 1);
    ada.asks("/users/profile", "hit").await;
}
