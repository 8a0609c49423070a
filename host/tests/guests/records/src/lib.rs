//! A component that returns invalid HTTP responses as records. Each path is another fault. Some paths are valid and show the
//! request.

include!("../../component.rs");

component!(Records, {
    path: "../../../../wit",
    world: "handled",
});

#[path = "../../description.rs"]
mod description;

use bindings::exports::comptoir::platform::handler::{self, Request, Response};
use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route};

const PATH: &str = "/records/{fault}";

const HEADERS: [&str; 5] = ["cookie", "host", "if-match", "tracestate", "x-shop-client"];

struct Records;

impl service::Guest for Records {
    fn describe() -> Description {
        let route = |method| Route {
            method,
            path: PATH.to_owned(),
            access: Access::Public,
            headers: HEADERS.map(str::to_owned).to_vec(),
        };
        description::of("records", vec![route(Method::Get), route(Method::Post)])
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
            "headers" => Response { status: 200, headers: Vec::new(), body: shown(&request.headers) },
            "error" => error(r#"{"success":false, "error":{"code":"NO_RECORD","message":"No."}}"#),
            "own-id" => error(r#"{"success":false,"error":{"code":"NO_RECORD","message":"No.","request_id":"own"}}"#),
            "no-envelope" => error(r#"{"problem":"No."}"#),
            "huge" => Response { status: 200, headers: Vec::new(), body: vec![b'a'; 5 << 20] },
            _ => answer(200, &[("x-asked", &format!("{:?} {}", request.method, request.target))]),
        }
    }
}

/// One line for each header field.
fn shown(headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let line = |(name, value): &(String, Vec<u8>)| format!("{name}: {}\n", String::from_utf8_lossy(value));
    headers.iter().map(line).collect::<String>().into_bytes()
}

fn error(body: &str) -> Response {
    let headers = vec![("content-type".to_owned(), b"application/json".to_vec())];
    Response { status: 404, headers, body: body.as_bytes().to_vec() }
}

fn answer(status: u16, headers: &[(&str, &str)]) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    Response { status, headers, body: b"answered".to_vec() }
}
