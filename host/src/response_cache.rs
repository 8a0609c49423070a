//! The response cache of a service. The host answers from it without an instance.
//!
//! The host sees every import that a guest calls. Some guests call nothing but `storage.query` and print nothing. Such a response
//! depends only on the guest's code, on the request that the guest received, and on the rows that it read. The code and the request
//! are the [`CacheKey`]. The tables, with versions, are the [read set](ReadSet). A hit needs an equal key and a current read set.
//!
//! There is no time to live and no opt-in: a hit equals the response that the guest would return now.
//!
//! The size of each service's cache is limited in bytes. A stale entry stays until the cache needs its space or stores a new response
//! under its key. Only responses with status 200 are cached. A 404 costs the guest little, and clients could fill the cache with them.

pub mod etag;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, ETAG, EXPIRES, HeaderMap, HeaderName, HeaderValue, SET_COOKIE,
    VARY,
};
use hyper::{Response, StatusCode};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use storage::read_set::ReadSet;

use crate::body::{Body, full};

/// The response header with the cache's result: `hit`, `miss` (now cached) or `bypass` (not cacheable).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("x-comptoir-cache");

/// Bytes that an entry takes in memory beside its key, header fields and body. An estimate.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// Expected size of an entry in bytes. It decides only how large the cache's own tables are at first.
const TYPICAL_ENTRY_BYTES: u64 = 2 << 10;

/// Bytes of one shard. Threads can use different shards at the same time.
const SHARD_BYTES: u64 = 2 << 20;

/// An entry may take at most this fraction of a shard, so that one entry cannot evict all others.
const MIN_ENTRIES_PER_SHARD: usize = 4;

/// Identifies a response: the revision and everything that its guest received of the request.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct CacheKey(Vec<u8>);

impl CacheKey {
    /// A key for one revision, by its [id](ResponseCache::new_revision_id).
    pub fn new(revision_id: u64) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&revision_id.to_le_bytes());
        Self(bytes)
    }

    /// Adds one part of the request, after its length. The length keeps different lists of parts different.
    pub fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }
}

/// A whole response with its entity tag and its read set.
#[derive(Debug)]
pub struct CachedResponse {
    headers: HeaderMap,
    body: Bytes,
    etag: HeaderValue,
    read_set: ReadSet,
}

/// How many requests hit, missed or bypassed the cache.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests that were answered from the cache.
    pub hits: AtomicU64,
    /// Requests that the guest answered, and whose response was then cached.
    pub misses: AtomicU64,
    /// Requests that the guest answered with a response that cannot be cached.
    pub bypasses: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct CountsRead {
    hits: u64,
    misses: u64,
    bypasses: u64,
}

impl Counts {
    /// The counts at this moment.
    pub fn read(&self) -> CountsRead {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CountsRead { hits: read(&self.hits), misses: read(&self.misses), bypasses: read(&self.bypasses) }
    }
}

/// The cached responses of one service, shared by its revisions.
pub struct ResponseCache {
    entries: Cache<CacheKey, Arc<CachedResponse>, EntryWeight>,
    entry_limit_bytes: usize,
    next_revision_id: AtomicU64,
    /// Hits, misses and bypasses since the host started.
    pub counts: Counts,
}

#[derive(Debug, Clone)]
struct EntryWeight;

impl Weighter<CacheKey, Arc<CachedResponse>> for EntryWeight {
    fn weight(&self, key: &CacheKey, response: &Arc<CachedResponse>) -> u64 {
        (key.0.len() + response.bytes()) as u64
    }
}

