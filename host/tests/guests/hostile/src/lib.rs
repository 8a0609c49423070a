//! A component that attacks its host. Each path is another attack. The response shows the result, so a test sees whether the host
//! refused the attack.

include!("../../component.rs");

component!(Hostile, {
    path: "../../../../wit",
    inline: "package test:hostile; world hostile {
        include wasi:http/proxy@0.2.12;
        import comptoir:platform/storage@0.1.0;
    }",
    world: "test:hostile/hostile",
    generate_all,
});

mod abuse;
#[path = "../../endless.rs"]
mod endless;
#[path = "../../response.rs"]
mod response;
mod responses;
mod sql;

use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// An attack: it sends its own response, or returns the text of a response.
enum Attack {
    Responds(fn(ResponseOutparam)),
    Returns(fn() -> String),
}

const ATTACKS: &[(&str, Attack)] = &[
    ("spin", Attack::Returns(abuse::spin)),
    ("recurse", Attack::Returns(abuse::recurse)),
    ("grow", Attack::Returns(abuse::grow)),
    ("copy", Attack::Returns(abuse::copy)),
    ("sleep", Attack::Returns(abuse::sleep)),
    ("handles", Attack::Returns(abuse::handles)),
    ("pollables", Attack::Returns(abuse::pollables)),
    ("leak", Attack::Returns(abuse::leak)),
    ("random", Attack::Returns(abuse::random)),
    ("print", Attack::Returns(abuse::print)),
    ("globals", Attack::Returns(abuse::globals)),
    ("environment", Attack::Returns(abuse::environment)),
    ("call", Attack::Returns(abuse::call)),
    ("sql", Attack::Returns(sql::forbidden)),
    ("sql-endless", Attack::Returns(sql::endless)),
    ("sql-rows", Attack::Returns(sql::rows)),
    ("sql-bytes", Attack::Returns(sql::bytes)),
    ("sql-parameters", Attack::Returns(sql::parameters)),
    ("sql-text", Attack::Returns(sql::text)),
    ("sql-length", Attack::Returns(sql::length)),
    ("transaction-spin", Attack::Returns(sql::transaction_spin)),
    ("transaction-sleep", Attack::Returns(sql::transaction_sleep)),
    ("transaction-twice", Attack::Returns(sql::transaction_twice)),
    ("write", Attack::Returns(sql::write)),
    ("no-answer", Attack::Responds(responses::none)),
    ("error-answer", Attack::Responds(responses::error)),
    ("endless-body", Attack::Responds(responses::endless)),
    ("unfinished-body", Attack::Responds(responses::unfinished)),
    ("empty-writes", Attack::Responds(responses::empty_writes)),
    ("spin-after-answer", Attack::Responds(responses::spin_after)),
    ("trap-after-answer", Attack::Responds(responses::trap_after)),
    ("many-headers", Attack::Responds(responses::many_headers)),
    ("large-header", Attack::Responds(responses::large_header)),
    ("header-text", Attack::Responds(responses::header_text)),
    ("forbidden-headers", Attack::Responds(responses::forbidden_headers)),
    ("status", Attack::Responds(responses::status)),
    ("length-too-long", Attack::Responds(responses::length_too_long)),
    ("length-too-short", Attack::Responds(responses::length_too_short)),
];

struct Hostile;

impl bindings::exports::wasi::http::incoming_handler::Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        match ATTACKS.iter().find(|(known, _)| *known == name) {
            Some((_, Attack::Responds(attack))) => attack(out),
            Some((_, Attack::Returns(attack))) => answer(out, 200, &attack()),
            None => answer(out, 404, "no such attack"),
        }
    }
}

/// Sends a correct response.
fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status");
    send(out, response, text.as_bytes());
}

fn send(out: ResponseOutparam, response: OutgoingResponse, bytes: &[u8]) {
    let body = response::begin(out, response);
    let stream = body.write().expect("the stream is taken once");
    for part in bytes.chunks(4096) {
        stream.blocking_write_and_flush(part).expect("the host accepts the body");
    }
    drop(stream);
    // The host decides whether the body is correct.
    let _ = OutgoingBody::finish(body, None);
}
