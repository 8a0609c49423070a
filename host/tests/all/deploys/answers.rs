//! What becomes of remembered answers when another revision serves.

use testing::{Answer, Client};

use super::{Stand, digest, label, manifest, variant};

const ITEMS: &str = "/variant/items";

/// Asserts what became of a question, and by which revision it was answered.
async fn asks(client: &Client, digest: &str, became: &str) -> Answer {
    let answer = client.get(ITEMS).await;
    assert_eq!(answer.header("x-comptoir-cache"), became, "{}", answer.text);
    assert_eq!(answer.header("x-comptoir-revision"), label(digest));
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_starts_with_nothing_and_so_does_a_rollback() {
    let stand = Stand::open().await;
    let (anon, old) = (stand.shop.anon(), stand.active().await);
    asks(&anon, &old, "miss").await;
    asks(&anon, &old, "hit").await;
    let new = stand.deployed("good-2").await;
    asks(&anon, &new, "miss").await;
    asks(&anon, &new, "hit").await;
    stand.roll_back("").await.succeeds(200);
    asks(&anon, &old, "miss").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_write_and_deploys_that_are_refused_end_nothing_and_a_migration_ends_all() {
    let stand = Stand::open().await;
    let (anon, old) = (stand.shop.anon(), stand.active().await);
    asks(&anon, &old, "miss").await;
    assert_eq!(stand.deploy("probe fails-post").await.status, 422);
    let kept = asks(&anon, &old, "hit").await;
    assert_eq!(kept.data()["items"], 0, "the probe's item is nowhere");
    // Its migration ran, and only then its health was bad.
    assert_eq!(stand.deploy("additive health-500").await.status, 422);
    asks(&anon, &old, "miss").await;
    asks(&anon, &old, "hit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_revisions_that_serve_side_by_side_have_answers_of_their_own() {
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
    let (on_old, on_new) = (on_old.expect("half are on the old one"), on_new.expect("half are on the new one"));
    for (client, digest) in [(&on_old, &old), (&on_new, &new)] {
        asks(client, digest, "hit").await;
    }
    stand.add("apple").await.succeeds(201);
    for (client, digest) in [(&on_old, &old), (&on_new, &new)] {
        assert_eq!(asks(client, digest, "miss").await.data()["items"], 1);
        asks(client, digest, "hit").await;
    }
}
