//! A component for WASI 0.3 that tells its configuration and reads files. The last segment of the path says what to do, the query with
//! what.

include!("../../component.rs");

component!(Site, {
    path: ["../plain-p3/wit", "../../../../wit/deps/config.wit"],
    inline: "package test:site; world site {
        include wasi:http/service@0.3.0;
        import wasi:cli/environment@0.3.0;
        import wasi:filesystem/types@0.3.0;
        import wasi:filesystem/preopens@0.3.0;
        import wasi:config/store@0.2.0-rc.1;
    }",
    world: "test:site/site",
    generate_all,
});

use bindings::wasi::cli::environment;
use bindings::wasi::config::store;
use bindings::wasi::filesystem::preopens::get_directories;
use bindings::wasi::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode as FileError, NewTimestamp, OpenFlags, PathFlags,
};
use bindings::wasi::http::types::{ErrorCode, Fields, Request, Response};

struct Site;

impl bindings::exports::wasi::http::handler::Guest for Site {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, argument) = target.split_once('?').unwrap_or((&target, ""));
        let text = match path.rsplit('/').next().unwrap_or_default() {
            "config" => config(),
            what => match get_directories().into_iter().next() {
                Some((folder, name)) => files(&folder, &name, what, argument).await,
                None => "no folder".to_owned(),
            },
        };
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

fn config() -> String {
    [
        lines(store::get_all().expect("the host returns no error")),
        format!("{:?}\n", store::get("absent")),
        lines(environment::get_environment()),
    ]
    .concat()
}

fn lines(mut pairs: Vec<(String, String)>) -> String {
    pairs.sort();
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

async fn files(folder: &Descriptor, name: &str, what: &str, argument: &str) -> String {
    match what {
        "read" => match open(folder, argument, OpenFlags::empty(), DescriptorFlags::READ).await {
            Ok(file) => {
                let (bytes, end) = file.read_via_stream(0);
                let bytes = bytes.collect().await;
                format!("{name} {} {:?}", String::from_utf8_lossy(&bytes), end.await)
            }
            Err(error) => format!("{error:?}"),
        },
        "list" => match open(folder, argument, OpenFlags::DIRECTORY, DescriptorFlags::READ).await {
            Ok(listed) => {
                let (entries, end) = listed.read_directory();
                let kind = |entry: bindings::wasi::filesystem::types::DirectoryEntry| {
                    (entry.name, format!("{:?}", entry.type_))
                };
                lines(entries.collect().await.into_iter().map(kind).collect()) + &format!("{:?}", end.await)
            }
            Err(error) => format!("{error:?}"),
        },
        "write" => writes(folder).await,
        "open" => open_many(folder, argument).await,
        other => format!("this guest cannot do {other}"),
    }
}

async fn open(
    folder: &Descriptor,
    path: &str,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
) -> Result<Descriptor, FileError> {
    folder.open_at(PathFlags::SYMLINK_FOLLOW, path.to_owned(), open_flags, flags).await
}

/// Tries every kind of write in a folder with the file `a.txt` and the folder `inner`. Returns the errors.
async fn writes(folder: &Descriptor) -> String {
    let path = |name: &str| name.to_owned();
    let flags = DescriptorFlags::WRITE;
    let results = [
        ("create", open(folder, "new", OpenFlags::CREATE, flags).await.map(drop)),
        ("truncate", open(folder, "a.txt", OpenFlags::TRUNCATE, DescriptorFlags::READ).await.map(drop)),
        ("write", open(folder, "a.txt", OpenFlags::empty(), flags).await.map(drop)),
        (
            "mutate",
            match open(folder, "inner", OpenFlags::DIRECTORY, DescriptorFlags::MUTATE_DIRECTORY).await {
                Ok(inner) => inner.create_directory_at(path("new")).await,
                Err(error) => Err(error),
            },
        ),
        ("touch", folder.set_times(NewTimestamp::Now, NewTimestamp::Now).await),
        ("create folder", folder.create_directory_at(path("new")).await),
        ("remove folder", folder.remove_directory_at(path("inner")).await),
        ("remove", folder.unlink_file_at(path("a.txt")).await),
        ("rename", folder.rename_at(path("a.txt"), folder, path("new")).await),
        ("link", folder.link_at(PathFlags::empty(), path("a.txt"), folder, path("new")).await),
        ("symlink", folder.symlink_at(path("a.txt"), path("new")).await),
    ];
    results.map(|(what, result)| format!("{what} {result:?}\n")).concat()
}

/// Opens a file `n` times for the argument `n:path`. Keeps streams of them, but not the descriptors.
async fn open_many(folder: &Descriptor, argument: &str) -> String {
    let (count, path) = argument.split_once(':').unwrap_or(("1", argument));
    let mut streams = Vec::new();
    for _ in 0..count.parse().unwrap_or(1) {
        match open(folder, path, OpenFlags::empty(), DescriptorFlags::READ).await {
            Ok(file) => streams.push(file.read_via_stream(0)),
            Err(error) => return format!("{} {error:?}", streams.len()),
        }
    }
    streams.len().to_string()
}
