//! `GET /openapi.json` describes everything that is served, and nothing else.

mod property;
mod schema;
mod validators;

use std::collections::{BTreeMap, BTreeSet};

use comptoir::error::Error;
use comptoir::manifest::Manifest;
use comptoir::route::Access;
use reqwest::{Method, header};
use serde_json::{Value, json};
use testing::{Answer, Client, Shop, component, manifest_of, send, shop_manifest};

/// The gateway's own operations.
const OWN: [&str; 2] = ["GET /health", "GET /openapi.json"];

async fn document(client: &Client) -> Value {
    let answer = client.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"), "{}", answer.text);
    answer.body
}

/// The operations of a document, named like `POST /orders`.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    let items = document["paths"].as_object().unwrap().iter();
    items
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .iter()
                .map(move |(method, object)| (format!("{} {path}", method.to_uppercase()), object))
        })
        .collect()
}

/// Collects all references.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_has_the_routes_of_the_gateway_and_no_others() {
    let shop = Shop::open().await;
    let document = document(&shop.anon()).await;
    let documented = operations(&document);
    let routes = shop.deployment().gateway().iter();
    let mut served: BTreeMap<String, Access> =
        routes.map(|route| (format!("{} {}", route.method.as_ref().unwrap(), route.pattern), route.access)).collect();
    served.extend(OWN.map(|own| (own.to_owned(), Access::Public)));
    assert_eq!(documented.keys().collect::<Vec<_>>(), served.keys().collect::<Vec<_>>());
    for (name, access) in &served {
        let operation = documented[name];
        let bearer = json!({ "bearerAuth": [] });
        let needs_token = operation["security"].as_array().unwrap() == std::slice::from_ref(&bearer);
        assert_eq!(needs_token, *access != Access::Public, "{name}");
        let has = |status: &str| operation["responses"].get(status).is_some();
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        assert!(has("200") || has("201"), "{name} documents its success");
        assert!(!has("default"), "{name} is documented by its service");
        assert!(*access == Access::Public || has("401"), "{name}");
        assert_eq!(name.starts_with("GET") && name != "GET /health", has("304"), "{name}");
    }
}

#[tokio::test]
async fn every_documented_path_answers_the_documented_methods_and_no_others() {
    let shop = Shop::open().await;
    let document = document(&shop.anon()).await;
    for (path, item) in document["paths"].as_object().unwrap() {
        let mut methods: BTreeSet<String> = item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        methods.insert("OPTIONS".to_owned());
        let answer = send(shop.anon().request(Method::OPTIONS, &path.replace("{id}", "1"))).await;
        let allowed: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn every_path_parameter_is_declared_once() {
    let shop = Shop::open().await;
    let document = document(&shop.anon()).await;
    for (name, operation) in operations(&document) {
        let in_path: Vec<&str> =
            name.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')).collect();
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let declared: Vec<&str> = parameters
            .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(declared, in_path, "{name}");
    }
}

#[tokio::test]
async fn every_reference_has_a_target_and_every_schema_a_reference() {
    let shop = Shop::open().await;
    let document = document(&shop.anon()).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some_and(Value::is_object), "{reference} has no target");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(found.contains(&*format!("#/components/schemas/{name}")), "nothing refers to {name}");
    }
    assert!(
        schemas.contains_key("orders.DateTime") && schemas.contains_key("user.DateTime"),
        "each service has its own schemas"
    );
}

#[tokio::test]
async fn the_hosts_own_answers_are_documented() {
    let shop = Shop::open().await;
    let document = document(&shop.anon()).await;
    for row in Error::each().iter().map(Error::row) {
        let response = &document["components"]["responses"][row.status.as_str()];
        let schema = &response["content"]["application/json"]["schema"]["allOf"][1];
        let codes = schema["properties"]["error"]["properties"]["code"]["enum"].as_array().unwrap();
        assert!(codes.contains(&row.code.into()), "{} {} is not in {codes:?}", row.status, row.code);
        let meanings = response["description"].as_str().unwrap();
        assert!(meanings.contains(&format!("`{}`: ", row.code)), "{} {meanings}", row.code);
        if let Some((name, _)) = row.header {
            let headers = response["headers"].as_object().unwrap();
            assert!(
                headers.keys().any(|header| header.eq_ignore_ascii_case(name.as_str())),
                "{name} of {}",
                row.status
            );
        }
    }
}

