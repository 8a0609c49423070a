//! The operator's console: its files, its sessions, and what hostile pages in the operator's browser cannot do.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use testing::{AMPLE, Answer, Client, Shop, component, send, shop_manifest};

/// A signed-in console: the two halves of its session.
pub struct Console {
    client: Client,
    origin: String,
    cookie: String,
    key: String,
}

impl Console {
    pub async fn open(shop: &Shop) -> Self {
        let answer = send(shop.operator().request(Method::POST, "/session")).await;
        let key = answer.succeeds(200)["key"].as_str().unwrap().to_owned();
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        let origin = format!("http://{}", shop.addresses().admin);
        Self { client: shop.operator().without_token(), origin, cookie, key }
    }

    /// A request as the console's page sends it.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, path).header("cookie", &self.cookie).header("origin", &self.origin);
        request.header("sec-fetch-site", "same-origin").header("x-comptoir-console", &self.key)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }
}

#[tokio::test]
async fn the_consoles_files_need_no_token_and_have_a_strict_policy() {
    let shop = Shop::open().await;
    let anyone = shop.operator().without_token();
    for (path, kind) in [
        ("/", "text/html"),
        ("/console/main.js", "text/javascript"),
        ("/console/style.css", "text/css"),
        ("/console/icon.svg", "image/svg+xml"),
    ] {
        let file = anyone.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert!(file.header("content-type").starts_with(kind), "{path}: {}", file.header("content-type"));
        let policy = file.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(file.header("x-content-type-options"), "nosniff");
        assert_eq!(file.header("cross-origin-resource-policy"), "same-origin");
    }
    anyone.get("/console/nothing.js").await.refuses(404, "NOT_FOUND");
    anyone.get("/console/../comptoir.toml").await.refuses(404, "NOT_FOUND");
    anyone.post("/", Value::Null).await.refuses(405, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_console_signs_in_once_and_its_session_ends_when_it_signs_out() {
    let shop = Shop::open().await;
    let answer = send(shop.operator().request(Method::POST, "/session")).await;
    let cookie = answer.header("set-cookie").to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let token = shop.operator().access_token().to_owned();
    assert!(!cookie.contains(&token) && !answer.text.contains(&token));

    let (console, other) = (Console::open(&shop).await, Console::open(&shop).await);
    assert_eq!(console.get("/services").await.succeeds(200).as_array().unwrap().len(), 3);
    let out = send(console.request(Method::DELETE, "/session")).await;
    out.succeeds(200);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    console.get("/services").await.refuses(401, "SESSION_ENDED");
    other.get("/services").await.succeeds(200);
}

#[tokio::test]
async fn half_a_session_opens_nothing() {
    let shop = Shop::open().await;
    let (console, other) = (Console::open(&shop).await, Console::open(&shop).await);
    let only_cookie = console.client.request(Method::GET, "/services").header("cookie", &console.cookie);
    send(only_cookie).await.refuses(401, "MISSING_TOKEN");
    let only_key = console.client.request(Method::GET, "/services").header("x-comptoir-console", &console.key);
    send(only_key).await.refuses(401, "SESSION_ENDED");
    let mixed = console.client.request(Method::GET, "/services").header("cookie", &console.cookie);
    send(mixed.header("x-comptoir-console", &other.key)).await.refuses(401, "SESSION_ENDED");
    // A session opens no other session, and a bad token is not replaced by a good session.
    send(console.request(Method::POST, "/session")).await.refuses(401, "MISSING_TOKEN");
    send(console.request(Method::GET, "/services").bearer_auth("guess")).await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn a_hostile_page_in_the_operators_browser_changes_and_reads_nothing() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    let before = shop.operator().get("/keys").await.body;
    // All that a browser can be made to send: the cookie, but not the header with the key.
    let forged = |method: Method, path: &str| console.client.request(method, path).header("cookie", &console.cookie);
    send(forged(Method::POST, "/keys/rotate")).await.refuses(401, "MISSING_TOKEN");
    let form = forged(Method::POST, "/keys/rotate").header("content-type", "application/x-www-form-urlencoded");
    send(form.body("a=b")).await.refuses(401, "MISSING_TOKEN");
    // Even if it knew the key, its origin gives it away.
    for origin in ["https://evil.example", "null", &format!("http://{}", shop.addresses().gateway)] {
        for (method, path) in [(Method::POST, "/keys/rotate"), (Method::GET, "/services"), (Method::GET, "/metrics")] {
            let request = forged(method, path).header("x-comptoir-console", &console.key).header("origin", origin);
            send(request).await.refuses(403, "FOREIGN_ORIGIN");
        }
    }
    let frame = forged(Method::GET, "/").header("sec-fetch-site", "cross-site").header("sec-fetch-dest", "iframe");
    send(frame).await.refuses(403, "FOREIGN_ORIGIN");
    // DNS rebinding: the page's own name in `Host`.
    let rebound = console.request(Method::POST, "/keys/rotate").header("host", "evil.example");
    send(rebound).await.refuses(421, "FOREIGN_HOST");
    assert_eq!(shop.operator().get("/keys").await.body, before);
}

#[tokio::test]
async fn no_path_of_the_admin_listener_changes_anything_by_get() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    let before = shop.operator().get("/keys").await.body;
    for path in ["/session", "/reload", "/keys/rotate", "/canary/promote", "/canary/abort", "/services/orders/rollback"]
    {
        console.get(path).await.refuses(405, "METHOD_NOT_ALLOWED");
    }
    console.get("/services").await.succeeds(200);
    assert_eq!(shop.operator().get("/keys").await.body, before);
}

#[tokio::test]
async fn the_audit_log_has_sign_ins_and_orders_of_a_console_but_no_secret() {
    let shop = Shop::open().await;
    let wrong = shop.operator().with_token("a guess at the admin token");
    send(wrong.request(Method::POST, "/session")).await.refuses(401, "INVALID_TOKEN");
    let console = Console::open(&shop).await;
    send(console.request(Method::POST, "/keys/rotate")).await.succeeds(200);
    let audit = std::fs::read_to_string(shop.data.path().join("audit.jsonl")).unwrap();
    for (what, result) in [("POST /session", "invalid token"), ("POST /session", "200"), ("POST /keys/rotate", "200 ")]
    {
        let has = |line: &str| line.contains(&format!("\"{what}\"")) && line.contains(&format!("\"{result}"));
        assert!(audit.lines().any(has), "{what} {result}: {audit}");
    }
    let cookie = console.cookie.split_once('=').unwrap().1;
    for secret in [shop.operator().access_token(), &console.key, cookie] {
        assert!(!audit.contains(secret));
    }
}

#[tokio::test]
async fn the_described_operations_are_those_that_the_admin_listener_has() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    let document = shop.operator().without_token().get("/openapi.json").await.body;
    for (path, item) in document["paths"].as_object().unwrap() {
        let described: BTreeSet<String> = item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        let path = path.replace("{name}", "orders").replace("{file}", "main.js").replace("{id}", "0000000000000000");
        let path = path.replace("{table}", "orders");
        let refused = send(operator.request(Method::PATCH, &path)).await;
        refused.refuses(405, "METHOD_NOT_ALLOWED");
        let answered = refused.header("allow").split(", ").filter(|method| *method != "HEAD").map(str::to_owned);
        let described: BTreeSet<String> = described.into_iter().filter(|name| name != "PARAMETERS").collect();
        assert_eq!(answered.collect::<BTreeSet<_>>(), described, "{path}");
    }
}

