//! A component for WASI 0.2 that closes its handles late or never, as the runtime of a language with a garbage collector does. The
//! response is the number of requests that the instance has received, and what old handles still lead to. To `/once` each instance
//! answers only once.

include!("../../component.rs");

component!(Hoarder, {
    path: "../../../../wit",
    inline: "package test:hoarder; world hoarder { include wasi:http/proxy@0.2.12; }",
    world: "test:hoarder/hoarder",
    generate_all,
});

#[path = "../../response.rs"]
mod response;

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam,
};
use bindings::wasi::io::streams::{InputStream, StreamError};

struct Hoarder;

/// Handles of earlier requests, in the order in which they can be closed. Guests have one thread.
#[derive(Default)]
struct Hoard {
    calls: Vec<FutureIncomingResponse>,
    streams: Vec<InputStream>,
    trailers: Vec<IncomingBody>,
    headers: Vec<Fields>,
    others: Vec<Box<dyn Any>>,
}

thread_local! {
    static HOARD: RefCell<Hoard> = RefCell::default();
}

impl bindings::exports::wasi::http::incoming_handler::Guest for Hoarder {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        static REQUESTS: AtomicU32 = AtomicU32::new(0);
        let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
        let path = request.path_with_query().unwrap_or_default();
        if path.ends_with("/once") && count > 1 {
            return;
        }
        let led_to = HOARD.with_borrow_mut(|hoard| hoard.act(path.rsplit('/').next().unwrap_or_default(), request));
        let body = response::begin(out, OutgoingResponse::new(Fields::new()));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(format!("{count} {led_to}").as_bytes()).expect("the host takes a short body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}

impl Hoard {
    /// Leaves handles open or uses old ones. Returns what those led to.
    fn act(&mut self, what: &str, request: IncomingRequest) -> String {
        match what {
            "keep" => self.keep(request),
            "old-stream" => return read(self.streams.last().expect("an old stream")),
            "old-header" => return header(self.headers.last().expect("old headers")),
            "old-call" => {
                return format!("{:?}", self.calls.last().expect("an old call").get().map(|taken| taken.is_ok()));
            }
            "call" => self.call(),
            "unfinished" => self.unfinished(),
            "many" => self.headers.extend((0..100).map(|_| Fields::new())),
            "timer" => self.others.push(Box::new(monotonic_clock::subscribe_duration(u64::MAX))),
            "collect" => *self = Self::default(),
            _ => {}
        }
        String::new()
    }

    /// Keeps a request with its body unread.
    fn keep(&mut self, request: IncomingRequest) {
        let body = request.consume().expect("the body is taken once");
        let stream = body.stream().expect("the stream is taken once");
        self.headers.push(request.headers());
        self.streams.push(stream);
        self.trailers.push(body);
        self.others.push(Box::new(request));
    }

    /// Begins a call to a service, and does not wait for the response.
    fn call(&mut self) {
        let request = OutgoingRequest::new(Fields::new());
        request.set_authority(Some("relay.internal")).expect("an authority");
        request.set_path_with_query(Some("/relay/internal/sleep")).expect("a path");
        OutgoingBody::finish(request.body().expect("the body is taken once"), None).expect("the body is empty");
        self.calls.push(outgoing_handler::handle(request, None).expect("the host accepts the call"));
    }

    /// Keeps a response that it neither sends nor finishes.
    fn unfinished(&mut self) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        self.others.push(Box::new(body.write().expect("the stream is taken once")));
        self.others.push(Box::new(body));
        self.others.push(Box::new(response));
    }
}

fn read(stream: &InputStream) -> String {
    match stream.blocking_read(100) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(StreamError::Closed) => "closed".to_owned(),
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
    }
}

fn header(headers: &Fields) -> String {
    headers.get("x-kept").iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}
