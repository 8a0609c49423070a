//! `credentials = "pass"`: a component that guards itself gets `Authorization`, on public routes only.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use comptoir::manifest::Manifest;
use reqwest::Method;
use testing::{Answer, Client, Shop, manifest_of, send, shop_manifest};

use crate::deploys::variant;

const GUARDED: &str = r#"
[services.guarded]
component = "guest_plain_p2.wasm"
mounts = ["/guarded"]
access = "public"
credentials = "pass"
listen = "127.0.0.1:0"

[services.open]
component = "guest_plain_p2.wasm"
mounts = ["/open"]
access = "public"

[services.closed]
component = "guest_plain_p2.wasm"
mounts = ["/closed"]
public = ["/closed"]
credentials = "pass"
"#;

const BASIC: &str = "Basic YWRhOnNlY3JldA==";

/// The shop, and plain components that show the headers they got.
fn manifest() -> Manifest {
    let mut manifest = shop_manifest();
    manifest.services.extend(manifest_of(GUARDED).services);
    manifest
}

async fn ask(client: &Client, path: &str, authorization: &str) -> Answer {
    send(client.request(Method::GET, path).header("authorization", authorization)).await
}

/// The lines of this header that the guest got.
fn lines<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.text.lines().filter(|line| line.starts_with(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_guards_itself_gets_the_credential_and_no_other_does() {
    let shop = Shop::with(manifest()).await;
    let passed = format!("authorization: {BASIC}");
    for (client, path) in [(shop.anon(), "/guarded/headers"), (shop.door("guarded"), "/guarded/headers")] {
        assert_eq!(lines(&ask(&client, path, BASIC).await, "authorization"), [&*passed]);
    }
    assert_eq!(lines(&ask(&shop.anon(), "/open/headers", BASIC).await, "authorization"), [""; 0]);
    ask(&shop.anon(), "/closed/headers", BASIC).await.refuses(401, "MISSING_TOKEN");
    let marta = shop.user("marta").await;
    let closed = marta.get("/closed/headers").await;
    assert_eq!((lines(&closed, "authorization").len(), lines(&closed, "x-user-id")), (0, vec!["x-user-id: marta"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_component_gets_a_valid_token_or_the_admin_token() {
    let shop = Shop::with(manifest()).await;
    let marta = shop.user("marta").await;
    let answer = marta.get("/guarded/headers").await;
    assert_eq!((lines(&answer, "authorization").len(), lines(&answer, "x-user-id")), (0, vec!["x-user-id: marta"]));
    let admin_token = std::fs::read_to_string(shop.data.path().join("admin.token")).unwrap();
    for token in [admin_token.trim(), marta.access_token()] {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("x:{token}")));
        for credential in [&basic, &format!("Bearer {token}"), &format!("Token token=\"{token}\""), token] {
            let answer = ask(&shop.anon(), "/guarded/headers", credential).await;
            assert_eq!(lines(&answer, "authorization").len(), 0, "{credential}");
        }
    }
    let request = shop.anon().request(Method::GET, "/guarded/headers").header("authorization", BASIC);
    let twice = send(request.bearer_auth(marta.access_token())).await;
    assert_eq!((lines(&twice, "authorization").len(), lines(&twice, "x-user-id").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_credential_is_not_compressed() {
    let shop = Shop::with(manifest()).await;
    let encoding = async |authorization: &[&str]| {
        let request = shop.anon().request(Method::GET, "/guarded/headers").header("x-long", "a".repeat(3000));
        let request = request.header("accept-encoding", "gzip");
        let request = authorization.iter().fold(request, |request, value| request.header("authorization", *value));
        let answer = request.send().await.unwrap();
        let headers = answer.headers();
        (headers.contains_key("content-encoding"), headers.contains_key("content-length") && answer.status() == 200)
    };
    // On a busy machine the host streams an answer, and never compresses it.
    let whole = async |authorization: &[&str]| {
        for _ in 0..1000 {
            let (is_compressed, is_whole) = encoding(authorization).await;
            if is_whole {
                return is_compressed;
            }
        }
        panic!("the host streamed a thousand answers, or refused them")
    };
    assert!(whole(&[]).await, "without a credential");
    assert!(!whole(&[BASIC]).await);
}

/// A manifest of the variant with these lines in its table.
fn described(lines: &str) -> Manifest {
    manifest_of(&format!(
        "[services.variant]\ncomponent = \"guest_variant.wasm\"\nmounts = [\"/variant\"]\n\
         public = [\"/variant/items\", \"/variant/wait\"]\ngrants = [\"storage\"]\n{lines}\n"
    ))
}

async fn deploy_guarded(shop: &Shop) -> Answer {
    send(shop.operator().request(Method::PUT, "/services/variant").body(variant("guarded"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_described_route_reads_credentials_only_if_the_manifest_passes_them() {
    let shop = Shop::with(described("")).await;
    let refused = deploy_guarded(&shop).await;
    refused.refuses(422, "DEPLOY_REFUSED");
    assert!(refused.text.contains("reads `authorization`, which only a public route"), "{}", refused.text);
    let shop = Shop::with(described("credentials = \"pass\"")).await;
    deploy_guarded(&shop).await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_a_credential_bypasses_the_cache() {
    let shop = Shop::with(described("credentials = \"pass\"")).await;
    deploy_guarded(&shop).await.succeeds(200);
    let path = "/variant/items";
    let cache = |answer: &Answer| answer.header("x-comptoir-cache").to_owned();
    assert_eq!(cache(&ask(&shop.anon(), path, BASIC).await), "bypass");
    let anonymous = [cache(&shop.anon().get(path).await), cache(&shop.anon().get(path).await)];
    assert_eq!(anonymous, ["miss", "hit"]);
    assert_eq!(cache(&ask(&shop.anon(), path, BASIC).await), "bypass", "though an anonymous caller's answer is cached");
    assert_eq!(cache(&shop.anon().get(path).await), "hit");
}
