//! The seeded login admin/admin works only while all listeners are on loopback.

use comptoir::manifest::Manifest;
use testing::{Client, PASSWORD, Shop, shop_manifest};

use super::{assert_over, log_in};

const NEW_PASSWORD: &str = "the operator's own";

/// The shop's manifest with the gateway, or one service's own listener, on all network interfaces.
fn open_to_all(door: Option<&str>) -> Manifest {
    let mut manifest = shop_manifest();
    let everywhere = ([0, 0, 0, 0], 0).into();
    match door {
        None => manifest.listeners.gateway = everywhere,
        Some(service) => manifest.services.get_mut(service).expect("a service").listen = Some(everywhere),
    }
    manifest
}

fn gateway(shop: &Shop) -> Client {
    shop.anon().at(&format!("http://127.0.0.1:{}", shop.addresses().gateway.port()))
}

#[tokio::test]
async fn a_public_listener_needs_an_operator_password_that_is_not_well_known() {
    let mut shop = Shop::open().await;
    let seeded = shop.admin().await;
    shop.stop().await;

    for door in [None, Some("auth"), Some("user"), Some("orders")] {
        let refused = shop.start_again_as(open_to_all(door), None).await.expect_err("the host refuses to start");
        assert!(refused.to_string().contains("--operator-password-file"), "{door:?}: {refused}");
    }
    for weak in ["admin", "short", "password", ""] {
        let refused = shop.start_again_as(open_to_all(None), Some(weak)).await;
        assert!(refused.is_err(), "{weak:?} is too weak for an operator");
    }

    shop.start_again_as(open_to_all(None), Some(NEW_PASSWORD)).await.expect("the host starts");
    log_in(&gateway(&shop), "admin", "admin").await.refuses(401, "INVALID_CREDENTIALS");
    let admin = gateway(&shop).log_in("admin", NEW_PASSWORD).await;
    admin.get("/users").await.succeeds(200);
    let pair = serde_json::json!({ "access_token": seeded.access_token(), "refresh_token": seeded.refresh_token() });
    assert_over(&gateway(&shop).with_pair(&pair)).await;

    shop.stop().await;
    shop.start_again_as(open_to_all(Some("user")), None).await.expect("the host keeps the new password");
    log_in(&shop.anon(), "admin", "admin").await.refuses(401, "INVALID_CREDENTIALS");
    shop.anon().log_in("admin", NEW_PASSWORD).await;
}

#[tokio::test]
async fn an_operator_password_at_start_restores_a_deleted_login_and_profile() {
    let mut shop = Shop::open().await;
    shop.user("marta").await;
    let seeded = shop.admin().await.get("/users/profile").await.data().clone();
    shop.stop().await;
    shop.change_rows("auth", "UPDATE logins SET role = 'admin' WHERE username = 'marta'").await;
    shop.start_again().await;
    let marta = shop.anon().log_in("marta", PASSWORD).await;
    marta.delete("/users/1").await.succeeds(200);
    log_in(&shop.anon(), "admin", "admin").await.refuses(401, "INVALID_CREDENTIALS");

    for password in [NEW_PASSWORD, "another of the operator's"] {
        shop.stop().await;
        shop.start_again_as(shop_manifest(), Some(password)).await.expect("the host starts");
        let admin = shop.anon().log_in("admin", password).await;
        let profile = admin.get("/users/profile").await.succeeds(200).clone();
        for member in ["username", "email", "first_name", "last_name", "phone", "address"] {
            assert_eq!(profile[member], seeded[member], "{member}");
        }
        assert_eq!(admin.get("/users").await.body["count"], 2);
    }
}

#[tokio::test]
async fn no_caller_learns_that_the_seeded_password_is_active() {
    let shop = Shop::open().await;
    for path in ["/health", "/products", "/internal/operator", "/auth/operator"] {
        let answer = shop.anon().get(path).await;
        assert!(!answer.text.contains("development"), "{path}: {}", answer.text);
    }
}
