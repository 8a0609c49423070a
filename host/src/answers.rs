//! Answers that may be given again, without asking the guest, for as long as that would make no difference.
//!
//! The host sees every import that a guest calls. A guest that called nothing but `storage.query`, and printed nothing, gave
//! an answer that depends on its own code, on what it was given of the request, and on the rows of the tables it read.
//! So an answer is kept under all of the first two ([`Question`]) and given again while the third [holds](ReadSet::is_current). There
//! is no time to live, and no guest says that it may: the answer is what the guest would say now.
//!
//! What is kept is bounded in bytes, for each service. An entry that no longer holds stays until its place is wanted or the
//! question is asked again. Only 200 is kept: what is not there is told cheaply, and anybody can ask for it in endless ways.

pub mod tag;

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

/// Tells whether an answer came out of the memory: `hit`; went into it: `miss`; or neither: `bypass`.
pub const CACHE: HeaderName = HeaderName::from_static("x-comptoir-cache");

/// Bytes that an entry takes beside its texts.
const ENTRY_BYTES: usize = 512;

/// Bytes that an entry is guessed to have, which only the size of the cache's own tables depends on.
const USUAL_BYTES: u64 = 2 << 10;

/// Bytes of the parts that can be used at the same moment.
const PART_BYTES: u64 = 2 << 20;

/// An entry has at most this share of a part, so that one cannot push out all others.
const ENTRIES_IN_PART: usize = 4;

/// All that the answer of a revision can depend on besides the database.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Question(Vec<u8>);

impl Question {
    /// A question to one revision, by its [number](Answers::number).
    pub fn new(revision: u64) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&revision.to_le_bytes());
        Self(bytes)
    }

    /// Adds a part. Its length goes before it, so that no two lists of parts read the same.
    pub fn add(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }
}

/// An answer that may be given again.
#[derive(Debug)]
pub struct Remembered {
    headers: HeaderMap,
    body: Bytes,
    tag: HeaderValue,
    read_set: ReadSet,
}

/// How often something became of a request for an answer.
#[derive(Debug, Default)]
pub struct Counts {
    /// A remembered answer was given.
    pub hits: AtomicU64,
    /// The guest's answer was remembered.
    pub misses: AtomicU64,
    /// The guest's answer was not one to remember.
    pub bypasses: AtomicU64,
}

/// The answers of one service, of all its revisions.
pub struct Answers {
    cache: Cache<Question, Arc<Remembered>, Size>,
    entry_limit_bytes: usize,
    revisions: AtomicU64,
    /// What became of requests that could have been answered from here.
    pub counts: Counts,
}

#[derive(Debug, Clone)]
struct Size;

impl Weighter<Question, Arc<Remembered>> for Size {
    fn weight(&self, question: &Question, remembered: &Arc<Remembered>) -> u64 {
        (question.0.len() + remembered.bytes()) as u64
    }
}

impl Answers {
    /// Answers that together have at most so many bytes.
    pub fn new(limit_bytes: u64) -> Self {
        let parts = usize::try_from((limit_bytes / PART_BYTES).clamp(1, 64)).unwrap_or(1);
        let items = usize::try_from(limit_bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(parts)
            .weight_capacity(limit_bytes)
            .estimated_items_capacity(items.max(1))
            .build()
            .expect("both capacities are set");
        let cache = Cache::with_options(options, Size, DefaultHashBuilder::default(), DefaultLifecycle::default());
        let entry_limit_bytes = usize::try_from(cache.shard_capacity()).unwrap_or(usize::MAX) / ENTRIES_IN_PART;
        Self { cache, entry_limit_bytes, revisions: AtomicU64::new(0), counts: Counts::default() }
    }

    /// A number for a revision, under which no other has answers.
    pub fn number(&self) -> u64 {
        self.revisions.fetch_add(1, Ordering::Relaxed)
    }

    /// The answer to a question, if there is one that still holds.
    pub fn recall(&self, question: &Question) -> Option<Arc<Remembered>> {
        let found = self.cache.get(question).filter(|remembered| remembered.read_set.is_current())?;
        self.counts.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// Keeps an answer. None if it is not one to keep: another than 200, one that forbids it, or one that is too large.
    ///
    /// `personal` says that it was given to somebody in particular, so that no cache but this one may keep it.
    pub fn remember<B>(
        &self,
        question: Question,
        answer: &Response<B>,
        body: &Bytes,
        read_set: ReadSet,
        personal: bool,
    ) -> Option<Arc<Remembered>> {
        let remembered = Remembered::new(answer, body, read_set, personal)
            .filter(|remembered| question.0.len() + remembered.bytes() <= self.entry_limit_bytes)
            .map(Arc::new);
        let Some(remembered) = remembered else {
            self.pass_by();
            return None;
        };
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        self.cache.insert(question, remembered.clone());
        Some(remembered)
    }

    /// Counts an answer that was not one to remember.
    pub fn pass_by(&self) {
        self.counts.bypasses.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives all memory free. What is remembered from now on is another revision's as a rule.
    pub fn forget(&self) {
        self.cache.clear();
    }

    /// Bytes that the answers take.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }
}

impl Remembered {
    fn new<B>(answer: &Response<B>, body: &Bytes, read_set: ReadSet, personal: bool) -> Option<Self> {
        let mut headers = answer.headers().clone();
        if answer.status() != StatusCode::OK || headers.contains_key(SET_COOKIE) || says_no_store(&headers) {
            return None;
        }
        let tag = headers.entry(ETAG).or_insert_with(|| tag::of(answer.headers(), body)).clone();
        if !personal {
            // With a tag, others may keep it too, if they ask each time whether it is still this one.
            headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        // What a guest answered may lie in the buffer that it came in.
        Some(Self { headers, body: Bytes::copy_from_slice(body), tag, read_set })
    }

    /// An answer that is given once: what it rests on is not known. None if it is none to have a tag.
    pub fn once<B>(answer: &Response<B>, body: &Bytes, personal: bool) -> Option<Self> {
        Self::new(answer, body, ReadSet::default(), personal)
    }

    fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        ENTRY_BYTES + headers + self.body.len()
    }

    /// The answer; or 304 where a client says in `If-None-Match` that it has this one.
    pub fn response(&self, unless: Option<&HeaderValue>) -> Response<Body> {
        if unless.is_some_and(|unless| tag::matches(unless, &self.tag)) {
            return self.not_modified();
        }
        let mut response = Response::new(full(self.body.clone()));
        *response.headers_mut() = self.headers.clone();
        response
    }

    /// 304, with what a cache needs to know of the answer (RFC 9110, section 15.4.5).
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
    let words = headers.get_all(CACHE_CONTROL).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    words.into_iter().any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-store"))
}

#[cfg(test)]
mod tests;
