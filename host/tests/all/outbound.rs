//! Requests of guests to remote hosts: servers of this test on loopback, with TLS and without.

mod kitted;
mod remote;
mod secrets;

use comptoir::guest::Denial;
use comptoir::manifest::Manifest;
use remote::{Arrived, Certificate, Remote};
use reqwest::Method;
use testing::{Answer, Shop, component, manifest_of, send};
use tokio::net::TcpSocket;

/// A service with the test's component for WASI 0.2, and one with that for 0.3.
fn services(outbound: &str) -> String {
    let service = |name: &str| {
        format!(
            "[services.{name}]\ncomponent = \"guest_fetch_{name}.wasm\"\nmounts = [\"/{}\"]\npublic = [\"/{0}\"]\naccess = \"public\"\n\
             [services.{name}.outbound]\n{outbound}\n",
            if name == "p2" { "fetch" } else { name }
        )
    };
    service("p2") + &service("p3")
}

/// The `outbound` table for a server of this test.
fn table(remote: &Remote) -> String {
    format!("allow = [\"{}\"]\nprivate = [\"127.0.0.1/32\"]", remote.origin())
}

/// Lets a guest send a request. Returns what it says about the answer.
async fn fetch(shop: &Shop, path: &str, order: &str) -> String {
    let request = shop.anon().request(Method::POST, path).body(order.to_owned());
    let answer = send(request.header("content-type", "text/plain")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text
}

/// An order for a server of this test.
fn order(method: &str, remote: &Remote, rest: &str) -> String {
    let (scheme, authority) = remote.origin().split_once("://").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    format!("{method} {scheme} {authority} {rest}")
}

/// The value of a metric whose line contains all of these texts.
async fn metric(shop: &Shop, name: &str, labels: &[&str]) -> Option<f64> {
    let metrics = shop.operator().get("/metrics").await.text;
    let is_it = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    metrics.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_both_versions_send_requests_over_tls_and_http_2() {
    let certificate = Certificate::new("127.0.0.1");
    let remote = Remote::with_tls(&certificate).await;
    let authority = format!("{}\nauthority = {:?}", table(&remote), certificate.file());
    let shop = Shop::with(manifest_of(&services(&authority))).await;
    for (service, path) in [("p2", "/fetch"), ("p3", "/p3")] {
        let body = "ten euros ".repeat(20_000);
        let text = fetch(&shop, path, &order("POST", &remote, &format!("/echo\nx-key: value\n\n{body}"))).await;
        let (head, echoed) = text.split_once("\n\n").unwrap();
        assert!(head.starts_with("200\n") && head.contains("x-answer: yes") && !head.contains("keep-alive"), "{head}");
        assert_eq!(echoed.len(), body.len(), "{service}");
        let Arrived { version, headers, .. } = remote.last();
        assert_eq!((version, headers["x-key"].as_bytes()), (hyper::Version::HTTP_2, "value".as_bytes()));
        let labels =
            [&format!("service=\"{service}\""), &format!("host=\"{}\"", remote.origin()), "result=\"answered\""];
        assert_eq!(metric(&shop, "comptoir_outbound_requests_total", &labels).await, Some(1.0));
        assert_eq!(metric(&shop, "comptoir_outbound_duration_seconds_count", &labels[..2]).await, Some(1.0));
        assert_eq!(metric(&shop, "comptoir_outbound_open", &labels[..2]).await, Some(0.0));
    }
    assert_eq!(remote.connections(), 2, "one for each service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_authority_signed_or_of_another_name_is_refused() {
    let (own, other) = (Certificate::new("127.0.0.1"), Certificate::new("pay.example"));
    let (remote, named) = (Remote::with_tls(&own).await, Remote::with_tls(&other).await);
    let private = "private = [\"127.0.0.1/32\"]";
    let allow =
        format!("allow = [\"{}\", \"{}\"]\n{private}\nauthority = {:?}", remote.origin(), named.origin(), other.file());
    let shop = Shop::with(manifest_of(&services(&allow))).await;
    for remote in [&remote, &named] {
        for path in ["/fetch", "/p3"] {
            assert_eq!(fetch(&shop, path, &order("GET", remote, "/")).await, "ErrorCode::TlsCertificateError");
        }
        assert!(remote.arrived().is_empty());
    }
    let labels = ["service=\"p2\"", &format!("host=\"{}\"", named.origin()), "result=\"unreachable\""];
    assert_eq!(metric(&shop, "comptoir_outbound_requests_total", &labels).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_requests_are_counted_and_in_the_audit_log() {
    let remote = Remote::start().await;
    let allow = format!("allow = [\"https://api.pay.example\", \"{}\"]", remote.origin());
    let mut shop = Shop::with(manifest_of(&services(&allow))).await;
    for path in ["/fetch", "/p3"] {
        let denied = fetch(&shop, path, "POST https evil.example /v1?key=hidden\nx-key: hidden\n\nhidden").await;
        assert_eq!(denied, "ErrorCode::HttpRequestDenied");
        let scheme = fetch(&shop, path, "GET http api.pay.example /").await;
        assert_eq!(scheme, "ErrorCode::HttpRequestDenied");
        let address = fetch(&shop, path, &order("GET", &remote, "/")).await;
        assert_eq!(address, "ErrorCode::DestinationIpProhibited");
    }
    let served = shop.deployment().services()["p2"].revision.clone();
    assert_eq!([Denial::Request, Denial::Address].map(|denial| served.denials().count(denial)), [2, 1]);
    assert!(shop.stop().await);
    let log = std::fs::read_to_string(shop.data.path().join("audit.jsonl")).unwrap();
    let asked: Vec<_> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["event"] == "authz_fail" && line["by"] == "p2")
        .map(|line| line["asked"].as_str().unwrap().to_owned())
        .collect();
    let address = format!("GET {} at 127.0.0.1", remote.origin());
    assert_eq!(asked, ["POST https://evil.example", "GET http://api.pay.example", &address]);
    assert!(!log.contains("hidden"), "{log}");
    assert_eq!(remote.connections(), 0);
}

/// The manifest of a service that sends a request to this port by itself: in `describe`, in a probe and for each caller.
fn own_manifest(folder: &tempfile::TempDir, port: u16, outbound: &str) -> Manifest {
    let bytes = std::fs::read(component("guest_fetch_p2")).unwrap();
    let at = bytes.windows(5).position(|window| window == b"PORT0").expect("the component's own port");
    let changed = [&bytes[..at], format!("{port:05}").as_bytes(), &bytes[at + 5..]].concat();
    let file = folder.path().join("own.wasm");
    std::fs::write(&file, changed).unwrap();
    manifest_of(&format!(
        "[services.own]\ncomponent = {file:?}\nmounts = [\"/fetch\"]\npublic = [\"/fetch\"]\n[services.own.outbound]\n{outbound}\n"
    ))
}

async fn own(shop: &Shop) -> Answer {
    shop.anon().get("/fetch/own").await
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_probes_and_health_send_nothing_and_answers_are_not_cached() {
    let (remote, folder) = (Remote::start().await, tempfile::tempdir().unwrap());
    let shop = Shop::with(own_manifest(&folder, remote.port(), &table(&remote))).await;
    let health = shop.anon().get("/health").await;
    assert_eq!((health.status.as_u16(), &health.body["services"]["own"]), (200, &"healthy".into()));
    assert_eq!(remote.connections(), 0, "the start calls `describe` and the probe, and `/health` the health route");
    for requests in 1..=3 {
        let answer = own(&shop).await;
        assert_eq!((answer.status.as_u16(), answer.text.starts_with("200\n")), (200, true), "{}", answer.text);
        assert_eq!(remote.arrived().len(), requests, "each request reaches the remote host");
    }
    let bytes = [&std::fs::read(folder.path().join("own.wasm")).unwrap()[..], &[0, 2, 1, b'x']].concat();
    let deployed = send(shop.operator().request(Method::PUT, "/services/own").body(bytes)).await;
    deployed.succeeds(200);
    assert_eq!(remote.arrived().len(), 3, "the deploy calls both, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_the_clients_request_continues_at_the_remote_host() {
    let (remote, folder) = (Remote::start().await, tempfile::tempdir().unwrap());
    let shop = Shop::with(own_manifest(&folder, remote.port(), &table(&remote))).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = shop.anon().request(Method::GET, "/fetch/own").header("traceparent", trace);
    assert_eq!(send(request).await.status, 200);
    assert_eq!(remote.last().headers["traceparent"], trace);
    own(&shop).await;
    assert!(!remote.last().headers.contains_key("traceparent"));
    let own_span = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let order = order("GET", &remote, &format!("/\ntraceparent: {own_span}"));
    let request = shop.anon().request(Method::POST, "/fetch").header("traceparent", trace).body(order);
    assert_eq!(send(request.header("content-type", "text/plain")).await.status, 200);
    assert_eq!(remote.last().headers["traceparent"], own_span);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_remote_host_does_not_count_against_the_revision() {
    // Bound, so that no other test gets the port, but not listening.
    let unheard = TcpSocket::new_v4().unwrap();
    unheard.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let closed = unheard.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let outbound = format!("allow = [\"http://{closed}\"]\nprivate = [\"127.0.0.1/32\"]");
    let shop = Shop::with(own_manifest(&folder, closed.port(), &outbound)).await;
    for _ in 0..5 {
        assert_eq!(own(&shop).await.text, "ErrorCode::ConnectionRefused");
    }
    let mut refused = own(&shop).await;
    for _ in 0..20 {
        // On a stalled machine the pause may be over. The failed trial then begins a longer one.
        if refused.text == "ErrorCode::ConnectionRefused" {
            refused = own(&shop).await;
        }
    }
    assert_eq!((refused.status.as_u16(), refused.text.as_str()), (502, "ErrorCode::DestinationUnavailable"));
    let counts = shop.deployment().services()["own"].revision.traffic().snapshot();
    assert!(counts.iter().all(|route| (route.good, route.bad) == (0, 0)), "{counts:?}");
    let labels = ["service=\"own\"", &format!("host=\"http://{closed}\"")];
    assert_eq!(metric(&shop, "comptoir_outbound_open", &labels).await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_host_refuses_counts_against_the_revision() {
    let (remote, folder) = (Remote::start().await, tempfile::tempdir().unwrap());
    // Its address is not public, and not in `private`.
    let outbound = format!("allow = [\"{}\"]", remote.origin());
    let shop = Shop::with(own_manifest(&folder, remote.port(), &outbound)).await;
    for _ in 0..3 {
        let answer = own(&shop).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (502, "ErrorCode::DestinationIpProhibited"));
    }
    let counts = shop.deployment().services()["own"].revision.traffic().snapshot();
    assert_eq!(counts.iter().map(|route| route.bad).sum::<u64>(), 3, "{counts:?}");
    assert_eq!(remote.connections(), 0);
}
