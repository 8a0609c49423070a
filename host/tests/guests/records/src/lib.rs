//! A component that answers in records what is no HTTP: each path is a fault of its own.

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
        world: "handled",
    });
}

use bindings::exports::comptoir::platform::handler::{self, Request, Response};
use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route, SchemaRange};

const PATH: &str = "/records/{fault}";

struct Records;

impl service::Guest for Records {
    fn describe() -> Description {
        let route = |method| Route { method, path: PATH.to_owned(), access: Access::Public, headers: Vec::new() };
        Description {
            name: "records".to_owned(),
            version: "1".to_owned(),
            health: None,
            routes: vec![route(Method::Get), route(Method::Post)],
            migrations: Vec::new(),
            schema: SchemaRange { minimum: 0, maximum: 0 },
            probes: Vec::new(),
            documentation: None,
        }
    }
}

impl handler::Guest for Records {
    fn handle(request: Request) -> Response {
        let (fault, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        match fault.trim_start_matches("/records/") {
            "status" => answer(query.parse().unwrap_or_default(), &[]),
            "empty-name" => answer(200, &[("", "a")]),
            "name" => answer(200, &[("x-a\r\nx-forged", "a")]),
            "value" => answer(200, &[("x-a", "a\r\nx-forged: b")]),
            "connection" => answer(200, &[("transfer-encoding", "chunked")]),
            "length" => answer(200, &[("content-length", "7")]),
            "host" => answer(200, &[("x-request-id", "forged"), ("x-comptoir-revision", "forged@0")]),
            "many" => answer(200, &[("x-a", "a"); 20_000]),
            "large" => answer(200, &[("x-a", &"a".repeat(1 << 20))]),
            "body" => Response { status: 200, headers: Vec::new(), body: vec![b'a'; 2 << 20] },
            "huge" => Response { status: 200, headers: Vec::new(), body: vec![b'a'; 5 << 20] },
            _ => answer(200, &[("x-asked", &format!("{:?} {}", request.method, request.target))]),
        }
    }
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Response { status, headers, body: b"answered".to_vec() }
}

#[allow(unsafe_code, reason = "generated")]
mod export {
    use super::{Records, bindings};

    bindings::export!(Records with_types_in bindings);
}
