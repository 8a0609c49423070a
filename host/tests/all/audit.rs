//! The audit log: what it records, that its chain verifies, and that every change of it is noticed.

use std::path::PathBuf;
use std::time::Duration;

use comptoir::audit::{FILE, verify};
use reqwest::Method;
use serde_json::{Value, json};
use testing::process::run;
use testing::{Client, PASSWORD, Shop, component, manifest_of, send, shop_manifest};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// The timeout for events that must happen. Reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn file(shop: &Shop) -> PathBuf {
    shop.data.path().join(FILE)
}

/// The lines of the log. Call it after the host has stopped.
fn lines(shop: &Shop) -> Vec<Value> {
    let text = std::fs::read_to_string(file(shop)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Event, reporting service and subject of each line.
fn story(lines: &[Value]) -> Vec<[&str; 3]> {
    lines.iter().map(|line| ["event", "by", "subject"].map(|name| line[name].as_str().unwrap_or_default())).collect()
}

async fn refresh(client: &Client) -> testing::Answer {
    client.without_token().post("/auth/refresh", json!({ "refresh_token": client.refresh_token() })).await
}

#[tokio::test]
async fn events_of_accounts_and_requests_of_the_operator_are_logged_in_order() {
    let mut shop = Shop::open().await;
    let marta = shop.user("marta").await;
    let wrong = json!({ "username": "marta", "password": "a wrong password" });
    for _ in 0..12 {
        shop.anon().post("/auth/login", wrong.clone()).await;
    }
    let second = marta.with_pair(refresh(&marta).await.succeeds(200));
    let third = marta.with_pair(refresh(&second).await.succeeds(200));
    refresh(&marta).await.refuses(401, "INVALID_TOKEN");
    third.get("/orders").await.refuses(401, "INVALID_TOKEN");
    third.without_token().get("/orders").await.refuses(401, "MISSING_TOKEN");
    let paul = shop.user("paul").await;
    paul.get("/users?token=7").await.refuses(403, "FORBIDDEN");
    shop.admin().await.get("/users").await.succeeds(200);
    paul.post("/auth/logout", json!({})).await.succeeds(200);
    let mut orders = std::fs::read(component("orders")).unwrap();
    orders.extend([0, 2, 1, b'x']);
    let operator = shop.operator();
    let deployed = send(operator.request(Method::PUT, "/services/orders?reason=why").body(orders)).await;
    let digest = deployed.succeeds(200)["to"].as_str().unwrap().to_owned();
    // The line is on the disk before the operator gets the answer.
    assert!(std::fs::read_to_string(file(&shop)).unwrap().contains(&digest));
    operator.post("/services/orders/rollback", json!({})).await.succeeds(200);
    operator.post("/services/nothing/rollback", json!({})).await.refuses(404, "UNKNOWN_SERVICE");
    operator.get("/services").await.succeeds(200);
    operator.with_token("wrong").post("/services/orders/rollback", json!({})).await.refuses(401, "INVALID_TOKEN");
    shop.stop().await;

    let lines = lines(&shop);
    let failed = ["authn_login_fail", "auth", "marta"];
    let token = |name| ["authn_token_created", "auth", name];
    let success = |name| ["authn_login_success", "auth", name];
    let by_operator = ["authz_admin", "operator", "operator"];
    let mut expected = vec![token("marta"), success("marta")];
    expected.extend([failed; 10]);
    expected.push(["authn_login_lock", "auth", "marta"]);
    expected.extend([token("marta"), token("marta")]);
    expected.extend([["authn_token_reuse", "auth", "marta"], ["authn_token_revoked", "auth", ""]]);
    expected.extend([["authz_fail", "orders", ""], token("paul"), success("paul"), ["authz_fail", "user", "paul"]]);
    expected.extend([token("admin"), success("admin"), ["authz_admin", "user", "admin"]]);
    expected.extend([["authn_token_revoked", "auth", ""], by_operator, by_operator, by_operator]);
    expected.push(["authz_fail", "operator", ""]);
    assert_eq!(story(&lines), expected);

    let one =
        |event: &str, subject: &str| lines.iter().find(|line| line["event"] == event && line["subject"] == subject);
    let refused = one("authz_fail", "paul").unwrap();
    assert_eq!((&refused["asked"], &refused["result"]), (&"GET /users".into(), &"forbidden".into()), "no query");
    assert_eq!(refused["client"], "127.0.0.1");
    let issued = one("authn_token_created", "marta").unwrap();
    let revoked = lines.iter().find(|line| line["event"] == "authn_token_revoked").unwrap();
    assert_eq!(issued["session"], revoked["session"]);
    let orders = one("authz_admin", "operator").unwrap();
    assert_eq!(orders["asked"], "PUT /services/orders?reason=why");
    assert_eq!((&orders["result"], orders["request_id"].is_string()), (&format!("200 {digest}").into(), true));
    assert_eq!(verify(shop.data.path(), None).unwrap().lines, lines.len() as u64);
}

#[tokio::test]
async fn a_request_is_logged_even_if_the_operator_disconnects_before_its_end() {
    let mut shop = Shop::open().await;
    let mut orders = std::fs::read(component("orders")).unwrap();
    orders.extend([0, 2, 1, b'x']);
    let operator = shop.operator();
    let head = format!(
        "PUT /services/orders HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n",
        operator.access_token(),
        orders.len()
    );
    let mut stream = TcpStream::connect(shop.addresses().admin).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&orders).await.unwrap();
    drop(stream);
    let written = async {
        while !std::fs::read_to_string(file(&shop)).unwrap().contains("PUT /services/orders") {
            operator.get("/services/orders/history").await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.expect("the log has a line for the operator's request");
    let history = operator.get("/services/orders/history").await;
    shop.stop().await;
    let lines = lines(&shop);
    assert_eq!(story(&lines), [["authz_admin", "operator", "operator"]], "{}", history.text);
    let deployed = &history.data()[0];
    assert_eq!(deployed["action"], "deploy", "{}", history.text);
    assert_eq!(lines[0]["result"], format!("200 {}", deployed["to"].as_str().unwrap()));
}

#[tokio::test]
async fn a_name_with_a_line_break_is_one_line() {
    let mut shop = Shop::open().await;
    let name = "x\n{\"fake\":1}\r\u{1b}[2J\u{2028}";
    shop.anon().post("/auth/login", json!({ "username": name, "password": PASSWORD })).await;
    shop.stop().await;
    let lines = lines(&shop);
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["event"], &lines[0]["subject"]), (&"authn_login_fail".into(), &name.into()));
}

#[tokio::test]
async fn the_command_verifies_the_log_and_names_the_line_that_breaks_it() {
    let mut shop = Shop::open().await;
    shop.user("marta").await;
    shop.user("paul").await;
    shop.stop().await;
    let data = shop.data.path().to_str().unwrap().to_owned();
    let ask = async |more: &[&str]| {
        let asked = run(&[&["audit", "verify", "--data", &data], more].concat()).await;
        let said = [&asked.stdout, &asked.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).concat();
        (asked.status.success(), said)
    };
    let (holds, said) = ask(&[]).await;
    assert!(holds && said.contains("4 lines"), "{said}");
    let hash = said.split_whitespace().last().unwrap().to_owned();
    assert!(ask(&["--anchor", &hash]).await.0);

    let mut bytes = std::fs::read(file(&shop)).unwrap();
    let marta = bytes.windows(5).rposition(|window| window == b"marta").unwrap();
    bytes[marta] = b'M';
    std::fs::write(file(&shop), &bytes).unwrap();
    let (holds, said) = ask(&[]).await;
    assert!(!holds && said.contains("line 2 "), "{said}");
    let help = run(&["--help"]).await;
    assert!(String::from_utf8_lossy(&help.stdout).contains("audit"));
}

#[tokio::test]
async fn the_log_continues_after_a_restart_and_after_a_torn_line() {
    let mut shop = Shop::open().await;
    shop.user("marta").await;
    shop.restart().await;
    shop.anon().log_in("marta", PASSWORD).await;
    shop.stop().await;
    let whole = std::fs::read(file(&shop)).unwrap();
    std::fs::write(file(&shop), &whole[..whole.len() - 7]).unwrap();
    shop.start_again().await;
    shop.anon().log_in("marta", PASSWORD).await;
    shop.stop().await;
    assert_eq!(verify(shop.data.path(), None).unwrap().lines, 5);
    let lines = lines(&shop);
    assert_eq!(lines[3]["unwritten"], 1, "{lines:#?}");
}

#[tokio::test]
async fn a_component_may_report_sixteen_events_per_request_under_its_own_name() {
    let service = "[services.caller]\ncomponent = \"guest_caller.wasm\"\nmounts = [\"/caller\"]\naccess = \"public\"\n\
                   grants = [\"storage\", \"tokens\", \"token-verifier\", \"passwords\", \"audit\"]\ncalls = [\"caller\"]\n";
    let mut shop = Shop::with(manifest_of(service)).await;
    let steps = json!([{ "tell": [200, "whoever"] }]);
    assert_eq!(shop.anon().post("/caller/x", steps).await.text, "[\"200\"]");
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(metrics.contains("comptoir_audit_unwritten_total 184"), "{metrics}");
    shop.stop().await;
    let lines = lines(&shop);
    assert_eq!(story(&lines[..16]), [["authn_login_fail", "caller", "whoever"]; 16]);
    // No later event is needed to report the lost ones, because the stop writes a line.
    assert!(story(&lines[16..]).iter().all(|line| *line == ["sys_shutdown", "host", ""]), "{lines:#?}");
    let unwritten: u64 = lines.iter().filter_map(|line| line["unwritten"].as_u64()).sum();
    assert_eq!(unwritten, 184);
}

#[tokio::test]
async fn a_request_that_a_service_refuses_is_logged() {
    let mut shop = Shop::open().await;
    let paul = shop.user("paul").await;
    shop.user("marta").await;
    paul.get("/users/1").await.refuses(403, "FORBIDDEN");
    shop.stop().await;
    let lines = lines(&shop);
    let refused = lines.last().unwrap();
    let told = ["event", "by", "subject", "asked", "result"].map(|name| refused[name].as_str().unwrap_or_default());
    assert_eq!(told, ["authz_fail", "user", "paul", "GET /users/1", "forbidden by the service"]);
}

#[tokio::test]
async fn a_large_log_has_several_files_that_the_command_verifies_together() {
    let mut manifest = shop_manifest();
    manifest.audit.file = bytesize::ByteSize::b(500);
    let mut shop = Shop::with(manifest).await;
    for name in ["marta", "paul", "eve"] {
        shop.user(name).await;
    }
    shop.stop().await;
    let data = shop.data.path();
    assert!(data.join("audit.1.jsonl").exists());
    let verify = ["audit", "verify", "--data", data.to_str().unwrap()];
    let whole = run(&verify).await;
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert!(said.contains("6 lines verified"), "{said}");
    std::fs::remove_file(data.join("audit.1.jsonl")).unwrap();
    let missing = run(&verify).await;
    assert!(String::from_utf8_lossy(&missing.stderr).contains("follows another file, which is missing"));
}
