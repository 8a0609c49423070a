//! A component for WASI 0.2 without any Comptoir interface. Its response is the request's method and path, or its scheme and
//! authority, or its headers.

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
        } else if path.ends_with("/headers") {
            let fields = request.headers().entries();
            let line = |(name, value): &(String, Vec<u8>)| format!("{name}: {}\n", String::from_utf8_lossy(value));
            fields.iter().map(line).collect()
        } else {
            format!("0.2 {:?} {path}", request.method())
        };
        let headers = [("content-type".to_owned(), b"text/plain".to_vec())];
        let headers = Fields::from_list(&headers).expect("the headers are valid");
        let body = response::begin(out, OutgoingResponse::new(headers));
        let stream = body.write().expect("the stream is taken once");
        for chunk in text.as_bytes().chunks(4096) {
            stream.blocking_write_and_flush(chunk).expect("the host takes a short body");
        }
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}