impl ResponseCache {
    /// An empty cache whose entries take at most `limit_bytes` together.
    pub fn new(limit_bytes: u64) -> Self {
        let shards = usize::try_from((limit_bytes / SHARD_BYTES).clamp(1, 64)).unwrap_or(1);
        let expected_entries = usize::try_from(limit_bytes / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(shards)
            .weight_capacity(limit_bytes)
            .estimated_items_capacity(expected_entries.max(1))
            .build()
            .expect("both capacities are set");
        let entries =
            Cache::with_options(options, EntryWeight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let shard_bytes = usize::try_from(entries.shard_capacity()).unwrap_or(usize::MAX);
        let entry_limit_bytes = shard_bytes / MIN_ENTRIES_PER_SHARD;
        Self { entries, entry_limit_bytes, next_revision_id: AtomicU64::new(0), counts: Counts::default() }
    }

    /// An id for the cache keys of one revision. No other revision has it.
    pub fn new_revision_id(&self) -> u64 {
        self.next_revision_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The response under this key, if its read set is still current. Counts a hit.
    pub fn get(&self, key: &CacheKey) -> Option<Arc<CachedResponse>> {
        let found = self.entries.get(key).filter(|response| response.read_set.is_current())?;
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Caches a response and returns it as cached.
    ///
    /// Returns none, and counts a bypass, if the status is not 200, if `no-store` or `Set-Cookie` forbids it, or if it is too large.
    /// Set `personal` if the guest knew the caller: then shared caches outside of the host must not keep the response.
    pub fn insert<B>(
        &self,
        key: CacheKey,
        response: &Response<B>,
        body: &Bytes,
        read_set: ReadSet,
        personal: bool,
    ) -> Option<Arc<CachedResponse>> {
        let cached = CachedResponse::new(response, body, read_set, personal)
            .filter(|cached| key.0.len() + cached.bytes() <= self.entry_limit_bytes)
            .map(Arc::new);
        let Some(cached) = cached else {
            self.count_bypass();
            return None;
        };
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        self.entries.insert(key, cached.clone());
        Some(cached)
    }

    /// Counts a response that cannot be cached.
    pub fn count_bypass(&self) {
        self.counts.bypasses.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes all entries. A switch calls this, because keys of the previous revision rarely hit afterwards.
    pub fn invalidate_all(&self) {
        self.entries.clear();
    }

    /// Bytes that the entries take now.
    pub fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

impl CachedResponse {
    fn new<B>(response: &Response<B>, body: &Bytes, read_set: ReadSet, personal: bool) -> Option<Self> {
        let mut headers = response.headers().clone();
        if response.status() != StatusCode::OK || headers.contains_key(SET_COOKIE) || says_no_store(&headers) {
            return None;
        }
        let etag = headers.entry(ETAG).or_insert_with(|| etag::of(response.headers(), body)).clone();
        if !personal {
            // Other caches may keep the response too, but must revalidate its entity tag each time.
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        // Copied because a guest's body can be a small part of a large shared buffer.
        Some(Self { headers, body: Bytes::copy_from_slice(body), etag, read_set })
    }

    /// A response with an entity tag that is sent once and not cached, because its read set is unknown.
    ///
    /// Returns none if its status or header fields forbid caches.
    pub fn not_stored<B>(response: &Response<B>, body: &Bytes, personal: bool) -> Option<Self> {
        Self::new(response, body, ReadSet::default(), personal)
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        ENTRY_OVERHEAD_BYTES + headers + self.body.len()
    }

    /// The response for a client, or 304 if the client's `If-None-Match` names this content.
    pub fn response(&self, if_none_match: Option<&HeaderValue>) -> Response<Body> {
        if if_none_match.is_some_and(|list| etag::matches(list, &self.etag)) {
            return self.not_modified();
        }
        let mut response = Response::new(full(self.body.clone()));
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// 304 with the header fields that RFC 9110, section 15.4.5 requires.
    fn not_modified(&self) -> Response<Body> {
        let mut response = Response::new(full(""));
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        for name in [CACHE_CONTROL, CONTENT_LOCATION, ETAG, EXPIRES, VARY] {
            for value in self.headers.get_all(&name) {
                response.headers_mut().append(name.clone(), value.clone());
            }
        }
        response
    }
}

fn says_no_store(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CACHE_CONTROL).iter();
    let mut directives = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-store"))
}

#[cfg(test)]
mod tests;
