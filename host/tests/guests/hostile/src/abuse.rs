//! Attacks on CPU time, memory, handles, output, and addresses outside the host.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use crate::bindings::wasi::random::random::get_random_bytes;
use crate::endless;

pub(crate) fn spin() -> String {
    endless::spin()
}

pub(crate) fn recurse() -> String {
    #[allow(unconditional_recursion, reason = "the attack is unlimited recursion")]
    fn deeper(depth: u64) -> u64 {
        let held = black_box([depth; 64]);
        deeper(depth + 1) + held[3]
    }
    deeper(0).to_string()
}

pub(crate) fn grow() -> String {
    endless::grow()
}

/// Copies memory with single instructions that take milliseconds each.
pub(crate) fn copy() -> String {
    let mut bytes = vec![1_u8; 16 << 20];
    loop {
        let half = bytes.len() / 2;
        bytes.copy_within(..half, half);
        black_box(&mut bytes).fill(2);
    }
}

pub(crate) fn sleep() -> String {
    std::thread::sleep(Duration::from_nanos(u64::MAX));
    "awake".to_owned()
}

pub(crate) fn handles() -> String {
    let held: Vec<Fields> = (0..100_000).map(|_| Fields::new()).collect();
    format!("{} handles", held.len())
}

pub(crate) fn pollables() -> String {
    let held: Vec<_> = (0..100_000).map(|_| monotonic_clock::subscribe_duration(u64::MAX)).collect();
    format!("{} pollables", held.len())
}

pub(crate) fn leak() -> String {
    (0..1000).for_each(|_| std::mem::forget(Fields::new()));
    std::mem::forget(black_box(vec![1_u8; 8 << 20]));
    "leaked".to_owned()
}

pub(crate) fn random() -> String {
    format!("{} bytes", get_random_bytes(1 << 30).len())
}

/// Prints without end, with control characters that clear a terminal and forge a log line.
pub(crate) fn print() -> String {
    let line = format!("\u{1b}[2J\r\n{{\"level\":\"ERROR\"}}{}", "x".repeat(100_000));
    loop {
        eprintln!("{line}");
    }
}

/// Number of requests that this instance has seen. More than one would show state of an earlier request.
pub(crate) fn globals() -> String {
    static SEEN: AtomicU32 = AtomicU32::new(0);
    format!("{} request", SEEN.fetch_add(1, Ordering::Relaxed) + 1)
}

pub(crate) fn environment() -> String {
    format!("{} variables, {} arguments", std::env::vars_os().count(), std::env::args_os().count())
}

/// Calls addresses outside the host, and a service that it may not call.
pub(crate) fn call() -> String {
    let places = [
        "127.0.0.1:8010",
        "localhost",
        "[::1]:8010",
        "0.0.0.0",
        "2130706433",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "example.com",
        "sibling.internal",
        "hostile.internal.example.com",
        "internal",
        ".internal",
        "hostile.internal@127.0.0.1:8010",
    ];
    let reached = places.into_iter().flat_map(|place| {
        [Scheme::Http, Scheme::Https, Scheme::Other("file".to_owned())]
            .into_iter()
            .filter(|scheme| reaches(scheme, place))
            .map(move |_| place)
    });
    format!("reached {:?}", reached.collect::<Vec<_>>())
}

fn reaches(scheme: &Scheme, place: &str) -> bool {
    let headers = Fields::new();
    let _ = headers.append("authorization", b"Bearer guessed");
    let request = OutgoingRequest::new(headers);
    let _ = request.set_scheme(Some(scheme));
    let _ = request.set_path_with_query(Some("/services"));
    if request.set_authority(Some(place)).is_err() {
        return false;
    }
    let Ok(answer) = outgoing_handler::handle(request, None) else { return false };
    answer.subscribe().block();
    matches!(answer.get(), Some(Ok(Ok(_))))
}
