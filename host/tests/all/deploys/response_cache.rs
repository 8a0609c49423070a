//! The response cache across deploys: each revision has entries of its own.

use testing::{Answer, Client};

use super::{Stand, digest, label, manifest, variant};

const ITEMS: &str = "/variant/items";

/// Sends a GET and asserts the outcome at the cache, and the revision that answered.
async fn gets(client: &Client, digest: &str, outcome: &str) -> Answer {
    let answer = client.get(ITEMS).await;
    assert_eq!(answer.header("x-comptoir-cache"), outcome, "{}", answer.text);
    assert_eq!(answer.header("x-comptoir-revision"), label(digest));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_and_a_rollback_start_with_an_empty_cache() {
    let stand = Stand::open().await;
    let (anon, old) = (stand.shop.anon(), stand.active().await);
    gets(&anon, &old, "miss").await;
    gets(&anon, &old, "hit").await;
    let new = stand.deployed("good-2").await;
    gets(&anon, &new, "miss").await;
    gets(&anon, &new, "hit").await;
    stand.roll_back("").await.succeeds(200);
    gets(&anon, &old, "miss").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_refused_deploys_invalidate_nothing_and_a_migration_everything() {
    let stand = Stand::open().await;
    let (anon, old) = (stand.shop.anon(), stand.active().await);
    gets(&anon, &old, "miss").await;
    assert_eq!(stand.deploy("probe fails-post").await.status, 422);
    let kept = gets(&anon, &old, "hit").await;
    assert_eq!(kept.data()["items"], 0, "the probe's write was rolled back");
    // Its migration ran before its health check failed.
    assert_eq!(stand.deploy("additive health-500").await.status, 422);
    gets(&anon, &old, "miss").await;
    gets(&anon, &old, "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_and_the_active_revision_do_not_share_entries() {
    let stand = Stand::with(manifest("watch = \"10m\"", "")).await;
    let old = stand.active().await;
    let new = digest(&variant("good-2"));
    stand.send("?canary=50%25", variant("good-2")).await.succeeds(200);
    let (mut on_old, mut on_new) = (None, None);
    for number in 1..=40 {
        let client = stand.shop.anon().calling_from(number);
        let answer = client.get(ITEMS).await;
        if answer.header("x-comptoir-revision") == label(&old) { on_old = Some(client) } else { on_new = Some(client) }
    }
    let (on_old, on_new) = (
        on_old.expect("half of the callers use the old revision"),
        on_new.expect("half of the callers use the new revision"),
    );
    for (client, digest) in [(&on_old, &old), (&on_new, &new)] {
        gets(client, digest, "hit").await;
    }
    stand.add("apple").await.succeeds(201);
    for (client, digest) in [(&on_old, &old), (&on_new, &new)] {
        assert_eq!(gets(client, digest, "miss").await.data()["items"], 1);
        gets(client, digest, "hit").await;
    }
}
