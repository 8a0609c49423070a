//! A component that uses `wasi:keyvalue`. The last segment of the path says what to do, the query in which bucket and with which keys
//! and values: `bucket:key=value:key=value`.

include!("../../component.rs");

component!(Entries, {
    path: "../../../../wit",
    inline: "package test:keyvalue; world keyvalue {
        include comptoir:platform/handled@0.1.0;
        include wasi:keyvalue/imports@0.2.0-draft;
    }",
    world: "test:keyvalue/keyvalue",
    generate_all,
});

#[path = "../../description.rs"]
mod description;

use bindings::exports::comptoir::platform::handler::{self, Request, Response};
use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route};
use bindings::wasi::keyvalue::store::{Bucket, Error};
use bindings::wasi::keyvalue::{atomics, batch, store};

struct Entries;

impl service::Guest for Entries {
    fn describe() -> Description {
        let route =
            |method| Route { method, path: "/keyvalue/{what}".to_owned(), access: Access::Public, headers: Vec::new() };
        description::of("keyvalue", vec![route(Method::Get), route(Method::Post)])
    }
}

impl handler::Guest for Entries {
    fn handle(request: Request) -> Response {
        let (path, argument) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let what = path.rsplit('/').next().unwrap_or_default();
        let mut parts = argument.split(':');
        let bucket = store::open(parts.next().unwrap_or_default());
        let pairs: Vec<_> = parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect();
        let text = match bucket.and_then(|bucket| run(&bucket, what, &pairs)) {
            Ok(text) => text,
            Err(error) => format!("{error:?}"),
        };
        Response { status: 200, headers: Vec::new(), body: text.into_bytes() }
    }
}

fn run(bucket: &Bucket, what: &str, pairs: &[(&str, &str)]) -> Result<String, Error> {
    let (key, value) = pairs.first().copied().unwrap_or_default();
    let keys: Vec<String> = pairs.iter().map(|(key, _)| (*key).to_owned()).collect();
    let number = value.parse().unwrap_or(1);
    Ok(match what {
        "get" => format!("{:?}", bucket.get(key)?.map(|value| String::from_utf8_lossy(&value).into_owned())),
        "exists" => bucket.exists(key)?.to_string(),
        "list" => format!("{:?}", bucket.list_keys(None)?),
        "get-many" => format!("{:?}", batch::get_many(bucket, &keys)?),
        "set" => done(bucket.set(key, value.as_bytes())?),
        "delete" => done(bucket.delete(key)?),
        "set-many" => {
            let entries: Vec<_> =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
            done(batch::set_many(bucket, &entries)?)
        }
        "delete-many" => done(batch::delete_many(bucket, &keys)?),
        "increment" => atomics::increment(bucket, key, number)?.to_string(),
        "increment-and-trap" => {
            atomics::increment(bucket, key, number)?;
            panic!("the increment was acknowledged before")
        }
        "long-key" => done(bucket.set(&"k".repeat(1 << 20), b"")?),
        other => format!("this guest cannot do {other}"),
    })
}

fn done((): ()) -> String {
    "done".to_owned()
}
