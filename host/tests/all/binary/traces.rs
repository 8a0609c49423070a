//! Traces: what a collector of OpenTelemetry gets, and what `/metrics` and the dashboard say.

mod collector;

use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;
use testing::Client;
use testing::built::host_folder;
use testing::shop_process::{ShopProcess, data};

use super::{Program, UNRULY, get, serve};
use collector::{Collector, Received};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The guests of these tests: one that calls itself, and one that sends requests to the collector's machine.
fn services(collector: &Collector) -> String {
    let origin = collector.origin();
    format!(
        "{UNRULY}[services.fetch]\ncomponent = \"guest_fetch_p2.wasm\"\nmounts = [\"/fetch\"]\npublic = [\"/fetch\"]\naccess = \"public\"\n\
         [services.fetch.outbound]\nallow = [\"{origin}\"]\nprivate = [\"127.0.0.1/32\"]\n"
    )
}

/// A program that sends its spans to the collector, with these variables.
async fn traced(collector: &Collector, variables: &[(&str, &str)]) -> Program {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut command = serve(&folder, &services(collector));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.origin()).env("OTEL_BSP_SCHEDULE_DELAY", "20");
    command.envs(variables.iter().copied());
    Program::spawn(command, &folder).await
}

async fn ask(program: &Program, method: Method, path: &str, flags: &str, body: String) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request =
        client.request(method, format!("{}{path}", program.gateway)).header("traceparent", traceparent(flags));
    let answer = request.header("content-type", "text/plain").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("traceparent").is_none());
    answer
}

#[tokio::test]
async fn a_request_is_one_trace_with_its_steps_and_the_clients_span_is_its_parent() {
    let mut collector = Collector::start().await;
    let program = traced(&collector, &[("OTEL_SERVICE_NAME", "my-shop")]).await;
    ask(&program, Method::POST, "/unruly/notes", "01", String::new()).await;
    let spans = collector.until(|spans| spans.named("POST /unruly/notes").is_some()).await;
    assert_eq!(spans.resource("service.name"), ["my-shop"]);
    let request = spans.named("POST /unruly/notes").unwrap();
    assert_eq!((request.trace(), request.parent()), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(request.span.kind, SpanKind::Server as i32);
    assert_eq!(request.text("http.route"), "/unruly/notes");
    assert_eq!(request.text("comptoir.service"), "unruly");
    assert_eq!(request.number("http.response.status_code"), 200);
    let guest = spans.named("guest").unwrap();
    for (name, parent) in
        [("gate", &request), ("wait for an instance", &request), ("guest", &request), ("INSERT", &guest)]
    {
        let span = spans.named(name).unwrap_or_else(|| panic!("no span {name}: {:?}", spans.names()));
        assert_eq!((span.trace(), span.parent()), (TRACE.to_owned(), parent.id()), "{name}");
        let (begins, ends) = (span.span.start_time_unix_nano, span.span.end_time_unix_nano);
        assert!(parent.span.start_time_unix_nano <= begins && begins <= ends, "{name}");
    }
    let insert = spans.named("INSERT").unwrap();
    assert_eq!(insert.text("db.query.text"), "INSERT INTO notes (text) VALUES ($1)");
    assert!(!format!("{:?}", spans.all()).contains("a note"), "the value of a parameter is in no span");
}

#[tokio::test]
async fn calls_to_services_and_remote_hosts_continue_the_trace() {
    let mut collector = Collector::start().await;
    let program = traced(&collector, &[]).await;
    ask(&program, Method::GET, "/unruly/call/unruly", "01", String::new()).await;
    let spans = collector.until(|spans| spans.named("GET /unruly/call/{service}").is_some()).await;
    let call = spans.named("GET unruly.internal").unwrap();
    assert_eq!(call.span.kind, SpanKind::Client as i32);
    let guests = spans.all().iter().filter(|span| span.span.name == "guest");
    let parents: BTreeSet<String> = guests.map(Received::parent).collect();
    assert!(parents.len() == 2 && parents.contains(&call.id()), "the called guest is a child of the call");

    let (scheme, authority) = ("http", collector.origin().replace("http://", ""));
    ask(&program, Method::POST, "/fetch", "01", format!("GET {scheme} {authority} /elsewhere\n\n")).await;
    let spans = collector.until(|spans| spans.named("POST /fetch").is_some()).await;
    let sent = spans.named("GET 127.0.0.1").unwrap();
    assert_eq!(collector.elsewhere(), [format!("00-{TRACE}-{}-01", sent.id())], "the remote host gets the span");
    assert_eq!(sent.number("http.response.status_code"), 200);
}

#[tokio::test]
async fn a_request_that_is_not_sampled_sends_no_span_and_keeps_its_header() {
    let mut collector = Collector::start().await;
    let program = traced(&collector, &[]).await;
    let authority = collector.origin().replace("http://", "");
    ask(&program, Method::POST, "/fetch", "00", format!("GET http {authority} /elsewhere\n\n")).await;
    assert_eq!(collector.elsewhere(), [traceparent("00")]);
    ask(&program, Method::GET, "/unruly/notes", "01", String::new()).await;
    let spans = collector.until(|spans| spans.named("GET /unruly/notes").is_some()).await;
    assert!(spans.named("POST /fetch").is_none(), "{:?}", spans.names());
}

#[tokio::test]
async fn a_failure_and_its_exemplar_lead_from_the_latency_to_the_trace() {
    let mut collector = Collector::start().await;
    let mut program = traced(&collector, &[]).await;
    // Without a `traceparent` the host begins the trace, and the log has its id too.
    assert_eq!(get(&format!("{}/unruly/trap", program.gateway), "trap").await.status(), 500);
    let spans = collector.until(|spans| spans.named("GET /unruly/trap").is_some()).await;
    let (request, guest) = (spans.named("GET /unruly/trap").unwrap(), spans.named("guest").unwrap());
    for span in [&request, &guest] {
        let status = span.span.status.as_ref().unwrap();
        assert_eq!(status.code, StatusCode::Error as i32);
        assert!(status.message.contains("wasm `unreachable`"), "{status:?}");
    }
    assert_eq!((request.text("comptoir.request_id"), request.parent()), ("trap".to_owned(), String::new()));
    assert_eq!(program.logged("trap").await["trace_id"], request.trace());
    let metrics = get(&format!("{}/metrics", program.admin), "metrics").await.text().await.unwrap();
    let exemplar = format!("# {{trace_id=\"{}\"}}", request.trace());
    let is_it = |line: &&str| line.contains("_bucket{le=") && line.contains("/unruly/trap") && line.contains(&exemplar);
    assert_eq!(metrics.lines().filter(is_it).count(), 1, "{metrics}");
}

/// The shop, which sends its spans to a collector.
async fn shop(collector: &Collector, folder: &TempDir) -> (ShopProcess, Client, String) {
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.origin()), ("OTEL_BSP_SCHEDULE_DELAY", "20".to_owned())];
    let variables = variables.map(|(name, value)| (name, value.into())).into();
    let mut process = ShopProcess::spawn_with(folder.path(), variables);
    let serves = process.serves().await.expect("the shop serves");
    (process, Client::new(&serves.gateway), serves.admin)
}

