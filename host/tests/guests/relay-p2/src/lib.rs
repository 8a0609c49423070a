//! A component for WASI 0.2 that relays a streamed response. It calls its own internal route through the host. The last segment
//! of the path selects how that route ends its body.

include!("../../component.rs");

component!(Relay, {
    path: "../../../../wit",
    inline: "package test:relay; world relay {
        include wasi:http/proxy@0.2.12;
        include comptoir:platform/described@0.1.0;
    }",
    world: "test:relay/relay",
    generate_all,
});

#[path = "../../description.rs"]
mod description;
#[path = "../../response.rs"]
mod response;

use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route};
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, IncomingResponse, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
};
use bindings::wasi::io::streams::StreamError;

/// Number of chunks before the end. Together they are larger than the host's buffers for a client that does not read.
const CHUNKS: usize = 1024;
const CHUNK_BYTES: usize = 4096;

const INTERNAL: &str = "/relay/internal/";

struct Relay;

impl service::Guest for Relay {
    fn describe() -> Description {
        let route =
            |path: &str, access| Route { method: Method::Get, path: path.to_owned(), access, headers: Vec::new() };
        let routes = [("/relay/{ending}", Access::Public), (&format!("{INTERNAL}{{ending}}"), Access::Internal)];
        description::of("relay", routes.map(|(path, access)| route(path, access)).to_vec())
    }
}

impl bindings::exports::wasi::http::incoming_handler::Guest for Relay {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.strip_prefix(INTERNAL) {
            Some(ending) => stream(ending, out),
            None => relay(path.trim_start_matches("/relay/"), out),
        }
    }
}

/// The internal route: streams chunks, and then traps, sleeps, or finishes.
fn stream(ending: &str, out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    for _ in 0..CHUNKS {
        stream.blocking_write_and_flush(&[b'x'; CHUNK_BYTES]).expect("the host takes the body");
    }
    drop(stream);
    match ending {
        "trap" => panic!("trap on request"),
        "sleep" => monotonic_clock::subscribe_duration(u64::MAX).block(),
        _ => OutgoingBody::finish(body, None).expect("the body is complete"),
    }
}

/// Relays the internal route's body. Finishes its own body only if the internal route finished.
fn relay(ending: &str, out: ResponseOutparam) {
    let answer = call(&format!("{INTERNAL}{ending}"));
    let incoming = answer.consume().expect("the body is taken once");
    let from = incoming.stream().expect("the stream is taken once");
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let to = body.write().expect("the stream is taken once");
    loop {
        match from.blocking_read(CHUNK_BYTES as u64) {
            Ok(bytes) => to.blocking_write_and_flush(&bytes).expect("the host takes the body"),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return,
        }
    }
    drop(to);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

fn call(path: &str) -> IncomingResponse {
    let request = OutgoingRequest::new(Fields::new());
    request.set_authority(Some("relay.internal")).expect("an authority");
    request.set_path_with_query(Some(path)).expect("a path");
    OutgoingBody::finish(request.body().expect("the body is taken once"), None).expect("the body is empty");
    let response = outgoing_handler::handle(request, None).expect("the host accepts the call");
    response.subscribe().block();
    response.get().expect("the response is ready").expect("it is taken once").expect("the service responds")
}
