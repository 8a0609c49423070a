//! A component for WASI 0.3 whose bodies stream: it echoes a body while it arrives, counts it, sends events, and echoes through another
//! service.

include!("../../component.rs");

component!(Streams, {
    path: ["../plain-p3/wit", "../../../../wit"],
    inline: "package test:streams; world streams {
        include wasi:http/service@0.3.0;
        include comptoir:platform/described@0.1.0;
    }",
    world: "test:streams/streams",
    generate_all,
});

#[path = "../../description.rs"]
mod description;
#[path = "../../streaming.rs"]
mod streaming;

use bindings::exports::comptoir::platform::service::{self, Description};
use bindings::wasi::clocks0_3_0::monotonic_clock;
use bindings::wasi::http0_3_0::client;
use bindings::wasi::http0_3_0::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use streaming::CHECKSUM;
use wit_bindgen::StreamResult;

/// The most bytes that are read at once.
const PIECE_BYTES: usize = 16 << 10;

struct Streams;

impl service::Guest for Streams {
    fn describe() -> Description {
        streaming::describe("streams-p3")
    }
}

impl bindings::exports::wasi::http0_3_0::handler::Guest for Streams {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        if path.ends_with("/events") {
            return Ok(events());
        }
        if path.ends_with("/count") {
            return Ok(count(request).await);
        }
        match streaming::callee(&path) {
            Some(service) => double(request, service).await,
            None => Ok(echo(request)),
        }
    }
}

/// Says that trailers follow.
fn with_trailers() -> Fields {
    Fields::from_list(&[("trailer".to_owned(), CHECKSUM.into())]).expect("the header is allowed")
}

/// Sends the head at once, and each piece of the body as it arrives, then the trailers.
fn echo(request: Request) -> Response {
    let (_, read) = bindings::wit_future::new(|| Ok(()));
    let (mut from, trailers) = Request::consume_body(request, read);
    let (mut to, contents) = bindings::wit_stream::new();
    let (response, _) = Response::new(with_trailers(), Some(contents), trailers);
    wit_bindgen::spawn_local(async move {
        loop {
            let (result, piece) = from.read(Vec::with_capacity(PIECE_BYTES)).await;
            if !piece.is_empty() && !to.write_all(piece).await.is_empty() {
                return;
            }
            if !matches!(result, StreamResult::Complete(_)) {
                return;
            }
        }
    });
    response
}

/// Reads the whole body, then says how many bytes it has.
async fn count(request: Request) -> Response {
    let (_, read) = bindings::wit_future::new(|| Ok(()));
    let (mut from, trailers) = Request::consume_body(request, read);
    let mut bytes = 0;
    loop {
        let (result, piece) = from.read(Vec::with_capacity(PIECE_BYTES)).await;
        bytes += piece.len();
        if !matches!(result, StreamResult::Complete(_)) {
            break;
        }
    }
    let complete = trailers.await.is_ok();
    answer(Fields::new(), format!("{bytes}{}", if complete { "" } else { " and broken" }))
}

/// Sends an event, and never ends.
fn events() -> Response {
    let head = Fields::from_list(&[("content-type".to_owned(), b"text/event-stream".to_vec())]);
    let (mut to, contents) = bindings::wit_stream::new();
    let (ended, trailers) = bindings::wit_future::new(|| Ok(None));
    let (response, _) = Response::new(head.expect("the header is allowed"), Some(contents), trailers);
    wit_bindgen::spawn_local(async move {
        to.write_all(b"data: first\n\n".to_vec()).await;
        monotonic_clock::wait_for(u64::MAX).await;
        drop((to, ended));
    });
    response
}

/// Hands the body to another service's echo while it arrives, and what that service sends to the client.
async fn double(request: Request, service: &str) -> Result<Response, ErrorCode> {
    let (_, read) = bindings::wit_future::new(|| Ok(()));
    let (contents, trailers) = Request::consume_body(request, read);
    let (call, _) = Request::new(Fields::new(), Some(contents), trailers, None);
    let set = call.set_method(&Method::Post).and(call.set_scheme(Some(&Scheme::Http)));
    let set = set.and(call.set_authority(Some(&format!("{service}.internal"))));
    set.and(call.set_path_with_query(Some(&format!("/{service}/internal/echo")))).expect("a request");
    let answer = client::send(call).await?;
    let (_, read) = bindings::wit_future::new(|| Ok(()));
    let (contents, trailers) = Response::consume_body(answer, read);
    Ok(Response::new(with_trailers(), Some(contents), trailers).0)
}

fn answer(head: Fields, text: String) -> Response {
    let (mut to, contents) = bindings::wit_stream::new();
    let (ended, trailers) = bindings::wit_future::new(|| Ok(None));
    let (response, _) = Response::new(head, Some(contents), trailers);
    wit_bindgen::spawn_local(async move {
        to.write_all(text.into_bytes()).await;
        drop(to);
        let _ = ended.write(Ok(None)).await;
    });
    response
}
