#![allow(clippy::unwrap_used)]

mod files;

use std::fs::{File, OpenOptions, Permissions, read, write as put};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use serde_json::Value;
use tempfile::TempDir;

use super::*;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Records a failed login for each name, and waits until the log has them.
async fn fail(audit: &Audit, names: &[&str]) {
    let source = Source { request_id: Some("r-1".into()), client: Some([192, 0, 2, 7].into()) };
    for name in names {
        audit.tell(&Note { subject: Some(name), ..Note::new(Event::LoginFail, "auth", &source) });
    }
    audit.flush().await;
}

/// A log with a failed login for each name.
async fn log_of(names: &[&str]) -> TempDir {
    let folder = folder();
    fail(&Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap(), names).await;
    folder
}

fn bytes(folder: &TempDir) -> Vec<u8> {
    read(folder.path().join(FILE)).unwrap()
}

fn lines(folder: &TempDir) -> Vec<Value> {
    let text = String::from_utf8(bytes(folder)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The error that `verify` finds.
fn complaint(folder: &TempDir) -> String {
    verify(folder.path(), None).unwrap_err().to_string()
}

#[tokio::test]
async fn a_line_names_subject_and_request_and_has_a_hash_of_the_previous_line() {
    let folder = log_of(&["marta", "paul"]).await;
    fail(&Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap(), &["after a restart"]).await;
    let lines = lines(&folder);
    assert_eq!(lines.len(), 3);
    let mut first = lines[0].as_object().unwrap().clone();
    let (time, hash) = (first.remove("time").unwrap(), first.remove("hash").unwrap());
    assert!(time.as_str().unwrap().len() == 24 && time.as_str().unwrap().ends_with('Z'), "{time}");
    let text = serde_json::json!({
        "event": "authn_login_fail", "by": "auth", "subject": "marta", "request_id": "r-1", "client": "192.0.2.7",
    });
    assert_eq!(Value::from(first), text);

    let written = bytes(&folder);
    let whole: Vec<&[u8]> = written.split_inclusive(|byte| *byte == b'\n').collect();
    let text = |line: &[u8]| line[..line.len() - ",\"hash\":\"\"}\n".len() - 64].to_vec();
    let expected = |before: &[u8], line: &[u8]| {
        use sha2::{Digest as _, Sha256};
        let digest = Sha256::digest([before, &text(line)].concat());
        digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(hash, expected(b"", whole[0]));
    assert_eq!(lines[2]["hash"], expected(whole[1], whole[2]));
    let last_hash = lines[2]["hash"].as_str().unwrap().to_owned();
    assert_eq!(verify(folder.path(), None).unwrap(), Verified { lines: 3, last_hash });
}

#[tokio::test]
async fn verify_finds_every_changed_byte_in_its_line_or_the_next() {
    let folder = log_of(&["marta", "paul", "eve"]).await;
    let good = bytes(&folder);
    let mut line = 1;
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        put(folder.path().join(FILE), &changed).unwrap();
        let found = complaint(&folder);
        let named = (line..=line + 1).any(|line| found.contains(&format!("line {line} ")));
        assert!(named, "byte {at} of line {line}: {found}");
        line += usize::from(good[at] == b'\n');
    }
    put(folder.path().join(FILE), &good).unwrap();
    verify(folder.path(), None).unwrap();
}

#[tokio::test]
async fn verify_finds_removed_added_and_moved_lines_and_with_an_anchor_a_missing_end() {
    let folder = log_of(&["marta", "paul", "eve"]).await;
    let good = bytes(&folder);
    let last_hash = verify(folder.path(), None).unwrap().last_hash;
    let whole: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for (wrong, line) in [([1, 2].as_slice(), 1), (&[0, 2], 2), (&[0, 0, 1, 2], 2), (&[0, 2, 1], 2)] {
        let lines: Vec<&[u8]> = wrong.iter().map(|index| whole[*index]).collect();
        put(folder.path().join(FILE), lines.concat()).unwrap();
        assert!(complaint(&folder).contains(&format!("line {line} ")), "{wrong:?}: {}", complaint(&folder));
    }
    put(folder.path().join(FILE), whole[..2].concat()).unwrap();
    assert_eq!(verify(folder.path(), None).unwrap().lines, 2);
    let gone = verify(folder.path(), Some(&last_hash)).unwrap_err().to_string();
    assert!(gone.contains("anchor"), "{gone}");
    put(folder.path().join(FILE), &good).unwrap();
    verify(folder.path(), Some(&last_hash)).unwrap();
}

#[tokio::test]
async fn a_name_with_control_characters_stays_one_harmless_line() {
    let long = "\u{9b}\"\\".repeat(100_000);
    let names = [
        "\n{\"fake\":1}",
        "\r\n",
        "\u{1b}[2Jx",
        "\u{9b}31m",
        "a\u{202e}b",
        "\u{2028}",
        "日本 Łukasz",
        "🦀",
        "\0",
        &long,
    ];
    let folder = log_of(&names).await;
    let read = lines(&folder);
    assert_eq!(read.len(), names.len());
    for (line, name) in read.iter().zip(&names[..names.len() - 1]) {
        assert_eq!(line["subject"], **name);
    }
    let cut = read.last().unwrap()["subject"].as_str().unwrap().to_owned();
    assert!(long.starts_with(cut.strip_suffix('…').unwrap()) && cut.len() <= 603, "{}", cut.len());
    let text = String::from_utf8(bytes(&folder)).unwrap();
    assert!(text.contains("日本 Łukasz"));
    let plain =
        |character: char| ('\u{20}'..'\u{7f}').contains(&character) || character.is_alphanumeric() || character == '\n';
    assert_eq!(text.chars().find(|character| !plain(*character)), None);
    verify(folder.path(), None).unwrap();
}

#[tokio::test]
async fn the_result_of_deploying_three_signed_components_fits_in_a_line() {
    let folder = folder();
    let audit = Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap();
    let signed = format!("{} signed by {}", "d".repeat(64), "k".repeat(44));
    let result = format!("200 {signed} {signed} {signed}");
    let source = Source::default();
    audit.tell(&Note { result: Some(&result), ..Note::new(Event::Administered, "operator", &source) });
    audit.flush().await;
    assert_eq!(lines(&folder)[0]["result"], result);
}

#[tokio::test]
async fn a_line_torn_by_a_crash_is_cut_off_and_the_next_line_reports_it() {
    let folder = log_of(&["marta", "paul"]).await;
    let good = bytes(&folder);
    let second = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let ends = [second + 1, second + 40, good.len() - 1];
    let torn = ends.iter().map(|end| good[..*end].to_vec());
    // Some file systems extend the file before they write its content.
    let zeros = [&good[..second], &[0; 200_000]].concat();
    for torn in torn.chain([zeros]) {
        put(folder.path().join(FILE), &torn).unwrap();
        assert!(complaint(&folder).contains("line 2 is not whole"), "{}", complaint(&folder));
        let audit = Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap();
        assert_eq!(bytes(&folder), good[..second]);
        fail(&audit, &["eve"]).await;
        let lines = lines(&folder);
        assert_eq!((lines.len(), &lines[1]["subject"], &lines[1]["unwritten"]), (2, &"eve".into(), &1.into()));
        verify(folder.path(), None).unwrap();
    }
    put(folder.path().join(FILE), b"{\"time\":").unwrap();
    fail(&Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap(), &["eve"]).await;
    assert_eq!(verify(folder.path(), None).unwrap().lines, 1);
}

fn entry(name: &str) -> Message {
    let source = Source::default();
    let note = Note { subject: Some(name), ..Note::new(Event::LoginFail, "auth", &source) };
    Message::Entry(Box::new(AuditEntry::new(&note, std::time::Duration::ZERO)))
}

#[tokio::test]
async fn events_during_a_full_disk_are_counted_and_reported_by_the_next_line() {
    let folder = log_of(&["marta"]).await;
    let (mut chain, _) = Chain::open(folder.path(), u64::MAX).unwrap();
    let counts = Counts::default();
    let real = std::mem::replace(&mut chain.file, OpenOptions::new().write(true).open("/dev/full").unwrap());
    for names in [["paul", "eve"], ["carl", "dora"]] {
        let (done, flushed) = oneshot::channel();
        let mut batch = vec![entry(names[0]), Message::Flush(done), entry(names[1])];
        let failed = write(&mut chain, &mut batch, &counts);
        assert!(still_failing(false, &failed) && still_failing(true, &failed), "{failed:?}");
        flushed.await.unwrap();
        // A batch without events does not show that the disk works again.
        let (done, _flushed) = oneshot::channel();
        assert!(still_failing(true, &write(&mut chain, &mut vec![Message::Flush(done)], &counts)));
    }
    assert_eq!([&counts.unwritten, &counts.written].map(|count| count.load(Ordering::Relaxed)), [4, 0]);
    chain.file = real;
    assert!(!still_failing(true, &write(&mut chain, &mut vec![entry("fay"), entry("gil")], &counts)));
    let lines = lines(&folder);
    let unwritten: Vec<&Value> = lines.iter().map(|line| &line["unwritten"]).collect();
    assert_eq!(unwritten, [&Value::Null, &4.into(), &Value::Null]);
    assert_eq!(verify(folder.path(), None).unwrap().lines, 3);
    assert_eq!([&counts.unwritten, &counts.written].map(|count| count.load(Ordering::Relaxed)), [4, 2]);
}

#[test]
fn recording_more_events_than_the_queue_holds_does_not_wait() {
    let (audit, _inbox) = Audit::with_queue(3, Clock::default());
    let source = Source::default();
    for _ in 0..10 {
        audit.tell(&Note::new(Event::LoginFail, "auth", &source));
    }
    assert_eq!(audit.counts().unwritten.load(Ordering::Relaxed), 7);
}

#[tokio::test]
async fn ten_refusals_of_each_kind_are_written_per_second_and_the_others_counted() {
    let (folder, clock) = (folder(), Clock::default());
    let audit = Audit::open(folder.path(), clock.clone(), u64::MAX).unwrap();
    let source = Source::default();
    let kinds = [Refused::InvalidToken, Refused::Forbidden, Refused::NotOperator, Refused::ByService];
    for (why, subject) in kinds.into_iter().zip(["?", "marta", "op", "paul"]) {
        for _ in 0..100 {
            audit.refuse(why, &Note { subject: Some(subject), ..Note::new(Event::Refused, "orders", &source) });
        }
    }
    clock.shift(10);
    audit.refuse(Refused::Forbidden, &Note::new(Event::Refused, "orders", &source));
    audit.flush().await;
    let lines = lines(&folder);
    for subject in ["?", "marta", "op", "paul"] {
        let written = lines.iter().filter(|line| line["subject"] == subject).count();
        // The test may have run across the end of a second.
        assert!([10, 20].contains(&written), "{subject}: {lines:#?}");
    }
    assert_eq!(lines.len() as u64 + unwritten(&lines), 401);
}

/// How many unwritten events the lines report.
fn unwritten(lines: &[Value]) -> u64 {
    lines.iter().filter_map(|line| line["unwritten"].as_u64()).sum()
}

#[tokio::test]
async fn six_hundred_tokens_are_written_per_minute_and_hide_no_other_event() {
    let (folder, clock) = (folder(), Clock::default());
    let audit = Audit::open(folder.path(), clock.clone(), u64::MAX).unwrap();
    let [auth, other] = ["auth", "other"].map(|service| ServiceAudit::new(audit.clone(), service.into()));
    let next_minute = || clock.shift(60 - i64::try_from(clock.unix_seconds() % 60).unwrap());
    for _ in 0..2 {
        next_minute();
        for _ in 0..1000 {
            auth.for_request(&Source::default()).tell(Event::TokenCreated, Some("marta"), Some("s-1"));
        }
    }
    auth.tell(Event::LoginFail, Some("paul"), None);
    other.tell(Event::TokenCreated, Some("eve"), None);
    audit.close().await;
    let lines = lines(&folder);
    let of = |subject: &str| lines.iter().filter(|line| line["subject"] == subject).count();
    assert_eq!(["marta", "paul", "eve"].map(of), [1200, 1, 1]);
    assert_eq!((lines.len(), unwritten(&lines)), (1202, 800));
    verify(folder.path(), None).unwrap();
}

#[tokio::test]
async fn an_orderly_shutdown_reports_unwritten_events_in_a_last_line() {
    let folder = log_of(&["marta"]).await;
    let audit = Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap();
    audit.close().await;
    assert_eq!(lines(&folder).len(), 1);
    audit.counts.miss(3);
    audit.close().await;
    audit.close().await;
    let lines = lines(&folder);
    assert_eq!((lines.len(), &lines[1]["event"], &lines[1]["unwritten"]), (2, &"sys_shutdown".into(), &3.into()));
    verify(folder.path(), None).unwrap();
}

#[test]
fn only_the_owner_may_use_the_log_even_if_its_mode_was_changed() {
    let folder = folder();
    let path = folder.path().join(FILE);
    let mode = || path.metadata().unwrap().mode() & 0o777;
    drop(Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap());
    assert_eq!(mode(), 0o600);
    File::open(&path).unwrap().set_permissions(Permissions::from_mode(0o644)).unwrap();
    drop(Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap());
    assert_eq!(mode(), 0o600);
    let missing = verify(&folder.path().join("elsewhere"), None).unwrap_err().to_string();
    assert!(missing.contains("--data"), "{missing}");
}