#[tokio::test]
async fn the_overview_says_what_is_active_since_when_and_what_to_worry_about() {
    let mut manifest = shop_manifest();
    manifest.deploy.watch = AMPLE;
    let shop = Shop::with(manifest).await;
    for reason in ["", "?reason=because"] {
        let bytes = std::fs::read(component("orders")).unwrap();
        let bytes = if reason.is_empty() { bytes } else { with_section(bytes) };
        let deploy = shop.operator().request(Method::PUT, &format!("/services/orders{reason}")).body(bytes);
        send(deploy).await.succeeds(200);
    }
    let answer = Console::open(&shop).await.get("/overview").await;
    let overview = answer.succeeds(200);
    let services = overview["services"].as_array().unwrap();
    let names: Vec<_> = services.iter().map(|service| service["service"].as_str().unwrap()).collect();
    assert_eq!(names, ["auth", "orders", "user"]);
    let (auth, orders) = (&services[0], &services[1]);
    assert_eq!((&auth["activated"]["by"], &auth["activated"]["action"]), (&json!("host"), &json!("start")));
    assert_eq!((&orders["activated"]["by"], &orders["activated"]["reason"]), (&json!("operator"), &json!("because")));
    assert_eq!((&orders["kept"], &orders["instances"]["in_use"]), (&json!(1), &json!(0)));
    // The new revision is watched, and the file of the manifest is not active any more.
    let watch = &overview["watches"][0];
    assert_eq!((&watch["canary"], &watch["services"][0]["service"]), (&json!(false), &json!("orders")));
    assert_eq!(watch["services"][0]["to"], orders["revision"]);
    let warnings = overview["warnings"].as_array().unwrap();
    let about = |name: &str| warnings.iter().find(|warning| warning["about"] == name).map(|warning| &warning["text"]);
    assert!(about("login").unwrap().as_str().unwrap().contains("seeded password"), "{warnings:#?}");
    assert!(about("orders").unwrap().as_str().unwrap().contains("is not the active revision"), "{warnings:#?}");
}

