//! What standard libraries import and no service gets: files, sockets, names, requests to other hosts. Components that import it are
//! served, and each call is denied. Also components of many parts.

use std::time::Duration;

use testing::{Shop, manifest_of};

/// Services with these components, mounted at their names.
fn services(of: &[(&str, &str)]) -> String {
    let service = |(name, more): &(&str, &str)| {
        let file = format!("guest_outside_{name}.wasm");
        format!("[services.{name}]\ncomponent = \"{file}\"\nmounts = [\"/{name}\"]\naccess = \"public\"\n{more}\n")
    };
    of.iter().map(service).collect()
}

/// The number of denied calls of a service, by kind.
async fn denied(shop: &Shop, service: &str) -> [u64; 3] {
    let metrics = shop.operator().get("/metrics").await.text;
    ["request", "socket", "lookup"].map(|kind| {
        let (start, kind) = (format!("comptoir_denied_calls_total{{service=\"{service}\""), format!("kind=\"{kind}\""));
        let line = metrics.lines().find(|line| line.starts_with(&start) && line.contains(&kind));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("no {kind}: {metrics}"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_2_component_gets_no_file_socket_name_or_environment() {
    let shop = Shop::with(manifest_of(&services(&[("p2", "")]))).await;
    let answer = shop.anon().get("/p2").await;
    let expected = "read failed\nwrite failed\nlist failed\nconnect failed\nlisten failed\ndatagram failed\nlookup failed\nenvironment 0";
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, expected));
    assert_eq!(denied(&shop, "p2").await, [0, 3, 1]);
    assert!(!std::path::Path::new("/tmp/outside").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_3_component_gets_no_folder_socket_name_or_request() {
    let shop = Shop::with(manifest_of(&services(&[("p3", "")]))).await;
    let answer = shop.anon().get("/p3").await;
    let expected = "folders 0\ntcp Err(ErrorCode::AccessDenied)\nudp Err(ErrorCode::AccessDenied)\n\
                    lookup Err(ErrorCode::PermanentResolverFailure)\nrequest Ok(()) Err(ErrorCode::HttpRequestDenied)\nenvironment 0";
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, expected));
    assert_eq!(denied(&shop, "p3").await, [1, 2, 1]);
}

/// Hosts that a denied request must not reach: a listener of this test, names, addresses and other services.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_0_2_component_are_denied_with_and_without_calls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    for (calls, refused) in [("", "p3.internal"), ("calls = [\"p2\"]", "p3.internal")] {
        let shop = Shop::with(manifest_of(&services(&[("p2", calls), ("p3", "")]))).await;
        let hosts = [&*own, "localhost", "example.com", "169.254.169.254", "0x7f000001", refused];
        for host in hosts {
            let answer = shop.anon().get(&format!("/p2/request/{host}")).await;
            assert_eq!(answer.text, "Some(Err(ErrorCode::HttpRequestDenied))", "{host} with {calls:?}");
        }
        assert_eq!(denied(&shop, "p2").await, [hosts.len() as u64, 0, 0]);
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), listener.accept()).await.is_err(), "nobody connected");
}

/// A component with this many core instances, each of which has these parts. Its handler returns without a response.
fn of_many_parts(count: usize, parts: &str) -> Vec<u8> {
    let instances = "(core instance (instantiate $part))".repeat(count - 1);
    let component = format!(
        r#"(component
            (import "wasi:http/types@0.2.12" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (import "wasi:keyvalue/types@0.2.0" (instance))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $out))
            (core module $part {parts})
            {instances}
            (core module $code {parts} (func (export "handle") (param i32 i32)))
            (core instance $code (instantiate $code))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $code "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.12" (instance $handler)))"#
    );
    wat::parse_str(component).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_64_core_instances_and_64_tables_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.wasm");
    for (parts, tables) in [("(table 300 funcref)", 1), ("(memory 1)", 0)] {
        let count = if tables == 1 { 64 } else { 8 };
        std::fs::write(&file, of_many_parts(count, parts)).unwrap();
        let text = format!("[services.many]\ncomponent = {file:?}\nmounts = [\"/many\"]\naccess = \"public\"\n");
        let shop = Shop::with(manifest_of(&text)).await;
        // More at once than the host has room for: an instance takes eight of its hundred instances.
        let anon = shop.anon();
        let answers = futures::future::join_all((0..40).map(|_| anon.get("/many"))).await;
        for answer in answers {
            answer.refuses(500, "INTERNAL_ERROR");
        }
        let metrics = shop.operator().get("/metrics").await.text;
        let traps = metrics.lines().find(|line| line.starts_with("comptoir_guest_traps_total{service=\"many\""));
        assert!(traps.unwrap().ends_with(" 40"), "each request ran: {traps:?}");
    }
}
