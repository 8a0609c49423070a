//! What a thief of the data folder finds (AU-5).

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{log_in, refreshed};
use crate::harness::{Client, PASSWORD, Shop};

/// Every file in a folder and below it, with its name.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            // A journal may be gone by now.
            found.extend(std::fs::read(&path).ok().map(|content| (path.display().to_string(), content)));
        }
    }
    found
}

/// The files in which bytes stand.
fn holders(folder: &Path, needle: &[u8]) -> Vec<String> {
    let mut files = files(folder);
    files.retain(|(_, content)| content.windows(needle.len()).any(|window| window == needle));
    files.into_iter().map(|(name, _)| name).collect()
}

fn tokens(client: &Client) -> Vec<String> {
    vec![client.access_token().to_owned(), client.refresh_token().to_owned()]
}

#[tokio::test]
async fn no_token_and_no_password_lies_in_the_data_folder() {
    let mut shop = Shop::open().await;
    let mut secrets: Vec<String> = vec![PASSWORD.to_owned(), "a wrong password".to_owned()];
    let first = shop.user("marta").await;
    let second = refreshed(&first).await;
    let gone = shop.anon().log_in("marta", PASSWORD).await;
    gone.post("/auth/logout", json!({ "refresh_token": gone.refresh_token() })).await.succeeds(200);
    for client in [&first, &second, &refreshed(&second).await, &gone, &shop.admin().await] {
        secrets.extend(tokens(client));
    }
    log_in(&shop.anon(), "marta", "a wrong password").await.refuses(401, "INVALID_CREDENTIALS");
    // What a token says without its header, or its bytes without their encoding, would be as good.
    for token in secrets.clone() {
        secrets.extend(token.split('.').skip(1).map(str::to_owned));
    }
    let decoded: Vec<Vec<u8>> = secrets.iter().filter_map(|text| URL_SAFE_NO_PAD.decode(text).ok()).collect();

    for when in ["while it runs", "when it stopped"] {
        let folder = shop.data.path();
        assert!(!holders(folder, b"marta").is_empty(), "{when}: names are there, so the search finds what is there");
        for secret in secrets.iter().map(String::as_bytes).chain(decoded.iter().map(Vec::as_slice)) {
            let text = String::from_utf8_lossy(secret);
            assert_eq!(holders(folder, secret), [""; 0], "{when}: {text}");
        }
        if when == "while it runs" {
            shop.stop().await;
        }
    }
}