#[tokio::test]
async fn a_login_shows_its_password_check_and_a_deploy_its_steps() {
    let (mut collector, folder) = (Collector::start().await, tempfile::tempdir().unwrap());
    let (_process, client, admin) = shop(&collector, &folder).await;
    client.post("/auth/login", json!({ "username": "admin", "password": "admin" })).await.succeeds(200);
    let spans = collector.until(|spans| spans.named("POST /auth/login").is_some()).await;
    let guest = spans.named("guest").unwrap();
    assert_eq!(spans.named("passwords.verify").unwrap().parent(), guest.id());
    assert!(["SELECT", "BEGIN", "COMMIT"].iter().all(|name| spans.named(name).is_some()), "{:?}", spans.names());

    let token = std::fs::read_to_string(data(folder.path()).join("admin.token")).unwrap();
    let mut next = std::fs::read(testing::component("orders")).unwrap();
    // An empty custom section named "v" (WebAssembly core specification, 5.5.3).
    next.extend([0, 2, 1, b'v']);
    let operator = Client::new(&admin).with_token(token.trim());
    testing::send(operator.request(Method::PUT, "/services/orders").body(next)).await.succeeds(200);
    let broken = operator.request(Method::PUT, "/services/orders").body("no component");
    testing::send(broken).await.refuses(422, "DEPLOY_REFUSED");
    let spans = collector.until(|spans| spans.count("deploy orders") == 2).await;
    let deploys: Vec<&Received> = spans.all().iter().filter(|span| span.span.name == "deploy orders").collect();
    let steps = |deploy: &Received| -> Vec<String> {
        let steps = spans.all().iter().filter(|span| span.parent() == deploy.id());
        steps.map(|span| span.span.name.clone()).collect()
    };
    let all = ["received", "verified", "compiled", "linked", "described", "migrated", "probed", "activated"];
    assert_eq!(steps(deploys[0]), all);
    assert_eq!(steps(deploys[1]), ["received"]);
    let status = deploys[1].span.status.as_ref().unwrap();
    assert!(status.code == StatusCode::Error as i32 && status.message.contains("could not be verified"), "{status:?}");
}

#[tokio::test]
async fn a_lost_collector_or_an_unknown_protocol_is_one_warning_and_the_host_serves() {
    let mut collector = Collector::start().await;
    let nowhere = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")];
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
    for (variables, said) in [(nowhere, "takes no spans: "), (grpc, "speaks only http/protobuf")] {
        let mut program = traced(&collector, &variables).await;
        ask(&program, Method::GET, "/unruly/notes", "01", String::new()).await;
        let line = program.until_logged(|line| line["message"].to_string().contains("traces: ")).await;
        assert_eq!(line["level"], "WARN", "{line}");
        assert!(line["message"].as_str().unwrap().contains(said), "{line}");
    }
    assert!(collector.now().all().is_empty(), "none of them reached the collector");
}

#[tokio::test]
async fn the_dashboard_uses_only_metrics_that_exist() {
    let (collector, folder) = (Collector::start().await, tempfile::tempdir().unwrap());
    let (_process, client, admin) = shop(&collector, &folder).await;
    client.get("/products").await.succeeds(200);
    let page = Client::new(&admin).get("/metrics").await.text;
    let families: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let dashboard = std::fs::read_to_string(host_folder().join("docs/grafana.json")).unwrap();
    let _is_json: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let words = dashboard.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("comptoir_")).collect();
    assert!(used.len() > 10, "{used:?}");
    for metric in used {
        let bases = ["", "_total", "_bucket", "_sum", "_count"].iter().filter_map(|suffix| metric.strip_suffix(suffix));
        assert!(bases.into_iter().any(|base| families.contains(base)), "{metric} is not in /metrics: {families:?}");
    }
}
