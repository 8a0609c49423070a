//! A whole host in this process, on ports of its own and a folder of its own, and clients that speak HTTP to it.

#[path = "databases.rs"]
pub mod databases;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use comptoir::clock::Clock;
use comptoir::deploy::Deployment;
use comptoir::host::{Addresses, Host, Options};
use comptoir::manifest::{Manifest, PasswordRules};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

use databases::Database;

/// The password of every user that a test registers.
pub const PASSWORD: &str = "correct horse battery";

/// A host that serves the shop, or whatever a manifest says.
pub struct Shop {
    host: Option<Host>,
    manifest: Manifest,
    options: Options,
    pub data: TempDir,
    /// Where its services' data is, if not in files of the folder.
    pub database: Option<Arc<Database>>,
    /// Moves the time of host and guests.
    pub clock: Clock,
    http: reqwest::Client,
}

/// Where `just components` and `just guests` put what they build.
pub fn component(name: &str) -> PathBuf {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wasm32-wasip2/component").join(format!("{name}.wasm"));
    assert!(file.exists(), "{} is missing: run `just components guests` first", file.display());
    file
}

/// What nothing takes on the slowest machine, unless it never ends.
pub const AMPLE: Duration = Duration::from_secs(60);

/// Passwords that are cheap to check, because nearly every test logs in. A manifest that is read may not ask for so little.
fn cheap_passwords() -> PasswordRules {
    PasswordRules { memory: ByteSize::kib(64), passes: 1, queue_time: AMPLE, ..PasswordRules::default() }
}

/// The shipped manifest, on ports that the system picks, with a small pool and cheap passwords.
pub fn shop_manifest() -> Manifest {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("comptoir.toml");
    let mut manifest = Manifest::read(&file).expect("the shipped manifest is sound");
    let any_port = ([127, 0, 0, 1], 0).into();
    (manifest.listeners.gateway, manifest.listeners.admin, manifest.instances) = (any_port, any_port, 100);
    manifest.listeners.hosts = vec!["*".to_owned()];
    manifest.passwords = cheap_passwords();
    (manifest.deploy.compile_time, manifest.deploy.probe_time) = (AMPLE, AMPLE);
    for (name, service) in &mut manifest.services {
        service.listen = Some(any_port);
        let limits = &mut service.limits;
        (limits.time, limits.cpu, limits.queue_time, limits.statement_time, limits.transaction_time) =
            (AMPLE, AMPLE, AMPLE, AMPLE, AMPLE);
        service.component = component(name);
    }
    manifest
}

/// A manifest with these `[services.…]` tables; `{name}.wasm` in them stands for a built component.
pub fn manifest_of(services: &str) -> Manifest {
    try_manifest_of(services).expect("the manifest is sound")
}

/// The same, for a manifest that may be refused.
pub fn try_manifest_of(services: &str) -> Result<Manifest, comptoir::manifest::ManifestError> {
    let text = format!("instances = 100\n[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{services}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/wasm32-wasip2/component");
    let mut manifest = Manifest::parse(&folder.join("comptoir.toml"), &text)?;
    manifest.listeners.hosts = vec!["*".to_owned()];
    Ok(manifest)
}

/// Options whose compiled code is kept between tests and runs.
pub fn options(clock: &Clock) -> Options {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    Options { clock: clock.clone(), cache: Some(cache), ..Options::default() }
}

/// The same manifest, with its data in a database.
fn keep_in(database: Option<&Database>, manifest: Manifest) -> Manifest {
    Manifest { postgres: database.map(Database::manifest), ..manifest }
}

impl Shop {
    /// The shop with nothing in it but what is seeded.
    pub async fn open() -> Self {
        Self::with(shop_manifest()).await
    }

    /// A host for any manifest.
    pub async fn with(manifest: Manifest) -> Self {
        Self::with_options(manifest, |options| options).await
    }

    /// A host for any manifest that is started with other options.
    pub async fn with_options(manifest: Manifest, change: impl FnOnce(Options) -> Options) -> Self {
        let database = Database::if_asked().await.map(Arc::new);
        Self::on(database, manifest, change).await
    }

    /// Another host beside those that have a database already, with a data folder of its own.
    pub async fn on(
        database: Option<Arc<Database>>,
        manifest: Manifest,
        change: impl FnOnce(Options) -> Options,
    ) -> Self {
        let manifest = keep_in(database.as_deref(), manifest);
        let (data, clock) = (tempfile::tempdir().expect("a temporary folder"), Clock::default());
        let options = change(options(&clock));
        let host = Host::start(manifest.clone(), data.path(), options.clone()).await.expect("the host starts");
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { host: Some(host), manifest, options, data, database, clock, http }
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("the host runs")
    }

    /// What the host serves.
    pub fn deployment(&self) -> &Deployment {
        self.host().deployment()
    }

    /// Where the host listens.
    pub fn addresses(&self) -> &Addresses {
        self.host().addresses()
    }

    /// Ends the host in order. Whether every request ended.
    pub async fn stop(&mut self) -> bool {
        self.host.take().expect("the host runs").shutdown().await
    }

