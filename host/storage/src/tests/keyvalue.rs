//! The part of the contract about key-value entries.

use futures::future::join_all;

use super::shop::{Bounds, Opened};
use crate::StorageError;
use crate::keyvalue::{KeyValue, MAX_BATCH, MAX_KEY_BYTES, MAX_VALUE_BYTES, PAGE, Page, is_bucket};

async fn entries(open: impl AsyncFn(Bounds) -> Opened) -> KeyValue {
    let storage = open(Bounds::default()).await;
    for _ in 0..2 {
        KeyValue::prepare(&*storage).await.unwrap();
    }
    KeyValue::new(storage)
}

async fn get(entries: &KeyValue, bucket: &str, key: &str) -> Option<String> {
    let (value, _) = entries.get(bucket, key).await.unwrap();
    value.map(|value| String::from_utf8(value).unwrap())
}

fn keys(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("k{number}")).collect()
}

pub(crate) async fn a_key_has_its_last_value_until_it_is_deleted(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    for key in ["", "a", "ä\n'\"$1", "nul\0"] {
        assert_eq!(get(&entries, "one", key).await, None);
        for value in ["", "first", "second"] {
            entries.set("one", key, value.into()).await.unwrap();
            assert_eq!(get(&entries, "one", key).await.as_deref(), Some(value), "{key:?}");
        }
        assert_eq!(get(&entries, "other", key).await, None, "buckets share no keys");
        assert!(entries.exists("one", key).await.unwrap().0 && !entries.exists("other", key).await.unwrap().0);
        for _ in 0..2 {
            entries.delete("one", key).await.unwrap();
            assert_eq!(get(&entries, "one", key).await, None, "{key:?}");
        }
    }
    let bytes: Vec<u8> = (0..=255).collect();
    entries.set("one", "bytes", bytes.clone()).await.unwrap();
    assert_eq!(entries.get("one", "bytes").await.unwrap().0, Some(bytes));
}

pub(crate) async fn a_list_of_keys_continues_at_its_cursor(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    assert_eq!(entries.list("b", None).await.unwrap().0, Page::default());
    let all = keys(0..PAGE + 5);
    for keys in all.chunks(MAX_BATCH) {
        entries.set_many("b", keys.iter().map(|key| (key.clone(), Vec::new())).collect()).await.unwrap();
    }
    entries.set("other", "x", Vec::new()).await.unwrap();
    let (first, _) = entries.list("b", None).await.unwrap();
    assert_eq!((first.keys.as_slice(), first.cursor.is_some()), (&all[..PAGE], true));
    // A key that is set or deleted meanwhile does not move the others.
    entries.set("b", "k3", b"new".to_vec()).await.unwrap();
    entries.delete("b", "k4").await.unwrap();
    let (second, _) = entries.list("b", first.cursor).await.unwrap();
    assert_eq!((second.keys.as_slice(), second.cursor), (&all[PAGE..], None));
    assert_eq!(entries.list("b", Some(u64::MAX)).await.unwrap().0, Page::default());
}

pub(crate) async fn many_increments_lose_none(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    let mut sums: Vec<u64> =
        join_all((0..20).map(|_| entries.increment("b", "n", 2))).await.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert_eq!(sums, (1..=20).map(|times| 2 * times).collect::<Vec<_>>());
    assert_eq!(get(&entries, "b", "n").await.as_deref(), Some("40"));
    assert_eq!(entries.increment("b", "n", 0).await, Ok(40));
    for (value, delta) in [("", 1), ("-1", 1), ("+1", 1), ("1.0", 1), ("x", 1), ("18446744073709551615", 1)] {
        entries.set("b", "n", value.into()).await.unwrap();
        assert!(matches!(entries.increment("b", "n", delta).await, Err(StorageError::Invalid(_))), "{value}");
        assert_eq!(get(&entries, "b", "n").await.as_deref(), Some(value), "it is unchanged");
    }
}

