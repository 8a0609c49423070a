//! A linked component, and how the host calls each kind of handler interface.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::channel::oneshot;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{AsContextMut as _, Engine, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme as SchemeP2;
use wasmtime_wasi_http::p2::bindings::{Proxy as ProxyP2, ProxyPre};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error as WasiError, WasiBody, WasiHttpView as _};

use crate::body::{BodyRefusal, Cut};
use crate::engine::HandlerKind;
use crate::gate::GuestRequest;
use crate::guest::Guest;
use crate::guest::bindings::{Handled, HandledPre, handler};

/// Maximum bytes of the header fields of a plain response, names and values together.
const FIELDS_BYTES: usize = 32 << 10;

/// Sends the response of a `wasi:http` component, which may still run afterwards.
pub(super) type ResponseSender = oneshot::Sender<Result<Response<WasiBody>, wasmtime::Error>>;

/// A linked component, ready to be instantiated.
pub(super) enum Handler {
    /// `comptoir:platform/handler`.
    Plain(HandledPre<Guest>),
    /// `wasi:http/incoming-handler@0.2`.
    P2(ProxyPre<Guest>),
    /// `wasi:http/handler@0.3`.
    P3(ServicePre<Guest>),
}

/// The exported handler of one instance.
pub(super) enum Exports {
    Plain(Handled),
    P2(ProxyP2),
    P3(Proxy),
}

impl Handler {
    pub(super) fn link(linker: &Linker<Guest>, kind: HandlerKind, component: &Component) -> wasmtime::Result<Self> {
        let instance = linker.instantiate_pre(component)?;
        Ok(match kind {
            HandlerKind::Plain => Self::Plain(HandledPre::new(instance)?),
            HandlerKind::HttpP2 => Self::P2(ProxyPre::new(instance)?),
            HandlerKind::HttpP3 => Self::P3(ServicePre::new(instance)?),
        })
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Exports> {
        Ok(match self {
            Self::Plain(pre) => Exports::Plain(pre.instantiate_async(store).await?),
            Self::P2(pre) => Exports::P2(pre.instantiate_async(store).await?),
            Self::P3(pre) => Exports::P3(Proxy::P3(pre.instantiate_async(store).await?)),
        })
    }

    pub(super) fn instance_pre(&self) -> &InstancePre<Guest> {
        match self {
            Self::Plain(pre) => pre.instance_pre(),
            Self::P2(pre) => pre.instance_pre(),
            Self::P3(pre) => pre.instance_pre(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        match self {
            Self::Plain(pre) => pre.engine(),
            Self::P2(pre) => pre.engine(),
            Self::P3(pre) => pre.engine(),
        }
    }
}

impl Exports {
    /// Calls the handler. A plain handler returns its response; a `wasi:http` handler sends it with `sender`.
    pub(super) async fn call(
        &self,
        store: &mut Store<Guest>,
        request: GuestRequest,
        sender: ResponseSender,
    ) -> wasmtime::Result<Option<handler::Response>> {
        match self {
            Self::Plain(handled) => {
                drop(sender);
                plain(handled, store, request.head(), request.body().bytes()).await.map(Some)
            }
            Self::P2(proxy) => p2(proxy, store, wasi(request)?, sender).await.map(|()| None),
            Self::P3(proxy) => {
                // A WASI 0.3 guest can wait for time without a host call, so its read set would not be complete.
                store.data_mut().mark_uncacheable();
                p3(proxy, store, wasi(request)?, sender).await.map(|()| None)
            }
        }
    }
}

/// Calls `comptoir:platform/handler`.
async fn plain(
    handled: &Handled,
    store: &mut Store<Guest>,
    head: &Parts,
    body: &[u8],
) -> wasmtime::Result<handler::Response> {
    let method = match head.method {
        Method::GET | Method::HEAD => handler::Method::Get,
        Method::POST => handler::Method::Post,
        Method::PUT => handler::Method::Put,
        Method::PATCH => handler::Method::Patch,
        Method::DELETE => handler::Method::Delete,
        ref other => wasmtime::bail!("a component with a description has no routes for the method {other}"),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = handler::Request { method, target, headers: &headers, body };
    handled.comptoir_platform_handler().call_handle(store, request).await
}

/// Converts a plain response to HTTP.
///
/// # Errors
/// The reason why it is not valid HTTP.
pub(super) fn http(answer: handler::Response) -> Result<Response<Bytes>, String> {
    let status = answer.status;
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|_| format!("the guest answered with status {status}"))?;
    let bytes: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > FIELDS_BYTES {
        return Err(format!("the response's header fields have {bytes} bytes, more than the limit of {FIELDS_BYTES}"));
    }
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let (name, value) = field(&name, value).map_err(|why| format!("the response's header field {name:?} {why}"))?;
        headers.append(name, value);
    }
    Ok(response)
}

fn field(name: &str, value: Vec<u8>) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "does not have a valid name")?;
    if DEFAULT_FORBIDDEN_HEADERS.contains(&name) {
        return Err("controls the connection, so only the host may set it");
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| "does not have a valid value")?;
    Ok((name, value))
}

