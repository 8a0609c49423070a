//! Endless answers to a client that never reads: the host's memory for them is bounded.

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use super::Program;

/// The memory that a flood may cost the host. Without a bound, it would cost some hundred MiB within the guest's time limit.
const BOUND_KIB: u64 = 64 << 10;

/// An HTTP/2 connection whose client opens all flow-control windows but never reads.
struct Deaf(TcpStream);

impl Deaf {
    async fn connect(gateway: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let address = gateway.strip_prefix("http://").unwrap().parse().unwrap();
        let mut deaf = Self(socket.connect(address).await.unwrap());
        let window = 0x7fff_ffff_u32;
        deaf.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE, then the connection's own window (RFC 9113, sections 6.5.2 and 6.9).
        deaf.frame(4, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat()).await;
        deaf.frame(8, 0, 0, &(window - 0xffff).to_be_bytes()).await;
        deaf
    }

    /// Sends a GET: END_STREAM and END_HEADERS, method and scheme from HPACK's static table, path and authority as literals.
    async fn get(&mut self, stream: u32, path: &str) {
        let text = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
        let block = [vec![0x82, 0x86], text(4, path), text(1, "localhost")].concat();
        self.frame(1, 5, stream, &block).await;
    }

    async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = &u32::try_from(payload.len()).unwrap().to_be_bytes()[1..];
        let frame = [length, &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }
}

/// Lets two guests flood a client that does not read. Returns the growth of the host's memory in KiB, and the log lines.
///
/// A first answer fills the system's buffers, so later ones stay in the host.
async fn flood(generation: &str, chunks: &str, limits: &str) -> (u64, [Value; 2]) {
    let services = format!(
        "header_time = \"1h\"\n[services.flood]\ncomponent = \"guest_flood_{generation}.wasm\"\nmounts = [\"/flood\"]\naccess = \"public\"\n\
         limits = {{ {limits} }}\n[services.fill]\ncomponent = \"guest_flood_p2.wasm\"\nmounts = [\"/fill\"]\n\
         access = \"public\"\n"
    );
    let mut program = Program::serving(&services).await;
    let mut deaf = Deaf::connect(&program.gateway).await;
    let before = program.most_resident_kib();
    deaf.get(1, "/fill/full").await;
    for stream in [3, 5] {
        deaf.get(stream, &format!("/flood/{chunks}")).await;
    }
    let is_end = |line: &Value| line["service"] == "flood" && line["message"].to_string().contains("was cut short");
    let ends = [program.until_logged(is_end).await, program.until_logged(is_end).await];
    (program.most_resident_kib() - before, ends)
}

#[tokio::test]
async fn endless_empty_chunks_cost_no_memory_and_end_at_a_limit() {
    for generation in ["p2", "p3"] {
        let (grown, ends) = flood(generation, "empty", r#"cpu = "200ms", idle_time = "2s""#).await;
        for end in &ends {
            // The host drops empty chunks, so the guest computes, until it waits for the client.
            let cause = end["cause"].as_str().unwrap();
            let ends =
                ["the guest computed for longer than 200ms", "no byte passed for 2s, `idle_time` in the manifest"];
            assert!(ends.iter().any(|end| cause.starts_with(end)), "{end}");
        }
        assert!(grown < BOUND_KIB, "{generation}: {grown} KiB");
    }
}

#[tokio::test]
async fn endless_one_byte_chunks_are_buffered_within_bounds() {
    for generation in ["p2", "p3"] {
        let (grown, ends) = flood(generation, "single", r#"stream_time = "2s", cpu = "1m""#).await;
        for end in &ends {
            assert_eq!(end["cause"], "the stream was not complete within 2s, `stream_time` in the manifest");
        }
        assert!(grown < BOUND_KIB, "{generation}: {grown} KiB");
    }
}
