//! The interface by which a component answers, ready to be instantiated, and how each kind of it is called.

use bytes::Bytes;
use futures::channel::oneshot;
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
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, WasiBody, WasiHttpView as _};

use crate::engine::Speaks;
use crate::gate::GuestRequest;
use crate::guest::Guest;
use crate::guest::bindings::{Handled, HandledPre, handler};

/// Bytes that the header fields of a plain answer may have, names and values together.
const FIELDS_BYTES: usize = 32 << 10;

/// By which a component that speaks `wasi:http` sends its answer.
pub(super) type Sender = oneshot::Sender<Result<Response<WasiBody>, wasmtime::Error>>;

/// A component, linked.
pub(super) enum Handler {
    /// `comptoir:platform/handler`.
    Plain(HandledPre<Guest>),
    /// `wasi:http/incoming-handler@0.2`.
    P2(ProxyPre<Guest>),
    /// `wasi:http/handler@0.3`.
    P3(ServicePre<Guest>),
}

/// The same, of one instance.
pub(super) enum Exports {
    Plain(Handled),
    P2(ProxyP2),
    P3(Proxy),
}

impl Handler {
    pub(super) fn link(linker: &Linker<Guest>, speaks: Speaks, component: &Component) -> wasmtime::Result<Self> {
        let instance = linker.instantiate_pre(component)?;
        Ok(match speaks {
            Speaks::Plain => Self::Plain(HandledPre::new(instance)?),
            Speaks::HttpP2 => Self::P2(ProxyPre::new(instance)?),
            Speaks::HttpP3 => Self::P3(ServicePre::new(instance)?),
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
    /// Has an instance answer. One that speaks plain records returns its answer, any other sends it.
    pub(super) async fn call(
        &self,
        store: &mut Store<Guest>,
        request: GuestRequest,
        sender: Sender,
    ) -> wasmtime::Result<Option<handler::Response>> {
        match self {
            Self::Plain(handled) => {
                drop(sender);
                plain(handled, store, request.head(), &request.body().bytes).await.map(Some)
            }
            Self::P2(proxy) => p2(proxy, store, wasi(request)?, sender).await.map(|()| None),
            Self::P3(proxy) => {
                // It may sleep without being noted, so nothing can be said of what its answer rests on.
                store.data_mut().read_set();
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
        ref other => wasmtime::bail!("no route of a component that describes itself answers {other}"),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let request = handler::Request { method, target, headers: &headers, body };
    handled.comptoir_platform_handler().call_handle(store, request).await
}

/// What came back, as HTTP.
///
/// # Errors
/// Why it is none.
pub(super) fn http(answer: handler::Response) -> Result<Response<Bytes>, String> {
    let status = answer.status;
    let mut response = Response::new(Bytes::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(status).map_err(|_| format!("the guest answered with status {status}"))?;
    let bytes: usize = answer.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > FIELDS_BYTES {
        return Err(format!("the answer's header fields have {bytes} bytes, more than {FIELDS_BYTES}"));
    }
    let headers = response.headers_mut();
    for (name, value) in answer.headers {
        let (name, value) = field(&name, value).map_err(|why| format!("the answer's header field {name:?} {why}"))?;
        headers.append(name, value);
    }
    Ok(response)
}

fn field(name: &str, value: Vec<u8>) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "has no name that HTTP knows")?;
    if DEFAULT_FORBIDDEN_HEADERS.contains(&name) {
        return Err("is the connection's, which is the host's");
    }
    let value = HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| "has a value that HTTP forbids")?;
    Ok((name, value))
}

/// A request for `wasi:http`: `HEAD` becomes `GET`, since the host drops the body, and scheme and authority are always there.
/// The scheme is that of the connection, whatever the client says.
fn wasi(request: GuestRequest) -> wasmtime::Result<Request<WasiBody>> {
    use http_body_util::BodyExt as _;

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
    let body = http_body_util::Full::new(body.into_bytes()).map_err(|never| match never {}).boxed_unsync();
    Ok(Request::from_parts(head, body))
}

/// Calls `wasi:http/incoming-handler@0.2`.
async fn p2(
    proxy: &ProxyP2,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<()> {
    let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
    let scheme = if is_https { SchemeP2::Https } else { SchemeP2::Http };
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(scheme, request)?;
    let out = http.new_response_outparam_from_callback(move |answer| {
        // The receiver is gone when the request ran out of time: then nobody wants the answer.
        let _ = sender.send(answer.map_err(|code| wasmtime::format_err!("the guest answered with the error {code:?}")));
    })?;
    proxy.wasi_http_incoming_handler().call_handle(store, request, out).await
}

/// Calls `wasi:http/handler@0.3`.
async fn p3(
    proxy: &Proxy,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<()> {
    store
        .run_concurrent(async |accessor| {
            let prepared = accessor
                .with(|mut access| Prepared::new(access.as_context_mut(), proxy, request, Guest::http, sender))?;
            prepared.run(accessor, futures::future::pending()).await?;
            std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