/// A component that describes no routes.
const PLAIN: &str = "[services.plain]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/plain\"]\naccess = \"user\"\n";

/// The shop, and a service that documents nothing.
fn shop_with_plain() -> Manifest {
    let mut manifest = shop_manifest();
    manifest.services.extend(manifest_of(PLAIN).services);
    manifest
}

#[tokio::test]
async fn each_operation_has_an_id_of_its_own_a_summary_and_a_success() {
    let shop = Shop::with(shop_with_plain()).await;
    let document = document(&shop.anon()).await;
    assert_eq!(document["servers"], json!([{ "url": "/" }]));
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} of {name} is there twice");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{name}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name}");
    }
    for id in ["orders.placeOrder", "user.listUsers", "plain.get_plain_rest", "health"] {
        assert!(ids.contains(id), "{ids:?}");
    }
    let tags = document["tags"].as_array().unwrap();
    assert!(tags.iter().any(|tag| tag["name"] == "orders" && tag["description"] == "orders-service 0.1.0"), "{tags:?}");
}

#[tokio::test]
async fn a_service_without_documentation_is_listed_with_what_the_host_knows() {
    let shop = Shop::with(manifest_of(PLAIN)).await;
    let document = document(&shop.anon()).await;
    let documented = operations(&document);
    for name in ["GET /plain", "PATCH /plain", "DELETE /plain/{rest}"] {
        let operation = documented[name];
        for status in ["2XX", "default"] {
            assert!(operation["responses"][status]["description"].is_string(), "{name}");
        }
        assert_eq!(operation["responses"]["401"], json!({ "$ref": "#/components/responses/401" }), "{name}");
        assert_eq!(operation["tags"], json!(["plain"]), "{name}");
    }
    assert_eq!(documented["DELETE /plain/{rest}"]["parameters"][0]["name"], "rest");
}

#[tokio::test]
async fn the_document_describes_the_revisions_that_the_caller_gets() {
    let shop = Shop::open().await;
    let before = shop.anon().get("/openapi.json").await;
    let revision =
        |answer: &Answer| answer.body["info"]["x-comptoir"]["revisions"]["orders"].as_str().unwrap().to_owned();
    let active = shop.anon().get("/products").await.header("x-comptoir-revision").to_owned();
    assert_eq!(revision(&before), active);

    // A custom section makes the same component another revision.
    let mut other = std::fs::read(component("orders")).unwrap();
    other.extend([0, 2, 1, b'x']);
    let operator = shop.operator();
    let staged = operator.request(Method::PUT, "/services/orders?canary=0%25").body(other);
    send(staged).await.succeeds(200);
    let token = operator.access_token().to_owned();
    let status = operator.get("/services/orders").await;
    let digest =
        status.text.split('"').find(|text| is_digest(text) && !active.ends_with(&text[..12])).unwrap().to_owned();
    let wanted = format!("orders@{}", &digest[..12]);
    let tried = shop.anon().request(Method::GET, "/openapi.json");
    let tried = send(tried.header("x-comptoir-version", &wanted).header("x-comptoir-admin-token", token)).await;
    assert_eq!(revision(&tried), wanted);
    assert_eq!(
        revision(&shop.anon().get("/openapi.json").await),
        active,
        "other callers get the active revision's document"
    );
    assert_ne!(tried.header("etag"), before.header("etag"));
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn a_client_with_the_current_document_gets_304() {
    let shop = Shop::open().await;
    let first = shop.anon().get("/openapi.json").await;
    assert_eq!(first.header("cache-control"), "no-cache");
    let ask = |tag: String| send(shop.anon().request(Method::GET, "/openapi.json").header(header::IF_NONE_MATCH, tag));
    let again = ask(format!("\"x\", W/{}", first.header("etag"))).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_eq!(ask("\"x\"".to_owned()).await.text, first.text);
    send(shop.anon().request(Method::POST, "/openapi.json")).await.refuses(405, "METHOD_NOT_ALLOWED");
    shop.door("orders").get("/openapi.json").await.refuses(404, "NOT_FOUND");
}