/// Converts a request for `wasi:http`, where scheme and authority are always set.
///
/// `HEAD` becomes `GET`, because the host drops the body later. The scheme is that of the connection; the client cannot choose it.
fn wasi(request: GuestRequest) -> wasmtime::Result<Request<WasiBody>> {
    let scheme = if request.is_secure() { Scheme::HTTPS } else { Scheme::HTTP };
    let (mut head, body) = request.into_parts();
    if head.method == Method::HEAD {
        head.method = Method::GET;
    }
    let mut parts = head.uri.into_parts();
    let named = parts.authority.take().or_else(|| Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok());
    let authority = named.unwrap_or_else(|| {
        head.headers.insert(HOST, HeaderValue::from_static("localhost"));
        Authority::from_static("localhost")
    });
    (parts.scheme, parts.authority) = (Some(scheme), Some(authority));
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(parts)?;
    let body = body.into_frames().map_err(unreadable).boxed_unsync();
    Ok(Request::from_parts(head, body))
}

/// What a guest sees of a body that was cut.
fn unreadable(cut: Cut) -> WasiError {
    match cut {
        Cut::Request(BodyRefusal::TooLarge(limit)) => WasiError::HttpRequestBodySize(Some(limit as u64)),
        Cut::Request(BodyRefusal::TooSlow) => WasiError::ConnectionReadTimeout,
        _ => WasiError::ConnectionTerminated,
    }
}

/// Calls `wasi:http/incoming-handler@0.2`.
async fn p2(
    proxy: &ProxyP2,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: ResponseSender,
) -> wasmtime::Result<()> {
    let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
    let scheme = if is_https { SchemeP2::Https } else { SchemeP2::Http };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |answer| {
        // If the request timed out, the receiver is gone and nobody needs the response.
        let _ = sender
            .send(answer.map_err(|code| wasmtime::format_err!("the guest answered with the error code {code:?}")));
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
}

/// Calls `wasi:http/handler@0.3`.
async fn p3(
    proxy: &Proxy,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: ResponseSender,
) -> wasmtime::Result<()> {
    store
        .run_concurrent(async |accessor| {
            let (answers, mut answer) = oneshot::channel();
            let prepared = accessor
                .with(|mut access| Prepared::new(access.as_context_mut(), proxy, request, Guest::http, answers))?;
            prepared.run(accessor, futures::future::pending()).await?;
            let (needed, no_longer_needed) = oneshot::channel();
            match answer.try_recv() {
                Ok(Some(Ok(answer))) => {
                    // If the request timed out, the receiver is gone and nobody needs the response.
                    let _ = sender.send(Ok(answer.map(|body| Handed::new(body, needed).boxed_unsync())));
                }
                Ok(Some(Err(error))) => return Err(error),
                Ok(None) | Err(_) => drop(needed),
            }
            std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            // The store still moves what the guest has written, and the trailers that it passed on.
            let _ = no_longer_needed.await;
            Ok(())
        })
        .await?
}

/// The body of a WASI 0.3 response. Its store must live until it has ended or is dropped.
struct Handed {
    body: WasiBody,
    /// Dropped when the store is no longer needed.
    needed: Option<oneshot::Sender<()>>,
}

impl Handed {
    fn new(body: WasiBody, needed: oneshot::Sender<()>) -> Self {
        Self { body, needed: Some(needed) }
    }
}

impl HttpBody for Handed {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        // Nothing comes after an error or the trailers.
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.needed = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
