//! Rotating and disabling keys: which tokens are valid, and which files exist.

use std::path::PathBuf;

use jsonwebtoken::{Algorithm, EncodingKey, crypto};

use super::*;
use crate::tokens::keys::{KEYS_LIMIT, OVERLAP_SECONDS, RETENTION_SECONDS};

const OVERLAP: i64 = OVERLAP_SECONDS as i64;
const RETENTION: i64 = RETENTION_SECONDS as i64;

fn issue(tokens: &Tokens) -> String {
    tokens.issue("ada", "user", "s1").unwrap().token
}

fn signer(tokens: &Tokens) -> String {
    tokens.keys().remove(0).id
}

/// The names of the key files, sorted.
fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("signing")).collect();
    names.sort();
    names
}

/// A copy of a token, valid for an hour from `now`, signed with the key in a file.
fn renewed(token: &str, key: &Path, now: u64) -> String {
    let mut payload = part(token, 1);
    (payload["iat"], payload["exp"]) = (json!(now), json!(now + 3600));
    let header = token.split('.').next().unwrap();
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload.to_string()));
    let key = EncodingKey::from_secret(&fs::read(key).unwrap());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test]
async fn after_a_rotation_the_new_key_signs_and_old_tokens_stay_valid() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let old = issue(&tokens);
    let first = signer(&tokens);
    tokens.rotate_keys().await.unwrap();
    let new = issue(&tokens);
    assert_eq!(part(&new, 0)["kid"], signer(&tokens));
    let keys = tokens.keys();
    assert_eq!((keys.len(), &keys[1].id, keys[0].until, keys[1].since), (2, &first, None, None));
    assert_eq!(keys[1].until, Some(keys[0].since.unwrap() + OVERLAP_SECONDS));
    assert_eq!(mode(&folder.path().join(&files(folder.path())[0])), 0o600);
    let again = open(folder.path(), &clock);
    assert_eq!(again.keys(), keys);
    for tokens in [tokens, again] {
        assert!(tokens.verify(&old).is_some() && tokens.verify(&new).is_some());
    }
}

#[tokio::test]
async fn a_replaced_key_verifies_for_its_last_token_and_a_day_later_its_file_goes() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let first = folder.path().join("signing.key");
    tokens.rotate_keys().await.unwrap();
    let kept = folder.path().join("a copy of the first key");
    fs::copy(&first, &kept).unwrap();
    let old = renewed(&issue(&tokens), &kept, 0);
    assert!(tokens.verify(&old).is_none(), "the header names the other key");
    let header = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{}"}}"#, tokens.keys()[1].id);
    let old = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), issue(&tokens).split_once('.').unwrap().1);
    let is_good = |tokens: &Tokens| tokens.verify(&renewed(&old, &kept, clock.unix_seconds())).is_some();
    assert!(is_good(&tokens));
    clock.shift(OVERLAP - 10);
    assert!(is_good(&tokens) && is_good(&open(folder.path(), &clock)) && first.exists());
    clock.shift(10);
    assert!(!is_good(&tokens) && tokens.keys().len() == 1);
    clock.shift(RETENTION - 10);
    assert!(!is_good(&open(folder.path(), &clock)) && first.exists());
    clock.shift(10);
    assert!(!is_good(&open(folder.path(), &clock)) && !first.exists());
    assert_eq!(signer(&open(folder.path(), &clock)), signer(&tokens), "the host creates no second first key");
    tokens.rotate_keys().await.unwrap();
    clock.shift(OVERLAP + RETENTION);
    tokens.rotate_keys().await.unwrap();
    assert_eq!(files(folder.path()).len(), 2, "a rotation removes expired keys");
}

#[tokio::test]
async fn a_disabled_key_is_refused_at_once_and_after_a_restart() {
    for signs in [true, false] {
        let folder = TempDir::new().unwrap();
        let clock = Clock::default();
        let tokens = open(folder.path(), &clock);
        let (id, leaked) = (signer(&tokens), issue(&tokens));
        if !signs {
            tokens.rotate_keys().await.unwrap();
        }
        let other = (!signs).then(|| issue(&tokens));
        tokens.disable_key(&id).await.unwrap();
        let new = issue(&tokens);
        assert_ne!(part(&new, 0)["kid"], id);
        for tokens in [&tokens, &open(folder.path(), &clock)] {
            assert!(tokens.verify(&leaked).is_none());
            assert!(tokens.verify(&new).is_some() && other.iter().all(|other| tokens.verify(other).is_some()));
        }
        assert_eq!((files(folder.path()).len(), folder.path().join("signing.key").exists()), (1, false));
        assert_eq!(tokens.disable_key(&id).await, Err(KeyChangeError::Unknown(id)));
    }
}

