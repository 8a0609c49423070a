//! A component for WASI 0.2 that answers and then never ends its body: the end of the path says with what it goes on.

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
        inline: "package test:flood; world flood { include wasi:http/proxy@0.2.12; }",
        world: "test:flood/flood",
        generate_all,
    });
}

use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingResponse, ResponseOutparam};

struct Flood;

impl bindings::exports::wasi::http::incoming_handler::Guest for Flood {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let chunk = match path.rsplit('/').next() {
            Some("empty") => Vec::new(),
            Some("single") => vec![b'x'],
            _ => vec![b'x'; 64 << 10],
        };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        let ready = stream.subscribe();
        while let Ok(room) = stream.check_write() {
            match room {
                0 => ready.block(),
                _ => stream.write(&chunk).expect("there is room"),
            }
        }
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Flood, bindings};

    bindings::export!(Flood with_types_in bindings);
}
