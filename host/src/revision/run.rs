//! One request, put to one instance: how WASI 0.2 and 0.3 are called.

use http_body_util::BodyExt as _;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request};
use wasmtime::{AsContextMut, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

use super::Sender;
use crate::body::RequestBody;
use crate::gate::Admitted;
use crate::guest::Guest;
use crate::storage::basis::Basis;

/// The request as a guest sees it: `HEAD` becomes `GET`, since the host drops the body, and the authority is always there.
pub(super) fn request(admitted: Admitted, body: RequestBody) -> Request<WasiBody> {
    let mut head = admitted.into_head();
    if head.method == Method::HEAD {
        head.method = Method::GET;
    }
    if head.uri.authority().is_none() && !has_readable_host(&head.headers) {
        head.headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    let body = http_body_util::Full::new(body.bytes).map_err(|never| match never {}).boxed_unsync();
    Request::from_parts(head, body)
}

fn has_readable_host(headers: &HeaderMap) -> bool {
    headers.get(HOST).is_some_and(|host| host.to_str().is_ok())
}

/// Calls `wasi:http/incoming-handler@0.2`, and tells what the answer rests on.
pub(super) async fn p2(
    pre: &wasmtime_wasi_http::p2::bindings::ProxyPre<Guest>,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<Option<Basis>> {
    let mut http = store.data_mut().http();
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let out = http.new_response_outparam_from_callback(move |answer| {
        // The receiver is gone when the request ran out of time: then nobody wants the answer.
        let _ = sender.send(answer.map_err(|code| wasmtime::format_err!("the guest answered with the error {code:?}")));
    })?;
    let instance = pre.instantiate_async(&mut *store).await?;
    instance.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await?;
    Ok(store.data_mut().basis())
}

/// Calls `wasi:http/handler@0.3`.
pub(super) async fn p3(
    pre: &wasmtime_wasi_http::p3::bindings::ServicePre<Guest>,
    store: &mut Store<Guest>,
    request: Request<WasiBody>,
    sender: Sender,
) -> wasmtime::Result<()> {
    let proxy = Proxy::P3(pre.instantiate_async(&mut *store).await?);
    store
        .run_concurrent(async |accessor| {
            let prepared = accessor
                .with(|mut access| Prepared::new(access.as_context_mut(), &proxy, request, Guest::http, sender))?;
            prepared.run(accessor, futures::future::pending()).await?;
            std::future::poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            Ok(())
        })
        .await?
}
