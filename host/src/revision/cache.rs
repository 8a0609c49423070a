//! The cache key of a request, and which responses of a revision are cached.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Response};
use storage::read_set::ReadSet;

use crate::body::Body;
use crate::gate::Admitted;
use crate::head::USER_ID;
use crate::response_cache::{CACHE_STATUS, CacheKey, CachedResponse, ResponseCache};

/// A response's whole body, and its read set if the host knows it.
pub(super) type WholeBody = (Bytes, Option<ReadSet>);

/// The entries of one revision in the response cache of its service.
pub(super) struct RevisionCache {
    cache: Arc<ResponseCache>,
    revision_id: u64,
}

/// What the cache needs to know about one request.
pub(super) struct CacheLookup<'c> {
    /// Whether the method is GET or HEAD.
    is_read: bool,
    /// None if the response must not be cached.
    key: Option<(&'c ResponseCache, CacheKey)>,
    if_none_match: Option<HeaderValue>,
    /// Whether the guest learns who the caller is.
    is_personal: bool,
}

impl RevisionCache {
    /// The entries of a new revision. No other revision can hit them.
    pub(super) fn new(cache: Arc<ResponseCache>) -> Self {
        Self { revision_id: cache.new_revision_id(), cache }
    }

    pub(super) fn service_cache(&self) -> &ResponseCache {
        &self.cache
    }

    /// The key of a request. None if the route does not list the headers that the guest reads, or if there is a body or a credential.
    fn key(&self, admitted: &Admitted) -> Option<CacheKey> {
        let head = admitted.head();
        // Memory must hold no credential for longer than its request.
        let shows_credential = head.headers.contains_key(AUTHORIZATION);
        if admitted.route().headers.is_none() || !admitted.body().is_empty() || shows_credential {
            return None;
        }
        let mut key = CacheKey::new(self.revision_id);
        key.add(&[u8::from(admitted.is_secure())]);
        key.add(head.uri.path_and_query()?.as_str().as_bytes());
        for (name, value) in &head.headers {
            key.add(name.as_str().as_bytes());
            key.add(value.as_bytes());
        }
        Some(key)
    }
}

impl<'c> CacheLookup<'c> {
    /// Computes the key of a request. `cache` is none if the service's responses are not cached.
    pub(super) fn new(cache: Option<&'c RevisionCache>, admitted: &Admitted) -> Self {
        // GET and HEAD share a key, because the guest receives GET for both.
        let is_read = matches!(admitted.head().method, Method::GET | Method::HEAD);
        let cache = cache.filter(|_| is_read);
        let key = cache.and_then(|cache| Some((&*cache.cache, cache.key(admitted)?)));
        Self {
            is_read,
            key,
            if_none_match: admitted.if_none_match().cloned(),
            is_personal: admitted.head().headers.contains_key(USER_ID),
        }
    }

    /// The cached response, if the request hits.
    pub(super) fn get(&self) -> Option<Response<Body>> {
        let (cache, key) = self.key.as_ref()?;
        let mut response = cache.get(key)?.response(self.if_none_match.as_ref());
        response.headers_mut().insert(CACHE_STATUS, HeaderValue::from_static("hit"));
        Some(response)
    }

    /// Caches the guest's response if possible, and writes the result into its header.
    ///
    /// A response with an unknown read set is not cached. It gets an entity tag all the same, so that a client which already has the
    /// content receives 304.
    pub(super) fn insert(self, response: &mut Response<Body>, whole: Option<WholeBody>) {
        let cached = match (self.key, whole) {
            (Some((cache, key)), Some((body, Some(read_set)))) => {
                cache.insert(key, response, &body, read_set, self.is_personal)
            }
            (Some((cache, _)), whole) => {
                cache.count_bypass();
                let tagged = whole.and_then(|(body, _)| CachedResponse::not_stored(response, &body, self.is_personal));
                if let Some(tagged) = tagged {
                    *response = tagged.response(self.if_none_match.as_ref());
                }
                None
            }
            (None, _) => None,
        };
        if let Some(cached) = &cached {
            *response = cached.response(self.if_none_match.as_ref());
        }
        // A guest must not set this header itself.
        response.headers_mut().remove(CACHE_STATUS);
        if self.is_read {
            let result = if cached.is_some() { "miss" } else { "bypass" };
            response.headers_mut().insert(CACHE_STATUS, HeaderValue::from_static(result));
        }
    }
}
