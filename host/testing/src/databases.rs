//! The storage of the suite's hosts: SQLite files, or PostgreSQL if `COMPTOIR_TEST_POSTGRES` names a server.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use comptoir::manifest::Postgres;
use tokio_postgres::{Client, NoTls};

/// A PostgreSQL database for the hosts of one test. Dropping this drops the database.
pub struct Database {
    name: String,
    folder: tempfile::TempDir,
}

/// The connection string of the server that the suite was given.
fn server() -> Option<String> {
    std::env::var("COMPTOIR_TEST_POSTGRES").ok().filter(|url| !url.is_empty())
}

/// Whether hosts keep their data in PostgreSQL.
pub fn in_postgres() -> bool {
    server().is_some()
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server answers");
    tokio::spawn(async move { drop(connection.await) });
    client
}

/// Creates a database with a random name, and returns the name.
async fn create(server: &str) -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    let name = format!("shop_{:016x}", u64::from_be_bytes(bytes));
    connect(server).await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    name
}

/// The connection string of a database on the server.
fn url(name: &str) -> String {
    let server = server().unwrap();
    let (server, _) = server.rsplit_once('/').expect("a URL that ends with a database");
    format!("{server}/{name}")
}

fn write(file: &Path, url: &str) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).unwrap();
    file.write_all(url.as_bytes()).unwrap();
}

/// Blocks until a future is done, on a runtime of its own. A `Drop` implementation can call this.
pub(crate) fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let waiting = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    });
    waiting.join().unwrap()
}

impl Database {
    /// Creates a database. None if hosts keep their data in files.
    pub async fn if_asked() -> Option<Self> {
        let server = server()?;
        let name = create(&server).await;
        let folder = tempfile::tempdir().unwrap();
        let database = Self { name, folder };
        write(&database.file(), &database.url());
        Some(database)
    }

    /// Creates a database, for a test that needs PostgreSQL.
    pub async fn create() -> Self {
        Self::if_asked()
            .await
            .expect("COMPTOIR_TEST_POSTGRES is not set: run `just test-postgres`, which starts a server")
    }

    /// The connection string.
    pub fn url(&self) -> String {
        url(&self.name)
    }

    /// The file that contains the connection string.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("postgres.url")
    }

    /// The `[postgres]` table of a manifest that uses this database.
    pub fn manifest(&self) -> Postgres {
        Postgres { url: self.file(), authority: None, line: 1 }
    }

    /// A connection beside those of the host.
    pub async fn outsider(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (server().unwrap(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        wait(async move { connect(&server).await.batch_execute(&drop).await }).expect("the database goes");
    }
}

/// The lines that make a manifest use the PostgreSQL database of this folder.
///
/// The first call creates the database, which is never dropped. Returns no lines if hosts keep their data in files.
pub fn manifest_lines(folder: &Path) -> String {
    let Some(server) = server() else { return String::new() };
    let file = folder.join("postgres.url");
    if !file.exists() {
        let name = wait(async move { create(&server).await });
        write(&file, &url(&name));
    }
    manifest_of(&file)
}

/// The lines of a manifest for a connection string in this file.
pub fn manifest_of(file: &Path) -> String {
    format!("[postgres]\nurl = {file:?}\n")
}

/// Creates a table for a service without migrations.
///
/// In SQLite, call this before the host first starts, because it creates the data folder. In PostgreSQL, call it afterwards,
/// because the host creates the service's schema.
pub fn make_table(folder: &Path, service: &str, columns: &str) {
    let file = folder.join("postgres.url");
    if !file.exists() {
        let data = folder.join("data");
        fs::DirBuilder::new().mode(0o700).create(&data).unwrap();
        let database = rusqlite::Connection::open(data.join(format!("{service}.db"))).unwrap();
        return database.execute_batch(&format!("CREATE TABLE {columns} STRICT")).unwrap();
    }
    let url = fs::read_to_string(file).unwrap();
    let columns = columns.replace("INTEGER PRIMARY KEY", "bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY");
    let make = format!("SET search_path = \"service_{service}\"; CREATE TABLE {columns}");
    let name = columns.split_whitespace().next().unwrap().to_owned();
    wait(async move { connect(&url).await.batch_execute(&format!("{make}; GRANT ALL ON {name} TO PUBLIC")).await })
        .unwrap();
}
