//! A component for WASI 0.2 whose bodies stream: it echoes a body while it arrives, counts it, sends events, and echoes through another
//! service.

include!("../../component.rs");

component!(Streams, {
    path: "../../../../wit",
    inline: "package test:streams; world streams {
        include wasi:http/proxy@0.2.12;
        include comptoir:platform/described@0.1.0;
    }",
    world: "test:streams/streams",
    generate_all,
});

mod pump;

#[path = "../../description.rs"]
mod description;
#[path = "../../response.rs"]
mod response;
#[path = "../../streaming.rs"]
mod streaming;

use bindings::exports::comptoir::platform::service::{self, Description};
use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam,
    Trailers,
};
use bindings::wasi::io::poll;
use bindings::wasi::io::streams::StreamError;
use pump::Pump;
use streaming::CHECKSUM;

struct Streams;

impl service::Guest for Streams {
    fn describe() -> Description {
        streaming::describe("streams-p2")
    }
}

impl bindings::exports::wasi::http::incoming_handler::Guest for Streams {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        if path.ends_with("/events") {
            events(out);
        } else if path.ends_with("/count") {
            count(&request, out);
        } else if let Some(service) = streaming::callee(&path) {
            double(&request, service, out);
        } else {
            echo(&request, out);
        }
    }
}

/// A response whose head says that trailers follow.
fn with_trailers() -> OutgoingResponse {
    OutgoingResponse::new(Fields::from_list(&[("trailer".to_owned(), CHECKSUM.into())]).expect("the header is allowed"))
}

/// Sends the head at once, and each piece of the body as it arrives, then the trailers.
fn echo(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let from = incoming.stream().expect("the stream is taken once");
    let body = response::begin(out, with_trailers());
    let to = body.write().expect("the stream is taken once");
    let mut pump = Pump::new(&from, &to);
    while !pump.is_done() {
        pump.wait();
    }
    drop((from, to));
    OutgoingBody::finish(body, trailers(incoming)).expect("the body is complete");
}

/// The trailers that come after a body.
fn trailers(body: IncomingBody) -> Option<Trailers> {
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    trailers.get().expect("they are ready").expect("they are taken once").expect("the body is complete")
}

/// Reads the whole body, then says how many bytes it has.
fn count(request: &IncomingRequest, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let from = incoming.stream().expect("the stream is taken once");
    let mut bytes = 0;
    loop {
        match from.blocking_read(64 << 10) {
            Ok(data) => bytes += data.len(),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(_)) => return,
        }
    }
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let to = body.write().expect("the stream is taken once");
    to.blocking_write_and_flush(bytes.to_string().as_bytes()).expect("the host takes the body");
    drop(to);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

/// Sends an event, and never ends.
fn events(out: ResponseOutparam) {
    let head = Fields::from_list(&[("content-type".to_owned(), b"text/event-stream".to_vec())]);
    let body = response::begin(out, OutgoingResponse::new(head.expect("the header is allowed")));
    let to = body.write().expect("the stream is taken once");
    to.blocking_write_and_flush(b"data: first\n\n").expect("the host takes the event");
    monotonic_clock::subscribe_duration(u64::MAX).block();
}

/// Sends the body to another service's echo while it arrives, and returns what that service sends.
fn double(request: &IncomingRequest, service: &str, out: ResponseOutparam) {
    let incoming = request.consume().expect("the body is taken once");
    let from = incoming.stream().expect("the stream is taken once");
    let call = OutgoingRequest::new(Fields::new());
    call.set_method(&Method::Post).expect("a method");
    call.set_authority(Some(&format!("{service}.internal"))).expect("an authority");
    call.set_path_with_query(Some(&format!("/{service}/internal/echo"))).expect("a path");
    let sent = call.body().expect("the body is taken once");
    let to = sent.write().expect("the stream is taken once");
    let answer = outgoing_handler::handle(call, None).expect("the host accepts the call");
    let mut there = Pump::new(&from, &to);
    let ready = answer.subscribe();
    while !ready.ready() {
        let mut waits = there.waits();
        waits.push(answer.subscribe());
        poll::poll(&waits.iter().collect::<Vec<_>>());
        drop(waits);
        there.step();
    }
    let answer = answer.get().expect("it is ready").expect("it is taken once").expect("the service responds");
    let returned = answer.consume().expect("the body is taken once");
    let stream = returned.stream().expect("the stream is taken once");
    let body = response::begin(out, with_trailers());
    let back_to = body.write().expect("the stream is taken once");
    let mut back = Pump::new(&stream, &back_to);
    while !there.is_done() {
        let waits: Vec<_> = there.waits().into_iter().chain(back.waits()).collect();
        poll::poll(&waits.iter().collect::<Vec<_>>());
        drop(waits);
        there.step();
        back.step();
    }
    drop((from, to));
    OutgoingBody::finish(sent, trailers(incoming)).expect("the body is complete");
    while !back.is_done() {
        back.wait();
    }
    drop((stream, back_to));
    OutgoingBody::finish(body, trailers(returned)).expect("the body is complete");
}
