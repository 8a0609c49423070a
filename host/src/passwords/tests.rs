#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::floor::{floor_above, level, measured, next_multiple, processor_time};
use super::queue::Queue;
use super::stored::{self, Stored};
use super::{Limits, PASSWORD_LIMIT_BYTES, PasswordError, Passwords, Verdict, WorkFactor};

const ENGLISH: &str = "correct horse battery staple";
const WORLDLY: &str = "pässwörd-日本-🔑";

// Made by werkzeug 3.0.1, generate_password_hash.
const SCRYPT_ENGLISH: &str = "scrypt:32768:8:1$5UiYXMH4tBgWV7Wb$\
    1c328c0af0c8861ab53cb24fbf03602a3f0dec9096f85907ddc04b63f222234b\
    5a030c9606b55cc303012ed663e992cccdd0c968cb54af3d6da8502906cfd58e";
const SCRYPT_WORLDLY: &str = "scrypt:32768:8:1$QU2JtRrTqPNiJNzy$\
    b32afbc1fad143415caa521504762e78918f9bcb1647146fe426893dc725958f\
    57139802c3af333fc6ad1f0945a211f5fd7f7df2be3e40940d43eeedd5df4bc2";
const SCRYPT_CHEAP: &str = "scrypt:1024:8:1$5TGTPLMPvj4cOwbe$\
    0caaf7c805e18b83d6067acf0f2547c5e64bf778a2755ffefbcffb841163421c\
    d8b212a0d5a7880ac78207ded6aa32c7853961360be5621e9d93548addbeca64";
const PBKDF2_ENGLISH: &str =
    "pbkdf2:sha256:600000$2GyhqaOqQ9lMzUdQ$f6357950e2238b7448a137d668f6ace6fc0ed945b8267f936774f00cb99b7072";
const PBKDF2_WORLDLY: &str =
    "pbkdf2:sha256:600000$Qsc0PIugextwWM8r$fe81272fa9a4012208754184d38a4d648962d26e55f48cc003f3d5b1efa70ef3";
const PBKDF2_CHEAP: &str =
    "pbkdf2:sha256:1000$Tp3PxHB2woy8O9z0$36beb7f26ef20b703e9df79ced3e20333a31318ca8a68b042284b7c602c221d5";

const NO: Verdict = Verdict { matches: false, outdated: false };
const CURRENT: Verdict = Verdict { matches: true, outdated: false };
const OUTDATED: Verdict = Verdict { matches: true, outdated: true };

/// The default cost.
const WORK: WorkFactor = WorkFactor::LEAST;

fn check(hash: &str, password: &str) -> Verdict {
    Stored::read(Some(hash)).check(password.as_bytes(), WORK)
}

fn one_at_once(waiting: usize, queue_time: Duration) -> Queue {
    Queue::new(Limits { at_once: 1, waiting, queue_time })
}

#[test]
fn hashes_made_by_werkzeug_match_and_are_outdated() {
    for (hash, password) in [
        (SCRYPT_ENGLISH, ENGLISH),
        (SCRYPT_WORLDLY, WORLDLY),
        (SCRYPT_CHEAP, "weak"),
        (PBKDF2_ENGLISH, ENGLISH),
        (PBKDF2_WORLDLY, WORLDLY),
        (PBKDF2_CHEAP, "weak"),
    ] {
        assert_eq!(check(hash, password), OUTDATED, "{hash}");
    }
}

#[test]
fn a_wrong_password_never_matches() {
    let argon2id = stored::hash(ENGLISH.as_bytes(), WORK).unwrap();
    for hash in [SCRYPT_ENGLISH, PBKDF2_ENGLISH, SCRYPT_CHEAP, PBKDF2_CHEAP, &argon2id] {
        assert_eq!(check(hash, "Correct horse battery staple"), NO, "{hash}");
    }
    for hash in [SCRYPT_CHEAP, PBKDF2_CHEAP] {
        for wrong in ["", "wea", "weak ", "weaker", "WEAK", WORLDLY] {
            assert_eq!(check(hash, wrong), NO, "{hash} with {wrong:?}");
        }
    }
}

#[test]
fn a_new_hash_has_the_current_cost_and_a_salt_of_its_own() {
    let (first, second) =
        (stored::hash(WORLDLY.as_bytes(), WORK).unwrap(), stored::hash(WORLDLY.as_bytes(), WORK).unwrap());
    assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
    assert_ne!(first, second);
    // 16 bytes are 22 characters in unpadded base64.
    assert_eq!(first.split('$').nth(4).unwrap().len(), 22);
    assert_eq!(check(&first, WORLDLY), CURRENT);
    assert_eq!(check(&second, WORLDLY), CURRENT);
}

