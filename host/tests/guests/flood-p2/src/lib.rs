//! A component for WASI 0.2 that answers and then does not end its body as one should. The end of the path says what it does:
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
        path: "../../../../wit",
        inline: "package test:flood; world flood { include wasi:http/proxy@0.2.12; }",
        world: "test:flood/flood",
        generate_all,
    });
}

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use bindings::wasi::io::streams::OutputStream;

/// Chunks before an ending: more than the host takes before a client reads.
const CHUNKS: usize = 16;

struct Flood;

impl bindings::exports::wasi::http::incoming_handler::Guest for Flood {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        let chunk = match name {
            "empty" => Vec::new(),
            "single" => vec![b'x'],
            _ => vec![b'x'; 64 << 10],
        };
        let chunks = if ["empty", "single", "full"].contains(&name) { usize::MAX } else { CHUNKS };
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body is taken once");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream is taken once");
        write(&stream, &chunk, chunks);
        end(name, body, stream);
    }
}

/// Writes so many chunks, or as many as are taken.
fn write(stream: &OutputStream, chunk: &[u8], chunks: usize) {
    let ready = stream.subscribe();
    let mut written = 0;
    while written < chunks
        && let Ok(room) = stream.check_write()
    {
        if room == 0 {
            ready.block();
            continue;
        }
        stream.write(chunk).expect("there is room");
        written += 1;
    }
}

fn end(name: &str, body: OutgoingBody, stream: OutputStream) {
    match name {
        "trap" => panic!("as asked"),
        "sleep" => monotonic_clock::subscribe_duration(u64::MAX).block(),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "grow" => {
            let mut held = Vec::new();
            loop {
                held.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "finish" => {
            drop(stream);
            OutgoingBody::finish(body, None).expect("the body is complete");
        }
        "drop" => {}
        // Neither finished nor dropped when the guest ends.
        _ => std::mem::forget((body, stream)),
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Flood, bindings};

    bindings::export!(Flood with_types_in bindings);
}
