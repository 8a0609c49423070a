//! A component for WASI 0.3 that knows nothing of Comptoir: it answers with the method and the path, or with scheme and
//! authority, in chunks.

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
        path: "wit",
        world: "plain",
        generate_all,
    });
}

use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};

struct Plain;

impl bindings::exports::wasi::http::handler::Guest for Plain {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let text = if path.ends_with("/origin") {
            format!("0.3 {:?} {:?}", request.get_scheme(), request.get_authority())
        } else {
            format!("0.3 {:?} {path}", request.get_method())
        };
        let (mut body, contents) = bindings::wit_stream::new();
        let (trailers_sent, trailers) = bindings::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            for chunk in text.as_bytes().chunks(4) {
                body.write_all(chunk.to_vec()).await;
            }
            drop(body);
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Plain, bindings};

    bindings::export!(Plain with_types_in bindings);
}