#[test]
fn an_argon2id_hash_of_lower_cost_matches_and_is_outdated() {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    for (memory_kib, passes, lanes, expected) in [
        (8 * 1024, 2, 1, OUTDATED),
        (19 * 1024, 1, 1, OUTDATED),
        (19 * 1024, 2, 1, CURRENT),
        (32 * 1024, 3, 4, CURRENT),
    ] {
        let params = Params::new(memory_kib, passes, lanes, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let hash = argon2.hash_password(ENGLISH.as_bytes()).unwrap().to_string();
        assert_eq!(check(&hash, ENGLISH), expected, "{hash}");
    }
}

#[test]
fn the_operator_sets_the_cost_of_new_hashes_and_cheaper_ones_are_outdated() {
    let higher = WorkFactor { memory_kib: 20 << 10, passes: 3 };
    let hash = stored::hash(ENGLISH.as_bytes(), higher).unwrap();
    assert!(hash.starts_with("$argon2id$v=19$m=20480,t=3,p=1$"), "{hash}");
    let checked = |hash: &str, work| Stored::read(Some(hash)).check(ENGLISH.as_bytes(), work);
    assert_eq!([WORK, higher].map(|work| checked(&hash, work)), [CURRENT, CURRENT]);
    let default = stored::hash(ENGLISH.as_bytes(), WORK).unwrap();
    assert_eq!([WORK, higher].map(|work| checked(&default, work)), [CURRENT, OUTDATED]);
    assert_eq!([WORK, higher].map(|work| Stored::read(Some(&hash)).costs_as_new(work)), [false, true]);
}

/// Bcrypt would ignore everything after 72 bytes.
#[test]
fn long_passwords_are_not_cut() {
    let long = "x".repeat(PASSWORD_LIMIT_BYTES);
    let hash = stored::hash(long.as_bytes(), WORK).unwrap();
    assert_eq!(check(&hash, &long), CURRENT);
    assert_eq!(check(&hash, &format!("{}y", &long[1..])), NO);
}

#[test]
fn hashes_above_a_cap_are_not_computed() {
    let key = "0".repeat(128);
    let argon2id = |cost: &str| format!("$argon2id$v=19${cost}$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for hash in [
        argon2id("m=262145,t=2,p=1"),
        argon2id("m=4294967295,t=2,p=1"),
        argon2id("m=19456,t=11,p=1"),
        argon2id("m=19456,t=4294967295,p=1"),
        argon2id("m=19456,t=2,p=5"),
        format!("scrypt:262144:8:1$salt${key}"),
        format!("scrypt:131072:9:1$salt${key}"),
        format!("scrypt:32768:17:1$salt${key}"),
        format!("scrypt:32768:8:5$salt${key}"),
        format!("scrypt:32768:4294967295:4294967295$salt${key}"),
        format!("pbkdf2:sha256:2000001$salt${}", &key[..64]),
        format!("pbkdf2:sha256:4294967295$salt${}", &key[..64]),
    ] {
        assert!(matches!(Stored::read(Some(&hash)), Stored::Absent), "{hash}");
    }
    for hash in [
        argon2id("m=262144,t=10,p=4"),
        format!("scrypt:131072:8:4$salt${key}"),
        format!("scrypt:65536:16:4$salt${key}"),
        format!("pbkdf2:sha256:2000000$salt${}", &key[..64]),
    ] {
        assert!(!matches!(Stored::read(Some(&hash)), Stored::Absent), "{hash}");
    }
}

#[test]
fn malformed_hashes_are_absent() {
    let key = "0".repeat(128);
    let too_long = format!("scrypt:32768:8:1${}${key}", "s".repeat(1024));
    for hash in [
        "",
        "$",
        "$$",
        "$$$$$$$$",
        ":",
        "plain",
        "héllo$wörld$日本",
        "\0\0\0",
        "$argon2id",
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=2,p=1",
        "$argon2id$v=19$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4",
        "$argon2id$v=19$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$",
        "$argon2id$v=19$m=19456,t=2,p=1$$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=2,p=1$YWJjZA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA$more",
        "$argon2id$v=20$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=0,t=0,p=0$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=-1,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=99999999999999999999,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2i$v=19$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$argon2d$v=19$m=19456,t=2,p=1$Y29tcHRvaXIgc3RhbmQtaW4$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234",
        "scrypt",
        "scrypt$salt$00",
        "scrypt:32768:8$salt$00",
        "scrypt:32768:8:1",
        "scrypt:32768:8:1$salt",
        "scrypt:32768:8:1$$00",
        "scrypt:32768:8:1:1$salt$00",
        "scrypt:32767:8:1$salt$00",
        "scrypt:0:8:1$salt$00",
        "scrypt:1:8:1$salt$00",
        "scrypt:32768:0:1$salt$00",
        "scrypt:32768:8:0$salt$00",
        "scrypt:+32768:8:1$salt$00",
        "scrypt:032768:8:1$salt$00",
        "scrypt:32768 :8:1$salt$00",
        "scrypt:-32768:8:1$salt$00",
        "scrypt:99999999999999999999:8:1$salt$00",
        "SCRYPT:32768:8:1$salt$00",
        "pbkdf2:sha256$salt$00",
        "pbkdf2:sha256:0$salt$00",
        "pbkdf2:sha256:$salt$00",
        "pbkdf2:sha256:1e5$salt$00",
        "pbkdf2:sha1:1000$salt$00",
        "pbkdf2:sha256:1000:1$salt$00",
        &too_long,
    ] {
        assert!(matches!(Stored::read(Some(hash)), Stored::Absent), "{hash:?}");
    }
}

#[test]
fn a_shortened_lengthened_or_non_hex_key_does_not_match() {
    let (start, key) = PBKDF2_CHEAP.rsplit_once('$').unwrap();
    for key in ["", &key[1..], &key[..63], &format!("{key}0"), &key.to_uppercase(), &"zz".repeat(32), &"é".repeat(32)]
    {
        assert_eq!(check(&format!("{start}${key}"), "weak"), NO, "{key:?}");
    }
}

#[test]
fn every_reference_hash_can_be_parsed() {
    for reference in stored::references(WORK) {
        assert!(!matches!(Stored::read(Some(&reference)), Stored::Absent), "{reference}");
    }
}

#[tokio::test]
async fn a_hashed_password_is_verified() {
    let passwords = Passwords::new(Limits::default());
    let hash = passwords.hash(WORLDLY.to_owned()).await.unwrap();
    assert_eq!(passwords.verify(WORLDLY.to_owned(), Some(hash.clone())).await, Ok(CURRENT));
    assert_eq!(passwords.verify(ENGLISH.to_owned(), Some(hash)).await, Ok(NO));
    assert_eq!(passwords.meter().computed.load(Ordering::Relaxed), 3);
    assert_eq!(passwords.meter().computing(), 0);
}

/// Compares times with the measured floor, so the test works on a slow machine.
#[tokio::test]
async fn no_kind_of_failure_is_answered_before_the_floor() {
    let passwords = Passwords::new(Limits::default());
    for hash in [None, Some(""), Some(PBKDF2_CHEAP), Some(SCRYPT_CHEAP), Some(SCRYPT_ENGLISH)] {
        let started = tokio::time::Instant::now();
        assert_eq!(passwords.verify(ENGLISH.repeat(2), hash.map(str::to_owned)).await, Ok(NO));
        let took = started.elapsed();
        let floor = floor_above(measured(WORK).borrow().unwrap());
        assert!(took >= floor, "{hash:?} took {took:?}, the floor is {floor:?}");
    }
}

#[tokio::test]
async fn failures_take_equal_work_after_a_hash_of_another_cost() {
    let passwords = Passwords::new(Limits::default());
    let differ = || passwords.costs_differ.load(Ordering::Relaxed);
    for hash in [None, Some("unreadable".to_owned()), Some(stored::references(WORK)[0].clone())] {
        assert_eq!(passwords.verify(ENGLISH.to_owned(), hash).await, Ok(NO));
    }
    assert!(!differ());
    assert_eq!(passwords.verify("weak".to_owned(), Some(PBKDF2_CHEAP.to_owned())).await, Ok(OUTDATED));
    assert!(differ());
}

#[test]
fn level_uses_more_processor_time_than_the_most_expensive_kind() {
    let most = Duration::from_millis(20);
    let before = processor_time();
    level(&tokio::sync::watch::channel(Some(most)).1, before);
    assert!(processor_time() >= before + most);
    let before = processor_time();
    level(&tokio::sync::watch::channel(Some(Duration::ZERO)).1, before);
    level(&tokio::sync::watch::channel(None).1, before);
    assert!(processor_time() < before + most);
}

#[tokio::test]
async fn computations_reuse_the_threads_of_earlier_ones() {
    let queue = Queue::new(Limits { at_once: 2, waiting: 64, queue_time: Duration::from_secs(600) });
    let all = futures::future::join_all((0..20).map(|_| queue.run(|| std::thread::current().id()))).await;
    let threads: std::collections::HashSet<_> = all.into_iter().map(|done| done.unwrap().output).collect();
    assert!(threads.len() <= 2, "{threads:?}");
}

#[tokio::test]
async fn a_too_long_password_is_refused_with_every_hash() {
    let passwords = Passwords::new(Limits::default());
    let long = "x".repeat(PASSWORD_LIMIT_BYTES + 1);
    assert_eq!(passwords.hash(long.clone()).await, Err(PasswordError::TooLong));
    assert_eq!(passwords.verify(long.clone(), None).await, Err(PasswordError::TooLong));
    assert_eq!(passwords.verify(long, Some(PBKDF2_CHEAP.to_owned())).await, Err(PasswordError::TooLong));
    assert_eq!(passwords.meter().computed.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_full_queue_refuses_the_next_caller_and_serves_the_waiting_ones() {
    let queue = Arc::new(one_at_once(1, Duration::from_secs(600)));
    let (gate, closed) = mpsc::channel::<()>();
    let first = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(move || closed.recv().is_ok()).await.map(|done| done.output) }
    });
    until(|| queue.meter().computing() == 1).await;
    let second = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(|| "served").await.map(|done| done.output) }
    });
    until(|| queue.meter().waiting.load(Ordering::Relaxed) == 1).await;

    let third = queue.run(|| ()).await.map(|done| done.output);
    assert_eq!(third, Err(PasswordError::Busy { retry_after_seconds: 1 }));
    assert_eq!(queue.meter().refused.load(Ordering::Relaxed), 1);

    gate.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(true));
    assert_eq!(second.await.unwrap(), Ok("served"));
    assert_eq!(queue.meter().waiting.load(Ordering::Relaxed), 0);
    assert_eq!(queue.meter().computing(), 0);
}

