//! A component for WASI 0.3 without any Comptoir interface. It streams the request's method and path, or its scheme and
//! authority, in chunks.

include!("../../component.rs");

component!(Plain, {
    path: "wit",
    world: "plain",
    generate_all,
});

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
