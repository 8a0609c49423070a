//! Neither the data folder nor the log contains a token or a password.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use testing::{Client, PASSWORD, Shop, send};

use super::{log_in, refresh, refreshed};

const WRONG_PASSWORD: &str = "a wrong password";

/// All files below a folder, with name and content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            // SQLite may have deleted its journal.
            found.extend(std::fs::read(&path).ok().map(|content| (path.display().to_string(), content)));
        }
    }
    found
}

/// The names of the files that contain these bytes.
fn holders(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut files = files(folder);
    files.retain(|(_, content)| content.windows(needle.len()).any(|window| window == needle));
    files.into_iter().map(|(name, _)| name).collect()
}

fn tokens(client: &Client) -> Vec<String> {
    vec![client.access_token().to_owned(), client.refresh_token().to_owned()]
}

/// Takes a session through everything that can happen to it. Returns every secret that occurred.
async fn live(shop: &Shop) -> Vec<String> {
    let account = json!({ "username": "marta", "password": PASSWORD });
    let registration = shop.anon().request(reqwest::Method::POST, "/auth/register").json(&account);
    send(registration.header("idempotency-key", "of-marta")).await.succeeds(201);
    let first = shop.anon().log_in("marta", PASSWORD).await;
    let second = refreshed(&first).await;
    let third = refreshed(&second).await;
    let gone = shop.anon().log_in("marta", PASSWORD).await;
    gone.post("/auth/logout", json!({ "refresh_token": gone.refresh_token() })).await.succeeds(200);
    log_in(&shop.anon(), "marta", WRONG_PASSWORD).await.refuses(401, "INVALID_CREDENTIALS");
    refresh(&first).await.refuses(401, "INVALID_TOKEN");
    let clients = [&first, &second, &third, &gone, &shop.admin().await];
    // Careless clients put secrets into the username or the query.
    for client in clients {
        let path = format!("/orders?token={}&password={WRONG_PASSWORD}", client.refresh_token());
        client.get(&path.replace(' ', "+")).await;
    }
    [PASSWORD, WRONG_PASSWORD].map(str::to_owned).into_iter().chain(clients.into_iter().flat_map(tokens)).collect()
}

/// The secrets, the payloads and signatures of tokens, and the decoded bytes of each.
fn forms(secrets: &[String]) -> Vec<Vec<u8>> {
    let parts = secrets.iter().flat_map(|secret| secret.split('.').skip(1)).map(str::to_owned);
    let texts: Vec<String> = secrets.iter().cloned().chain(parts).collect();
    let decoded = texts.iter().filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok());
    texts.iter().map(|text| text.clone().into_bytes()).chain(decoded).collect()
}

#[tokio::test]
async fn the_data_folder_contains_no_token_and_no_password() {
    let mut shop = Shop::open().await;
    let secrets = forms(&live(&shop).await);
    let backups = tempfile::tempdir().unwrap();
    comptoir::backup::create(shop.data.path(), backups.path()).unwrap();
    assert!(!holders(backups.path(), b"marta").is_empty(), "the search finds names in a backup");
    for when in ["while it runs", "when it stopped"] {
        let folder = shop.data.path();
        assert!(!holders(folder, b"marta").is_empty(), "{when}: the search finds names");
        for secret in &secrets {
            let text = String::from_utf8_lossy(secret);
            assert_eq!(holders(folder, secret), [""; 0], "{when}: {text}");
            assert_eq!(holders(backups.path(), secret), [""; 0], "in a backup: {text}");
        }
        if when == "while it runs" {
            shop.stop().await;
        }
    }
}

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_log_contains_no_token_and_no_password() {
    let log = Log::default();
    let writer = log.clone();
    // The log of all tests, because the log of one thread would miss the host's other threads.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter("debug,comptoir=trace").with_writer(move || writer.clone());
    tracing::subscriber::set_global_default(subscriber.finish()).expect("no other test sets the global log");
    let shop = Shop::open().await;
    let secrets = live(&shop).await;
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("/auth/refresh") && log.contains("/orders"), "the log has requests");
    assert!(log.contains("a used refresh token was presented again"), "the log has output of components");
    for secret in secrets.iter().flat_map(|secret| secret.split('.').skip(usize::from(secret.contains('.')))) {
        assert_eq!(log.lines().find(|line| line.contains(secret)), None, "{secret}");
    }
}
