//! A component for WASI 0.3 that sends the requests that a test describes in a request's body.

include!("../../component.rs");

component!(Fetch, {
    path: "../plain-p3/wit",
    world: "plain",
    generate_all,
});

#[path = "../../fetch.rs"]
mod fetch;

use bindings::wasi::http::client;
use bindings::wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use bindings::{wit_future, wit_stream};
use fetch::Order;

struct Fetch;

impl bindings::exports::wasi::http::handler::Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let (_, handled) = wit_future::new(|| Ok(()));
        let (body, _) = Request::consume_body(request, handled);
        let order = body.collect().await;
        let order = String::from_utf8_lossy(&order);
        let text = match fetch::without_request(&order) {
            Some(text) => text,
            None => send(&Order::read(&fetch::with_key(&order))).await.unwrap_or_else(|error| format!("{error:?}")),
        };
        let (trailers_sent, trailers) = wit_future::new(|| Ok(None));
        let (mut body, contents) = wit_stream::new();
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
            drop(body);
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}

async fn send(order: &Order<'_>) -> Result<String, ErrorCode> {
    let headers =
        Fields::from_list(&order.headers).map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (trailers_sent, trailers) = wit_future::new(|| Ok(None));
    let (mut body, contents) = wit_stream::new();
    let (request, _) = Request::new(headers, Some(contents), trailers, None);
    let scheme = if order.scheme == "https" { Scheme::Https } else { Scheme::Http };
    let set = request.set_method(&Method::Other(order.method.to_owned())).and(request.set_scheme(Some(&scheme)));
    let set = set.and(request.set_authority(Some(order.authority))).and(request.set_path_with_query(Some(order.path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let bytes = order.body.as_bytes().to_vec();
    wit_bindgen::spawn_local(async move {
        body.write_all(bytes).await;
        drop(body);
        let _ = trailers_sent.write(Ok(None)).await;
    });
    let response = client::send(request).await?;
    let (status, headers) = (response.get_status_code(), response.get_headers().copy_all());
    let (_, handled) = wit_future::new(|| Ok(()));
    let (body, ended) = Response::consume_body(response, handled);
    let bytes = body.collect().await;
    let text = fetch::answered(status, &headers, &bytes);
    Ok(match ended.await {
        Ok(_) => text,
        Err(error) => format!("{text}\n{error:?}"),
    })
}
