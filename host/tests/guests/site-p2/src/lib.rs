//! A component for WASI 0.2 that tells its configuration. The last segment of the path says what to do, the query with what.

include!("../../component.rs");

component!(Site, {
    path: "../../../../wit",
    inline: "package test:site; world site { include comptoir:platform/handled@0.1.0; import wasi:config/store@0.2.0-rc.1; }",
    world: "test:site/site",
    generate_all,
});

#[path = "../../description.rs"]
mod description;

use bindings::exports::comptoir::platform::handler::{self, Request, Response};
use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route};
use bindings::wasi::config::store;

struct Site;

impl service::Guest for Site {
    /// The routes are under the mount that the configuration names.
    fn describe() -> Description {
        let mount = std::env::var("MOUNT").unwrap_or("/site".to_owned());
        let route = Route {
            method: Method::Get,
            path: format!("{mount}/{{what}}"),
            access: Access::Public,
            headers: Vec::new(),
        };
        description::of("site", vec![route])
    }
}

impl handler::Guest for Site {
    fn handle(request: Request) -> Response {
        let (path, argument) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let text = match path.rsplit('/').next().unwrap_or_default() {
            "get" => format!("{:?}", store::get(argument)),
            "all" => lines(store::get_all().expect("the host returns no error")),
            "environment" => lines(std::env::vars().collect()),
            other => format!("this guest cannot do {other}"),
        };
        Response { status: 200, headers: Vec::new(), body: text.into_bytes() }
    }
}

fn lines(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}
