//! `wasi:http/outgoing-handler`: calls to other services of this host, without a socket. Nothing else goes out.

use std::pin::Pin;

use super::Excuse;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::header::HeaderName;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

/// Takes a call from a guest to the service that it names.
pub trait Peers: Send + Sync {
    /// Answers a request to `http://<service>.internal/…`, or says with wasi:http's own error why not.
    fn call(&self, request: Request<WasiBody>) -> BoxFuture<'static, Result<hyper::Response<WasiBody>, Error>>;
}

/// What the HTTP interfaces of one store may do.
pub struct Outgoing {
    /// None where the manifest lets the service call nobody.
    peers: Option<Box<dyn Peers>>,
    forbidden: ForbiddenHeaderFilter,
    excuse: Excuse,
}

impl Outgoing {
    /// Calls go to these peers, or nowhere.
    pub fn new(peers: Option<Box<dyn Peers>>, forbidden: ForbiddenHeaderFilter, excuse: Excuse) -> Self {
        Self { peers, forbidden, excuse }
    }

    /// Goes nowhere from now on.
    pub(super) fn release(&mut self) {
        (self.peers, self.excuse) = (None, Excuse::default());
    }

    pub(super) fn excuse(&self) -> &Excuse {
        &self.excuse
    }
}

/// The headers that no guest may set, made once and shared: those of the connection.
pub fn forbidden_headers() -> ForbiddenHeaderFilter {
    std::sync::Arc::new(|name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name))
}

type IoResult = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        (self.forbidden)(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        self.forbidden.clone()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: IoResult,
    ) -> Box<dyn Future<Output = Result<(hyper::Response<WasiBody>, IoResult), Error>> + Send> {
        let Some(peers) = &self.peers else {
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let (excuse, host) = (self.excuse.clone(), request.uri().host().unwrap_or_default().to_owned());
        let call: Pin<Box<_>> = peers.call(request);
        Box::new(async move {
            let done: IoResult = Box::new(std::future::ready(Ok(())));
            let answer = call.await;
            match &answer {
                Err(error) => excuse.give(|| format!("a call to {host} failed: {error}")),
                Ok(answer) if answer.status().is_server_error() => {
                    excuse.give(|| format!("a call to {host} was answered with {}", answer.status()));
                }
                Ok(_) => {}
            }
            let answer = answer?.map(|body| {
                let cut = move |error: Error| {
                    excuse.give(|| format!("the answer to a call to {host} was cut short: {error}"));
                    error
                };
                body.map_err(cut).boxed_unsync()
            });
            Ok((answer, done))
        })
    }

    /// Small answers leave in one write; a larger one waits for its reader chunk by chunk.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        4
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        256 << 10
    }
}