    /// Starts it again on the same folder.
    pub async fn start_again(&mut self) {
        let host = Host::start(self.manifest.clone(), self.data.path(), self.options.clone()).await;
        self.host = Some(host.expect("the host starts again"));
    }

    /// Starts it again on the same folder as another manifest says, perhaps with a new password for the operator.
    pub async fn start_again_as(&mut self, manifest: Manifest, operator_password: Option<&str>) -> anyhow::Result<()> {
        let operator_password = operator_password.map(str::to_owned);
        let options = Options { operator_password, ..self.options.clone() };
        let manifest = keep_in(self.database.as_deref(), manifest);
        self.host = Some(Host::start(manifest.clone(), self.data.path(), options).await?);
        self.manifest = manifest;
        Ok(())
    }

    /// Stops and starts it.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Nobody, at the gateway.
    pub fn anon(&self) -> Client {
        Client { base: format!("http://{}", self.addresses().gateway), http: self.http.clone(), login: None }
    }

    /// Nobody, at a service's own door.
    pub fn door(&self, service: &str) -> Client {
        Client { base: format!("http://{}", self.addresses().services[service]), ..self.anon() }
    }

    /// The operator, with the token from the data folder.
    pub fn operator(&self) -> Client {
        let token = std::fs::read_to_string(self.data.path().join("admin.token")).expect("the admin token");
        self.anon().at(&format!("http://{}", self.addresses().admin)).with_token(token.trim())
    }

    /// The seeded administrator, logged in.
    pub async fn admin(&self) -> Client {
        self.anon().log_in("admin", "admin").await
    }

    /// A user that is registered and logged in.
    pub async fn user(&self, username: &str) -> Client {
        let registered =
            self.anon().post("/auth/register", json!({ "username": username, "password": PASSWORD })).await;
        assert_eq!(registered.status, 201, "{username} was not registered: {}", registered.body);
        self.anon().log_in(username, PASSWORD).await
    }
}

/// Somebody who speaks HTTP to a host.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
    login: Option<Login>,
}

#[derive(Clone)]
struct Login {
    access_token: String,
    refresh_token: String,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    /// Null where the body is no JSON.
    pub body: Value,
    pub text: String,
}

impl Client {
    /// Nobody, at any host.
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { base: base.to_owned(), http, login: None }
    }

    pub fn at(mut self, base: &str) -> Self {
        self.base = base.to_owned();
        self
    }

    /// The same, from another address of this machine, `127.0.0.` and a number.
    pub fn calling_from(&self, number: u8) -> Self {
        let address = std::net::IpAddr::from([127, 0, 0, number]);
        let http = reqwest::Client::builder().no_proxy().local_address(address).build().expect("a client");
        Self { http, ..self.clone() }
    }

    /// The same, with another access token.
    pub fn with_token(&self, access_token: &str) -> Self {
        let login = Login { access_token: access_token.to_owned(), refresh_token: String::new() };
        Self { login: Some(login), ..self.clone() }
    }

    /// The same, logged in.
    pub async fn log_in(&self, username: &str, password: &str) -> Self {
        let answer = self.post("/auth/login", json!({ "username": username, "password": password })).await;
        assert_eq!(answer.status, 200, "{username} cannot log in: {}", answer.body);
        self.with_pair(answer.data())
    }

    /// The same, with a token pair as login and refresh give it.
    pub fn with_pair(&self, pair: &Value) -> Self {
        let token = |name: &str| pair[name].as_str().expect("a token").to_owned();
        let login = Login { access_token: token("access_token"), refresh_token: token("refresh_token") };
        Self { login: Some(login), ..self.clone() }
    }

    /// The same, logged out without telling the host.
    pub fn without_token(&self) -> Self {
        Self { login: None, ..self.clone() }
    }

    pub fn access_token(&self) -> &str {
        &self.login.as_ref().expect("somebody logged in").access_token
    }

    pub fn refresh_token(&self) -> &str {
        &self.login.as_ref().expect("somebody logged in").refresh_token
    }

    /// A request in the making, with the client's token.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.login {
            Some(login) => request.bearer_auth(&login.access_token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Sends a body as it is, of a content type or of none.
    pub async fn send_body(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let request = self.request(method, path).body(body);
        send(match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        })
        .await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::PUT, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }
}

/// Sends a request and reads all of the answer.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a whole answer");
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
}

impl Answer {
    /// `data` of the envelope.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Asserts an error in the envelope.
    #[track_caller]
    pub fn refuses(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), &self.body["error"]["code"]), (status, &json!(code)), "{}", self.text);
        assert_eq!(self.body["success"], json!(false), "{}", self.text);
        assert!(self.body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", self.text);
    }

    /// Asserts success in the envelope and gives `data`.
    #[track_caller]
    pub fn succeeds(&self, status: u16) -> &Value {
        assert_eq!((self.status.as_u16(), &self.body["success"]), (status, &json!(true)), "{}", self.text);
        self.data()
    }
}

/// Whether a value is a text like `2024-02-29 12:00:00`.
pub fn is_date_time(value: &Value) -> bool {
    let shape = |byte: u8| if byte.is_ascii_digit() { '0' } else { byte.into() };
    value.as_str().is_some_and(|text| text.bytes().map(shape).eq("0000-00-00 00:00:00".chars()))
}
