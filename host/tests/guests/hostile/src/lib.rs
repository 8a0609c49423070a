//! A component that attacks its host: each path is an attack of its own. What an attack is told, it answers with, so that a
//! test sees whether it was refused.

mod abuse;
mod answers;
mod sql;

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
        inline: "package test:hostile; world hostile {
            include wasi:http/proxy@0.2.12;
            import comptoir:platform/storage@0.1.0;
        }",
        world: "test:hostile/hostile",
        generate_all,
    });
}

use bindings::wasi::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// What a guest does with a request: it answers by itself, or gives a text to answer with.
enum Attack {
    Answers(fn(ResponseOutparam)),
    Tells(fn() -> String),
}

const ATTACKS: &[(&str, Attack)] = &[
    ("spin", Attack::Tells(abuse::spin)),
    ("recurse", Attack::Tells(abuse::recurse)),
    ("grow", Attack::Tells(abuse::grow)),
    ("copy", Attack::Tells(abuse::copy)),
    ("sleep", Attack::Tells(abuse::sleep)),
    ("handles", Attack::Tells(abuse::handles)),
    ("pollables", Attack::Tells(abuse::pollables)),
    ("leak", Attack::Tells(abuse::leak)),
    ("random", Attack::Tells(abuse::random)),
    ("print", Attack::Tells(abuse::print)),
    ("globals", Attack::Tells(abuse::globals)),
    ("environment", Attack::Tells(abuse::environment)),
    ("call", Attack::Tells(abuse::call)),
    ("sql", Attack::Tells(sql::forbidden)),
    ("sql-endless", Attack::Tells(sql::endless)),
    ("sql-rows", Attack::Tells(sql::rows)),
    ("sql-bytes", Attack::Tells(sql::bytes)),
    ("sql-parameters", Attack::Tells(sql::parameters)),
    ("sql-text", Attack::Tells(sql::text)),
    ("sql-length", Attack::Tells(sql::length)),
    ("transaction-spin", Attack::Tells(sql::transaction_spin)),
    ("transaction-sleep", Attack::Tells(sql::transaction_sleep)),
    ("transaction-twice", Attack::Tells(sql::transaction_twice)),
    ("write", Attack::Tells(sql::write)),
    ("no-answer", Attack::Answers(answers::none)),
    ("error-answer", Attack::Answers(answers::error)),
    ("endless-body", Attack::Answers(answers::endless)),
    ("unfinished-body", Attack::Answers(answers::unfinished)),
    ("empty-writes", Attack::Answers(answers::empty_writes)),
    ("spin-after-answer", Attack::Answers(answers::spin_after)),
    ("trap-after-answer", Attack::Answers(answers::trap_after)),
    ("many-headers", Attack::Answers(answers::many_headers)),
    ("large-header", Attack::Answers(answers::large_header)),
    ("header-text", Attack::Answers(answers::header_text)),
    ("forbidden-headers", Attack::Answers(answers::forbidden_headers)),
    ("status", Attack::Answers(answers::status)),
    ("length-too-long", Attack::Answers(answers::length_too_long)),
    ("length-too-short", Attack::Answers(answers::length_too_short)),
];

struct Hostile;

impl bindings::exports::wasi::http::incoming_handler::Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        match ATTACKS.iter().find(|(known, _)| *known == name) {
            Some((_, Attack::Answers(attack))) => attack(out),
            Some((_, Attack::Tells(attack))) => answer(out, 200, &attack()),
            None => answer(out, 404, "no such attack"),
        }
    }
}

/// An answer as it should be.
fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status");
    send(out, response, text.as_bytes());
}

fn send(out: ResponseOutparam, response: OutgoingResponse, bytes: &[u8]) {
    let body = response.body().expect("the body is taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the stream is taken once");
    for part in bytes.chunks(4096) {
        stream.blocking_write_and_flush(part).expect("the host takes the body");
    }
    drop(stream);
    // What is wrong with the body is for the host to say.
    let _ = OutgoingBody::finish(body, None);
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Hostile, bindings};

    bindings::export!(Hostile with_types_in bindings);
}
