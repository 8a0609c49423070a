//! HTTP/2 floods and protocol violations, built frame by frame.

use std::path::Path;

use testing::Client;
use testing::shop_process::ShopProcess;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::beside;

/// Frame types and flags (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// `:method GET, :scheme http, :path /products, :authority shop` (RFC 7541, appendix A).
const GET_PRODUCTS: &[u8] = b"\x82\x86\x04\x09/products\x41\x04shop";

/// `POST /auth/verify`, encoded alike.
pub const POST_VERIFY: &[u8] = b"\x83\x86\x04\x0c/auth/verify\x41\x04shop";

/// The number of frames in a flood.
const MANY: u32 = 50_000;

/// The most KiB that the host may grow in all floods. If it kept the frames, it would grow more.
const GROWTH_KIB: u64 = 64 << 10;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The connection preface and empty SETTINGS.
pub fn beginning() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// Makes the frames of an endless flood, by their number.
type Flood = fn(u32) -> Vec<u8>;

/// A request on a new stream.
pub fn request(number: u32, flags: u8, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, 2 * number + 1, fields)
}

/// The floods with their names. Each gets its own connection.
const FLOODS: [(&str, Flood); 13] = [
    ("rapid reset", |number| {
        [request(number, END_HEADERS | END_STREAM, GET_PRODUCTS), frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])]
            .concat()
    }),
    ("resets after half a request", |number| {
        [request(number, END_HEADERS, POST_VERIFY), frame(RST_STREAM, 0, 2 * number + 1, &[0, 0, 0, 8])].concat()
    }),
    ("requests without end", |number| request(number, END_HEADERS, POST_VERIFY)),
    ("settings", |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
    ("table sizes", |number| frame(SETTINGS, 0, 0, &[0, 1, 0, 0, (number % 256) as u8, 0])),
    ("pings", |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes())),
    ("continuation", |number| match number {
        0 => request(0, 0, GET_PRODUCTS),
        _ => frame(CONTINUATION, 0, 1, &[b"\x00\x01a\x7f\x80\x01".as_slice(), &[b'x'; 255]].concat()),
    }),
    ("empty continuation", |number| match number {
        0 => request(0, 0, GET_PRODUCTS),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }),
    ("empty data", |number| match number {
        0 => request(0, END_HEADERS, POST_VERIFY),
        _ => frame(DATA, 0, 1, &[]),
    }),
    ("priorities", |number| frame(PRIORITY, 0, 2 * number + 3, &[0, 0, 0, 1, 255])),
    ("windows", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ("unknown frames", |_| frame(0x77, 0xff, 0, &[0; 64])),
    // Each request names a field of the dynamic table a hundred times (RFC 7541, section 7.3).
    ("fields that unpack to many", |number| {
        let entry = [b"\x40\x01a\x7f\x81\x1e".as_slice(), &[b'x'; 4000]].concat();
        let fields = if number == 0 { entry } else { vec![0xbe; 1000] };
        request(number, END_HEADERS | END_STREAM, &[GET_PRODUCTS, &fields].concat())
    }),
];

/// Sends a flood until it ends or the host closes. Reads the host's frames if `reads`.
async fn flood(gateway: &str, next: Flood, reads: bool) {
    let mut stream = TcpStream::connect(gateway).await.expect("a connection");
    let (mut incoming, mut outgoing) = stream.split();
    let send = async {
        outgoing.write_all(&beginning()).await?;
        for chunk in (0..MANY).collect::<Vec<_>>().chunks(100) {
            outgoing.write_all(&chunk.iter().flat_map(|number| next(*number)).collect::<Vec<u8>>()).await?;
        }
        outgoing.shutdown().await
    };
    let read = async {
        let mut thrown_away = vec![0; 8192];
        while reads && incoming.read(&mut thrown_away).await.is_ok_and(|count| count > 0) {}
        if !reads {
            std::future::pending::<()>().await;
        }
    };
    // The host stops reading from a client that does not read. So this sends until it blocks.
    let most = std::time::Duration::from_secs(if reads { 60 } else { 2 });
    let _ = tokio::time::timeout(most, async {
        tokio::select! {
            // The host may answer a flood with a reset.
            _ = send => {}
            () = read => {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_hurt_no_other_client_and_are_not_buffered() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = ShopProcess::spawn(folder.path());
    let base = process.serves().await.expect("the host starts").gateway;
    let gateway = base.trim_start_matches("http://").to_owned();
    let other = Client::new(&base);
    for _ in 0..50 {
        assert_eq!(other.get("/products").await.status, 200);
    }
    let before = process.resident_kib();
    for (name, next) in FLOODS {
        for reads in [true, false] {
            beside(&other, flood(&gateway, next, reads)).await;
        }
        let grown = process.resident_kib().saturating_sub(before);
        assert!(grown < GROWTH_KIB, "after {name}: {grown} KiB more than before");
    }
    let said = std::fs::read_to_string(testing::shop_process::log(Path::new(folder.path()))).unwrap();
    assert!(!said.contains("panicked") && !said.contains("request failed"), "{said}");
    process.kill().await;
}

/// Protocol violations after which the host must end the connection (RFC 9113, section 5.4.1).
fn violations() -> Vec<(&'static str, Vec<u8>)> {
    let get = || request(0, END_HEADERS | END_STREAM, GET_PRODUCTS);
    let promise = [&[0, 0, 0, 2][..], GET_PRODUCTS].concat();
    vec![
        ("data of a stream that was not opened", frame(DATA, 0, 1, b"x")),
        ("a stream with an even number", frame(HEADERS, END_HEADERS | END_STREAM, 2, GET_PRODUCTS)),
        ("a stream with a number used before", [request(3, END_HEADERS | END_STREAM, GET_PRODUCTS), get()].concat()),
        ("fields of no stream", frame(HEADERS, END_HEADERS, 0, GET_PRODUCTS)),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 20_000])),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        ("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        ("an impossible window", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a reset of no stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, GET_PRODUCTS)),
        ("fields cut off by a ping", [request(0, 0, GET_PRODUCTS), frame(PING, 0, 0, &[0; 8])].concat()),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &promise)),
        ("fields that cannot be unpacked", request(0, END_HEADERS | END_STREAM, &[0xff; 40])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_violations_end_only_their_own_connection() {
    let shop = testing::Shop::open().await;
    let gateway = super::address(&shop);
    let attack = async {
        for (name, bytes) in violations() {
            let mut stream = TcpStream::connect(&gateway).await.unwrap();
            stream.write_all(&[beginning(), bytes].concat()).await.unwrap();
            let mut answer = Vec::new();
            // This ends only when the host closes or resets the connection.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(kinds(&answer).contains(&GOAWAY), "{name}: {:?}", kinds(&answer));
        }
    };
    beside(&shop.anon(), attack).await;
}

/// The types of the received frames.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [high, middle, low, kind, _, _, _, _, _, rest @ ..] = bytes {
        kinds.push(*kind);
        bytes = rest.get(u32::from_be_bytes([0, *high, *middle, *low]) as usize..).unwrap_or_default();
    }
    kinds
}
