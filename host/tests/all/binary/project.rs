//! Commands in the folders of a project: they find its manifest and its host. `check` and `inspect` try components.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use testing::built::{compiled, program};
use testing::component;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::deploys::texts::rewritten;
use crate::deploys::{service, variant};

use super::{Program, get, manifest, serve, serve_alone};

const HELLO: &str = r#"[services.hello]
component = "guest_stateless.wasm"
mounts = ["/stateless"]
public = ["/stateless"]
"#;

/// Runs a command in a folder.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(folder).env("COMPTOIR_CACHE", compiled()).output().await.unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn commands_below_a_project_find_its_manifest_and_its_host_whatever_its_ports() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    manifest(&folder, HELLO);
    let below = folder.path().join("src/deep");
    std::fs::create_dir_all(&below).unwrap();

    let status = complaint(&run(&below, &["status"]).await);
    let data = folder.path().canonicalize().unwrap().join("data");
    assert!(status.contains(&format!("no host has served with the data folder {}", data.display())), "{status}");

    let _program = Program::spawn(serve(&folder, HELLO), &folder).await;
    let status = printed(&run(&below, &["status"]).await);
    assert!(status.contains("\nhello "), "{status}");
    assert_eq!(printed(&run(folder.path(), &["status"]).await), status, "in the folder of the manifest");
    let elsewhere = tempfile::tempdir().unwrap();
    let status = complaint(&run(elsewhere.path(), &["status"]).await);
    let data = elsewhere.path().canonicalize().unwrap().join("data");
    assert!(
        status.contains(&format!("no host has served with the data folder {}: start one there", data.display())),
        "{status}"
    );
}

/// A program on a port that is not the host's. It notes all that it gets.
struct Stranger {
    address: SocketAddr,
    got: Arc<Mutex<Vec<u8>>>,
}

impl Stranger {
    /// One that passes everything on to a host, or else answers each request itself.
    async fn listen(host: Option<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, got) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let noted = got.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(Self::serve(client, host, noted.clone()));
            }
        });
        Self { address, got }
    }

    async fn serve(client: TcpStream, host: Option<SocketAddr>, noted: Arc<Mutex<Vec<u8>>>) {
        let (mut from_client, mut to_client) = client.into_split();
        let mut bytes = [0; 4096];
        let Some(host) = host else {
            while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
                noted.lock().unwrap().extend_from_slice(&bytes[..length]);
                to_client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
            }
            return;
        };
        let (mut from_host, mut to_host) = TcpStream::connect(host).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from_host, &mut to_client).await });
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            noted.lock().unwrap().extend_from_slice(&bytes[..length]);
            to_host.write_all(&bytes[..length]).await.unwrap();
        }
    }

    /// Makes the commands of a data folder find this program instead of the host.
    fn takes_the_port_of(&self, data: &Path) {
        std::fs::write(data.join("admin.address"), format!("{}\n", self.address)).unwrap();
    }

    #[track_caller]
    fn was_asked_but_got_no_token(&self, data: &Path) {
        let got = String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned();
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap();
        assert!(got.starts_with("GET /proof?nonce=") && !got.contains(token.trim()), "{got}");
    }
}

#[tokio::test]
async fn a_program_on_the_port_of_a_host_that_is_gone_does_not_get_the_admin_token() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut program = Program::spawn(serve(&folder, HELLO), &folder).await;
    program.process.kill().await.unwrap();
    let data = folder.path().join("data");
    let stranger = Stranger::listen(None).await;
    stranger.takes_the_port_of(&data);

    let said = complaint(&run(folder.path(), &["status"]).await);
    let expected =
        format!("the program on {} does not prove that it is the host of the data folder data", stranger.address);
    assert!(said.contains(&expected) && said.contains("its answer is no proof"), "{said}");
    stranger.was_asked_but_got_no_token(&data);
}

#[tokio::test]
async fn a_program_that_passes_the_proof_of_the_host_on_does_not_get_the_admin_token() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let program = Program::spawn(serve(&folder, HELLO), &folder).await;
    let data = folder.path().join("data");
    let admin: SocketAddr = program.admin.trim_start_matches("http://").parse().unwrap();
    let stranger = Stranger::listen(Some(admin)).await;
    stranger.takes_the_port_of(&data);

    let said = complaint(&run(folder.path(), &["status"]).await);
    assert!(said.contains(&format!("the host of this proof listens on {admin}")), "{said}");
    stranger.was_asked_but_got_no_token(&data);
    // A port that the operator names may be forwarded to the host's.
    let forwarded = stranger.address.to_string();
    assert!(printed(&run(folder.path(), &["status", "--admin", &forwarded]).await).contains("\nhello "));
}

