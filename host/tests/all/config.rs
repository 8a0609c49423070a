//! The configuration of a service in the manifest, as `wasi:config/store` and as environment variables.

use testing::{Shop, manifest_of};

/// A service with this table of configuration.
fn service(name: &str, config: &str) -> String {
    format!(
        "[services.{name}]\ncomponent = \"guest_site_{name}.wasm\"\nmounts = [\"/site\", \"/other\"]\naccess = \"public\"\n\
         public = [\"/site\", \"/other\"]\n[services.{name}.config]\n{config}\n"
    )
}

const CONFIG: &str = "currency = \"EUR\"\n\"pay.url\" = \"https://pay.example/a=b\"\nempty = \"\"";

const ENTRIES: &str = "currency=EUR\nempty=\npay.url=https://pay.example/a=b\n";

const ENVIRONMENT: &str =
    "CURRENCY=EUR\nEMPTY=\nPAY_URL=https://pay.example/a=b\ncurrency=EUR\nempty=\npay.url=https://pay.example/a=b\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_0_2_component_reads_its_configuration_from_the_store_and_the_environment() {
    let shop = Shop::with(manifest_of(&service("p2", CONFIG))).await;
    let anon = shop.anon();
    assert_eq!(anon.get("/site/all").await.text, ENTRIES);
    assert_eq!(anon.get("/site/environment").await.text, ENVIRONMENT);
    for (key, value) in [("currency", "Ok(Some(\"EUR\"))"), ("empty", "Ok(Some(\"\"))"), ("CURRENCY", "Ok(None)")] {
        assert_eq!(anon.get(&format!("/site/get?{key}")).await.text, value, "{key}");
    }
    // It is the same for all requests of a revision, so the cache may keep what depends on it.
    assert_eq!(anon.get("/site/environment").await.header("x-comptoir-cache"), "hit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_0_3_component_reads_its_configuration_from_the_store_and_the_environment() {
    let shop = Shop::with(manifest_of(&service("p3", CONFIG))).await;
    let answer = shop.anon().get("/site/config").await;
    assert_eq!(answer.text, format!("{ENTRIES}Ok(None)\n{ENVIRONMENT}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_configuration_finds_an_empty_store_and_environment() {
    let shop = Shop::with(manifest_of(&service("p2", ""))).await;
    for path in ["/site/all", "/site/environment"] {
        let answer = shop.anon().get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{path}");
    }
    assert_eq!(shop.anon().get("/site/get?currency").await.text, "Ok(None)");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_reads_its_configuration_while_it_describes_itself_and_a_restart_changes_it() {
    let mut shop = Shop::with(manifest_of(&service("p2", "mount = \"/other\""))).await;
    assert_eq!(shop.anon().get("/other/all").await.text, "mount=/other\n");
    shop.stop().await;
    shop.start_again_as(manifest_of(&service("p2", "a = \"1\"")), None).await.unwrap();
    assert_eq!(shop.anon().get("/site/all").await.text, "a=1\n");
    shop.anon().get("/other/all").await.refuses(404, "NOT_FOUND");
}

/// A service of the kit with this table of configuration.
fn kitted(config: &str) -> String {
    format!(
        "[services.kitted]\ncomponent = \"guest_kitted.wasm\"\nmounts = [\"/kitted\"]\npublic = [\"/kitted\"]\n\
         [services.kitted.config]\n{config}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_the_kit_reads_its_configuration_as_a_type() {
    let mut shop = Shop::with(manifest_of(&kitted("currency = \"EUR\"\nvat = \"19.5\"\nother = \"x\""))).await;
    for cached in ["miss", "hit"] {
        let answer = shop.anon().get("/kitted/config").await;
        assert_eq!(answer.body["data"], serde_json::json!(["EUR", 19.5, null]));
        assert_eq!(answer.header("x-comptoir-cache"), cached);
    }
    shop.stop().await;
    shop.start_again_as(manifest_of(&kitted("vat = \"much\"")), None).await.unwrap();
    for path in ["/kitted/config", "/kitted/vat"] {
        shop.anon().get(path).await.refuses(500, "INTERNAL_ERROR");
    }
}
