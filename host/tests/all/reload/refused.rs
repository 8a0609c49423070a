//! Reloads that change nothing, and say why.

use reqwest::Method;
use serde_json::json;

use super::{manifest, newest, plain, refuses, status, variant};
use comptoir::manifest::Manifest;
use testing::{Answer, Shop, send};

/// Asserts that this manifest is refused, by a check too, although it also adds a service and moves another.
async fn changes_nothing(shop: &mut Shop, manifest: &Manifest, status_and_code: (u16, &str), reason: &str) {
    let before = newest(shop, "variant").await;
    let mut all = manifest.clone();
    all.services.extend(super::manifest(&[plain("added", "")]).services);
    let refused = shop.reload(all).await;
    refuses(&refused, status_and_code.0, status_and_code.1, reason);
    assert_eq!([status(shop, "/added").await, status(shop, "/variant/items").await], [404, 200], "{reason}");
    assert_eq!(newest(shop, "variant").await, before, "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_only_a_start_reads_are_refused_by_name() {
    let current = manifest(&[variant(""), plain("one", "")]);
    let mut shop = Shop::with(current.clone()).await;
    for (key, change) in [
        ("instances", Box::new(|manifest: &mut Manifest| manifest.instances += 1) as Box<dyn Fn(&mut Manifest)>),
        ("listeners.streams", Box::new(|manifest| manifest.listeners.streams += 1)),
        ("passwords.minimum", Box::new(|manifest| manifest.passwords.minimum += 1)),
        ("audit.file", Box::new(|manifest| manifest.audit.file += 1_u64)),
        (
            "services.variant.limits.database",
            Box::new(|manifest| {
                manifest.services.get_mut("variant").unwrap().limits.database_bytes += 1;
            }),
        ),
        (
            "services.one.reuse",
            Box::new(|manifest| {
                manifest.services.get_mut("one").unwrap().reuse = comptoir::manifest::Reuse::Anyone;
            }),
        ),
    ] {
        let mut next = current.clone();
        change(&mut next);
        changes_nothing(&mut shop, &next, (422, "RESTART_NEEDED"), &format!("{key} ")).await;
        refuses(&shop.check_reload(next).await, 422, "RESTART_NEEDED", "restart to change it");
    }
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(metrics.contains("comptoir_reloads_total{result=\"refused\"} 6"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_faulty_component_grant_port_or_certificate_refuses_all_of_it() {
    let current = manifest(&[variant(""), plain("one", "")]);
    let mut shop = Shop::with(current.clone()).await;
    let with = |change: &dyn Fn(&mut Manifest)| {
        let mut next = current.clone();
        change(&mut next);
        next
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let table = [
        (with(&|next| next.listeners.gateway = address), "MANIFEST_REFUSED", "the gateway cannot listen on"),
        (
            with(&|next| next.services.get_mut("one").unwrap().component = "/nowhere/one.wasm".into()),
            "DEPLOY_REFUSED",
            "cannot read /nowhere/one.wasm",
        ),
        (
            with(&|next| next.services.get_mut("variant").unwrap().grants.clear()),
            "MANIFEST_REFUSED",
            "imports `comptoir:platform/storage@0.1.0`",
        ),
        (
            with(&|next| next.services.get_mut("variant").unwrap().mounts = vec!["/other".to_owned()]),
            "DEPLOY_REFUSED",
            "is outside of its mounts (/other)",
        ),
        (
            with(&|next| {
                let (certificate, key) = ("/nowhere/shop.pem".into(), "/nowhere/shop.key".into());
                next.listeners.tls = Some(comptoir::manifest::Tls { certificate, key });
            }),
            "MANIFEST_REFUSED",
            "cannot read /nowhere/shop.pem",
        ),
    ];
    for (next, code, reason) in table {
        changes_nothing(&mut shop, &next, (422, code), reason).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_fails_its_probes_refuses_the_other_changes_too() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, crate::deploys::variant("good")).unwrap();
    let mut current = manifest(&[variant(""), plain("one", "")]);
    current.services.get_mut("variant").unwrap().component = file.path().to_owned();
    let mut shop = Shop::with(current.clone()).await;
    std::fs::write(&file, crate::deploys::variant("health-500")).unwrap();
    changes_nothing(&mut shop, &current, (422, "DEPLOY_REFUSED"), "the probe GET /health").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_canary_or_a_new_open_address_with_the_seeded_password_refuses_a_reload() {
    let current = manifest(&[variant(""), plain("one", "")]);
    let mut shop = Shop::with(current.clone()).await;
    let path = "/services/variant?canary=5%25";
    send(shop.operator().request(Method::PUT, path).body(crate::deploys::variant("good-2"))).await.succeeds(200);
    changes_nothing(&mut shop, &current, (409, "CANARY_RUNNING"), "promote it or abort it first").await;
    send(shop.operator().request(Method::POST, "/canary/abort")).await.succeeds(200);
    shop.reload(current).await.succeeds(200);

    let mut shop = Shop::open().await;
    let mut open = shop.manifest();
    open.listeners.gateway = "0.0.0.0:0".parse().unwrap();
    let refused = shop.reload(open).await;
    refuses(&refused, 422, "RELOAD_REFUSED", "set another with --operator-password-file");
    assert_eq!(status(&shop, "/products").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_would_change_and_changes_nothing() {
    let shop = Shop::with(manifest(&[variant(""), plain("one", "")])).await;
    let next = manifest(&[variant("limits = { body = \"1 KiB\" }"), plain("two", "")]);
    let checked = shop.check_reload(next).await;
    let report = checked.succeeds(200);
    assert_eq!(
        [&report["applied"], &report["added"], &report["removed"], &report["changed"]],
        [&json!(false), &json!(["two"]), &json!(["one"]), &json!({ "variant": ["limits.body"] })]
    );
    assert_eq!((status(&shop, "/one").await, status(&shop, "/two").await), (200, 404));
    let stranger: Answer =
        send(shop.anon().at(&format!("http://{}", shop.addresses().admin)).request(Method::POST, "/reload")).await;
    stranger.refuses(401, "MISSING_TOKEN");
    send(shop.operator().request(Method::POST, "/reload?chek=true")).await.refuses(400, "BAD_REQUEST");
    send(shop.operator().request(Method::GET, "/reload")).await.refuses(405, "METHOD_NOT_ALLOWED");
}