#[tokio::test]
async fn a_crash_during_a_rotation_costs_no_good_token() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let old = issue(&open(folder.path(), &clock));
    let now = clock.unix_seconds();
    let unfinished = folder.path().join(format!("signing-{now}.key.new"));
    fs::write(&unfinished, "half a key").unwrap();
    let tokens = open(folder.path(), &clock);
    assert!(!unfinished.exists() && tokens.verify(&old).is_some() && tokens.keys().len() == 1);

    // The crash came after the file was written, before the key signed anything.
    let made = folder.path().join(format!("signing-{now}.key"));
    fs::write(&made, [7; 32]).unwrap();
    fs::set_permissions(&made, Permissions::from_mode(0o600)).unwrap();
    let before = issue(&tokens);
    let tokens = open(folder.path(), &clock);
    assert!(tokens.verify(&old).is_some() && tokens.verify(&before).is_some());
    assert_eq!((tokens.keys().len(), tokens.keys()[0].since), (2, Some(now)));

    // A crash while the signing key is disabled leaves the same files. Disabling it again completes the change.
    tokens.disable_key(&tokens.keys()[1].id).await.unwrap();
    assert!(open(folder.path(), &clock).verify(&old).is_none());
}

#[tokio::test]
async fn the_newest_key_signs_even_if_the_clock_jumps() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    for wrong_hours in [0, 0, 48, -96] {
        clock.shift(wrong_hours * 3600);
        let before = signer(&tokens);
        tokens.rotate_keys().await.unwrap();
        assert_ne!(signer(&tokens), before);
        assert!(tokens.verify(&issue(&tokens)).is_some());
        assert_eq!(signer(&open(folder.path(), &clock)), signer(&tokens), "{wrong_hours}");
    }
}

#[tokio::test]
async fn a_rotation_is_refused_at_sixteen_keys_and_each_can_be_disabled() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let mut issued = vec![issue(&tokens)];
    for _ in 1..KEYS_LIMIT {
        tokens.rotate_keys().await.unwrap();
        issued.push(issue(&tokens));
    }
    assert_eq!(tokens.rotate_keys().await, Err(KeyChangeError::TooMany { limit: KEYS_LIMIT }));
    assert!(issued.iter().all(|token| tokens.verify(token).is_some()));
    for key in tokens.keys() {
        tokens.disable_key(&key.id).await.unwrap();
    }
    assert!(issued.iter().all(|token| tokens.verify(token).is_none()));
    assert_eq!((tokens.keys().len(), files(folder.path()).len()), (1, 1));
}

#[tokio::test]
async fn disabling_a_key_extends_no_other_key() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    for _ in 0..3 {
        tokens.rotate_keys().await.unwrap();
        clock.shift(600);
    }
    let [newest, third, second, first] = <[_; 4]>::try_from(tokens.keys()).unwrap();
    for disabled in [&second, &third, &newest] {
        tokens.disable_key(&disabled.id).await.unwrap();
        for tokens in [&tokens, &open(folder.path(), &clock)] {
            assert_eq!(tokens.keys().last(), Some(&first), "without {}", disabled.id);
        }
    }
    // One tombstone tells when the first key ends, and goes with it. The other two went at once.
    assert_eq!(files(folder.path()).len(), 3);
    tokens.disable_key(&first.id).await.unwrap();
    assert_eq!((files(folder.path()).len(), tokens.keys().len()), (1, 1));
}

#[tokio::test]
async fn a_start_with_a_clock_that_is_hours_ahead_costs_no_good_token() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let old = issue(&tokens);
    tokens.rotate_keys().await.unwrap();
    let keys = tokens.keys();
    clock.shift(2 * 3600);
    let ahead = open(folder.path(), &clock);
    assert_eq!(ahead.keys(), keys[..1]);
    ahead.rotate_keys().await.unwrap();
    clock.shift(-2 * 3600);
    for tokens in [&ahead, &open(folder.path(), &clock)] {
        assert!(tokens.verify(&old).is_some());
        assert_eq!((tokens.keys().len(), tokens.keys().last()), (3, keys.last()));
    }
}

