//! Signing keys are rotated and disabled while the shop serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comptoir::backup;
use comptoir::host::Host;
use testing::process::run;
use testing::{options, send, shop_manifest};
use tokio::sync::watch;

use super::*;

const CLIENTS: usize = 3;
const ROTATIONS: u64 = 6;

/// The ids of the keys that the host lists, newest first.
fn ids(answer: &Answer) -> Vec<String> {
    let keys = answer.succeeds(200).as_array().unwrap();
    keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect()
}

fn kid(client: &Client) -> String {
    segment(client.access_token(), 0)["kid"].as_str().unwrap().to_owned()
}

/// Requests a protected route until `done`, refreshes now and then, and counts the answers.
async fn browse(mut client: Client, answered: Arc<watch::Sender<u64>>, done: Arc<AtomicBool>) {
    for turn in 1.. {
        client.get("/orders?limit=1").await.succeeds(200);
        if turn % 8 == 0 {
            client = refreshed(&client).await;
        }
        answered.send_modify(|answered| *answered += 1);
        if done.load(Ordering::SeqCst) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_under_load_refuses_no_valid_token_even_after_a_restart() {
    let mut shop = Shop::open().await;
    let first = shop.user("marta").await;
    let (answered, done) = (Arc::new(watch::Sender::new(0)), Arc::new(AtomicBool::new(false)));
    let mut browsing = Vec::new();
    for _ in 0..CLIENTS {
        let client = shop.anon().log_in("marta", PASSWORD).await;
        browsing.push(tokio::spawn(browse(client, answered.clone(), done.clone())));
    }
    let (mut watched, mut refreshing) = (answered.subscribe(), shop.anon().log_in("marta", PASSWORD).await);
    // So the test ends if all browsers have failed.
    drop(answered);
    for rotation in 1..=ROTATIONS {
        let until = *watched.borrow_and_update() + 20;
        watched.wait_for(|answered| *answered >= until).await.unwrap();
        let keys = ids(&shop.operator().post("/keys/rotate", json!({})).await);
        assert_eq!(keys.len() as u64, rotation + 1);
        shop.await_rotation();
        refreshing = refreshed(&refreshing).await;
        assert_eq!(kid(&refreshing), keys[0]);
    }
    done.store(true, Ordering::SeqCst);
    for browsing in browsing {
        browsing.await.expect("no valid token is refused");
    }
    let before = ids(&shop.operator().get("/keys").await);
    assert_lives(&first).await;
    shop.restart().await;
    assert_eq!(ids(&shop.operator().get("/keys").await), before);
    assert_eq!(before.last(), Some(&kid(&first)));
    let first = first.at(&format!("http://{}", shop.addresses().gateway));
    assert_lives(&first).await;

    shop.clock.shift(2 * 3600);
    assert_eq!(ids(&shop.operator().get("/keys").await), before[..1]);
    first.get("/orders").await.refuses(401, "INVALID_TOKEN");
    refreshed(&first).await.get("/orders").await.succeeds(200);
}

#[tokio::test]
async fn a_disabled_key_invalidates_its_tokens_for_good_and_ends_no_session() {
    let mut shop = Shop::open().await;
    let leaked = shop.user("marta").await;
    let conditional = shop.operator().request(Method::DELETE, &format!("/keys/{}", kid(&leaked)));
    send(conditional.header("if-match", "\"a tag\"")).await.refuses(412, "PRECONDITION_FAILED");
    leaked.get("/orders").await.succeeds(200);
    let keys = ids(&shop.operator().delete(&format!("/keys/{}", kid(&leaked))).await);
    assert!(keys.len() == 1 && keys[0] != kid(&leaked));
    leaked.get("/orders").await.refuses(401, "INVALID_TOKEN");
    verify(&leaked, leaked.access_token()).await.refuses(401, "INVALID_TOKEN");
    let other = refreshed(&leaked).await;
    assert_eq!(kid(&other), keys[0]);
    shop.restart().await;
    let here = format!("http://{}", shop.addresses().gateway);
    leaked.at(&here).get("/orders").await.refuses(401, "INVALID_TOKEN");
    let other = other.at(&here);
    assert_lives(&other).await;

    let operator = shop.operator();
    operator.delete("/keys/0123456789abcdef").await.refuses(404, "UNKNOWN_KEY");
    operator.get("/keys/rotate").await.refuses(405, "METHOD_NOT_ALLOWED");
    operator.with_token(other.access_token()).post("/keys/rotate", json!({})).await.refuses(401, "INVALID_TOKEN");
    operator.without_token().get("/keys").await.refuses(401, "MISSING_TOKEN");
    assert_eq!(ids(&operator.get("/keys").await), keys);
    shop.stop().await;
    let log = std::fs::read_to_string(shop.data.path().join(comptoir::audit::FILE)).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let orders: Vec<_> = lines.iter().filter(|line| line["by"] == "operator").collect();
    let results: Vec<_> = orders.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert_eq!(results[..3], ["412", &format!("200 {}", keys[0]), "404"]);
    let disabled = orders[1]["asked"].as_str().unwrap();
    assert!(orders[1]["event"] == "authz_admin" && disabled.starts_with("DELETE /keys/"), "{disabled}");
    assert_eq!(orders[3]["event"], "authz_fail");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_lists_rotates_and_disables_keys() {
    let shop = Shop::open().await;
    let (admin, data) = (shop.addresses().admin.to_string(), shop.data.path().to_str().unwrap());
    let keys = async |more: &[&str]| {
        let said = run(&[&["keys"], more, &["--admin", &admin, "--data", data]].concat()).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        if said.status.success() { Ok(text(&said.stdout)) } else { Err(text(&said.stderr)) }
    };
    let first = ids(&shop.operator().get("/keys").await).remove(0);
    let heading = "KEY               SINCE            STATE";
    assert_eq!(keys(&[]).await, Ok(format!("{heading}\n{first}  the first start  signs\n")));
    let rotated = keys(&["rotate"]).await.unwrap();
    let lines: Vec<&str> = rotated.lines().collect();
    let does = if shop.database.is_some() { "Z  signs from then on" } else { "Z  signs" };
    assert!(lines.len() == 3 && lines[1].ends_with(does) && !lines[1].contains(&first), "{rotated}");
    assert!(lines[2].starts_with(&format!("{first}  the first start       verifies until 20")), "{rotated}");
    let disabled = keys(&["disable", &first]).await.unwrap();
    assert_eq!(disabled.lines().nth(1), Some(lines[1]));
    let refused = keys(&["disable", &first]).await.unwrap_err();
    assert!(refused.contains(&format!("there is no key `{first}`")), "{refused}");
    for other in ["../services", "rotate?x=1", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0"] {
        let refused = keys(&["disable", other]).await.unwrap_err();
        assert!(refused.contains("a key id has 16 digits of 0-9 and a-f"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_contains_every_valid_key() {
    let shop = Shop::open().await;
    let old = shop.user("marta").await;
    shop.operator().post("/keys/rotate", json!({})).await.succeeds(200);
    let new = shop.anon().log_in("marta", PASSWORD).await;
    let folder = tempfile::tempdir().unwrap();
    let (backups, elsewhere) = (folder.path().join("backups"), folder.path().join("elsewhere"));
    let made = backup::create(shop.data.path(), &backups).unwrap();
    assert_eq!(made.contents.files.keys().filter(|name| name.ends_with(".key")).count(), 2);
    backup::restore(&made.path, &elsewhere, false).unwrap();
    let other = Host::start(shop_manifest(), &elsewhere, options(&shop.clock)).await.unwrap();
    for client in [old, new] {
        assert_lives(&client.at(&format!("http://{}", other.addresses().gateway))).await;
    }
    other.shutdown().await;
}
