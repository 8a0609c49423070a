//! `just bench-micro`: measures the parts of a request in process, with criterion.
//!
//! `just bench` measures from outside the sum of these parts, hyper and the kernel's sockets. The benchmarks named "answer"
//! measure a revision's whole work for a request: create the store and the instance, call it, and drop both.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may panic")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use comptoir::audit::Audit;
use comptoir::body::RequestBody;
use comptoir::clock::Clock;
use comptoir::deploy::{Deployment, Served};
use comptoir::gate::{AdminToken, Admitted, Gate, Origin};
use comptoir::route::Route;
use comptoir::tokens::Tokens;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http_body_util::BodyExt as _;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use storage::sqlite::{SqliteConfig, SqliteStorage};
use storage::{Statement, Storage as _};
use testing::{Shop, manifest_of, shop_manifest};
use tokio::runtime::Runtime;

/// Host calls of the talkative component: enough to measure one beside the cost of an instance.
const HOST_CALLS: u32 = 1_000;

const PRODUCTS: &str = "SELECT id, name, price_cents, description, stock, date_creation FROM products ORDER BY id";

/// A component that makes `host_calls` host calls and returns no answer, so that only the sandbox is measured.
fn silent(host_calls: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $http
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock (export "now" (func (result u64)))))
            (alias export $http "incoming-request" (type $request))
            (alias export $http "response-outparam" (type $out))
            (core func $now (canon lower (func $clock "now")))
            (core module $guest
                (import "clock" "now" (func $now (result i64)))
                (memory (export "memory") 1)
                (func (export "handle") (param i32 i32)
                    (local $left i32)
                    (local.set $left (i32.const {host_calls}))
                    (block $done
                        (loop $again
                            (br_if $done (i32.eqz (local.get $left)))
                            (drop (call $now))
                            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                            (br $again)))))
            (core instance $instance (instantiate $guest (with "clock" (instance (export "now" (func $now))))))
            (func $handle (param "request" (own $request)) (param "response-out" (own $out))
                (canon lift (core func $instance "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(text).unwrap()
}

/// A host with the silent component, the same with host calls, and a component that answers hello.
fn sandboxes(runtime: &Runtime, folder: &Path) -> Shop {
    for (name, host_calls) in [("silent", 0), ("talkative", HOST_CALLS)] {
        std::fs::write(folder.join(format!("{name}.wasm")), silent(host_calls)).unwrap();
    }
    let own = |name: &str| {
        let file = folder.join(format!("{name}.wasm"));
        format!("[services.{name}]\ncomponent = \"{}\"\nmounts = [\"/{name}\"]\naccess = \"public\"\n", file.display())
    };
    let hello = "[services.hello]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/hello\"]\naccess = \"public\"\n";
    runtime.block_on(Shop::with(manifest_of(&format!("{}{}{hello}", own("silent"), own("talkative")))))
}

fn head(path: &str, token: Option<&str>) -> Parts {
    let request = Request::get(path).header("host", "localhost").header("accept", "*/*");
    let request = token.into_iter().fold(request, |request, token| request.header("authorization", token));
    request.body(()).unwrap().into_parts().0
}

/// The route of a path, and its service.
fn found<'d>(deployment: &'d Deployment, path: &str) -> (Arc<Route>, &'d Served) {
    let route = deployment.gateway().find(&Method::GET, path).unwrap().clone();
    let served = &deployment.services()[&route.service];
    (route, served)
}

/// A request of the user `admin` that has passed the gate.
fn admitted(gate: &Gate, authorization: &str, route: &Arc<Route>, path: &str) -> Admitted {
    let request_id = "badacaaf-0000000b".into();
    let origin =
        Origin { client: None, request_id: &request_id, trace_parent: None, shows_session: false, secure: false };
    gate.admit(route, head(path, Some(authorization)), origin).unwrap().with_body(RequestBody::default()).unwrap()
}

/// A gate, and an `authorization` header of the user `admin`.
fn gate(folder: &Path) -> (Gate, String) {
    let tokens = Arc::new(Tokens::open(folder, Clock::default()).unwrap());
    let authorization = format!("Bearer {}", tokens.issue("admin", "admin", "a session").unwrap().token);
    let audit = Audit::open(folder, Clock::default(), u64::MAX).unwrap();
    (Gate::new(tokens, Arc::new(AdminToken::open(&folder.join("admin.token")).unwrap()), audit), authorization)
}

/// Sends a request to a revision and reads the response to its end. Returns the length of the body, None without a response.
async fn answer(admitted: Admitted, served: &Served) -> Option<usize> {
    let answer = served.revision.answer(admitted, None, None, None).await.ok()?;
    Some(answer.response.into_body().collect().await.unwrap().to_bytes().len())
}

fn revisions(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let gate_folder = tempfile::tempdir().unwrap();
    let (gate, authorization) = gate(gate_folder.path());
    let hosts = [sandboxes(&runtime, folder.path()), runtime.block_on(Shop::with(shop_manifest()))];
    let cases = [
        (0, "instantiate, empty call, drop", "/silent", false),
        (0, "instantiate, 1,000 host calls, drop", "/talkative", false),
        (0, "answer, hello", "/hello", true),
        (1, "answer, products", "/products", true),
        (1, "answer, profile", "/users/1", true),
    ];
    for (host, name, path, answers) in cases {
        let (route, served) = found(hosts[host].deployment(), path);
        let request = || admitted(&gate, &authorization, &route, path);
        assert_eq!(runtime.block_on(answer(request(), served)).is_some(), answers, "{path}");
        criterion.bench_function(name, |bencher| {
            let answer = |request| answer(request, served);
            bencher.to_async(&runtime).iter_batched(request, answer, BatchSize::SmallInput);
        });
    }
    for mut host in hosts {
        runtime.block_on(host.stop());
    }
}

fn before_the_guest(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut shop = runtime.block_on(Shop::with(shop_manifest()));
    let routes = shop.deployment().gateway();
    criterion.bench_function("route", |bencher| {
        bencher.iter(|| routes.find(&Method::GET, black_box("/users/1")).cloned());
    });
    let folder = tempfile::tempdir().unwrap();
    let (gate, authorization) = gate(folder.path());
    let client = Some([127, 0, 0, 1].into());
    let request_id = "badacaaf-0000000b".into();
    let origin = Origin { client, request_id: &request_id, trace_parent: None, shows_session: false, secure: false };
    for (name, path, token) in
        [("gate, anonymous", "/products", None), ("gate, a token", "/users/1", Some(&*authorization))]
    {
        let (route, _) = found(shop.deployment(), path);
        criterion.bench_function(name, |bencher| {
            bencher.iter_batched(
                || head(path, token),
                |head| gate.admit(&route, head, origin).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    let services = shop.deployment().services().clone();
    let pointer = ArcSwap::from_pointee(Deployment::new(services.clone(), BTreeMap::new(), &[]).unwrap());
    criterion.bench_function("swap", |bencher| {
        bencher.iter(|| pointer.store(Arc::new(Deployment::new(services.clone(), BTreeMap::new(), &[]).unwrap())));
    });
    runtime.block_on(shop.stop());
}

fn queries(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.db");
    let raw = rusqlite::Connection::open(&file).unwrap();
    raw.execute_batch(include_str!("../../components/orders/migrations/1.sql")).unwrap();
    drop(raw);
    let storage = SqliteStorage::open(&file, SqliteConfig::default()).unwrap();
    criterion.bench_function("query of five rows", |bencher| {
        bencher.to_async(&runtime).iter(|| storage.query(Statement::new(PRODUCTS, [])));
    });
    criterion.bench_function("durable insert", |bencher| {
        let insert = "INSERT INTO orders (user_id, total_cents, status, date_creation) VALUES ('a', 1, 'paid', '')";
        bencher.to_async(&runtime).iter(|| storage.execute(Statement::new(insert, [])));
    });
}

criterion_group!(parts, revisions, before_the_guest, queries);
criterion_main!(parts);
