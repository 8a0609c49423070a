#![allow(clippy::unwrap_used)]

use storage::read_set::{Commit, Version};

use super::*;

fn key(revision: u64, parts: &[&str]) -> CacheKey {
    let mut key = CacheKey::new(revision);
    parts.iter().for_each(|part| key.add(part.as_bytes()));
    key
}

fn head(status: StatusCode, headers: &[(HeaderName, &'static str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    response.headers_mut().extend(headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))));
    response
}

fn insert(cache: &ResponseCache, key: CacheKey, body: &'static str, read_set: ReadSet) -> bool {
    cache.insert(key, &head(StatusCode::OK, &[]), &Bytes::from(body), read_set, false).is_some()
}

#[test]
fn a_response_hits_while_its_read_set_is_current() {
    let (cache, version) = (ResponseCache::new(1 << 20), Arc::new(Version::default()));
    assert!(insert(&cache, key(1, &["/a"]), "one", ReadSet::take([&version]).unwrap()));
    assert_eq!(cache.get(&key(1, &["/a"])).unwrap().body, "one");
    drop(Commit::begin(vec![version.clone()]));
    assert!(cache.get(&key(1, &["/a"])).is_none());
    assert!(insert(&cache, key(1, &["/a"]), "two", ReadSet::take([&version]).unwrap()));
    assert_eq!(cache.get(&key(1, &["/a"])).unwrap().body, "two");
    cache.invalidate_all();
    assert!(cache.get(&key(1, &["/a"])).is_none());
    assert_eq!(cache.bytes(), 0);
}

#[test]
fn keys_that_differ_in_any_part_do_not_hit() {
    let cache = ResponseCache::new(1 << 20);
    assert!(insert(&cache, key(1, &["/a", "b"]), "one", ReadSet::default()));
    let others: [(u64, &[&str]); 6] =
        [(2, &["/a", "b"]), (1, &["/ab"]), (1, &["/a"]), (1, &["/", "ab"]), (1, &["/a", "b", ""]), (1, &["b", "/a"])];
    for (revision, parts) in others {
        assert!(cache.get(&key(revision, parts)).is_none(), "{revision} {parts:?}");
    }
}

#[test]
fn other_statuses_cookies_and_no_store_are_not_cached() {
    let cache = ResponseCache::new(1 << 20);
    let heads = [
        head(StatusCode::NOT_FOUND, &[]),
        head(StatusCode::CREATED, &[]),
        head(StatusCode::OK, &[(SET_COOKIE, "a=b")]),
        head(StatusCode::OK, &[(CACHE_CONTROL, "private, No-Store")]),
    ];
    for head in heads {
        let cached = cache.insert(key(1, &[]), &head, &Bytes::new(), ReadSet::default(), false);
        assert!(cached.is_none(), "{head:?}");
    }
    assert_eq!(cache.counts.bypasses.load(Ordering::Relaxed), 4);
}

#[test]
fn the_cache_stays_within_its_limit_and_refuses_a_large_response() {
    let cache = ResponseCache::new(256 << 10);
    let body = Bytes::from(vec![b'x'; 4 << 10]);
    let cached = |number: u64, body: &Bytes| {
        let key = key(number, &[]);
        cache.insert(key, &head(StatusCode::OK, &[]), body, ReadSet::default(), false).is_some()
    };
    assert!((0..1_000).all(|number| cached(number, &body)));
    assert!(cache.bytes() <= 256 << 10 && cache.bytes() > 128 << 10, "{}", cache.bytes());
    assert!(!cached(0, &Bytes::from(vec![b'x'; 65 << 10])));
}

#[test]
fn a_matching_if_none_match_gets_304_with_the_required_fields() {
    let cache = ResponseCache::new(1 << 20);
    let headers = [(VARY, "accept"), (hyper::header::CONTENT_TYPE, "text/plain")];
    let body = Bytes::from("hello");
    let whole = head(StatusCode::OK, &headers);
    let cached = cache.insert(key(1, &[]), &whole, &body, ReadSet::default(), false).unwrap();
    let response = cached.response(Some(&HeaderValue::from_static("\"other\"")));
    assert_eq!((response.status(), &response.headers()[CONTENT_LENGTH]), (StatusCode::OK, &HeaderValue::from(5)));
    let response = cached.response(Some(&response.headers()[ETAG]));
    let mut names: Vec<&str> = response.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!((response.status(), names), (StatusCode::NOT_MODIFIED, vec!["cache-control", "etag", "vary"]));
}

#[test]
fn a_personal_response_gets_no_cache_control_from_the_cache() {
    let cache = ResponseCache::new(1 << 20);
    let plain = head(StatusCode::OK, &[]);
    let cached = |personal| cache.insert(key(1, &[]), &plain, &Bytes::new(), ReadSet::default(), personal).unwrap();
    assert_eq!(cached(false).response(None).headers()[CACHE_CONTROL], "no-cache");
    assert!(!cached(true).response(None).headers().contains_key(CACHE_CONTROL), "the gateway adds no-store");
}
