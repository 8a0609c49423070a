//! Attacks through the response.

use crate::bindings::wasi::http::types::{ErrorCode, Fields, OutgoingResponse, ResponseOutparam};
use crate::{answer, endless, response, send};

pub(crate) fn none(out: ResponseOutparam) {
    drop(out);
}

pub(crate) fn error(out: ResponseOutparam) {
    ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("made up by a guest\r\nx: y".to_owned()))));
}

pub(crate) fn endless(out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    while stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
}

pub(crate) fn unfinished(out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    stream.blocking_write_and_flush(b"half of it").expect("the host accepts the body");
}

pub(crate) fn empty_writes(out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    while stream.check_write().and_then(|_| stream.write(&[])).is_ok() {}
}

pub(crate) fn spin_after(out: ResponseOutparam) {
    answer(out, 200, "answered");
    endless::spin();
}

pub(crate) fn trap_after(out: ResponseOutparam) {
    answer(out, 200, "answered");
    panic!("trap after the response");
}

pub(crate) fn many_headers(out: ResponseOutparam) {
    let headers = Fields::new();
    let taken = (0..10_000).take_while(|number| headers.append(&format!("x-{number}"), b"x").is_ok()).count();
    eprintln!("{taken} headers");
    send(out, OutgoingResponse::new(headers), b"");
}

pub(crate) fn large_header(out: ResponseOutparam) {
    let headers = Fields::new();
    let taken = headers.append("x-large", &vec![b'x'; 1 << 20]).is_ok();
    eprintln!("taken: {taken}");
    send(out, OutgoingResponse::new(headers), b"");
}

/// Names and values that would end a header and start another one.
pub(crate) fn header_text(out: ResponseOutparam) {
    let headers = Fields::new();
    let values: [&[u8]; 4] = [b"a\r\nx-forged: b", b"a\nx-forged: b", b"a\0b", b"a\rb"];
    let values = values.into_iter().filter(|value| headers.append("x-value", value).is_ok()).count();
    let names = ["x-a\r\nx-forged", "x forged", "", "x:forged", "x-\u{e9}"];
    let names = names.into_iter().filter(|name| headers.append(name, b"b").is_ok()).count();
    answer(out, 200, &format!("{values} values and {names} names were taken"));
}

/// Headers that only the connection or the host may set.
pub(crate) fn forbidden_headers(out: ResponseOutparam) {
    let headers = Fields::new();
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "timeout=1"),
        ("x-request-id", "forged"),
        ("x-comptoir-revision", "forged@0"),
        ("x-content-type-options", "forged"),
    ] {
        let _ = headers.append(name, value.as_bytes());
    }
    send(out, OutgoingResponse::new(headers), b"answered");
}

/// Invalid statuses, and 101, after which a client would wait for ever.
pub(crate) fn status(out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let taken: Vec<u16> =
        [0, 1, 99, 1000, 65535].into_iter().filter(|status| response.set_status_code(*status).is_ok()).collect();
    eprintln!("taken: {taken:?}");
    let _ = response.set_status_code(101);
    send(out, response, b"");
}

pub(crate) fn length_too_long(out: ResponseOutparam) {
    with_length(out, "1000");
}

pub(crate) fn length_too_short(out: ResponseOutparam) {
    with_length(out, "2");
}

fn with_length(out: ResponseOutparam, length: &str) {
    let headers = Fields::new();
    headers.append("content-length", length.as_bytes()).expect("a content length");
    let body = response::begin(out, OutgoingResponse::new(headers));
    let stream = body.write().expect("the stream is taken once");
    let _ = stream.blocking_write_and_flush(b"ten bytes.");
    drop(stream);
    let _ = crate::bindings::wasi::http::types::OutgoingBody::finish(body, None);
}
