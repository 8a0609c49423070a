//! Components that attack their host. Each gets its verdict; a sibling is served all the while, and the host's memory stays
//! under a ceiling.

mod code;
mod ground;

use ground::{Ground, Verdict};

/// Peak of the host's resident memory, in MiB: thousands of times less than what the attacks ask for.
const CEILING_MIB: u64 = 512;

/// Attacks of `guest_hostile`, the status that each is answered with, and what the answer says.
const VERDICTS: &[Verdict] = &[
    ("spin", 504, "DEADLINE_EXCEEDED"),
    ("recurse", 500, "INTERNAL_ERROR"),
    ("grow", 500, "OUT_OF_MEMORY"),
    ("copy", 504, "DEADLINE_EXCEEDED"),
    ("sleep", 504, "DEADLINE_EXCEEDED"),
    ("handles", 500, "INTERNAL_ERROR"),
    ("pollables", 500, "INTERNAL_ERROR"),
    ("leak", 200, "leaked"),
    ("random", 500, "INTERNAL_ERROR"),
    ("print", 504, "DEADLINE_EXCEEDED"),
    ("globals", 200, "1 request"),
    ("environment", 200, "0 variables, 0 arguments"),
    ("call", 200, "reached []"),
    ("sql", 200, "passed []"),
    ("sql-endless", 200, "timed out"),
    ("sql-rows", 200, "too large"),
    ("sql-bytes", 200, "too large, denied, too large"),
    ("sql-parameters", 500, "INTERNAL_ERROR"),
    ("sql-text", 200, "invalid"),
    ("sql-length", 200, "too large, too large, too large"),
    ("transaction-spin", 504, "DEADLINE_EXCEEDED"),
    ("transaction-sleep", 504, "DEADLINE_EXCEEDED"),
    ("transaction-twice", 200, "done, then timed out"),
    ("no-answer", 500, "INTERNAL_ERROR"),
    ("error-answer", 500, "INTERNAL_ERROR"),
    ("many-headers", 500, "INTERNAL_ERROR"),
    ("large-header", 500, "INTERNAL_ERROR"),
    ("header-text", 200, "0 values and 0 names were taken"),
    ("forbidden-headers", 200, "answered"),
    ("status", 500, "INTERNAL_ERROR"),
    ("length-too-long", 500, "INTERNAL_ERROR"),
    ("length-too-short", 500, "INTERNAL_ERROR"),
    ("unfinished-body", 500, "INTERNAL_ERROR"),
    ("empty-writes", 500, "INTERNAL_ERROR"),
    ("spin-after-answer", 200, "answered"),
    ("trap-after-answer", 500, "INTERNAL_ERROR"),
];

/// An attack whose answer has begun when it goes wrong: the client sees that it is not complete.
const ENDLESS: &str = "/hostile/endless-body";

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
