//! Logins taken over from the original shop: werkzeug's hashes work, and the first login replaces them.

use bytesize::ByteSize;
use comptoir::manifest::PasswordRules;
use futures::future::join_all;
use testing::{Shop, shop_manifest};

use super::{log_in, seen};

/// The password of all hashes in this file.
const PASSWORD: &str = "correct horse battery staple";

// Made by werkzeug 3.0.1, generate_password_hash.
const SCRYPT: &str = "scrypt:32768:8:1$5UiYXMH4tBgWV7Wb$\
    1c328c0af0c8861ab53cb24fbf03602a3f0dec9096f85907ddc04b63f222234b\
    5a030c9606b55cc303012ed663e992cccdd0c968cb54af3d6da8502906cfd58e";
const PBKDF2: &str =
    "pbkdf2:sha256:600000$2GyhqaOqQ9lMzUdQ$f6357950e2238b7448a137d668f6ace6fc0ed945b8267f936774f00cb99b7072";
/// A hash that demands more work than the host accepts from its database.
const RUINOUS: &str =
    "pbkdf2:sha256:4294967295$2GyhqaOqQ9lMzUdQ$f6357950e2238b7448a137d668f6ace6fc0ed945b8267f936774f00cb99b7072";

async fn stored_hash(shop: &Shop, username: &str) -> String {
    shop.text("auth", &format!("SELECT password_hash FROM logins WHERE username = '{username}'")).await
}

async fn stored_hashes<const N: usize>(shop: &Shop, usernames: [&str; N]) -> [String; N] {
    let hashes = join_all(usernames.map(|username| stored_hash(shop, username))).await;
    hashes.try_into().expect("one hash for each username")
}

/// A shop whose users have these hashes, like users taken over from the original shop's database.
async fn taken_over(users: &[(&str, &str)]) -> Shop {
    let mut manifest = shop_manifest();
    manifest.passwords = PasswordRules::default();
    let mut shop = Shop::with(manifest).await;
    for (username, _) in users {
        shop.user(username).await;
    }
    shop.stop().await;
    for (username, hash) in users {
        let sql = format!("UPDATE logins SET password_hash = '{hash}' WHERE username = '{username}'");
        shop.change_rows("auth", &sql).await;
        assert_eq!(stored_hash(&shop, username).await, *hash);
    }
    shop.start_again().await;
    shop
}

#[tokio::test]
async fn a_hash_of_the_original_is_replaced_at_the_first_login() {
    let mut shop = taken_over(&[("marta", SCRYPT), ("paul", PBKDF2)]).await;
    for username in ["marta", "paul"] {
        shop.anon().log_in(username, PASSWORD).await;
    }
    shop.stop().await;
    let replaced = stored_hashes(&shop, ["marta", "paul"]).await;
    for hash in &replaced {
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    }
    shop.start_again().await;
    for username in ["marta", "paul"] {
        shop.anon().log_in(username, PASSWORD).await.get("/users/profile").await.succeeds(200);
    }
    log_in(&shop.anon(), "marta", "another").await.refuses(401, "INVALID_CREDENTIALS");
    shop.stop().await;
    assert_eq!(stored_hashes(&shop, ["marta", "paul"]).await, replaced, "a second login does not hash again");
}

#[tokio::test]
async fn costlier_parameters_replace_a_hash_at_the_next_login() {
    let mut manifest = shop_manifest();
    let mut shop = Shop::with(manifest.clone()).await;
    shop.user("marta").await;
    for (kib, passes, expected) in [(128, 1, "m=128,t=1"), (128, 2, "m=128,t=2"), (64, 1, "m=128,t=2")] {
        shop.stop().await;
        (manifest.passwords.memory, manifest.passwords.passes) = (ByteSize::kib(kib), passes);
        shop.start_again_as(manifest.clone(), None).await.unwrap();
        shop.anon().log_in("marta", testing::PASSWORD).await;
        let hash = stored_hash(&shop, "marta").await;
        assert!(hash.starts_with(&format!("$argon2id$v=19${expected},p=1$")), "{hash}");
    }
}

#[tokio::test]
async fn a_wrong_password_replaces_no_hash_and_gets_the_usual_answer() {
    let mut shop = taken_over(&[("marta", SCRYPT), ("paul", PBKDF2), ("eve", RUINOUS), ("ada", "unreadable")]).await;
    let unknown = log_in(&shop.anon(), "nobody", "another").await;
    unknown.refuses(401, "INVALID_CREDENTIALS");
    let wrong = [("marta", "another"), ("paul", "another"), ("eve", PASSWORD), ("ada", "unreadable")];
    let anon = shop.anon();
    // Only two at once, because each login costs as much as one with the most expensive kind of hash.
    for wrong in wrong.chunks(2) {
        let answers = join_all(wrong.iter().map(|(username, password)| log_in(&anon, username, password))).await;
        for ((username, _), answer) in wrong.iter().zip(&answers) {
            assert_eq!(seen(answer), seen(&unknown), "{username}");
        }
    }
    shop.stop().await;
    for (username, hash) in [("marta", SCRYPT), ("paul", PBKDF2), ("eve", RUINOUS), ("ada", "unreadable")] {
        assert_eq!(stored_hash(&shop, username).await, hash);
    }
}