pub(crate) async fn a_batch_of_entries_is_all_or_nothing(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    let pair = |key: &str, value: &str| (key.to_owned(), value.as_bytes().to_vec());
    entries.set_many("b", vec![pair("k1", "one"), pair("k2", "two"), pair("k1", "last")]).await.unwrap();
    entries.set_many("b", Vec::new()).await.unwrap();
    let many: Vec<String> = keys(0..100).into_iter().chain(["k1".to_owned()]).collect();
    let (values, _) = entries.get_many("b", &many).await.unwrap();
    assert_eq!((values[1].as_deref(), values[2].as_deref()), (Some(&b"last"[..]), Some(&b"two"[..])));
    assert_eq!(values[100], values[1], "a key that is asked for twice is returned twice");
    assert_eq!(values.iter().filter(|value| value.is_some()).count(), 3);
    let too_long = "k".repeat(MAX_KEY_BYTES + 1);
    let refused = entries.set_many("b", vec![pair("k3", "three"), pair(&too_long, "")]).await;
    assert!(matches!(refused, Err(StorageError::TooLarge(_))), "{refused:?}");
    assert_eq!(get(&entries, "b", "k3").await, None);
    entries.delete_many("b", &keys(1..50)).await.unwrap();
    assert_eq!(entries.list("b", None).await.unwrap().0, Page::default());
}

pub(crate) async fn entries_and_batches_are_limited(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    let (longest, largest) = ("\0".repeat(MAX_KEY_BYTES), vec![7; MAX_VALUE_BYTES]);
    entries.set("b", &longest, largest.clone()).await.unwrap();
    assert_eq!(entries.get("b", &longest).await.unwrap().0, Some(largest.clone()));
    let too_large = |refused: Result<(), StorageError>, limit: &str| match refused {
        Err(StorageError::TooLarge(text)) => assert_eq!(text, limit),
        other => panic!("{limit}: {other:?}"),
    };
    let key = "k".repeat(1 << 20);
    too_large(entries.set("b", &key, Vec::new()).await, "a key of more than 1024 bytes");
    too_large(entries.get("b", &key).await.map(drop), "a key of more than 1024 bytes");
    too_large(entries.increment("b", &key, 1).await.map(drop), "a key of more than 1024 bytes");
    let value = vec![0; MAX_VALUE_BYTES + 1];
    too_large(entries.set("b", "k", value).await, "a value of more than 1044480 bytes");
    too_large(entries.get_many("b", &keys(0..1001)).await.map(drop), "a batch of more than 1000 entries");
    too_large(entries.delete_many("b", &keys(0..1001)).await, "a batch of more than 1000 entries");
    let five: Vec<_> = keys(0..5).into_iter().map(|key| (key, largest.clone())).collect();
    too_large(entries.set_many("b", five.clone()).await, "a batch of more than 4194304 bytes");
    for (key, value) in five {
        entries.set("b", &key, value).await.unwrap();
    }
    let read = entries.get_many("b", &keys(0..5)).await;
    assert!(matches!(read, Err(StorageError::TooLarge(_))), "{:?}", read.map(drop));
    for name in ["", "a/b", "a b", "ä", "a\0", &"b".repeat(65)] {
        assert!(!is_bucket(name), "{name:?}");
    }
    assert!(is_bucket("default") && is_bucket(&"B-1_2.3".repeat(9)));
}

pub(crate) async fn a_rehearsal_of_entries_leaves_no_trace(open: impl AsyncFn(Bounds) -> Opened) {
    let entries = entries(open).await;
    entries.set("b", "k", b"1".to_vec()).await.unwrap();
    let rehearsal = entries.for_rehearsal();
    assert_eq!(rehearsal.increment("b", "k", 1).await, Ok(2));
    rehearsal.set("b", "k", b"7".to_vec()).await.unwrap();
    rehearsal.set_many("b", vec![("new".to_owned(), Vec::new())]).await.unwrap();
    rehearsal.delete("b", "k").await.unwrap();
    assert_eq!(get(&rehearsal, "b", "k").await.as_deref(), Some("1"));
    assert_eq!(entries.list("b", None).await.unwrap().0.keys, ["k"]);
}
