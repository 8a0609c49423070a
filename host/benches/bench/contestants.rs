//! The servers that are compared: Comptoir in its variants, the native twin and `wasmtime serve`. Each starts on its own data.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::constants::{LOGIN, ORDER, STOCK};
use crate::server::{Announces, Server};
use crate::twin;
use crate::wire::{Request, ask};

/// The manifest table of a component that answers hello.
const HELLO: &str = r#"
[services.hello]
component = "guest_plain_p2.wasm"
mounts = ["/hello"]
access = "public"
"#;

/// The manifest table of a service that misbehaves.
pub const UNRULY: &str = r#"
[services.unruly]
component = "guest_unruly.wasm"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
"#;

/// The file of a component that `just components guests` built.
pub fn component(name: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wasm32-wasip2/component");
    let file = folder.join(format!("{name}.wasm"));
    file.canonicalize().with_context(|| format!("{} is missing: run `just components guests`", file.display()))
}

/// The program to measure.
pub fn comptoir() -> Command {
    Command::new(env!("CARGO_BIN_EXE_comptoir"))
}

/// The compilation cache that all runs share.
fn compiled() -> anyhow::Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-compiled");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// A folder with a manifest and a host's data.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// The shipped shop and the hello component, on ports that the system picks. `more` is added to the manifest.
    /// Every request gets a fresh instance, because the response cache is off.
    pub fn shop(more: &str) -> anyhow::Result<Self> {
        Self::of(&format!("{}\n{HELLO}{more}", uncached()?))
    }

    /// The same, but the busiest services reuse their instances.
    pub fn reusing_shop() -> anyhow::Result<Self> {
        let mut text = format!("{}\n{HELLO}", uncached()?);
        for service in ["user", "orders", "hello"] {
            let head = format!("[services.{service}]\n");
            text = text.replace(&head, &format!("{head}reuse = \"anyone\"\n"));
        }
        Self::of(&text)
    }

    /// The shop as it ships, with the response cache.
    pub fn caching_shop() -> anyhow::Result<Self> {
        Self::of(&format!("{}\n{HELLO}", shipped()?))
    }

    /// A host for any manifest. It names components by file name only.
    pub fn of(manifest: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let built = component("orders")?;
        let built = built.parent().context("a component lies in a folder")?;
        let text = manifest.replace("component = \"", &format!("component = \"{}/", built.display()));
        std::fs::write(folder.path().join("comptoir.toml"), text)?;
        Ok(Self { folder })
    }

    /// The command that serves it. `warm` uses the shared compilation cache; else it compiles into its data folder.
    pub fn command(&self, warm: bool) -> anyhow::Result<Command> {
        let mut command = comptoir();
        command.arg("serve");
        command.arg("--manifest").arg(self.folder.path().join("comptoir.toml"));
        command.arg("--data").arg(self.folder.path().join("data"));
        if warm {
            command.arg("--cache").arg(compiled()?);
        }
        Ok(command)
    }

    /// Serves it on the server's core.
    pub fn serve(&self) -> anyhow::Result<Server> {
        Server::start(&self.command(true)?, Announces::Stdout, "gateway  http://")
    }

    /// Serves it on all cores.
    pub fn serve_anywhere(&self, warm: bool) -> anyhow::Result<Server> {
        Server::start_anywhere(self.command(warm)?, Announces::Stdout, "gateway  http://")
    }

    /// Creates the databases by a first start, and fills the stock.
    pub fn stock(&self) -> anyhow::Result<()> {
        self.serve()?.stop()?;
        let database = rusqlite::Connection::open(self.folder.path().join("data/orders.db"))?;
        database.execute("UPDATE products SET stock = $1", [STOCK])?;
        Ok(())
    }
}