#[tokio::test]
async fn a_caller_that_waited_too_long_is_refused_and_leaves_the_queue() {
    let queue = Arc::new(one_at_once(1, Duration::ZERO));
    let (gate, closed) = mpsc::channel::<()>();
    let first = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(move || closed.recv().is_ok()).await.map(|done| done.output) }
    });
    until(|| queue.meter().computing() == 1).await;
    for _ in 0..2 {
        let next = queue.run(|| ()).await.map(|done| done.output);
        assert_eq!(next, Err(PasswordError::Busy { retry_after_seconds: 1 }));
        assert_eq!(queue.meter().waiting.load(Ordering::Relaxed), 0);
    }
    gate.send(()).unwrap();
    assert_eq!(first.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn a_computation_keeps_its_slot_after_its_caller_gave_up() {
    let queue = Arc::new(one_at_once(0, Duration::ZERO));
    let (gate, closed) = mpsc::channel::<()>();
    let caller = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.run(move || closed.recv().is_ok()).await.map(|done| done.output) }
    });
    until(|| queue.meter().computing() == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    assert!(matches!(queue.run(|| ()).await.map(|done| done.output), Err(PasswordError::Busy { .. })));
    gate.send(()).unwrap();
    until(|| queue.meter().computing() == 0).await;
    assert_eq!(queue.run(|| 1).await.map(|done| done.output), Ok(1));
}

#[tokio::test]
async fn a_panicking_computation_fails_only_its_own_caller() {
    let queue = one_at_once(0, Duration::ZERO);
    let failed = queue.run(|| panic!("on purpose")).await.map(|done: super::queue::Done<()>| done.output);
    assert!(matches!(failed, Err(PasswordError::Failed(_))));
    assert_eq!(queue.run(|| 1).await.map(|done| done.output), Ok(1));
}

#[test]
fn an_answer_leaves_at_a_multiple_of_the_floor() {
    let floor = Duration::from_millis(100);
    for (elapsed_millis, expected_millis) in [(0, 100), (1, 100), (99, 100), (100, 100), (101, 200), (950, 1000)] {
        let expected = Duration::from_millis(expected_millis);
        assert_eq!(next_multiple(floor, Duration::from_millis(elapsed_millis)), expected, "{elapsed_millis}");
    }
}

#[test]
fn debug_output_contains_no_password() {
    let password = super::Password::new("hunter2".to_owned()).unwrap();
    assert_eq!(format!("{password:?}"), "Password");
}

/// Yields to other tasks and threads until a condition is true.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
