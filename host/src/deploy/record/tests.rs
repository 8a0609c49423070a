#![allow(clippy::unwrap_used)]

use super::*;
use crate::deploy::digest::sha256;

fn attempt(to: &str) -> Attempt {
    let text = |text: &str| text.to_owned();
    Attempt {
        service: text("orders"),
        action: Action::Deploy,
        from: None,
        to: text(to),
        by: text("operator"),
        reason: text(""),
        signer: None,
    }
}

fn activation(line: i64, to: &str) -> Change {
    let (service, digest) = ("orders".to_owned(), to.to_owned());
    Change { activated: vec![Activation { line, service, digest, before: None, together: None }], ..Change::default() }
}

#[test]
fn a_canary_survives_a_restart_until_a_change_ends_it() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let line = record.begin(&attempt("bb")).unwrap();
    let canary = CanaryRecord {
        share: 500,
        set: Some("both".to_owned()),
        candidates: vec![("orders".to_owned(), "bb".to_owned(), line)],
    };
    let outcomes = vec![Outcome { line, result: "canary", detail: String::new() }];
    record.commit(&Change { outcomes, canary: Some(canary.clone()), ..Change::default() }).unwrap();
    drop(record);
    let record = Record::open(data.path(), Clock::default()).unwrap();
    assert_eq!(record.canary().unwrap(), Some(canary));
    assert_eq!(record.history("orders", 1).unwrap()[0].result, "canary");
    record.commit(&activation(line, "bb")).unwrap();
    assert_eq!(record.canary().unwrap(), None);
}

#[test]
fn a_restart_keeps_active_revisions_and_marks_interrupted_deploys() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let id = record.begin(&attempt("aa")).unwrap();
    record.commit(&activation(id, "aa")).unwrap();
    record.begin(&attempt("bb")).unwrap();
    drop(record);
    let record = Record::open(data.path(), Clock::default()).unwrap();
    assert_eq!(record.active("orders").unwrap().unwrap(), "aa");
    let results: Vec<_> =
        record.history("orders", 10).unwrap().into_iter().map(|line| (line.to, line.result)).collect();
    assert_eq!(results, [("bb".into(), "interrupted".into()), ("aa".into(), "active".into())]);
    assert!(record.knows("orders", "aa").unwrap() && !record.knows("orders", "cc").unwrap());
    assert!(!record.knows("orders", "bb").unwrap(), "an interrupted deploy has no result");
}

#[test]
fn a_reverted_component_is_remembered_until_it_is_active_again() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let id = record.begin(&attempt("bb")).unwrap();
    record.commit(&activation(id, "bb")).unwrap();
    assert_eq!(record.reverted("orders", "bb").unwrap(), None);
    record.end(id, "reverted", "it failed 5 of 7 requests").unwrap();
    assert_eq!(record.reverted("orders", "bb").unwrap().unwrap(), "it failed 5 of 7 requests");
    let id = record.begin(&attempt("bb")).unwrap();
    record.commit(&activation(id, "bb")).unwrap();
    assert_eq!(record.reverted("orders", "bb").unwrap(), None);
}

#[test]
fn a_damaged_component_is_not_loaded() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let digest = sha256(b"component");
    record.store(&digest, b"component").unwrap();
    assert_eq!(record.load(&digest).unwrap(), b"component");
    fs::write(data.path().join("revisions").join(format!("{digest}.wasm")), b"damaged").unwrap();
    assert_eq!(record.load(&digest), None);
    assert_eq!(record.load("00"), None);
}

#[test]
fn a_record_of_an_earlier_version_gets_the_missing_columns() {
    let data = tempfile::tempdir().unwrap();
    drop(Record::open(data.path(), Clock::default()).unwrap());
    let old = Connection::open(data.path().join("deploys.db")).unwrap();
    old.execute_batch(
        "ALTER TABLE history DROP COLUMN signer; ALTER TABLE history DROP COLUMN together;
        ALTER TABLE canary DROP COLUMN set_name; DROP TABLE signatures; DROP TABLE notes",
    )
    .unwrap();
    let sql = "INSERT INTO history (at, service, action, after, by, reason, result) VALUES (1, 'orders', 'start', 'aa', '', '', '')";
    old.execute(sql, []).unwrap();
    drop(old);
    let record = Record::open(data.path(), Clock::default()).unwrap();
    record.begin(&Attempt { signer: Some("a key".to_owned()), ..attempt("bb") }).unwrap();
    let signers: Vec<_> = record.history("orders", 10).unwrap().into_iter().map(|line| line.signer).collect();
    assert_eq!(signers, [Some("a key".to_owned()), None]);
    assert_eq!((record.canary().unwrap(), record.operator_was_seeded().unwrap()), (None, None));
}

#[test]
fn the_newest_signature_of_each_service_and_component_is_kept() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    for (service, line) in [("orders", "first"), ("auth", "other"), ("orders", "second")] {
        record.note_signature(service, "aa", line).unwrap();
    }
    let found = [("orders", "aa"), ("auth", "aa"), ("orders", "bb")]
        .map(|(service, digest)| record.signature(service, digest).unwrap());
    assert_eq!(found, [Some("second".to_owned()), Some("other".to_owned()), None]);
}

