//! A log with several files.

use std::fs::{copy, create_dir, remove_dir, remove_file, rename};

use super::*;

/// The size of a full file in bytes.
/// A line has about 210 bytes, the first line of a file about 70 more.
const FULL: u64 = 550;

fn reopen(folder: &TempDir) -> Arc<Audit> {
    Audit::open(folder.path(), Clock::default(), FULL).unwrap()
}

/// A log with a failed login for each name, three in each file.
async fn files_of(names: &[&str]) -> TempDir {
    let folder = folder();
    let audit = reopen(&folder);
    for name in names {
        fail(&audit, &[name]).await;
    }
    folder
}

fn there(folder: &TempDir, name: &str) -> std::path::PathBuf {
    folder.path().join(name)
}

/// The subjects of the lines in a file.
fn subjects(folder: &TempDir, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(there(folder, name)).unwrap();
    let subject = |line: &str| serde_json::from_str::<Value>(line).unwrap()["subject"].as_str().unwrap().to_owned();
    text.lines().map(subject).collect()
}

const NAMES: [&str; 8] = ["anna", "boris", "carl", "dora", "eve", "fay", "gil", "hana"];

#[tokio::test]
async fn a_full_file_gets_a_number_and_the_next_file_begins_with_its_last_hash() {
    let folder = files_of(&NAMES).await;
    assert_eq!(subjects(&folder, "audit.1.jsonl"), NAMES[..3]);
    assert_eq!(subjects(&folder, "audit.2.jsonl"), NAMES[3..6]);
    assert_eq!(subjects(&folder, FILE), NAMES[6..]);
    let last = std::fs::read_to_string(there(&folder, "audit.2.jsonl")).unwrap();
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!(lines(&folder)[0]["after"], last["hash"]);
    assert_eq!(there(&folder, "audit.2.jsonl").metadata().unwrap().mode() & 0o777, 0o600);
    // A restart continues in the current file and with the next number.
    let audit = reopen(&folder);
    for name in ["ida", "jan"] {
        fail(&audit, &[name]).await;
    }
    assert_eq!(subjects(&folder, "audit.3.jsonl"), ["gil", "hana", "ida"]);
    let last_hash = lines(&folder)[0]["hash"].as_str().unwrap().to_owned();
    assert_eq!(verify(folder.path(), None).unwrap(), Verified { lines: 10, last_hash });
}

#[test]
fn one_append_never_spans_two_files() {
    let folder = folder();
    let (mut chain, _) = Chain::open(folder.path(), FULL).unwrap();
    for (subject, count) in [("first", 6), ("second", 200), ("third", 1)] {
        chain.append(std::iter::repeat_n(format!("{{\"subject\":\"{subject}\""), count)).unwrap();
    }
    let files = ["audit.1.jsonl", "audit.2.jsonl", FILE].map(|name| subjects(&folder, name));
    assert_eq!(files, [vec!["first"; 6], vec!["second"; 200], vec!["third"; 1]]);
    assert_eq!(verify(folder.path(), None).unwrap().lines, 207);
}

#[tokio::test]
async fn verify_finds_every_changed_byte_in_every_file() {
    let folder = files_of(&NAMES).await;
    for name in ["audit.1.jsonl", "audit.2.jsonl", FILE] {
        let good = read(there(&folder, name)).unwrap();
        for at in 0..good.len() {
            let mut changed = good.clone();
            changed[at] ^= 1;
            put(there(&folder, name), &changed).unwrap();
            let found = complaint(&folder);
            assert!(found.contains(name), "byte {at} of {name}: {found}");
        }
        put(there(&folder, name), &good).unwrap();
    }
    verify(folder.path(), None).unwrap();
}

#[tokio::test]
async fn verify_finds_missing_cut_and_swapped_files_and_accepts_an_anchor() {
    let folder = files_of(&NAMES).await;
    let [first, second] = ["audit.1.jsonl", "audit.2.jsonl"].map(|name| there(&folder, name));
    let first_hash = {
        let text = std::fs::read_to_string(&first).unwrap();
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        line["hash"].as_str().unwrap().to_owned()
    };
    let kept = there(&folder, "kept");
    rename(&second, &kept).unwrap();
    // The current file does not follow the first one.
    assert!(complaint(&folder).contains("does not follow the end of the previous file"), "{}", complaint(&folder));
    rename(&first, &second).unwrap();
    assert!(complaint(&folder).contains("does not follow the end of the previous file"), "{}", complaint(&folder));
    rename(&second, &first).unwrap();
    rename(there(&folder, FILE), there(&folder, "audit.3.jsonl")).unwrap();
    let gap = complaint(&folder);
    assert!(gap.contains("misses the file") && gap.contains("audit.2.jsonl"), "{gap}");
    rename(there(&folder, "audit.3.jsonl"), there(&folder, FILE)).unwrap();
    rename(&kept, &second).unwrap();

    let whole = read(&second).unwrap();
    let end = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    put(&second, &whole[..end]).unwrap();
    assert!(complaint(&folder).contains("does not follow the end of the previous file"), "{}", complaint(&folder));
    put(&second, &whole).unwrap();

    copy(&first, &kept).unwrap();
    remove_file(&first).unwrap();
    assert!(complaint(&folder).contains("audit.2.jsonl follows another file, which is missing"));
    let wrong = verify(folder.path(), Some(&"0".repeat(64))).unwrap_err().to_string();
    assert!(wrong.contains("no line with the anchor's hash"), "{wrong}");
    assert_eq!(verify(folder.path(), Some(&first_hash)).unwrap().lines, 5);
    // Every hash of a later line is a valid anchor too.
    for name in ["audit.2.jsonl", FILE] {
        for line in std::fs::read_to_string(there(&folder, name)).unwrap().lines() {
            let hash = serde_json::from_str::<Value>(line).unwrap()["hash"].as_str().unwrap().to_owned();
            assert_eq!(verify(folder.path(), Some(&hash)).unwrap(), verify(folder.path(), Some(&first_hash)).unwrap());
        }
    }
    fail(&reopen(&folder), &["ida", "jan"]).await;
    rename(&kept, &first).unwrap();
    assert_eq!(verify(folder.path(), None).unwrap().lines, 10);
}