#[tokio::test]
async fn a_host_proves_that_it_knows_the_token_of_its_data_folder_and_no_other() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let program = Program::spawn(serve(&folder, HELLO), &folder).await;
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("admin.token"), "0".repeat(43)).unwrap();
    let admin = program.admin.trim_start_matches("http://");
    let data = elsewhere.path().to_str().unwrap();
    let said = complaint(&run(folder.path(), &["status", "--admin", admin, "--data", data]).await);
    assert!(said.contains("its proof is wrong"), "{said}");
    for query in ["", "?nonce=", "?nonce=0123", &format!("?nonce={}", "x".repeat(64))] {
        assert_eq!(get(&format!("{}/proof{query}", program.admin), "proof").await.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn serve_and_check_find_the_manifest_above_or_say_that_there_is_none() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let elsewhere = complaint(&run(folder.path(), &["check"]).await);
    assert!(elsewhere.contains("there is no comptoir.toml in ") && elsewhere.contains("--manifest"), "{elsewhere}");

    manifest(&folder, HELLO);
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let checked = printed(&run(&below, &["check"]).await);
    assert!(checked.contains("comptoir.toml is valid\n  hello "), "{checked}");
    let mut serve = Command::new(program());
    serve.arg("serve").current_dir(&below).kill_on_drop(true);
    serve.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let _program = Program::spawn(serve, &folder).await;
    assert!(folder.path().join("data/admin.token").exists(), "the data folder is beside the manifest");
}

/// A manifest with a fault that only shows when a component runs.
async fn check(services: &str) -> (TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    manifest(&folder, services);
    let checked = run(folder.path(), &["check"]).await;
    (folder, checked)
}

#[tokio::test]
async fn check_tries_routes_and_descriptions_and_leaves_no_data() {
    let (folder, checked) = check(&HELLO.replace("public", "# public")).await;
    let said = complaint(&checked);
    assert!(said.contains("is public, which `public` in [services.hello]"), "{said}");
    let (_, checked) = check(&HELLO.replace("/stateless", "/elsewhere")).await;
    let said = complaint(&checked);
    assert!(said.contains("is outside of its mounts (/elsewhere) in [services.hello]"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the manifest");
}

#[tokio::test]
async fn check_reports_every_component_that_cannot_serve() {
    let broken = [("one", "/elsewhere", "[]"), ("two", "/nowhere", "[]"), ("three", "/stateless", "[\"/stateless\"]")];
    let service = |(name, mount, public): (&str, &str, &str)| {
        format!("[services.{name}]\ncomponent = \"guest_stateless.wasm\"\nmounts = [\"{mount}\"]\npublic = {public}\n")
    };
    let (_, checked) = check(&broken.map(service).concat()).await;
    let said = complaint(&checked);
    for name in ["one", "two"] {
        assert!(said.contains(&format!("comptoir: the service `{name}` could not be described: ")), "{said}");
    }
    assert!(said.ends_with("2 of 3 components cannot serve\n") && !said.contains("`three`"), "{said}");
}

#[tokio::test]
async fn check_reads_the_compilation_cache_of_the_data_folder_and_writes_only_its_own() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    drop(Program::spawn(serve_alone(&folder, HELLO), &folder).await);
    let files = |folder: &Path| {
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect();
        files.sort();
        files
    };
    let (cache, own) = (folder.path().join("data/cache"), folder.path().join("own"));
    let before = files(&cache);
    assert_eq!(before.len(), 2, "the key and the compiled component: {before:?}");
    let check = ["check", "--cache", own.to_str().unwrap()];
    printed(&run(folder.path(), &check).await);
    assert_eq!(files(&cache), before);
    assert_eq!(files(&own).len(), 1, "only the key: the component was not compiled again");

    std::fs::remove_dir_all(&cache).unwrap();
    printed(&run(folder.path(), &check).await);
    assert_eq!(files(&own).len(), 2, "now its own cache has the component");
    assert!(!cache.exists());
}

#[tokio::test]
async fn check_with_postgres_translates_migrations_and_says_what_it_did_not_check() {
    let folder = tempfile::tempdir().unwrap();
    let file = manifest(&folder, "");
    let url = folder.path().join("postgres.url");
    std::fs::write(&url, "postgres://nobody:password@127.0.0.1:1/nowhere").unwrap();
    std::fs::set_permissions(&url, std::fs::Permissions::from_mode(0o600)).unwrap();
    let component = folder.path().join("variant.wasm");
    let text = std::fs::read_to_string(&file).unwrap() + "[postgres]\nurl = \"postgres.url\"\n";
    std::fs::write(&file, text + &service(component.to_str().unwrap(), "")).unwrap();

    std::fs::write(&component, variant("good")).unwrap();
    let checked = printed(&run(folder.path(), &["check"]).await);
    assert!(checked.contains("not checked: PostgreSQL. The components ran on SQLite"), "{checked}");
    // Only SQLite's dialect has views.
    let table = "CREATE TABLE flags (name TEXT PRIMARY KEY) STRICT;";
    let view = format!("{:<width$}", "CREATE VIEW flags AS SELECT 'x' AS name;", width = table.len());
    std::fs::write(&component, rewritten("good", table, &view)).unwrap();
    let said = complaint(&run(folder.path(), &["check"]).await);
    assert!(said.contains("could not be migrated: it cannot run on PostgreSQL: migration 1, statement "), "{said}");
}

#[tokio::test]
async fn inspect_prints_the_lines_that_a_manifest_needs_and_check_accepts_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, described) in [("orders", true), ("auth", true), ("guest_plain_p2", false), ("guest_plain_p3", false)] {
        let file = component(name);
        let inspected = printed(&run(folder.path(), &["inspect", file.to_str().unwrap()]).await);
        assert_eq!(inspected.contains("  route "), described, "{inspected}");
        let (_, lines) = inspected.split_once("\n[services.").expect("a table of the manifest");
        let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        std::fs::write(folder.path().join("comptoir.toml"), format!("{listeners}[services.{lines}")).unwrap();
        printed(&run(folder.path(), &["check"]).await);
    }
    let orders = component("orders");
    let inspected = printed(&run(folder.path(), &["inspect", orders.to_str().unwrap()]).await);
    for line in [
        "  imports comptoir:platform/storage@0.1.0  (needs the grant \"storage\")",
        "  route GET    /products  (Public)",
        "public = [\"/products\"]",
        "mounts = [\"/orders\", \"/products\"]",
        "grants = [\"storage\"]",
    ] {
        assert!(inspected.contains(line), "`{line}` is not in {inspected}");
    }
}

