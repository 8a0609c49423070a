//! Components in plain `wasi:http`, without a description, of WASI 0.2 and 0.3.

use comptoir::engine::inspect;
use reqwest::Method;
use testing::{Shop, component, manifest_of, send};

const PLAIN: &str = r#"
[services.older]
component = "guest_plain_p2.wasm"
mounts = ["/older"]
access = "public"

[services.newer]
component = "guest_plain_p3.wasm"
mounts = ["/newer"]
access = "public"

[services.closed]
component = "guest_plain_p2.wasm"
mounts = ["/closed"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn components_of_wasi_0_2_and_0_3_are_served_on_their_mounts() {
    let shop = Shop::with(manifest_of(PLAIN)).await;
    let anon = shop.anon();
    assert_eq!(anon.get("/older/a/b?c=d").await.text, "0.2 Method::Get /older/a/b?c=d");
    assert_eq!(anon.get("/newer").await.text, "0.3 Method::Get /newer");
    assert_eq!(send(anon.request(Method::PATCH, "/newer/x")).await.text, "0.3 Method::Patch /newer/x");
    assert!(anon.get("/newer").await.header("x-comptoir-revision").starts_with("newer@"));
    let services = shop.operator().get("/services").await;
    let handlers: Vec<_> =
        services.data().as_array().unwrap().iter().map(|service| service["handler"].clone()).collect();
    let (older, newer) = ("wasi:http/incoming-handler@0.2", "wasi:http/handler@0.3");
    assert_eq!(handlers, [older, newer, older]);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_wasi_versions_serve_concurrent_requests() {
    let shop = Shop::with(manifest_of(PLAIN)).await;
    let anon = shop.anon();
    let paths = (0..60).map(|number| if number % 2 == 0 { "/older/x" } else { "/newer/x" });
    let answers = futures::future::join_all(paths.map(|path| anon.get(path))).await;
    for (number, answer) in answers.iter().enumerate() {
        let text = if number % 2 == 0 { "0.2 Method::Get /older/x" } else { "0.3 Method::Get /newer/x" };
        assert_eq!(answer.text, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_a_description_needs_a_token_unless_the_manifest_opens_it() {
    let shop = Shop::with(manifest_of(PLAIN)).await;
    shop.anon().get("/closed/x").await.refuses(401, "MISSING_TOKEN");
    shop.anon().get("/elsewhere").await.refuses(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn components_of_both_wasi_versions_see_scheme_and_authority() {
    let shop = Shop::with(manifest_of(PLAIN)).await;
    let newer = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let gateway = shop.addresses().gateway;
    for (mount, seen) in [("older", "0.2 Some(Scheme::Http)"), ("newer", "0.3 Some(Scheme::Http)")] {
        let expected = format!("{seen} Some(\"{gateway}\")");
        assert_eq!(shop.anon().get(&format!("/{mount}/origin")).await.text, expected, "HTTP/1.1");
        let answer = newer.get(format!("http://{gateway}/{mount}/origin")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), expected, "HTTP/2");
        let named = shop.anon().request(Method::GET, &format!("/{mount}/origin")).header("host", "shop.example");
        assert_eq!(send(named).await.text, format!("{seen} Some(\"shop.example\")"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_database_imports_no_storage_and_needs_no_grant() {
    let imports = inspect(&std::fs::read(component("guest_stateless")).unwrap()).unwrap().imports;
    assert!(imports.iter().all(|import| !import.starts_with("comptoir:platform/storage")), "{imports:?}");
    let services = "[services.stateless]\ncomponent = \"guest_stateless.wasm\"\nmounts = [\"/stateless\"]\n\
                    public = [\"/stateless\"]\nlisten = \"127.0.0.1:0\"\n";
    let shop = Shop::with(manifest_of(services)).await;
    assert_eq!(shop.anon().get("/stateless/Ada").await.succeeds(200), "Hello, Ada.");
    assert_eq!(
        shop.door("stateless").get("/health").await.text,
        r#"{"status":"healthy","service":"stateless-service"}"#
    );
}
