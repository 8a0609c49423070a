//! A component that calls what it may import with whatever values its request says: a JSON list of [`Step`]s, one after the
//! other. It answers with a JSON list that says of each what came back, unless a step answers in its place.

mod calls;
mod http;

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
        inline: "package test:caller; world caller {
            include wasi:http/proxy@0.2.12;
            import wasi:random/insecure@0.2.12;
            import wasi:random/insecure-seed@0.2.12;
            import comptoir:platform/storage@0.1.0;
            import comptoir:platform/tokens@0.1.0;
            import comptoir:platform/token-verifier@0.1.0;
            import comptoir:platform/passwords@0.1.0;
            import comptoir:platform/audit@0.1.0;
        }",
        world: "test:caller/caller",
        generate_all,
    });
}

use bindings::comptoir::platform::storage::{Transaction, Value};
use bindings::wasi::http::types::{Fields, IncomingRequest, ResponseOutparam};
use serde::Deserialize;

/// Bytes, each a number.
type Bytes = Vec<u8>;

/// One call, with its values. Its name in JSON is that of the variant, `{"query": ["SELECT $1", [{"integer": 1}]]}`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    Query(String, Vec<Parameter>),
    Execute(String, Vec<Parameter>),
    Begin(()),
    /// These name one of the transactions that were begun, by its place.
    QueryIn(usize, String, Vec<Parameter>),
    ExecuteIn(usize, String, Vec<Parameter>),
    Commit(usize),
    Drop(usize),
    Issue(String, String, String),
    Revoke(String),
    VerifyToken(String),
    Hash(String),
    VerifyPassword(String, Option<String>),
    /// So many times.
    Tell(u8, String),
    Random(u64),
    InsecureRandom(u64),
    Seed(()),
    Clocks(u64),
    /// Polls what is ready at these moments, in nanoseconds from now.
    Poll(Vec<u64>),
    Print(Bytes),
    Fields(Vec<(String, Bytes)>),
    ChangeFields(Vec<Change>),
    Call(http::Call),
    Answer(http::Answer),
    Exit(bool),
}

/// A parameter of a statement. A real number is the bits of a double, because JSON does not have all of them.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Parameter {
    Null(()),
    Integer(i64),
    Real(u64),
    Text(String),
    Blob(Bytes),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Change {
    Append(String, Bytes),
    Set(String, Vec<Bytes>),
    Delete(String),
    Get(String),
}

impl From<Parameter> for Value {
    fn from(parameter: Parameter) -> Self {
        match parameter {
            Parameter::Null(()) => Self::Null,
            Parameter::Integer(integer) => Self::Integer(integer),
            Parameter::Real(bits) => Self::Real(f64::from_bits(bits)),
            Parameter::Text(text) => Self::Text(text),
            Parameter::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

struct Caller;

impl bindings::exports::wasi::http::incoming_handler::Guest for Caller {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let steps = match serde_json::from_slice::<Vec<Step>>(&http::body(&request)) {
            Ok(steps) => steps,
            Err(error) => return http::send(out, 400, Fields::new(), error.to_string().as_bytes()),
        };
        let (mut told, mut begun) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Answer(answer) => return answer.send(out),
                step => told.push(take(step, &mut begun)),
            }
        }
        http::send(out, 200, Fields::new(), &serde_json::to_vec(&told).expect("texts"));
    }
}

/// Does one step, and says what came back.
fn take(step: Step, begun: &mut Vec<Option<Transaction>>) -> String {
    match step {
        Step::Query(sql, parameters) => calls::query(&sql, parameters),
        Step::Execute(sql, parameters) => calls::execute(&sql, parameters),
        Step::Begin(()) => calls::begin(begun),
        Step::QueryIn(place, sql, parameters) => calls::query_in(begun, place, &sql, parameters),
        Step::ExecuteIn(place, sql, parameters) => calls::execute_in(begun, place, &sql, parameters),
        Step::Commit(place) => calls::commit(begun, place),
        Step::Drop(place) => calls::drop_one(begun, place),
        Step::Issue(subject, role, session) => calls::issue(&subject, &role, &session),
        Step::Revoke(session) => calls::revoke(&session),
        Step::VerifyToken(token) => calls::verify_token(&token),
        Step::Hash(password) => calls::hash(&password),
        Step::VerifyPassword(password, hash) => calls::verify_password(&password, hash.as_deref()),
        Step::Tell(times, subject) => calls::tell_audit(times, &subject),
        Step::Random(bytes) => calls::random(bytes),
        Step::InsecureRandom(bytes) => calls::insecure_random(bytes),
        Step::Seed(()) => calls::seed(),
        Step::Clocks(nanoseconds) => calls::clocks(nanoseconds),
        Step::Poll(moments) => calls::poll(&moments),
        Step::Print(bytes) => calls::print(&bytes),
        Step::Fields(entries) => http::fields(&entries),
        Step::ChangeFields(changes) => http::change_fields(changes),
        Step::Call(call) => call.send(),
        Step::Answer(_) => unreachable!("it ends the request"),
        Step::Exit(well) => std::process::exit(i32::from(!well)),
    }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Caller, bindings};

    bindings::export!(Caller with_types_in bindings);
}