/// Makes saving keys fail for a minute, with directories at the paths of the files.
fn block_saving(folder: &Path, now: u64) -> Vec<PathBuf> {
    let taken: Vec<_> = (now..now + 60).map(|second| folder.join(format!("signing-{second}.key.new"))).collect();
    taken.iter().for_each(|path| fs::create_dir(path).unwrap());
    taken
}

#[tokio::test]
async fn a_signing_key_is_refused_until_a_restart_if_no_new_key_can_be_saved() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let (id, leaked) = (signer(&tokens), issue(&tokens));
    let blockers = block_saving(folder.path(), clock.unix_seconds());
    assert!(matches!(tokens.rotate_keys().await, Err(KeyChangeError::NotMade(_))));
    assert!(tokens.keys()[0].id == id && tokens.verify(&leaked).is_some());
    for _ in 0..2 {
        assert!(matches!(tokens.disable_key(&id).await, Err(KeyChangeError::NotKept(_))));
        assert!(tokens.verify(&leaked).is_none());
    }
    let new = issue(&tokens);
    assert!(tokens.verify(&new).is_some() && tokens.keys().len() == 1);
    assert!(open(folder.path(), &clock).verify(&leaked).is_some(), "as the error says");
    blockers.iter().for_each(|path| fs::remove_dir(path).unwrap());
    tokens.disable_key(&id).await.unwrap();
    for tokens in [&tokens, &open(folder.path(), &clock)] {
        assert!(tokens.verify(&leaked).is_none() && tokens.verify(&new).is_some());
    }
    assert_eq!(tokens.disable_key(&id).await, Err(KeyChangeError::Unknown(id)));
}

#[tokio::test]
async fn a_key_is_refused_even_if_the_disk_fails_and_the_error_says_so() {
    let parent = TempDir::new().unwrap();
    let (folder, away) = (parent.path().join("data"), parent.path().join("away"));
    let clock = Clock::default();
    let tokens = open(&folder, &clock);
    let first = issue(&tokens);
    tokens.rotate_keys().await.unwrap();
    let (second, keys) = (issue(&tokens), tokens.keys());
    fs::rename(&folder, &away).unwrap();
    assert!(matches!(tokens.rotate_keys().await, Err(KeyChangeError::NotMade(_))));
    assert!(tokens.keys() == keys && tokens.verify(&second).is_some());
    let refused = tokens.disable_key(&keys[1].id).await.unwrap_err();
    assert!(matches!(&refused, KeyChangeError::NotSynced { path, .. } if *path == folder.join("signing.key")));
    assert!(matches!(tokens.disable_key(&keys[0].id).await, Err(KeyChangeError::NotKept(_))));
    assert!(tokens.verify(&first).is_none() && tokens.verify(&second).is_none());
    fs::rename(&away, &folder).unwrap();
    assert_eq!(open(&folder, &clock).keys(), keys);

    // A directory at the path cannot be emptied. A missing file counts as erased.
    let (first, kept) = (folder.join("signing.key"), folder.join("kept"));
    fs::rename(&first, &kept).unwrap();
    fs::create_dir(&first).unwrap();
    let refused = tokens.disable_key(&keys[1].id).await.unwrap_err();
    assert!(matches!(&refused, KeyChangeError::NotRemoved { path, .. } if *path == first), "{refused}");
    fs::remove_dir(&first).unwrap();
    tokens.disable_key(&keys[1].id).await.unwrap();
    tokens.disable_key(&keys[0].id).await.unwrap();
    assert_eq!(open(&folder, &clock).keys(), tokens.keys());
}

#[tokio::test]
async fn the_file_of_a_key_that_could_not_be_saved_is_removed() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    // Imitates a disk that creates the file but does not write its content.
    let now = clock.unix_seconds();
    for second in now..now + 60 {
        fs::write(folder.path().join(format!("signing-{second}.key")), "half").unwrap();
    }
    assert!(matches!(tokens.rotate_keys().await, Err(KeyChangeError::NotMade(_))));
    assert_eq!(files(folder.path()).len(), 60, "the host removed the one file that it tried to write");
}

#[tokio::test]
async fn files_with_other_names_are_no_keys_and_stay() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let keys = open(folder.path(), &clock).keys();
    let others = ["signing-+7.key", "signing-007.key", "signing-.key", "signing-x.key", "signing-007.key.new"];
    for other in others {
        fs::write(folder.path().join(other), [7; 32]).unwrap();
    }
    assert_eq!(open(folder.path(), &clock).keys(), keys);
    assert_eq!(files(folder.path()).len(), others.len() + 1);
}
