//! The response cache: which answers it returns, to whom, and until when. Only a header tells a hit from a miss.

mod property;

use reqwest::Method;
use serde_json::json;
use testing::{Answer, Client, Shop, manifest_of, send, shop_manifest};

/// The shop, and a service `answers` with these limits, whose component returns cacheable answers.
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

/// The outcome at the cache: `hit`, `miss` or `bypass`. Empty if the method is not cacheable.
fn outcome(answer: &Answer) -> &str {
    answer.header("x-comptoir-cache")
}

trait Counters {
    /// Sends a GET and asserts the outcome at the cache.
    async fn gets(&self, path: &str, expected: &str) -> Answer;

    /// Writes a counter.
    async fn sets(&self, id: u32, n: i64);
}

impl Counters for Client {
    async fn gets(&self, path: &str, expected: &str) -> Answer {
        let answer = self.get(path).await;
        assert_eq!(outcome(&answer), expected, "{path}: {}", answer.text);
        answer
    }

    async fn sets(&self, id: u32, n: i64) {
        self.put(&format!("/answers/counters/{id}"), json!({ "n": n })).await.succeeds(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_cached_until_its_table_is_written() {
    let shop = stand("").await;
    let anon = shop.anon();
    let first = anon.gets("/answers/counters/1", "miss").await;
    let again = anon.gets("/answers/counters/1", "hit").await;
    assert_eq!((first.status, &first.text), (again.status, &again.text));
    for name in ["content-type", "content-length", "etag", "x-comptoir-revision", "x-content-type-options"] {
        assert_eq!(first.header(name), again.header(name), "{name}");
    }
    assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
    let other = anon.post("/answers/others", json!({})).await;
    assert_eq!((other.status.as_u16(), outcome(&other)), (200, ""));
    anon.gets("/answers/counters/1", "hit").await;
    anon.sets(1, 7).await;
    assert_eq!(anon.gets("/answers/counters/1", "miss").await.data(), 7);
    assert_eq!(anon.gets("/answers/counters/1", "hit").await.data(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_is_not_part_of_the_cache_key() {
    let shop = stand("").await;
    for (number, expected) in [(1, "miss"), (2, "hit"), (3, "hit")] {
        let trace = format!("00-0af7651916cd43dd8448eb211c80319{number}-b7ad6b7169203331-01");
        let request = shop.anon().request(Method::GET, "/answers/counters/1").header("traceparent", trace);
        assert_eq!(outcome(&send(request).await), expected, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_committed_transaction_invalidates() {
    let shop = stand("").await;
    let anon = shop.anon();
    anon.gets("/answers/counters", "miss").await;
    anon.post("/answers/counters/move", json!({ "keeps": false })).await.succeeds(200);
    // The writer works in order, so the rollback is done when this write is answered.
    anon.post("/answers/others", json!({})).await.succeeds(200);
    assert_eq!(anon.gets("/answers/counters", "hit").await.data()[0], 0);
    anon.post("/answers/counters/move", json!({ "keeps": true })).await.succeeds(200);
    assert_eq!(anon.gets("/answers/counters", "miss").await.data().as_array().unwrap()[..2], [json!(-1), json!(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_guests_that_did_more_than_read_are_not_cached() {
    let shop = stand("").await;
    let anon = shop.anon();
    anon.gets("/answers/does/nothing", "miss").await;
    anon.gets("/answers/does/nothing", "hit").await;
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
            anon.gets(&format!("/answers/does/{what}"), "bypass").await;
        }
    }
    // A guest cannot set the cache header itself.
    anon.gets("/answers/does/forge", "miss").await;
    let with_body = anon.request(Method::GET, "/answers/does/nothing").body("{}");
    assert_eq!(outcome(&send(with_body).await), "bypass");
    anon.gets("/answers/does/nothing", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_user_gets_their_own_answer_and_an_ended_session_none() {
    let shop = stand("").await;
    let (ada, eve) = (shop.user("ada").await, shop.user("eve").await);
    for client in [&ada, &eve] {
        client.gets("/answers/mine", "miss").await;
    }
    assert_eq!(ada.gets("/answers/mine", "hit").await.data()["caller"], "ada");
    let eves = eve.gets("/answers/mine", "hit").await;
    assert_eq!((&eves.data()["caller"], eves.header("cache-control")), (&json!("eve"), "no-store"));
    // Another session of the same user shares the entry.
    let elsewhere = shop.anon().log_in("ada", testing::PASSWORD).await;
    elsewhere.gets("/answers/mine", "hit").await;
    ada.post("/auth/logout", json!({})).await.succeeds(200);
    ada.get("/answers/mine").await.refuses(401, "INVALID_TOKEN");
    shop.anon().get("/answers/mine").await.refuses(401, "MISSING_TOKEN");
    elsewhere.gets("/answers/mine", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_key_is_the_path_the_query_and_the_headers_that_the_route_reads() {
    let shop = stand("").await;
    let anon = shop.anon();
    let ask = async |name: &'static str, value: &'static str| {
        send(anon.request(Method::GET, "/answers/language").header(name, value)).await
    };
    let spoken = ask("accept-language", "fr").await;
    let given = json!(["fr", null, null, null, null, null]);
    assert_eq!((outcome(&spoken), spoken.succeeds(200)), ("miss", &given));
    assert_eq!(outcome(&ask("accept-language", "fr").await), "hit");
    assert_eq!(outcome(&ask("accept-language", "de").await), "miss");
    let silent = anon.gets("/answers/language", "miss").await;
    assert_eq!(silent.data()[0], json!(null));
    for (name, value) in [("accept", "text/html"), ("cookie", "a=b"), ("x-request-id", "mine"), ("content-type", "a/b")]
    {
        let answer = ask(name, value).await;
        assert_eq!((outcome(&answer), answer.succeeds(200)), ("hit", silent.data()), "{name}");
    }
    anon.gets("/answers/language?page=2", "miss").await;
    anon.gets("/answers/language?page=2", "hit").await;
    shop.door("answers").gets("/answers/language?page=2", "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_the_current_etag_gets_304() {
    let shop = stand("").await;
    let anon = shop.anon();
    let first = anon.get("/answers/counters/1").await;
    assert_eq!(
        first.header("cache-control"),
        "no-cache",
        "an anonymous answer: other caches may store it but must revalidate"
    );
    let tag = first.header("etag").to_owned();
    let ask = async |method: Method, tag: &str| {
        send(anon.request(method, "/answers/counters/1").header("if-none-match", tag)).await
    };
    for method in [Method::GET, Method::HEAD] {
        for list in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = ask(method.clone(), &list).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text.as_str(), outcome(&answer)),
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
    assert_eq!((changed.status.as_u16(), changed.data(), outcome(&changed)), (200, &json!(1), "miss"));
    anon.sets(1, 0).await;
    let back = ask(Method::GET, &tag).await;
    assert_eq!((back.status.as_u16(), outcome(&back)), (304, "miss"), "the tag depends only on the content");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_can_turn_the_cache_off() {
    let shop = stand(r#"answers = "off""#).await;
    for _ in 0..2 {
        let answer = shop.anon().gets("/answers/counters/1", "bypass").await;
        assert_eq!((answer.header("etag"), answer.header("cache-control")), ("", "no-store"));
    }
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(!metrics.contains("comptoir_answers_total{service=\"answers\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_counted_and_stays_within_its_limit() {
    let shop = stand(r#"answers = "64 KiB""#).await;
    let anon = shop.anon();
    for number in 0..500 {
        anon.gets(&format!("/answers/counters?{number}"), "miss").await;
    }
    anon.gets("/answers/counters?499", "hit").await;
    anon.gets("/answers/does/time", "bypass").await;
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
    assert_eq!(counters.count(), 1, "hits count as requests too: {metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_a_component_without_a_description_are_not_cached() {
    let shop = Shop::with(manifest_of(
        "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\n",
    ))
    .await;
    for _ in 0..2 {
        shop.anon().gets("/plain/x", "bypass").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shops_lists_are_cached_and_show_an_order_at_once() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    for (client, path) in [(&shop.anon(), "/products/1"), (&ada, "/orders"), (&ada, "/users/profile")] {
        client.gets(path, "miss").await;
        client.gets(path, "hit").await;
    }
    let order = json!({ "items": [{ "product_id": 1, "quantity": 3 }] });
    ada.post("/orders", order).await.succeeds(201);
    assert_eq!(shop.anon().gets("/products/1", "miss").await.data()["stock"], 7);
    assert_eq!(ada.gets("/orders", "miss").await.body["count"], 1);
    ada.gets("/users/profile", "hit").await;
}
