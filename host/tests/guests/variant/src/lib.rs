//! Many components from one build. A test replaces a marker in the built file, and the words of the marker select the behaviour.
//! So tests get any number of good and bad revisions, each with its own digest, from one compilation.

mod behaviour;
mod description;
#[path = "../../endless.rs"]
mod endless;

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use kit::{Access, Failure, Request, Response, Route, Service, storage};
use serde_json::json;

/// Tests replace the text after `=` with other words of the same length. A word that the code does not know only changes the digest.
static MARKER: [u8; 64] = *b"VARIANT=good                                                    ";

/// Whether the marker contains a word.
fn is(word: &str) -> bool {
    // Without black_box, the compiler would evaluate the marker at compile time.
    let marker = std::hint::black_box(&MARKER);
    let words = marker[8..].split(|byte| *byte == b' ');
    words.into_iter().any(|each| each == word.as_bytes())
}

/// Here health is an ordinary route, so that a variant can respond wrongly.
static SERVICE: Service = Service {
    name: "variant-service",
    version: env!("CARGO_PKG_VERSION"),
    health: "/",
    migrations: &["CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
         CREATE TABLE flags (name TEXT PRIMARY KEY) STRICT;"],
    schema: 1..=1,
    database: Some(storage::ping),
    pages: kit::pages::Pages::NONE,
    probes: &[],
    documentation: None,
    routes: &[
        Route::get("/health", Access::Public, behaviour::health),
        Route::get("/variant/items", Access::Public, items),
        Route::post("/variant/items", Access::Public, add_item),
        Route::get("/variant/wait", Access::Public, wait),
    ],
};

fn items(_: &Request) -> Result<Response, Failure> {
    behaviour::misbehave()?;
    Ok(Response::ok(&json!({ "items": count("%")? })))
}

fn add_item(request: &Request) -> Result<Response, Failure> {
    let name =
        request.json_object("MISSING_BODY")?.get("name").and_then(|name| name.as_str()).unwrap_or("-").to_owned();
    behaviour::misbehave()?;
    behaviour::misbehave_writing()?;
    storage::execute("INSERT INTO items (name) VALUES ($1)", kit::params![name])?;
    Ok(Response::created(&"added"))
}

/// Responds as soon as there is an item with the name `wake`.
fn wait(_: &Request) -> Result<Response, Failure> {
    while count("wake")? == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Response::ok(&"awake"))
}

fn count(name: &str) -> Result<i64, Failure> {
    let rows = storage::query("SELECT count(*) AS items FROM items WHERE name LIKE $1", kit::params![name])?;
    Ok(rows.iter().next().map(|row| row.get("items")).transpose()?.unwrap_or_default())
}

fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(target_family = "wasm")]
const _: () = {
    struct Component;

    impl kit::bindings::exports::comptoir::platform::service::Guest for Component {
        fn describe() -> kit::bindings::exports::comptoir::platform::service::Description {
            description::describe()
        }
    }

    impl kit::bindings::exports::comptoir::platform::handler::Guest for Component {
        fn handle(
            request: kit::bindings::exports::comptoir::platform::handler::Request,
        ) -> kit::bindings::exports::comptoir::platform::handler::Response {
            SERVICE.handle(request)
        }
    }

    kit::bindings::export!(Component with_types_in kit::bindings);
};
