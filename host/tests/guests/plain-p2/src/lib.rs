//! A component for WASI 0.2 that knows nothing of Comptoir: it answers with the method and the path, or with scheme and
//! authority.

#[allow(
    missing_docs,
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::nursery,
    reason = "generated"
)]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../../wit",
        inline: "package test:plain; world plain { include wasi:http/proxy@0.2.12; }",
        world: "test:plain/plain",
        generate_all,
    });
}

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
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(text.as_bytes()).expect("the host takes a short body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Plain, bindings};

    bindings::export!(Plain with_types_in bindings);
}
