//! Reloads of the manifest: what they apply, what they refuse, and that they lose no request.

mod capabilities;
mod command;
mod listeners;
mod load;
mod refused;
mod services;
mod watch;

use std::time::Duration;

use comptoir::manifest::Manifest;
use serde_json::Value;
use testing::{Answer, Shop, manifest_of};

use crate::deploys;

/// The timeout for events that must happen. Reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service that every caller may call. Its component answers with the request's method and path.
fn plain(name: &str, keys: &str) -> String {
    format!(
        "[services.{name}]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/{name}\"]\naccess = \"public\"\n{keys}\n"
    )
}

/// The variant of the deploy tests, which has a database.
fn variant(keys: &str) -> String {
    deploys::service("guest_variant.wasm", keys)
}

fn manifest(services: &[String]) -> Manifest {
    manifest_of(&format!("[deploy]\nprobe_time = \"10m\"\n{}", services.concat()))
}

/// The status of a path for an anonymous caller.
async fn status(shop: &Shop, path: &str) -> u16 {
    shop.anon().get(path).await.status.as_u16()
}

/// The newest line of a service's history.
async fn newest(shop: &Shop, service: &str) -> Value {
    let history = shop.operator().get(&format!("/services/{service}/history")).await;
    history.succeeds(200)[0].clone()
}

/// Asserts that a reload was refused for this reason.
#[track_caller]
fn refuses(answer: &Answer, status: u16, code: &str, reason: &str) {
    answer.refuses(status, code);
    let message = answer.body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(reason), "the message lacks `{reason}`: {message}");
}
