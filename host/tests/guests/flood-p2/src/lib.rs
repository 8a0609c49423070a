//! A component for WASI 0.2 that does not finish its response body properly. The last segment of the path selects how: it writes
//! without end, or it writes some chunks and then traps, sleeps, or drops the body.

include!("../../component.rs");

component!(Flood, {
    path: "../../../../wit",
    inline: "package test:flood; world flood { include wasi:http/proxy@0.2.12; }",
    world: "test:flood/flood",
    generate_all,
});

#[path = "../../endless.rs"]
mod endless;
#[path = "../../response.rs"]
mod response;

use bindings::wasi::clocks::monotonic_clock;
use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};
use bindings::wasi::io::streams::OutputStream;

/// Number of chunks before the end. Together they are larger than the host's buffers for a client that does not read.
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
        let body = response::begin(out, OutgoingResponse::new(Fields::new()));
        let stream = body.write().expect("the stream is taken once");
        write(&stream, &chunk, chunks);
        end(name, body, stream);
    }
}

/// Writes up to `chunks` chunks. Stops if the host accepts no more.
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
        "trap" => panic!("trap on request"),
        "sleep" => monotonic_clock::subscribe_duration(u64::MAX).block(),
        "spin" => endless::spin(),
        "grow" => endless::grow(),
        "finish" => {
            drop(stream);
            OutgoingBody::finish(body, None).expect("the body is complete");
        }
        "drop" => {}
        // The guest ends without finishing or dropping the body.
        _ => std::mem::forget((body, stream)),
    }
}
