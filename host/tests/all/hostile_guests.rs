//! Components that attack their host. Each gets its verdict; a sibling is served all the while, and the host's memory stays
//! under a ceiling.

mod code;
mod ground;
mod verdicts;

use ground::Ground;
use verdicts::{CEILING_MIB, ENDLESS, VERDICTS};

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_gets_its_verdict_and_hurts_nobody() {
    let ground = Ground::open(&code::components()).await;
    let sibling = ground.serve_sibling();
    let mut wrong = Vec::new();
    for verdict in VERDICTS {
        wrong.extend(ground.differs(&format!("/hostile/{}", verdict.0), *verdict).await);
    }
    for (name, status, says, _) in code::ATTACKS {
        wrong.extend(ground.differs(&format!("/{name}/x"), (name, *status, says)).await);
    }
    wrong.extend(ground.is_whole(ENDLESS).await);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let served = sibling.end().await;
    assert!(served > 0 && VERDICTS.len() + code::ATTACKS.len() >= 30);
    let peak = ground.peak_memory_mib();
    assert!(peak <= CEILING_MIB, "the host took {peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_request_is_there_for_the_next_one() {
    let ground = Ground::open(&[]).await;
    for _ in 0..3 {
        for verdict in [("globals", 200, "1 request"), ("environment", 200, "0 variables, 0 arguments")] {
            assert_eq!(ground.differs(&format!("/hostile/{}", verdict.0), verdict).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_held_is_taken_away_and_others_write() {
    let ground = Ground::open(&[]).await;
    for holder in ["transaction-spin", "transaction-sleep"] {
        let path = format!("/hostile/{holder}");
        let held = ground.get(&path);
        let (held, wrote) = tokio::join!(held, ground.until_written());
        assert_eq!((held.0, wrote), (504, true), "{holder}");
    }
}
