//! Components that attack their host. Each gets its verdict, a sibling is served meanwhile, and the host's memory stays bounded.

use futures::future::join_all;
use testing::hostile::code;
use testing::hostile::ground::Ground;
use testing::hostile::verdicts::{CEILING_MIB, ENDLESS, VERDICTS, Verdict};
use testing::{Shop, databases, manifest_of};

/// The verdict for the storage engine in use. PostgreSQL reports other errors, and converts a blob to a text of digits.
fn for_engine(verdict: &Verdict) -> Verdict {
    match verdict.0 {
        "sql-bytes" if databases::in_postgres() => ("sql-bytes", 200, "denied, denied, invalid"),
        "sql-text" if databases::in_postgres() => ("sql-text", 200, "done"),
        _ => *verdict,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_gets_its_verdict_and_hurts_no_sibling() {
    let ground = Ground::open(&code::components()).await;
    let sibling = ground.serve_sibling();
    let mut wrong = Vec::new();
    for verdict in VERDICTS.iter().map(for_engine) {
        wrong.extend(ground.differs(verdict).await);
    }
    for (name, status, says, _) in code::ATTACKS {
        wrong.extend(ground.differs((name, *status, says)).await);
    }
    wrong.extend(ground.is_whole(ENDLESS).await);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let served = sibling.end().await;
    assert!(served > 0 && VERDICTS.len() + code::ATTACKS.len() >= 30);
    let peak = ground.peak_memory_mib();
    assert!(peak <= CEILING_MIB, "the host used {peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_leaves_no_state_for_the_next() {
    let ground = Ground::open(&[]).await;
    for _ in 0..3 {
        for verdict in [("globals", 200, "1 request"), ("environment", 200, "0 variables, 0 arguments")] {
            assert_eq!(ground.differs(verdict).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_blocks_the_writer_is_stopped_and_others_can_write() {
    let ground = Ground::open(&[]).await;
    for holder in ["transaction-spin", "transaction-sleep"] {
        let path = format!("/hostile/{holder}");
        let held = ground.get(&path);
        let (held, wrote) = tokio::join!(held, ground.until_written());
        assert_eq!((held.0, wrote), (504, true), "{holder}");
    }
}

/// A host with these components as services, and a harmless sibling.
async fn shop(instances: u32, limits: &str, components: &[(&str, Vec<u8>)]) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let mut services =
        "[services.sibling]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/sibling\"]\naccess = \"public\"\n"
            .to_owned();
    for (name, bytes) in components {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        services += &format!(
            "[services.{name}]\ncomponent = {file:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\nlimits = {{ {limits} }}\n"
        );
    }
    let mut manifest = manifest_of(&services);
    manifest.instances = instances;
    Shop::with(manifest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn linear_memory_is_zeroed_before_another_instance_gets_it() {
    // With one instance slot, all instances get the same memory.
    let shop = shop(1, "", &[("one", code::leaving(0xA5)), ("two", code::leaving(0x5A))]).await;
    for path in ["/one/x", "/one/x", "/two/x", "/two/x", "/one/x", "/two/x", "/one/x", "/one/x"] {
        shop.anon().get(path).await.refuses(500, "INTERNAL_ERROR");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_with_many_memories_leave_enough_for_a_sibling() {
    let limits = r#"cpu = "100ms", queue_time = "1m""#;
    let shop = shop(20, limits, &[("greedy", code::spinning_with_memories())]).await;
    let anon = shop.anon();
    let greedy = tokio::spawn(async move { join_all((0..8).map(|_| anon.get("/greedy/x"))).await });
    while !greedy.is_finished() {
        assert_eq!(shop.anon().get("/sibling/x").await.status, 200);
    }
    greedy.await.unwrap().iter().for_each(|answer| answer.refuses(504, "DEADLINE_EXCEEDED"));
}
