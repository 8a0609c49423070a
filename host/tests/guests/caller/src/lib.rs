//! A component that calls host interfaces with values from its request, for tests with random values.
//!
//! The request body is a JSON list of [`Step`]s. The component takes them one after the other. The response is a JSON list of
//! their results, unless a step sends its own response.

include!("../../component.rs");

component!(Caller, {
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

mod calls;
mod http;
#[path = "../../response.rs"]
mod response;

use bindings::comptoir::platform::storage::{Transaction, Value};
use bindings::wasi::http::types::{Fields, IncomingRequest, ResponseOutparam};
use serde::Deserialize;

/// Bytes, as a list of numbers in JSON.
type Bytes = Vec<u8>;

/// One host call with its values. In JSON, for example: `{"query": ["SELECT $1", [{"integer": 1}]]}`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    Query(String, Vec<Parameter>),
    Execute(String, Vec<Parameter>),
    Begin(()),
    /// The next steps use an open transaction. The number is its index among those begun.
    QueryIn(usize, String, Vec<Parameter>),
    ExecuteIn(usize, String, Vec<Parameter>),
    Commit(usize),
    Drop(usize),
    Issue(String, String, String),
    Revoke(String),
    VerifyToken(String),
    Hash(String),
    VerifyPassword(String, Option<String>),
    /// Writes an audit event this many times.
    Tell(u8, String),
    Random(u64),
    InsecureRandom(u64),
    Seed(()),
    Clocks(u64),
    /// Polls timers with these durations, in nanoseconds.
    Poll(Vec<u64>),
    Print(Bytes),
    Fields(Vec<(String, Bytes)>),
    ChangeFields(Vec<Change>),
    Call(http::ServiceCall),
    Answer(http::Answer),
    Exit(bool),
}

/// A parameter of a statement. A real number is given as its bits, because JSON cannot express all doubles.
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
        let (mut results, mut begun) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Answer(answer) => return answer.send(out),
                step => results.push(take(step, &mut begun)),
            }
        }
        http::send(out, 200, Fields::new(), &serde_json::to_vec(&results).expect("strings become JSON"));
    }
}

/// Takes one step and returns its result as text.
fn take(step: Step, begun: &mut Vec<Option<Transaction>>) -> String {
    match step {
        Step::Query(sql, parameters) => calls::query(&sql, parameters),
        Step::Execute(sql, parameters) => calls::execute(&sql, parameters),
        Step::Begin(()) => calls::begin(begun),
        Step::QueryIn(index, sql, parameters) => calls::query_in(begun, index, &sql, parameters),
        Step::ExecuteIn(index, sql, parameters) => calls::execute_in(begun, index, &sql, parameters),
        Step::Commit(index) => calls::commit(begun, index),
        Step::Drop(index) => calls::drop_one(begun, index),
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
        Step::Poll(durations) => calls::poll(&durations),
        Step::Print(bytes) => calls::print(&bytes),
        Step::Fields(entries) => http::fields(&entries),
        Step::ChangeFields(changes) => http::change_fields(changes),
        Step::Call(call) => call.send(),
        Step::Answer(_) => unreachable!("the caller of this function handles it"),
        Step::Exit(well) => std::process::exit(i32::from(!well)),
    }
}
