//! Opens the databases of services and tokens: files in the data folder, or schemas in PostgreSQL.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context as _, bail};
use storage::Storage;
use storage::folder::DataFolder;
use storage::keyvalue::KeyValue;
use storage::postgres::{PostgresConfig, PostgresServer, PostgresStorage};
use storage::sqlite::{SqliteConfig, SqliteStorage};
use tokio::time::sleep;

use crate::clock::Clock;
use crate::deploy::{Entries, Opened, Storages};
use crate::manifest::{HOST_NAME, Limits, Manifest};
use crate::tokens::Tokens;

/// The suffix that turns a service's name into the name of its key-value database. No service's name contains it.
const KEYVALUE: &str = "_keyvalue";

/// While the host waits for a database, it logs one of this many attempts.
const ATTEMPTS_PER_LINE: u64 = 30;

/// Databases by name, as long as somebody uses them.
pub(super) type Closing = BTreeMap<String, Weak<dyn Storage>>;

/// The open databases.
pub(super) struct Databases {
    /// Those of services.
    pub(super) opened: Opened,
    pub(super) tokens: Arc<Tokens>,
}

/// Where databases are.
enum Engine {
    Files,
    Postgres(Box<Server>),
}

/// A PostgreSQL server.
struct Server {
    server: PostgresServer,
    /// The place of its table in the manifest.
    place: String,
    /// Whether to wait for a server that cannot be reached.
    waits: bool,
}

/// Opens the databases that the manifest needs, and creates missing ones. Waits for a server that cannot be reached.
pub(super) async fn open(manifest: &Manifest, folder: &DataFolder, clock: &Clock) -> anyhow::Result<Databases> {
    let engine = Engine::of(manifest, true)?;
    let opened = engine.open_all(manifest, folder, &Storages::new(), &Closing::new()).await?;
    let tokens = match &engine {
        Engine::Files => Tokens::open(folder.path(), clock.clone())?,
        Engine::Postgres(server) => {
            let own = server.open(HOST_NAME, PostgresConfig::default()).await;
            let own = own.context("the host's own database cannot be opened")?;
            Clock::check_against(&own).await.context(server.place.clone())?;
            Tokens::open_shared(Arc::new(own), clock.clone()).await?
        }
    };
    Ok(Databases { opened, tokens: Arc::new(tokens) })
}

/// Opens the databases that a manifest needs beside those that are `open`. Those in `closing` are taken from there. Does not wait
/// for a server that cannot be reached.
pub(super) async fn open_missing(
    manifest: &Manifest,
    folder: &DataFolder,
    open: &Storages,
    closing: &Closing,
) -> anyhow::Result<Opened> {
    Engine::of(manifest, false)?.open_all(manifest, folder, open, closing).await
}

impl Engine {
    fn of(manifest: &Manifest, waits: bool) -> anyhow::Result<Self> {
        let Some(postgres) = &manifest.postgres else { return Ok(Self::Files) };
        let place = format!("{}:{}: [postgres]", manifest.file.display(), postgres.line);
        let server = PostgresServer::read(&postgres.url, postgres.authority.as_deref()).context(place.clone())?;
        Ok(Self::Postgres(Box::new(Server { server, place, waits })))
    }

    async fn open_all(
        &self,
        manifest: &Manifest,
        folder: &DataFolder,
        open: &Storages,
        closing: &Closing,
    ) -> anyhow::Result<Opened> {
        let mut opened = Opened::default();
        for (name, service) in &manifest.services {
            let limits = &service.limits;
            if service.has_storage() && !open.contains_key(name) {
                opened.storages.insert(name.clone(), self.open(name, limits, folder, closing).await?);
            }
            let database = format!("{name}{KEYVALUE}");
            if service.has_entries() && !open.contains_key(&database) {
                let storage = self.open(&database, limits, folder, closing).await?;
                let prepared = KeyValue::prepare(&*storage).await;
                prepared.with_context(|| format!("the entries of the service `{name}` cannot be opened"))?;
                let keyvalue = Arc::new(KeyValue::new(storage.clone()));
                opened.entries.insert(name.clone(), Entries { database, storage, keyvalue });
            }
        }
        Ok(opened)
    }

    /// Opens one database.
    async fn open(
        &self,
        name: &str,
        limits: &Limits,
        folder: &DataFolder,
        closing: &Closing,
    ) -> anyhow::Result<Arc<dyn Storage>> {
        if let Some(storage) = closing.get(name).and_then(Weak::upgrade) {
            return Ok(storage);
        }
        let file = folder.database(name)?;
        let failed = || format!("the database of the service `{name}` cannot be opened");
        match self {
            Self::Files => {
                let config = sqlite_config(limits);
                let opened = tokio::task::spawn_blocking(move || SqliteStorage::open(file, config)).await?;
                Ok(Arc::new(opened.with_context(failed)?))
            }
            Self::Postgres(..) if file.exists() => bail!(
                "the service `{name}` has a database in {}, but the manifest has [postgres], so the host would ignore it: move the \
                 file away, or remove [postgres]",
                file.display()
            ),
            Self::Postgres(server) => {
                Ok(Arc::new(server.open(name, postgres_config(limits)).await.with_context(failed)?))
            }
        }
    }
}

impl Server {
    /// Opens one schema. If the server cannot be reached and `waits` is set, this says so and tries again every second.
    async fn open(&self, name: &str, config: PostgresConfig) -> anyhow::Result<PostgresStorage> {
        for attempt in 0_u64.. {
            let error = match self.server.open(name, config.clone()).await {
                Err(error) if self.waits && error.is_temporary() => error,
                opened => return opened.context(self.place.clone()),
            };
            if attempt.is_multiple_of(ATTEMPTS_PER_LINE) {
                tracing::error!(service = name, %error, "{}: waiting for the database of {name}, trying again every second", self.place);
            }
            sleep(Duration::from_secs(1)).await;
        }
        unreachable!("attempts do not end")
    }
}

fn sqlite_config(limits: &Limits) -> SqliteConfig {
    SqliteConfig {
        statement_deadline: limits.statement_time,
        transaction_lease: limits.transaction_time,
        database_bytes: limits.database_bytes,
        migration_wait: limits.time,
        // The other half of the instances can keep reading.
        waiting_for_migrations: limits.concurrency.div_ceil(2),
        ..SqliteConfig::default()
    }
}

fn postgres_config(limits: &Limits) -> PostgresConfig {
    PostgresConfig {
        statement_deadline: limits.statement_time,
        transaction_lease: limits.transaction_time,
        migration_wait: limits.time,
        waiting_for_migrations: limits.concurrency.div_ceil(2),
        ..PostgresConfig::default()
    }
}
