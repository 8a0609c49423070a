//! A component for WASI 0.3 that does not finish its response body properly. The last segment of the path selects how: it writes
//! without end, or it writes some chunks and then traps or sleeps.

include!("../../component.rs");

component!(Flood, {
    path: "../plain-p3/wit",
    world: "plain",
    generate_all,
});

#[path = "../../endless.rs"]
mod endless;

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::StreamResult;

/// Number of chunks before the end. Together they are larger than the host's buffers for a client that does not read.
const CHUNKS: usize = 16;

struct Flood;

impl bindings::exports::wasi::http::handler::Guest for Flood {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let chunk = match &*name {
            "empty" => Vec::new(),
            "single" => vec![b'x'],
            _ => vec![b'x'; 64 << 10],
        };
        let is_endless = ["empty", "single", "full"].contains(&&*name);
        let (mut body, contents) = bindings::wit_stream::new();
        let (trailers_sent, trailers) = bindings::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            while is_endless && !matches!(body.write(chunk.clone()).await, (StreamResult::Dropped, _)) {}
            for _ in 0..CHUNKS {
                body.write_all(chunk.clone()).await;
            }
            end(&name).await;
            drop(body);
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}

/// What happens after the chunks. Returns only if the body should be finished.
async fn end(name: &str) {
    match name {
        "trap" => panic!("trap on request"),
        "sleep" => monotonic_clock::wait_for(u64::MAX).await,
        "spin" => endless::spin(),
        "grow" => endless::grow(),
        _ => {}
    }
}