#[test]
fn a_component_that_was_only_refused_is_unknown() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let known = || record.knows("orders", "aa").unwrap();
    for _ in 0..2 {
        let line = record.begin(&attempt("aa")).unwrap();
        assert!(known(), "a running deploy counts");
        record.end(line, "refused", "it has no signature").unwrap();
        assert!(!known());
    }
    let line = record.begin(&attempt("aa")).unwrap();
    record.commit(&activation(line, "aa")).unwrap();
    let later = record.begin(&attempt("aa")).unwrap();
    record.end(later, "refused", "").unwrap();
    assert!(known());
}

/// A digest that contains a number, to tell components apart.
fn numbered(number: u32) -> String {
    format!("{number:064}")
}

/// Stores and activates a component of a service.
fn activate(record: &Record, service: &str, number: u32) {
    let attempt = Attempt { service: service.to_owned(), ..attempt(&numbered(number)) };
    let line = record.begin(&attempt).unwrap();
    record.store(&attempt.to, b"component").unwrap();
    let (service, digest, before) = (attempt.service, attempt.to, record.active(service).unwrap());
    let activated = vec![Activation { line, service, digest, before, together: None }];
    let canary = record.canary().unwrap();
    record.commit(&Change { activated, canary, ..Change::default() }).unwrap();
}

/// The numbers of the components that are stored.
fn stored(data: &tempfile::TempDir) -> Vec<u32> {
    let names = fs::read_dir(data.path().join("revisions")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut numbers: Vec<u32> =
        names.filter_map(|name| name.strip_suffix(".wasm").map(|digest| digest.parse().unwrap())).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn each_service_keeps_its_last_components_even_if_file_times_lie() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    for number in [1, 2] {
        activate(&record, "user", number);
    }
    for number in 101..=130 {
        activate(&record, "orders", number);
        // A newer component gets an older file time.
        let file = fs::File::options().write(true).open(record.artifact(&numbered(number))).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(1000 - number))).unwrap();
        record.prune().unwrap();
        assert!(record.artifact(&numbered(number)).exists(), "{number} is active");
    }
    assert_eq!(stored(&data), [1, 2].into_iter().chain(111..=130).collect::<Vec<_>>());
}

#[test]
fn prune_keeps_canaries_running_deploys_and_signatures() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    activate(&record, "orders", 1);
    for number in [2, 3, 4, 5] {
        record.store(&numbered(number), b"component").unwrap();
    }
    let canary = CanaryRecord { share: 500, set: None, candidates: vec![("orders".to_owned(), numbered(2), 9)] };
    record.commit(&Change { canary: Some(canary), ..Change::default() }).unwrap();
    record.begin(&attempt(&numbered(3))).unwrap();
    let refused = record.begin(&attempt(&numbered(4))).unwrap();
    record.end(refused, "refused", "").unwrap();
    let folder = data.path().join("revisions");
    let beside = |number, end| folder.join(format!("{}.{end}", numbered(number)));
    let others = [beside(1, "wasm.sig"), folder.join("notes.txt")];
    for path in others.iter().chain(&[beside(1, "partial"), beside(5, "wasm.sig")]) {
        fs::write(path, "").unwrap();
    }
    record.prune().unwrap();
    assert_eq!(stored(&data), [1, 2, 3]);
    assert!(others.iter().all(|path| path.exists()));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 5, "no partial file, and no signature of a removed component");
}

#[test]
fn the_members_of_a_set_are_watched_as_one_group() {
    let data = tempfile::tempdir().unwrap();
    let record = Record::open(data.path(), Clock::default()).unwrap();
    let begin = |service: &str, to: &str| {
        record.begin(&Attempt { service: service.to_owned(), action: Action::Promote, ..attempt(to) }).unwrap()
    };
    let activated = |service: &str, line, digest: &str, together| {
        let (service, digest, before) = (service.to_owned(), digest.to_owned(), Some("before".to_owned()));
        Activation { line, service, digest, before, together }
    };
    let [user, orders, auth] = ["user", "orders", "auth"].map(|service| begin(service, "aa"));
    let set = vec![activated("user", user, "aa", Some(user)), activated("orders", orders, "aa", Some(user))];
    record.commit(&Change { activated: set, ..Change::default() }).unwrap();
    let alone = vec![activated("auth", auth, "aa", None)];
    record.commit(&Change { activated: alone, ..Change::default() }).unwrap();
    let groups = || {
        let groups = record.watched().unwrap().into_iter();
        groups.map(|group| group.into_iter().map(|member| member.service).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    assert_eq!(groups(), [vec!["orders", "user"], vec!["auth"]]);
    let kept = |line| Outcome { line, result: "kept", detail: String::new() };
    record.end_all(&[kept(user), kept(orders)]).unwrap();
    assert_eq!(groups(), [["auth"]]);
}