/// The shipped manifest on ports that the system picks, without the services' own listeners.
///
/// Passwords have ample time, because an unoptimised build needs it. Such a build only shows that the bench works.
fn shipped() -> anyhow::Result<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("comptoir.toml"))?;
    let lines = text.lines().filter(|line| !line.starts_with("listen =")).map(any_port);
    let text = lines.collect::<Vec<_>>().join("\n").replace("../target/wasm32-wasip2/component/", "");
    // All clients of the bench share one address, so its share must be large.
    let shares = "[listeners]\nconnections_each = 16384\nrequests = 16384\nrequests_each = 16384\n";
    Ok(text.replace("[listeners]\n", shares) + "\n[passwords]\nqueue_time = \"1m\"\n")
}

/// The same without the response cache.
fn uncached() -> anyhow::Result<String> {
    Ok(shipped()?.replace("\n[limits]\n", "\n[limits]\nanswers = \"off\"\n"))
}

fn any_port(line: &str) -> String {
    match line.split_once("\"127.0.0.1:") {
        Some((before, _)) => format!("{before}\"127.0.0.1:0\""),
        None => line.to_owned(),
    }
}

/// The native twin. At most `group` transactions share a sync.
pub fn serve_twin(group: usize) -> anyhow::Result<(TempDir, Server)> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(twin::ROLE).arg(folder.path()).arg(group.to_string());
    Ok((folder, Server::start(&command, Announces::Stdout, "twin http://")?))
}

/// `wasmtime serve` with its default settings, if it is installed.
pub fn serve_wasmtime() -> anyhow::Result<Option<Server>> {
    let Ok(version) = Command::new("wasmtime").arg("--version").output() else { return Ok(None) };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    ensure!(
        version.starts_with("wasmtime 48."),
        "`wasmtime` is {version}, but the bench needs 48: run `just bench-tools`"
    );
    let mut command = Command::new("wasmtime");
    command.args(["serve", "-S", "cli", "--addr", "127.0.0.1:0"]).arg(component("guest_plain_p2")?);
    Server::start(&command, Announces::Stderr, "http://").map(Some)
}

/// An access token of the seeded login.
pub fn token(server: &Server) -> anyhow::Result<String> {
    let (status, answer) = ask(server.address, &Request::post("/auth/login", None, LOGIN))?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    match answer["data"]["access_token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => bail!("the login of the seeded administrator was answered with {status}: {answer}"),
    }
}

/// Fails if two servers answer differently. It compares status and bytes, without times, ids and tokens.
pub fn answer_the_same(one: &Server, other: &Server) -> anyhow::Result<()> {
    let tokens = [token(one)?, token(other)?];
    let requests = |token: &str| {
        [
            Request::get("/hello", None),
            Request::get("/products", None),
            Request::get("/users/1", Some(token)),
            Request::get("/users/1", Some("forged")),
            Request::post("/orders", Some(token), ORDER),
            Request::post("/auth/login", None, LOGIN),
        ]
    };
    for (mine, yours) in requests(&tokens[0]).iter().zip(&requests(&tokens[1])) {
        let (mine, yours) = (masked(ask(one.address, mine)?), masked(ask(other.address, yours)?));
        ensure!(
            mine == yours,
            "the servers answer differently, so comparing them means nothing:\n  {mine:?}\n  {yours:?}"
        );
    }
    Ok(())
}

/// An answer without the values that differ from run to run.
fn masked((status, mut body): (u16, String)) -> (u16, String) {
    let mut varying = vec!["date_creation", "access_token", "refresh_token", "refresh_expires_at", "request_id"];
    if body.contains("\"order_id\":") {
        varying.extend(["id", "order_id"]);
    }
    for key in varying {
        let key = format!("\"{key}\":");
        let mut from = 0;
        while let Some(at) = body[from..].find(&key) {
            from += at + key.len();
            let length = body[from..].find([',', '}']).unwrap_or(0);
            body.replace_range(from..from + length, "");
        }
    }
    // The twin has no request ids.
    (status, body.replace(",\"request_id\":", ""))
}