#[tokio::test]
async fn the_history_of_all_services_comes_in_pages() {
    let shop = Shop::open().await;
    let operator = shop.operator();
    send(operator.request(Method::PUT, "/services/orders").body("no component")).await.refuses(422, "DEPLOY_REFUSED");
    let all = operator.get("/history").await;
    let all = all.succeeds(200).as_array().unwrap();
    let newest = &all[0];
    assert_eq!((&newest["service"], &newest["result"]), (&json!("orders"), &json!("refused")));
    assert!(all.windows(2).all(|pair| pair[0]["id"].as_i64() > pair[1]["id"].as_i64()));
    let page = operator.get(&format!("/history?limit=2&before={}", newest["id"])).await;
    assert_eq!(page.succeeds(200).as_array().unwrap()[..], all[1..3]);
    for query in ["limit=0", "limit=201", "limit=x", "before=x", "befor=1"] {
        operator.get(&format!("/history?{query}")).await.refuses(400, "BAD_REQUEST");
    }
}

/// A component that differs only in a custom section, and so has another digest.
fn with_section(mut component: Vec<u8>) -> Vec<u8> {
    component.extend_from_slice(&[0, 5, 4]);
    component.extend_from_slice(b"more");
    component
}

/// Reads events until one has what is asked for.
async fn wait_for(stream: &mut reqwest::Response, is_it: impl Fn(&Value) -> bool) -> Value {
    let mut text = String::new();
    loop {
        let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let value = data.map(|data| serde_json::from_str::<Value>(data).unwrap());
            text = rest.to_owned();
            if let Some(value) = value.filter(&is_it) {
                return value;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_hears_of_a_deploy_without_asking() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    let mut events = console.request(Method::GET, "/events").send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    let first = wait_for(&mut events, |_| true).await;
    let asked = console.get("/overview").await;
    assert_eq!(first["services"][1]["activated"], asked.succeeds(200)["services"][1]["activated"]);
    let bytes = with_section(std::fs::read(component("orders")).unwrap());
    let deploy = shop.operator().request(Method::PUT, "/services/orders?reason=heard").body(bytes);
    let (deployed, heard) = tokio::join!(
        send(deploy),
        wait_for(&mut events, |overview| { overview["services"][1]["activated"]["reason"] == "heard" })
    );
    assert_eq!(heard["services"][1]["revision"], deployed.succeeds(200)["to"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_with_the_session_and_with_the_host() {
    let mut shop = Shop::open().await;
    let (one, other) = (Console::open(&shop).await, Console::open(&shop).await);
    let mut ended = one.request(Method::GET, "/events").send().await.unwrap();
    let mut running = other.request(Method::GET, "/events").send().await.unwrap();
    wait_for(&mut ended, |_| true).await;
    wait_for(&mut running, |_| true).await;
    send(one.request(Method::DELETE, "/session")).await.succeeds(200);
    while ended.chunk().await.unwrap().is_some() {}
    send(one.request(Method::GET, "/events")).await.refuses(401, "SESSION_ENDED");
    let (stopped, ()) = tokio::join!(shop.stop(), async { while running.chunk().await.unwrap().is_some() {} });
    assert!(stopped, "an open console does not hold up a shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_console_too_many_gets_a_clear_answer_and_commands_still_work() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    let mut open = Vec::new();
    for _ in 0..128 {
        let mut events = console.request(Method::GET, "/events").send().await.unwrap();
        assert_eq!(events.status(), 200);
        wait_for(&mut events, |_| true).await;
        open.push(events);
    }
    send(console.request(Method::GET, "/events")).await.refuses(503, "TOO_MANY_CONSOLES");
    shop.operator().get("/services").await.succeeds(200);
    drop(open);
    // A closed connection is noticed when the host writes to it.
    while send_status(&console).await != 200 {
        tokio::task::yield_now().await;
    }
}

async fn send_status(console: &Console) -> u16 {
    console.request(Method::GET, "/events").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_latest_requests_are_listed_with_their_calls_while_somebody_looks() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    shop.anon().get("/products").await;
    assert_eq!(*console.get("/requests").await.succeeds(200), json!([]), "nobody looked before");
    shop.anon().get("/products?secret=1").await;
    // A registration makes auth call user.
    shop.user("ada").await;
    let registered = console.get("/requests?service=auth&status=2xx").await;
    let registered = registered.succeeds(200).as_array().unwrap();
    let register = registered.iter().find(|one| one["path"] == "/auth/register").unwrap();
    assert_eq!((&register["method"], &register["status"]), (&json!("POST"), &json!(201)));
    let of_one = console.get(&format!("/requests?id={}", register["request_id"].as_str().unwrap())).await;
    let of_one = of_one.succeeds(200).as_array().unwrap();
    assert!(of_one.iter().any(|one| one["caller"] == "auth" && one["service"] == "user"), "{of_one:#?}");
    let without_calls = console.get("/requests?calls=false&limit=500").await;
    let without_calls = without_calls.succeeds(200).as_array().unwrap();
    assert!(without_calls.iter().all(|one| one["caller"].is_null()) && !without_calls.is_empty());
    assert!(!without_calls.iter().any(|one| one.to_string().contains("secret")), "a query may hold a secret");
    console.get("/requests?limit=501").await.refuses(400, "BAD_REQUEST");
}

#[tokio::test]
async fn one_request_shows_its_sql_statements_with_times_and_without_values() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    console.get("/requests").await.succeeds(200);
    let user = shop.user("ada").await;
    let placed = user.post("/orders", json!({ "items": [{ "product_id": 4, "quantity": 3 }] })).await;
    placed.succeeds(201);
    let of_user = console.get("/requests?user=ada&service=orders").await;
    let of_user = of_user.succeeds(200).as_array().unwrap();
    assert_eq!((of_user.len(), &of_user[0]["user"]), (1, &json!("ada")));
    assert_eq!(of_user[0]["statements"], json!([]), "a list is short");
    assert_eq!(*console.get("/requests?user=bob").await.succeeds(200), json!([]));

    let one = console.get(&format!("/requests?id={}", placed.header("x-request-id"))).await;
    let one = &one.succeeds(200)[0];
    let statements = one["statements"].as_array().unwrap();
    let texts: Vec<&str> = statements.iter().map(|statement| statement["sql"].as_str().unwrap()).collect();
    assert_eq!((texts[0], texts[texts.len() - 1]), ("BEGIN", "COMMIT"), "{texts:#?}");
    assert!(texts.iter().any(|text| text.starts_with("INSERT INTO orders")), "{texts:#?}");
    assert!(!one.to_string().contains("'pending'"), "{texts:#?}");
    let whole = one["duration_us"].as_u64().unwrap();
    for statement in statements {
        let ended = statement["after_us"].as_u64().unwrap() + statement["duration_us"].as_u64().unwrap();
        assert!(ended <= whole && statement["error"].is_null(), "{statement} of {whole}");
    }
    // A registration stores a password hash, which no statement shows.
    let registered = console.get("/requests?service=auth").await;
    let path = |one: &&Value| one["path"] == "/auth/register";
    let id = registered.succeeds(200).as_array().unwrap().iter().find(path).unwrap()["request_id"].clone();
    let registered = console.get(&format!("/requests?id={}", id.as_str().unwrap())).await.text;
    assert!(registered.contains("INSERT INTO logins") && !registered.contains("argon2"), "{registered}");
}

#[tokio::test]
async fn a_console_reads_and_verifies_the_audit_log() {
    let shop = Shop::open().await;
    let console = Console::open(&shop).await;
    send(console.request(Method::POST, "/keys/rotate")).await.succeeds(200);
    let events = console.get("/audit").await;
    let events = events.succeeds(200).as_array().unwrap();
    assert_eq!((&events[0]["asked"], &events[0]["by"]), (&json!("POST /keys/rotate"), &json!("operator")));
    let verified = send(console.request(Method::POST, "/audit/verify")).await;
    let anchor = verified.succeeds(200)["last_hash"].as_str().unwrap().to_owned();
    let verify = |anchor: &str| console.request(Method::POST, &format!("/audit/verify?anchor={anchor}"));
    send(verify(&anchor)).await.succeeds(200);
    send(verify(&"0".repeat(64))).await.refuses(409, "AUDIT_BROKEN");
    let file = shop.data.path().join("audit.jsonl");
    let changed = std::fs::read_to_string(&file).unwrap().replace("/keys/rotate", "/keys/rotat3");
    std::fs::write(&file, changed).unwrap();
    send(console.request(Method::POST, "/audit/verify")).await.refuses(409, "AUDIT_BROKEN");
}
