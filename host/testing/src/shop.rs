//! A host in this process, on ports of its own and in a folder of its own.

use std::sync::{Arc, Mutex};

use comptoir::clock::Clock;
use comptoir::deploy::Deployment;
use comptoir::host::{Addresses, Host, ManifestSource, Options};
use comptoir::manifest::Manifest;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Answer, Client, PASSWORD, send};
use crate::databases::Database;
use crate::manifests::{options, shop_manifest};

/// A host that serves the shop, or the services of any other manifest.
pub struct Shop {
    host: Option<Host>,
    manifest: Manifest,
    options: Options,
    /// The manifest that a reload reads.
    written: Arc<Mutex<Manifest>>,
    pub data: TempDir,
    /// The PostgreSQL database of its services. None if they keep their data in SQLite files of the folder.
    pub database: Option<Arc<Database>>,
    /// Moves the time of host and guests.
    pub clock: Clock,
    anonymous: Client,
}

/// The same manifest, with its data in a database.
fn keep_in(database: Option<&Database>, manifest: Manifest) -> Manifest {
    Manifest { postgres: database.map(Database::manifest), ..manifest }
}

impl Shop {
    /// The shop with nothing but its seed data.
    pub async fn open() -> Self {
        Self::with(shop_manifest()).await
    }

    /// A host for any manifest.
    pub async fn with(manifest: Manifest) -> Self {
        Self::with_options(manifest, |options| options).await
    }

    /// A host for any manifest, with changed options.
    pub async fn with_options(manifest: Manifest, change: impl FnOnce(Options) -> Options) -> Self {
        let database = Database::if_asked().await.map(Arc::new);
        Self::on(database, manifest, change).await
    }

    /// A host on a database that other hosts may share, with a data folder of its own.
    pub async fn on(
        database: Option<Arc<Database>>,
        manifest: Manifest,
        change: impl FnOnce(Options) -> Options,
    ) -> Self {
        let manifest = keep_in(database.as_deref(), manifest);
        let (data, clock) = (tempfile::tempdir().expect("a temporary folder"), Clock::default());
        let written = Arc::new(Mutex::new(manifest.clone()));
        let read = written.clone();
        let source = ManifestSource::new(move || Ok(read.lock().unwrap().clone()));
        let options = change(Options { source: Some(source), ..options(&clock) });
        let host = Host::start(manifest.clone(), data.path(), options.clone()).await.expect("the host starts");
        Self { host: Some(host), manifest, options, written, data, database, clock, anonymous: Client::new("") }
    }

    fn host(&self) -> &Host {
        self.host.as_ref().expect("the host runs")
    }

    /// The host's current deployment.
    pub fn deployment(&self) -> &Deployment {
        self.host().deployment()
    }

    /// The addresses on which the host listens.
    pub fn addresses(&self) -> Arc<Addresses> {
        self.host().addresses()
    }

    /// Shuts the host down. Returns whether every request ended.
    pub async fn stop(&mut self) -> bool {
        self.host.take().expect("the host runs").shutdown().await
    }

    /// Starts it again on the same folder.
    pub async fn start_again(&mut self) {
        let host = Host::start(self.manifest.clone(), self.data.path(), self.options.clone()).await;
        self.host = Some(host.expect("the host starts again"));
    }

    /// Starts it again on the same folder with another manifest, and with a new operator password if there is one.
    pub async fn start_again_as(&mut self, manifest: Manifest, operator_password: Option<&str>) -> anyhow::Result<()> {
        let operator_password = operator_password.map(str::to_owned);
        let options = Options { operator_password, ..self.options.clone() };
        let manifest = keep_in(self.database.as_deref(), manifest);
        self.host = Some(Host::start(manifest.clone(), self.data.path(), options).await?);
        self.written.lock().unwrap().clone_from(&manifest);
        self.manifest = manifest;
        Ok(())
    }

    /// The manifest with which it started.
    pub fn manifest(&self) -> Manifest {
        self.manifest.clone()
    }

    /// Makes the running host reload this manifest. A later start uses it too, unless the host refused it.
    pub async fn reload(&mut self, manifest: Manifest) -> Answer {
        let manifest = keep_in(self.database.as_deref(), manifest);
        *self.written.lock().unwrap() = manifest.clone();
        let answer = send(self.operator().request(Method::POST, "/reload")).await;
        if answer.status == 200 {
            self.manifest = manifest;
        }
        answer
    }

    /// Checks whether the host would reload this manifest.
    pub async fn check_reload(&self, manifest: Manifest) -> Answer {
        *self.written.lock().unwrap() = keep_in(self.database.as_deref(), manifest);
        send(self.operator().request(Method::POST, "/reload?check=true")).await
    }

    /// Stops and starts it.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// An anonymous caller of the gateway.
    pub fn anon(&self) -> Client {
        self.anonymous.clone().at(&format!("http://{}", self.addresses().gateway))
    }

    /// An anonymous caller of a service's own listener.
    pub fn door(&self, service: &str) -> Client {
        self.anonymous.clone().at(&format!("http://{}", self.addresses().services[service]))
    }

    /// The operator, with the token from the data folder.
    pub fn operator(&self) -> Client {
        let token = std::fs::read_to_string(self.data.path().join("admin.token")).expect("the admin token");
        self.anonymous.clone().at(&format!("http://{}", self.addresses().admin)).with_token(token.trim())
    }

    /// The seeded administrator, logged in.
    pub async fn admin(&self) -> Client {
        self.anon().log_in("admin", "admin").await
    }

    /// Registers a user and logs in.
    pub async fn user(&self, username: &str) -> Client {
        let registered =
            self.anon().post("/auth/register", json!({ "username": username, "password": PASSWORD })).await;
        assert_eq!(registered.status, 201, "{username} was not registered: {}", registered.body);
        self.anon().log_in(username, PASSWORD).await
    }
}
