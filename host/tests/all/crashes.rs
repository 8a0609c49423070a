//! A few cycles of the crash laboratory; `just crash-lab` runs many.

use comptoir::backup;

use crate::crash_lab::Lab;
use crate::shop_process::data;

const CYCLES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_host_acknowledged_is_there_exactly_once_after_its_restart() {
    let mut lab = Lab::open().await;
    for _ in 0..CYCLES {
        lab = lab.kill_once().await;
    }
    assert_eq!(lab.tally.findings, [""; 0]);
    assert!(lab.acknowledged()["orders"] > 0, "{:?}", lab.acknowledged());
    assert_eq!((lab.tally.kills, lab.tally.kills_at_start), (CYCLES, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laboratory_finds_out_when_acknowledged_writes_are_gone() {
    let mut lab = Lab::open().await;
    let data = data(&lab.folder);
    let older = backup::create(&data, &lab.folder.join("backups")).unwrap();
    lab = lab.kill_once().await;
    lab.process.kill().await;
    backup::restore(&older.path, &data, true).unwrap();
    lab = lab.start_again().await;
    assert!(lab.tally.findings.iter().any(|finding| finding.contains("is lost")), "{:?}", lab.tally.findings);
}
