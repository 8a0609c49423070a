//! Components that a deploy refuses, each with its own reason. The active revision keeps serving.

use testing::component;

use super::load::Load;
use super::{Stand, digest, manifest, refuses, variant};

/// A component that compiles and links, but traps while it is instantiated.
const TRAPS_AT_START: &str = r#"(component
    (core module $code (func $start unreachable) (start $start) (func (export "handle")))
    (core instance $instance (instantiate $code))
    (func $handle (canon lift (core func $instance "handle")))
    (instance $handler (export "handle" (func $handle)))
    (export "wasi:http/incoming-handler@0.2.3" (instance $handler))
    (instance $service)
    (export "comptoir:platform/service@0.1.0" (instance $service)))"#;

/// A component with the right exports and code that does not compile.
const INVALID_CODE: &str = r#"(component
    (core module (func (result i32)))
    (instance $handler)
    (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;

const IMPORTS_UNKNOWN: &str = r#"(component
    (import "wasi:webgpu/webgpu@0.2.6" (instance (export "draw" (func))))
    (instance $handler)
    (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;

const HANDLES_NOTHING: &str = r#"(component
    (instance $handler)
    (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;

/// A component with four megabytes of imports.
fn imports_much() -> String {
    imports_of_names(&"x".repeat(400), 10_000)
}

fn imports_of_names(name: &str, count: usize) -> String {
    let imports: String =
        (0..count).map(|number| format!("(import \"a:b/{name}{number}\" (instance (export \"f\" (func))))")).collect();
    format!(
        r#"(component {imports} (instance $handler) (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#
    )
}

const TABLES: &str = "(table 1 funcref) (table 1 funcref)";

/// A component that instantiates a module with these parts this many times.
fn instances(count: usize, parts: &str) -> String {
    let instances = "(core instance (instantiate $part))".repeat(count);
    format!("(component (core module $part {parts}) {instances} {HANDLES}")
}

const HANDLES: &str = r#"(instance $handler) (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;

fn text(component: &str) -> Vec<u8> {
    wat::parse_str(component).unwrap()
}

/// The component, the step that refuses it, and a part of the reason.
fn bad_components() -> Vec<(Vec<u8>, &'static str, &'static str)> {
    let good = variant("good");
    let auth = std::fs::read(component("auth")).unwrap();
    vec![
        (b"".to_vec(), "verified", "not a WebAssembly component"),
        (b"this is a diary".to_vec(), "verified", "not a WebAssembly component"),
        (good[..good.len() - 1000].to_vec(), "verified", "not a WebAssembly component"),
        (text("(module)"), "verified", "it is a core module: build it as a component"),
        (text("(component)"), "verified", "it exports neither `wasi:http/incoming-handler@0.2.x` nor"),
        (text(IMPORTS_UNKNOWN), "linked", "`wasi:webgpu/webgpu@0.2.6`, which this host does not offer to any service"),
        (auth, "linked", "which was not granted: add \"passwords\" to `grants` in [services.variant]"),
        (text(INVALID_CODE), "compiled", "type mismatch"),
        (text(HANDLES_NOTHING), "linked", "handle"),
        (
            text(&instances(65, "")),
            "verified",
            "it has 65 core instances, more than 64: compose it of fewer components",
        ),
        (text(&instances(33, TABLES)), "verified", "it has 66 tables, more than 64"),
        (text(&instances(9, "(memory 1)")), "verified", "it has 9 linear memories, more than 8"),
        (text(TRAPS_AT_START), "described", "unreachable"),
        (variant("describe-traps"), "described", "describe-traps"),
        (variant("long-version"), "described", "is not allowed: it may have at most 100 characters"),
        (variant("red-version"), "described", r"the version `\u{1b}[31m1.0` is not allowed"),
        (variant("long-route"), "described", "has 515 bytes and 3 segments: at most 512 and 32"),
        (variant("deep-route"), "described", "and 33 segments: at most 512 and 32"),
        (variant("long-probe"), "described", "is not allowed: its path may have at most 8192 bytes"),
        (text(&imports_much()), "verified", "it has more than 500 imports: build it with fewer interfaces"),
        (text(&imports_of_names(&"x".repeat(4_000), 100)), "verified", "bytes, more than 512: build it with fewer"),
        (text(&imports_of_names("x", 400)), "linked", "and 390 more imports"),
        (variant("newer"), "described", "its migrations end at schema 1, outside of its range 5 to 5"),
        (variant("outside"), "described", "the route GET /elsewhere is outside of its mounts (/variant)"),
        (variant("secret"), "described", "the route GET /variant/secret is public, which `public` in"),
        (variant("doc-text"), "described", "its documentation is not {\"operations\": {…}, \"schemas\": {…}} in JSON"),
        (variant("doc-more"), "described", "unknown field `remarks`"),
        (variant("doc-long"), "described", "its documentation has 262145 bytes, more than the limit of 262144"),
        (variant("doc-path"), "described", "has the operation `GET /variant/absent`, which is not a route"),
        (variant("doc-method"), "described", "has the operation `PUT /variant/items`, which is not a route"),
        (variant("doc-ref"), "described", "refers to `#/components/schemas/Item`, which is not one of its schemas"),
        (variant("doc-far"), "described", "of the schema `Item` refers to `https://example.com/`"),
        (variant("doc-name"), "described", "names a schema `an item`"),
        (variant("doc-status"), "described", "of `GET /variant/items` has `errors` with the status 200"),
        (variant("doc-codes"), "described", "has `errors` that are not"),
        (variant("doc-answers"), "described", "has `responses` that are not an object"),
        (variant("destructive"), "migrated", "DROP TABLE flags"),
        (variant("failing"), "migrated", "absent"),
        (variant("health-500"), "probed", "the probe GET /health was answered with 500"),
        (variant("health-traps"), "probed", "the probe GET /health failed"),
        (variant("health-slow"), "probed", "the probe GET /health was not answered within 1s"),
        (variant("probe fails-post"), "probed", "the probe POST /variant/items was answered with 500"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_bad_components_are_refused_while_the_old_revision_serves() {
    let stand = Stand::with(manifest("probe_time = \"1s\"", "")).await;
    let old = stand.active().await;
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    let bad = bad_components();
    assert!(bad.len() >= 30);
    for (component, step, reason) in bad {
        let sent = digest(&component);
        let answer = stand.send("?reason=a+try", component).await;
        refuses(&answer, 422, "DEPLOY_REFUSED", step, reason);
        assert!(answer.text.len() < 20_000, "{step}, {reason}: the answer has {} bytes", answer.text.len());
        let line = &stand.history().await[0];
        assert_eq!([&line["action"], &line["result"], &line["reason"]], ["deploy", "refused", "a try"], "{line:#}");
        assert_eq!([&line["from"], &line["to"], &line["by"]], [&old, &sent, "operator"], "{line:#}");
        assert!(line["detail"].as_str().unwrap().contains(reason), "{line:#}");
        assert_eq!(stand.active().await, old);
    }
    load.end().await.lost_nothing();
    stand.serves(&old).await;
    assert_eq!(stand.status().await["kept"], serde_json::json!([]), "no refused component is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_loops_in_describe_is_refused_after_its_cpu_limit() {
    // Only the CPU limit can end it within the duration of this test.
    let stand = Stand::with(manifest("", "cpu = \"200ms\", time = \"1h\"")).await;
    let old = stand.active().await;
    let answer = stand.deploy("describe-loops").await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "described", "its `describe` computed for longer than");
    stand.serves(&old).await;
    stand.deployed("good-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_with_a_thousand_long_routes_serves_and_slows_no_other_swap() {
    let stand = Stand::open().await;
    let many = stand.deployed("many-routes").await;
    stand.serves(&many).await;
    assert!(stand.status().await["routes"].as_array().unwrap().len() > 980);
    let report = stand.deploy("good-2").await;
    let gone = report.succeeds(200)["differences"].as_array().unwrap().len();
    assert_eq!(gone, 980, "the report lists each removed route");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_differs_from_its_announced_digest_is_refused() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let announced = "0".repeat(64);
    let answer = stand.send(&format!("?digest={announced}"), variant("good-2")).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", &format!("but the request announced {announced}"));
    assert_eq!(stand.history().await[0]["result"], "refused");
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_over_the_size_limit_is_refused_and_recorded() {
    let stand = Stand::with(manifest("component = \"200 KiB\"", "")).await;
    let old = stand.active().await;
    let answer = stand.send("?reason=large", vec![0; 300 << 10]).await;
    refuses(&answer, 413, "COMPONENT_TOO_LARGE", "received", "more bytes than the limit of 200.0 KiB");
    let line = &stand.history().await[0];
    assert_eq!([&line["action"], &line["result"], &line["reason"]], ["deploy", "refused", "large"], "{line:#}");
    stand.serves(&old).await;
    stand.deployed("good-2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_older_than_its_databases_schema_is_refused() {
    let mut stand = Stand::open().await;
    stand.shop.stop().await;
    stand.shop.set_schema_version("variant", 2).await;
    let refused = stand.shop.start_again_as(manifest("", ""), None).await.unwrap_err().to_string();
    assert!(
        refused.contains("its database is at schema 2, newer than this component works with (up to 1)"),
        "{refused}"
    );
}