#[tokio::test]
async fn inspect_says_why_a_file_cannot_be_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foreign.wasm");
    let foreign = r#"(component (import "wasi:webgpu/webgpu@0.2.6" (instance (export "f" (func)))))"#;
    for (bytes, why) in [
        (b"hello".to_vec(), "foreign.wasm: it is not a WebAssembly component"),
        (wat::parse_str("(module)").unwrap(), "it is a core module: build it as a component"),
        (wat::parse_str(foreign).unwrap(), "it exports neither `wasi:http/incoming-handler"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let said = complaint(&run(folder.path(), &["inspect", "foreign.wasm"]).await);
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn doctor_names_what_it_checks_and_how_to_cure_a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = manifest(&folder, HELLO);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&file).unwrap().replacen("127.0.0.1:0", &address, 1);
    std::fs::write(&file, text).unwrap();

    let output = run(folder.path(), &["doctor"]).await;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    for check in ["kernel", "swap", "address space", "descriptors", "clock", "disk", "permissions", "ports"] {
        assert!(
            found.lines().any(|line| line.get(8..).is_some_and(|rest| rest.starts_with(check))),
            "{check}: {found}"
        );
    }
    let broken = format!("broken  ports          gateway {address}: Address already in use");
    assert!(found.contains(&broken), "{found}");
    assert!(found.contains("cure: stop the program that uses the port"), "{found}");
    assert!(complaint(&output).contains("run `comptoir doctor` again"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "`doctor` creates no file");
}
