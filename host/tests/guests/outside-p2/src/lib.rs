//! A component for WASI 0.2 that reaches for what no service gets: files, the environment, sockets, names, other hosts. Its standard
//! library imports `wasi:filesystem` and `wasi:sockets`. The response says what came of it, one line each.

include!("../../component.rs");

component!(Outside, {
    path: "../../../../wit",
    inline: "package test:outside; world outside { include wasi:http/proxy@0.2.12; }",
    world: "test:outside/outside",
    generate_all,
});

#[path = "../../response.rs"]
mod response;

use std::fmt::Debug;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use bindings::wasi::http::outgoing_handler;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};

struct Outside;

impl bindings::exports::wasi::http::incoming_handler::Guest for Outside {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let text = match path.rsplit_once("/request/") {
            Some((_, authority)) => send(authority),
            None => everything(),
        };
        let body = response::begin(out, OutgoingResponse::new(Fields::new()));
        let stream = body.write().expect("the stream is taken once");
        stream.blocking_write_and_flush(text.as_bytes()).expect("the host takes a short body");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body is complete");
    }
}

fn everything() -> String {
    [
        line("read", &std::fs::read("/etc/hostname")),
        line("write", &std::fs::write("/tmp/outside", "x")),
        line("list", &std::fs::read_dir(".").map(Iterator::count)),
        line("connect", &TcpStream::connect("127.0.0.1:1")),
        line("listen", &TcpListener::bind("127.0.0.1:0")),
        line("datagram", &UdpSocket::bind("127.0.0.1:0")),
        line("lookup", &"localhost:80".to_socket_addrs().map(Iterator::count)),
        format!("environment {}", std::env::vars().count() + std::env::args().count()),
    ]
    .join("\n")
}

fn line<T>(what: &str, result: &std::io::Result<T>) -> String {
    format!("{what} {}", if result.is_ok() { "worked" } else { "failed" })
}

fn send(authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    let set = request.set_scheme(Some(&Scheme::Https)).and(request.set_authority(Some(authority)));
    let set = set.and(request.set_path_with_query(Some("/")));
    match set.map(|()| outgoing_handler::handle(request, None)) {
        Ok(Ok(response)) => {
            response.subscribe().block();
            // None if the host did not answer, an error if the response was taken before.
            let response = response.get().and_then(Result::ok);
            debug(&response.map(|response| response.map(|response| response.status())))
        }
        other => debug(&other.map(|sent| sent.map(|_| ()))),
    }
}

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}
