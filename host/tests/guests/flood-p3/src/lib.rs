//! A component for WASI 0.3 that answers and then never ends its body: the end of the path says with what it goes on.

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
        path: "../plain-p3/wit",
        world: "plain",
        generate_all,
    });
}

use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::StreamResult;

struct Flood;

impl bindings::exports::wasi::http::handler::Guest for Flood {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let chunk = match path.rsplit('/').next() {
            Some("empty") => Vec::new(),
            Some("single") => vec![b'x'],
            _ => vec![b'x'; 64 << 10],
        };
        let (mut body, contents) = bindings::wit_stream::new();
        let (trailers_sent, trailers) = bindings::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            while !matches!(body.write(chunk.clone()).await, (StreamResult::Dropped, _)) {}
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Flood, bindings};

    bindings::export!(Flood with_types_in bindings);
}