#[tokio::test]
async fn no_number_is_used_twice_even_if_older_files_were_moved_away() {
    let folder = files_of(&NAMES).await;
    let archive = tempfile::tempdir().unwrap();
    let kept = ["audit.1.jsonl", "audit.2.jsonl"];
    kept.iter().for_each(|name| rename(there(&folder, name), there(&archive, name)).unwrap());
    let good = kept.map(|name| read(there(&archive, name)).unwrap());
    let audit = reopen(&folder);
    fail(&audit, &["ida"]).await;
    // First the files come back while the host runs, then they stay away during a restart.
    for name in &kept {
        copy(there(&archive, name), there(&folder, name)).unwrap();
    }
    for name in ["jan", "kim", "lea"] {
        fail(&audit, &[name]).await;
    }
    assert_eq!(subjects(&folder, "audit.3.jsonl"), ["gil", "hana", "ida"]);
    for name in ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl"] {
        rename(there(&folder, name), there(&archive, name)).unwrap();
    }
    drop(audit);
    fail(&reopen(&folder), &["mia"]).await;
    assert_eq!(
        (subjects(&folder, "audit.4.jsonl"), subjects(&folder, FILE)),
        (strings(&["jan", "kim", "lea"]), strings(&["mia"]))
    );
    for name in ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl"] {
        rename(there(&archive, name), there(&folder, name)).unwrap();
    }
    assert_eq!(kept.map(|name| read(there(&folder, name)).unwrap()), good);
    assert_eq!(verify(folder.path(), None).unwrap().lines, 13);
}

fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The first file of a log and the files of old hosts do not contain their number.
#[tokio::test]
async fn a_full_file_never_overwrites_another_file() {
    let folder = files_of(&NAMES[..2]).await;
    let audit = reopen(&folder);
    put(there(&folder, "audit.1.jsonl"), "of another log\n").unwrap();
    for name in &NAMES[2..7] {
        fail(&audit, &[name]).await;
    }
    assert_eq!(read(there(&folder, "audit.1.jsonl")).unwrap(), b"of another log\n");
    assert_eq!(
        (subjects(&folder, "audit.2.jsonl"), subjects(&folder, "audit.3.jsonl")),
        (strings(&NAMES[..3]), strings(&NAMES[3..6]))
    );
    assert_eq!(subjects(&folder, FILE), NAMES[6..7]);
    remove_file(there(&folder, "audit.1.jsonl")).unwrap();
    assert_eq!(verify(folder.path(), None).unwrap().lines, 7);
}

/// Tries a crash at each moment after a full file was renamed.
#[tokio::test]
async fn a_crash_between_two_files_leaves_a_log_that_verifies_and_continues() {
    for lines in [None, Some(0), Some(1), Some(40)] {
        let folder = files_of(&NAMES[..4]).await;
        let begun = read(there(&folder, FILE)).unwrap();
        match lines {
            None => remove_file(there(&folder, FILE)).unwrap(),
            Some(bytes) => put(there(&folder, FILE), &begun[..bytes]).unwrap(),
        }
        if lines.unwrap_or_default() == 0 {
            assert_eq!(verify(folder.path(), None).unwrap().lines, 3);
        }
        fail(&reopen(&folder), &["eve"]).await;
        assert_eq!(subjects(&folder, FILE), ["eve"]);
        assert_eq!(verify(folder.path(), None).unwrap().lines, 4);
    }
}

#[tokio::test]
async fn events_are_counted_if_the_next_file_cannot_be_created() {
    let folder = files_of(&NAMES[..3]).await;
    let audit = reopen(&folder);
    rename(there(&folder, FILE), there(&folder, "audit.1.jsonl")).unwrap();
    create_dir(there(&folder, FILE)).unwrap();
    fail(&audit, &["dora"]).await;
    assert_eq!(subjects(&folder, "audit.1.jsonl"), NAMES[..3]);
    remove_dir(there(&folder, FILE)).unwrap();
    fail(&audit, &["eve"]).await;
    assert_eq!((subjects(&folder, FILE), &lines(&folder)[0]["unwritten"]), (vec!["eve".to_owned()], &1.into()));
    assert_eq!(verify(folder.path(), None).unwrap().lines, 4);
}
