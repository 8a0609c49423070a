//! A component for WASI 0.2 without any Comptoir interface. Its response is the request's method and path, or its scheme and
//! authority.

include!("../../component.rs");

component!(Plain, {
    path: "../../../../wit",
    inline: "package test:plain; world plain { include wasi:http/proxy@0.2.12; }",
    world: "test:plain/plain",
    generate_all,
});

#[path = "../../response.rs"]
mod response;

use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

struct Plain;

impl bindings::exports::wasi::http::incoming_handler::Guest for Plain {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = if path.ends_with("/origin") {
            format!("0.2 {:?} {:?}", request.scheme(), request.authority())
        } else {
            format!("0.2 {:?} {path}", request.method())
        };
        let body = response::begin(out, OutgoingResponse::new(Fields::new()));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(text.as_bytes()).expect("the host takes a short body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}
