//! A component for WASI 0.3 that tells its configuration.

include!("../../component.rs");

component!(Site, {
    path: ["../plain-p3/wit", "../../../../wit/deps/config.wit"],
    inline: "package test:site; world site {
        include wasi:http/service@0.3.0;
        import wasi:cli/environment@0.3.0;
        import wasi:config/store@0.2.0-rc.1;
    }",
    world: "test:site/site",
    generate_all,
});

use bindings::wasi::cli::environment;
use bindings::wasi::config::store;
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};

struct Site;

impl bindings::exports::wasi::http::handler::Guest for Site {
    async fn handle(_: Request) -> Result<Response, ErrorCode> {
        let text = [
            lines(store::get_all().expect("the host returns no error")),
            format!("{:?}\n", store::get("absent")),
            lines(environment::get_environment()),
        ]
        .concat();
        let (mut body, contents) = bindings::wit_stream::new();
        let (trailers_sent, trailers) = bindings::wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(contents), trailers);
        wit_bindgen::spawn_local(async move {
            body.write_all(text.into_bytes()).await;
            drop(body);
            let _ = trailers_sent.write(Ok(None)).await;
        });
        Ok(response)
    }
}

fn lines(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}
