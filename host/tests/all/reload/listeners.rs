//! What a reload changes about listeners, certificates and the rules for clients.

use std::net::SocketAddr;

use comptoir::manifest::Manifest;
use testing::{Client, Shop};

use super::{manifest, plain, refuses, status};
use crate::deploys::load::Wire;

/// An address that was free a moment ago.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn status_at(address: SocketAddr, path: &str) -> u16 {
    Client::new(&format!("http://{address}")).get(path).await.status.as_u16()
}

fn with(manifest: &Manifest, change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut next = manifest.clone();
    change(&mut next);
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_moves_and_connections_of_its_old_port_close_after_their_next_answer() {
    let current = manifest(&[plain("one", "")]);
    let mut shop = Shop::with(current.clone()).await;
    let old = shop.addresses().gateway;
    let mut kept = Wire::open(old).await.unwrap();
    assert_eq!(kept.send("GET", "/one").await.unwrap().0, 200);
    let new = free();
    let reloaded = shop.reload(with(&current, |next| next.listeners.gateway = new)).await;
    assert_eq!(reloaded.succeeds(200)["listeners"]["gateway"], format!("http://{new}"));
    assert_eq!((shop.addresses().gateway, status(&shop, "/one").await), (new, 200));
    // The old port still accepts connections, for clients that do not know the new one yet.
    assert_eq!(status_at(old, "/one").await, 200);
    let mut late = Wire::open(old).await.unwrap();
    for wire in [&mut kept, &mut late] {
        assert_eq!(wire.send("GET", "/one").await.unwrap().0, 200);
        assert!(wire.send("GET", "/one").await.is_err(), "the connection is closed");
    }
    // The port may come back before it is closed.
    let back = with(&current, |next| next.listeners.gateway = old);
    shop.reload(back).await.succeeds(200);
    let mut again = Wire::open(old).await.unwrap();
    for _ in 0..2 {
        assert_eq!(again.send("GET", "/one").await.unwrap().0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_port_closes_after_shutdown_time() {
    let mut current = manifest(&[plain("one", "")]);
    current.listeners.shutdown_time = std::time::Duration::from_millis(1);
    let mut shop = Shop::with(current.clone()).await;
    let old = shop.addresses().gateway;
    shop.reload(with(&current, |next| next.listeners.gateway = free())).await.succeeds(200);
    while Wire::open(old).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&shop, "/one").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_services_come_go_and_change_hands() {
    let current = manifest(&[plain("one", ""), plain("two", "")]);
    let mut shop = Shop::with(current.clone()).await;
    let address = free();
    let of = |name: &str| with(&current, |next| next.services.get_mut(name).unwrap().listen = Some(address));
    shop.reload(of("one")).await.succeeds(200);
    let mut wire = Wire::open(address).await.unwrap();
    assert_eq!([wire.send("GET", "/one").await.unwrap().0, wire.send("GET", "/two").await.unwrap().0], [200, 404]);
    // The address belongs to another service. Its connections stay open.
    shop.reload(of("two")).await.succeeds(200);
    assert_eq!([wire.send("GET", "/one").await.unwrap().0, wire.send("GET", "/two").await.unwrap().0], [404, 200]);
    let admin = shop.addresses().admin;
    let crossed = with(&current, |next| next.services.get_mut("one").unwrap().listen = Some(admin));
    refuses(&shop.reload(crossed).await, 422, "MANIFEST_REFUSED", "restart to change it");
    let everywhere = with(&current, |next| next.listeners.gateway = ([0, 0, 0, 0], address.port()).into());
    refuses(&shop.reload(everywhere).await, 422, "MANIFEST_REFUSED", &format!("this host listens on {address}"));
    shop.reload(current).await.succeeds(200);
    assert_eq!(wire.send("GET", "/two").await.unwrap().0, 200);
    assert!(wire.send("GET", "/two").await.is_err(), "the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn cors_hosts_and_limits_of_clients_hold_from_the_next_request() {
    let mut current = manifest(&[plain("one", "")]);
    current.listeners.hosts.clear();
    let mut shop = Shop::with(current.clone()).await;
    let ask = async |shop: &Shop| {
        let request = shop.anon().request(reqwest::Method::GET, "/one").header("origin", "https://shop.example");
        testing::send(request.header("host", "shop.example")).await
    };
    ask(&shop).await.refuses(421, "FOREIGN_HOST");
    let next = with(&current, |next| {
        next.listeners.hosts = vec!["shop.example".to_owned()];
        next.listeners.cors = vec!["https://shop.example".to_owned()];
    });
    shop.reload(next).await.succeeds(200);
    let answer = ask(&shop).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, "https://shop.example"));
    let mut held = Wire::open(shop.addresses().gateway).await.unwrap();
    assert_eq!(held.send("GET", "/one").await.unwrap().0, 200);
    let next = with(&current, |next| (next.listeners.connections, next.listeners.connections_each) = (16, 1));
    shop.reload(next).await.succeeds(200);
    let mut second = Wire::open(shop.addresses().gateway).await.unwrap();
    assert!(second.send("GET", "/one").await.is_err(), "one connection is open already");
    shop.reload(current).await.succeeds(200);
    let mut third = Wire::open(shop.addresses().gateway).await.unwrap();
    for wire in [&mut held, &mut third] {
        assert_eq!(wire.send("GET", "/one").await.unwrap().0, 200);
    }
}
