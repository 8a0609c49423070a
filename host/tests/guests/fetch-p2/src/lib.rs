//! A component for WASI 0.2 that sends requests to remote hosts. A test describes them in a request's body. In `describe`, in a
//! probe and on `/fetch/own` it sends one of its own.

include!("../../component.rs");

component!(Fetch, {
    path: "../../../../wit",
    inline: "package test:fetch; world fetch {
        include wasi:http/proxy@0.2.12;
        include comptoir:platform/described@0.1.0;
    }",
    world: "test:fetch/fetch",
    generate_all,
});

#[path = "../../description.rs"]
mod description;
#[path = "../../fetch.rs"]
mod fetch;
#[path = "../../response.rs"]
mod response;

use bindings::exports::comptoir::platform::service::{self, Access, Description, Probe, Route};
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
    OutgoingResponse, ResponseOutparam, Scheme,
};
use bindings::wasi::io::streams::{InputStream, StreamError};
use fetch::Order;

/// The component's own request. A test replaces the port in the component's file.
const OWN: &str = "GET http 127.0.0.1:PORT0 /own";

struct Fetch;

impl service::Guest for Fetch {
    fn describe() -> Description {
        send(&Order::read(OWN));
        let get = |path: &str| Route {
            method: service::Method::Get,
            path: path.to_owned(),
            access: Access::Public,
            headers: Vec::new(),
        };
        let post = Route { method: service::Method::Post, ..get("/fetch") };
        let mut description = description::of("fetch", vec![get("/fetch/own"), post]);
        let path = "/fetch/own".to_owned();
        description.health = Some("/fetch/health".to_owned());
        description.probes.push(Probe { method: service::Method::Get, path, caller: None, body: None });
        description
    }
}

impl bindings::exports::wasi::http::incoming_handler::Guest for Fetch {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (status, text) = match request.method() {
            Method::Get => own(),
            _ => {
                let body = request.consume().expect("the body is taken once");
                let (bytes, _) = read(&body.stream().expect("the stream is taken once"));
                let order = String::from_utf8_lossy(&bytes);
                let answer = fetch::without_request(&order);
                (200, answer.unwrap_or_else(|| send(&Order::read(&fetch::with_key(&order)))))
            }
        };
        let response = OutgoingResponse::new(Fields::new());
        response.set_status_code(status).expect("a status");
        let body = response::begin(out, response);
        let stream = body.write().expect("the stream is taken once");
        for chunk in text.as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(chunk).expect("the host takes the body");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}

/// Sends the component's own request. Passes a failure on as 502, unless the host denied the request.
fn own() -> (u16, String) {
    match try_send(&Order::read(OWN)) {
        Ok(response) => (200, answered(&response)),
        Err(error @ ErrorCode::HttpRequestDenied) => (200, format!("{error:?}")),
        Err(error) => (502, format!("{error:?}")),
    }
}

/// What came of a request: an error, or status, headers and body.
fn send(order: &Order<'_>) -> String {
    match try_send(order) {
        Ok(response) => answered(&response),
        Err(error) => format!("{error:?}"),
    }
}

fn try_send(order: &Order<'_>) -> Result<IncomingResponse, ErrorCode> {
    let headers =
        Fields::from_list(&order.headers).map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let request = OutgoingRequest::new(headers);
    let scheme = if order.scheme == "https" { Scheme::Https } else { Scheme::Http };
    let set = request.set_method(&Method::Other(order.method.to_owned())).and(request.set_scheme(Some(&scheme)));
    let set = set.and(request.set_authority(Some(order.authority))).and(request.set_path_with_query(Some(order.path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let body = request.body().expect("the body is taken once");
    let response = outgoing_handler::handle(request, None)?;
    let stream = body.write().expect("the stream is taken once");
    // If the host takes no more of the body, the response says why.
    let mut chunks = order.body.as_bytes().chunks(4096);
    let is_sent = chunks.all(|chunk| stream.blocking_write_and_flush(chunk).is_ok());
    drop(stream);
    if is_sent {
        OutgoingBody::finish(body, None)?;
    }
    response.subscribe().block();
    response.get().expect("the response is ready").expect("it is taken once")
}

fn answered(response: &IncomingResponse) -> String {
    let body: IncomingBody = response.consume().expect("the body is taken once");
    let (bytes, failure) = read(&body.stream().expect("the stream is taken once"));
    let text = fetch::answered(response.status(), &response.headers().entries(), &bytes);
    match failure {
        Some(failure) => format!("{text}\n{failure}"),
        None => text,
    }
}

/// The bytes of a body, and why it ended early.
fn read(stream: &InputStream) -> (Vec<u8>, Option<String>) {
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed) => return (bytes, None),
            Err(StreamError::LastOperationFailed(error)) => return (bytes, Some(error.to_debug_string())),
        }
    }
}
