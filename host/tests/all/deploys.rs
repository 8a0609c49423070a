//! Deploys into a running host: refusals, activation, automatic rollback, and no lost request.
//!
//! All revisions are variants of one built component, `guest_variant.wasm`. Words in its data section choose its behaviour.

mod accepted;
mod canary;
mod command;
mod crash;
mod crowded;
mod fallback;
mod follow;
pub(crate) mod load;
mod refused;
mod response_cache;
mod restart;
mod reverts;
mod rollback;
mod sets;
mod shop;
mod signed;
mod swaps;
pub(crate) mod texts;
mod two_hosts;
mod watching;

use std::path::Path;
use std::time::Duration;

use comptoir::manifest::Manifest;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testing::process::Process;
use testing::{Answer, Client, Shop, component, manifest_of, send};

const MARK: &[u8] = b"VARIANT=";
const MARKER_BYTES: usize = 64;

/// The timeout for events that must happen. Reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The component with these words in its marker. Unknown words change only its digest.
pub(crate) fn variant(words: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component("guest_variant")).unwrap();
    let found: Vec<usize> =
        bytes.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).map(|(at, _)| at).collect();
    let [at] = found[..] else { panic!("the component contains the marker {} times", found.len()) };
    let words = format!("{words:<width$}", width = MARKER_BYTES - MARK.len());
    bytes[at + MARK.len()..at + MARKER_BYTES].copy_from_slice(words.as_bytes());
    bytes
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest for the variant. `rules` are lines of `[deploy]`, `limits` those of the service's limits.
fn manifest(rules: &str, limits: &str) -> Manifest {
    manifest_of(&manifest_text(rules, limits, "guest_variant.wasm"))
}

/// The table of the variant, which has a database. `keys` are further lines.
pub(crate) fn service(component: &str, keys: &str) -> String {
    format!(
        r#"
[services.variant]
component = "{component}"
mounts = ["/variant"]
public = ["/variant/items", "/variant/wait"]
grants = ["storage"]
{keys}
"#
    )
}

fn manifest_text(rules: &str, limits: &str, component: &str) -> String {
    // Ample time even on a slow machine. Other tests test the time limits.
    let ample = ["compile_time", "probe_time"].into_iter().filter(|rule| !rules.contains(rule));
    let ample: String = ample.map(|rule| format!("{rule} = \"10m\"\n")).collect();
    let service = service(component, &format!("limits = {{ {limits} }}"));
    format!(
        r#"
{service}
[deploy]
{ample}{rules}
"#
    )
}

/// A host for the variant in its own process, in this folder.
async fn serve(folder: &Path) -> Process {
    Process::serve(folder, &manifest_text("", "", component("guest_variant").to_str().unwrap())).await
}

/// A host that serves the variant, and its operator.
struct Stand {
    shop: Shop,
}

impl Stand {
    async fn open() -> Self {
        Self::with(manifest("", "")).await
    }

    async fn with(manifest: Manifest) -> Self {
        Self { shop: Shop::with(manifest).await }
    }

    async fn deploy(&self, words: &str) -> Answer {
        self.send("", variant(words)).await
    }

    /// Deploys, and returns the digest of the new active revision.
    async fn deployed(&self, words: &str) -> String {
        let answer = self.deploy(words).await;
        answer.succeeds(200)["to"].as_str().unwrap().to_owned()
    }

    async fn send(&self, query: &str, component: Vec<u8>) -> Answer {
        send(self.shop.operator().request(Method::PUT, &format!("/services/variant{query}")).body(component)).await
    }

    async fn roll_back(&self, query: &str) -> Answer {
        send(self.shop.operator().request(Method::POST, &format!("/services/variant/rollback{query}"))).await
    }

    /// The history, newest first.
    async fn history(&self) -> Vec<Value> {
        let answer = self.shop.operator().get("/services/variant/history").await;
        answer.succeeds(200).as_array().unwrap().clone()
    }

    async fn status(&self) -> Value {
        self.shop.operator().get("/services/variant").await.succeeds(200).clone()
    }

    /// The digest that the admin listener says is active.
    async fn active(&self) -> String {
        self.status().await["revision"].as_str().unwrap().to_owned()
    }

    /// Asserts that a revision answers requests, and that the admin listener reports it as active.
    #[track_caller]
    fn serves(&self, digest: &str) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        async move {
            let answer = self.shop.anon().get("/variant/items").await;
            assert_eq!(answer.header("x-comptoir-revision"), label(digest), "{place}: {}", answer.text);
            assert_eq!(self.active().await, digest, "{place}");
        }
    }

    async fn add(&self, name: &str) -> Answer {
        self.shop.anon().post("/variant/items", json!({ "name": name })).await
    }

    /// Waits until the history matches, and returns it. Polls at intervals, to leave the processor to the host.
    async fn until(&self, like: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let found = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            loop {
                looks.tick().await;
                let history = self.history().await;
                if like(&history) {
                    return history;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(history) => history,
            Err(_) => panic!("the history never matched: {:#?}", self.history().await),
        }
    }
}

/// The value of `x-comptoir-revision`.
fn label(digest: &str) -> String {
    format!("variant@{}", &digest[..12])
}

/// Asserts that a deploy was refused at this step for this reason.
#[track_caller]
fn refuses(answer: &Answer, status: u16, code: &str, step: &str, reason: &str) {
    answer.refuses(status, code);
    assert_eq!(answer.body["error"]["details"]["step"], step, "{}", answer.text);
    let message = answer.body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(reason), "the message lacks `{reason}`: {message}");
}

/// Callers without the admin token.
async fn strangers(shop: &Shop) -> Vec<(Client, &'static str)> {
    let admin_listener = format!("http://{}", shop.addresses().admin);
    let at = |client: Client| client.at(&admin_listener);
    vec![
        (at(shop.anon()), "MISSING_TOKEN"),
        (at(shop.user("marta").await), "INVALID_TOKEN"),
        (at(shop.admin().await), "INVALID_TOKEN"),
        (at(shop.anon().with_token("0000")), "INVALID_TOKEN"),
    ]
}
