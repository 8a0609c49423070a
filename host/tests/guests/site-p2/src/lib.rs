//! A component for WASI 0.2 that tells its configuration and reads files through its standard library. The last segment of the path says
//! what to do, the query with what.

include!("../../component.rs");

component!(Site, {
    path: "../../../../wit",
    inline: "package test:site; world site { include comptoir:platform/handled@0.1.0; import wasi:config/store@0.2.0-rc.1; }",
    world: "test:site/site",
    generate_all,
});

#[path = "../../description.rs"]
mod description;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use bindings::exports::comptoir::platform::handler::{self, Request, Response};
use bindings::exports::comptoir::platform::service::{self, Access, Description, Method, Route};
use bindings::wasi::config::store;

/// The requests that this instance has answered.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

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
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        let (path, argument) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let text = match path.rsplit('/').next().unwrap_or_default() {
            "get" => format!("{:?}", store::get(argument)),
            "all" => lines(store::get_all().expect("the host returns no error")),
            "environment" => lines(std::env::vars().collect()),
            "read" => told(fs::read(argument).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            "list" => told(list(argument)),
            "write" => writes(argument),
            "open" => open_many(argument),
            "requests" => REQUESTS.load(Ordering::Relaxed).to_string(),
            other => format!("this guest cannot do {other}"),
        };
        Response { status: 200, headers: Vec::new(), body: text.into_bytes() }
    }
}

fn lines(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

fn told(result: io::Result<String>) -> String {
    result.unwrap_or_else(|error| format!("{:?}", error.kind()))
}

fn list(folder: &str) -> io::Result<String> {
    let entries = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = if kind.is_dir() {
            "folder"
        } else if kind.is_symlink() {
            "link"
        } else {
            "file"
        };
        Ok((entry.file_name().to_string_lossy().into_owned(), kind.to_owned()))
    });
    entries.collect::<io::Result<_>>().map(lines)
}

/// Tries every kind of write in a folder with the file `a.txt` and the folder `inner`. Returns the kinds of errors.
fn writes(folder: &str) -> String {
    let (file, inner, new) = (format!("{folder}/a.txt"), format!("{folder}/inner"), format!("{folder}/new"));
    let results = [
        ("create", fs::write(&new, "x")),
        ("truncate", File::create(&file).map(drop)),
        ("append", OpenOptions::new().append(true).open(&file).map(drop)),
        ("write", OpenOptions::new().write(true).open(&file).map(drop)),
        ("resize", File::open(&file).and_then(|file| file.set_len(0))),
        ("touch", File::open(&file).and_then(|file| file.set_modified(SystemTime::UNIX_EPOCH))),
        ("create folder", fs::create_dir(&new)),
        ("remove folder", fs::remove_dir(&inner)),
        ("remove", fs::remove_file(&file)),
        ("rename", fs::rename(&file, &new)),
        ("link", fs::hard_link(&file, &new)),
    ];
    results.map(|(what, result)| format!("{what} {:?}\n", result.map_err(|error| error.kind()))).concat()
}

/// Opens a file `n` times for the argument `n:path`, and keeps all of them open. Returns how often it worked, and the error.
fn open_many(argument: &str) -> String {
    let (count, path) = argument.split_once(':').unwrap_or(("1", argument));
    let mut open = Vec::new();
    for _ in 0..count.parse().unwrap_or(1) {
        match File::open(path) {
            Ok(file) => open.push(file),
            Err(error) => return format!("{} {:?}", open.len(), error.kind()),
        }
    }
    open.len().to_string()
}
