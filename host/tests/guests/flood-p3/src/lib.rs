//! A component for WASI 0.3 that answers and then does not end its body as one should. The end of the path says what it does:
//! it writes without end, or writes a few chunks and comes to an ending of its own.

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

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};
use wit_bindgen::StreamResult;

/// Chunks before an ending: more than the host takes before a client reads.
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

/// Comes back where the body is to be finished.
async fn end(name: &str) {
    match name {
        "trap" => panic!("as asked"),
        "sleep" => monotonic_clock::wait_for(u64::MAX).await,
        "spin" => loop {
            std::hint::spin_loop();
        },
        "grow" => {
            let mut held = Vec::new();
            loop {
                held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        _ => {}
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Flood, bindings};

    bindings::export!(Flood with_types_in bindings);
}
