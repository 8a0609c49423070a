//! A component for WASI 0.2 that makes the same demands on its host as the programs that `wasmtime serve` is tested with: its
//! `p2_api_proxy` and `p2_cli_serve_*`. The last segment of the path selects the program.

include!("../../component.rs");

component!(Served, {
    path: "../../../../wit",
    inline: "package test:served; world served {
        include wasi:http/proxy@0.2.12;
        include wasi:cli/imports@0.2.12;
        include wasi:config/imports@0.2.0-rc.1;
        import wasi:keyvalue/store@0.2.0-draft;
    }",
    world: "test:served/served",
    generate_all,
});

#[path = "../../response.rs"]
mod response;

use std::io::Write as _;

use bindings::wasi::cli::stderr;
use bindings::wasi::config;
use bindings::wasi::http::types::{
    Fields, HeaderError, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam, Scheme,
};
use bindings::wasi::keyvalue::store;

/// A header that controls the connection, so that no guest may see or set it.
const FORBIDDEN: &str = "connection";

struct Served;

impl bindings::exports::wasi::http::incoming_handler::Guest for Served {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().expect("the request has a path");
        match path.rsplit('/').next().unwrap_or_default() {
            "environment" => environment(&request, out),
            "print" => print(out),
            "return" => (),
            "authority" => authority(&request, out),
            "keyvalue" => keyvalue(out),
            "config" => config(out),
            "early-drop" => early_drop(out),
            _ => proxy(&request, out),
        }
    }
}

fn answer(out: ResponseOutparam, text: &[u8]) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    stream.blocking_write_and_flush(text).expect("the host takes a short body");
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

/// Answers with the variable that the header `env` names, in a header of the same name. The body is neither taken nor finished.
fn environment(request: &IncomingRequest, out: ResponseOutparam) {
    let names = request.headers().get("env");
    let [name] = names.as_slice() else { panic!("exactly one header `env`: {names:?}") };
    let fields = Fields::new();
    if let Ok(value) = std::env::var(str::from_utf8(name).expect("a name in UTF-8")) {
        fields.set("env", &[value.into_bytes()]).expect("the header is allowed");
    }
    ResponseOutparam::set(out, Ok(OutgoingResponse::new(fields)));
}

/// Prints lines in pieces, through the standard library and through WASI.
fn print(out: ResponseOutparam) {
    print!("half a line ");
    std::io::stdout().flush().expect("stdout is open");
    println!("to stdout\n\nafter an empty line");
    eprint!("half a line ");
    eprintln!("to stderr");
    for piece in [&b"1"[..], b"2", b"3\n"] {
        stderr::get_stderr().blocking_write_and_flush(piece).expect("stderr is open");
    }
    ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
}

fn config(out: ResponseOutparam) {
    let value = config::store::get("hello").expect("the store works").expect("the manifest has the key");
    answer(out, value.as_bytes());
}

fn authority(request: &IncomingRequest, out: ResponseOutparam) {
    assert_eq!(request.authority().as_deref(), Some("localhost"));
    assert!(matches!(request.scheme(), Some(Scheme::Http)), "{:?}", request.scheme());
    ResponseOutparam::set(out, Ok(OutgoingResponse::new(Fields::new())));
}

/// Reads the default bucket, whose name is empty, after its head is sent.
fn keyvalue(out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let bucket = store::open("").expect("the default bucket exists");
    if !bucket.exists("hello").expect("the store works") {
        bucket.set("hello", b"world").expect("the store works");
    }
    let stream = body.write().expect("the stream is taken once");
    let value = bucket.get("hello").expect("the store works").expect("the key exists");
    stream.blocking_write_and_flush(&value).expect("the host takes a short body");
    drop(stream);
    OutgoingBody::finish(body, None).expect("the body is complete");
}

/// Writes to a client that goes away, and survives the errors of the closed stream.
fn early_drop(out: ResponseOutparam) {
    let body = response::begin(out, OutgoingResponse::new(Fields::new()));
    let stream = body.write().expect("the stream is taken once");
    while stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
    drop(stream);
    drop(OutgoingBody::finish(body, None));
}

/// A proxy sees a complete request, no files, and headers that it can read but not change.
fn proxy(request: &IncomingRequest, out: ResponseOutparam) {
    assert!(request.scheme().is_some() && request.authority().is_some());
    assert!(std::fs::File::open(".").is_err(), "no folder is granted");
    let fields = request.headers();
    for name in [FORBIDDEN, "host"] {
        assert!(!fields.has(name), "{name} is for the host only");
    }
    let refused = [fields.delete("accept"), fields.append("x-own", b"no"), fields.append(FORBIDDEN, b"no")];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    assert!(matches!(Fields::new().append(FORBIDDEN, b"no"), Err(HeaderError::Forbidden)));
    answer(out, b"hello, world!");
}
