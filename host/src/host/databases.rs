//! Opens the databases of services and tokens: files in the data folder, or schemas in PostgreSQL.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use storage::Storage;
use storage::folder::DataFolder;
use storage::keyvalue::KeyValue;
use storage::postgres::{PostgresConfig, PostgresServer};
use storage::sqlite::{SqliteConfig, SqliteStorage};

use crate::clock::Clock;
use crate::manifest::{Grant, HOST_NAME, Limits, Manifest, Postgres, Service};
use crate::tokens::Tokens;

/// What follows the name of a service in the name of the database of its entries. No service has this in its name.
const KEYVALUE: &str = "_keyvalue";

/// The open databases.
pub(super) struct Databases {
    /// All databases of services: by service, and with [`KEYVALUE`] behind the service's name for its entries.
    pub(super) storages: BTreeMap<String, Arc<dyn Storage>>,
    /// The entries of services, by service.
    pub(super) keyvalues: BTreeMap<String, Arc<KeyValue>>,
    pub(super) tokens: Arc<Tokens>,
}

/// Opens the databases that the manifest needs, and creates missing ones.
pub(super) async fn open(manifest: &Manifest, folder: &DataFolder, clock: &Clock) -> anyhow::Result<Databases> {
    let mut databases = match &manifest.postgres {
        None => in_files(manifest, folder, clock).await,
        Some(postgres) => in_postgres(manifest, postgres, folder, clock).await,
    }?;
    for (name, _) in manifest.services.iter().filter(|(_, service)| service.grants.contains(&Grant::Keyvalue)) {
        let storage = databases.storages[&format!("{name}{KEYVALUE}")].clone();
        let prepared = KeyValue::prepare(&*storage).await;
        prepared.with_context(|| format!("the entries of the service `{name}` cannot be opened"))?;
        databases.keyvalues.insert(name.clone(), Arc::new(KeyValue::new(storage)));
    }
    Ok(databases)
}

/// The databases that the grants `storage` and `keyvalue` need, by name.
fn needed(manifest: &Manifest) -> impl Iterator<Item = (String, &Service)> {
    manifest.services.iter().flat_map(|(name, service)| {
        let of = |grant, name: String| service.grants.contains(&grant).then_some((name, service));
        [of(Grant::Storage, name.clone()), of(Grant::Keyvalue, format!("{name}{KEYVALUE}"))].into_iter().flatten()
    })
}

async fn in_files(manifest: &Manifest, folder: &DataFolder, clock: &Clock) -> anyhow::Result<Databases> {
    let mut storages: BTreeMap<String, Arc<dyn Storage>> = BTreeMap::new();
    for (name, Service { limits, .. }) in needed(manifest) {
        let path = folder.database(&name)?;
        let config = SqliteConfig {
            statement_deadline: limits.statement_time,
            transaction_lease: limits.transaction_time,
            database_bytes: limits.database_bytes,
            migration_wait: limits.time,
            // The other half of the instances can keep reading.
            waiting_for_migrations: limits.concurrency.div_ceil(2),
            ..SqliteConfig::default()
        };
        let opened = tokio::task::spawn_blocking(move || SqliteStorage::open(path, config)).await?;
        let opened = opened.with_context(|| format!("the database of the service `{name}` cannot be opened"))?;
        storages.insert(name, Arc::new(opened));
    }
    let tokens = Arc::new(Tokens::open(folder.path(), clock.clone())?);
    Ok(Databases { storages, keyvalues: BTreeMap::new(), tokens })
}

async fn in_postgres(
    manifest: &Manifest,
    postgres: &Postgres,
    folder: &DataFolder,
    clock: &Clock,
) -> anyhow::Result<Databases> {
    let place = || format!("{}:{}: [postgres]", manifest.file.display(), postgres.line);
    let server = PostgresServer::read(&postgres.url, postgres.authority.as_deref()).with_context(place)?;
    let mut storages: BTreeMap<String, Arc<dyn Storage>> = BTreeMap::new();
    for (name, Service { limits, .. }) in needed(manifest) {
        let file = folder.database(&name)?;
        if file.exists() {
            bail!(
                "the service `{name}` has a database in {}, but the manifest has [postgres], so the host would ignore it: move the \
                 file away, or remove [postgres]",
                file.display()
            );
        }
        let opened = server.open(&name, config(limits)).await.with_context(place);
        let opened = opened.with_context(|| format!("the database of the service `{name}` cannot be opened"))?;
        storages.insert(name, Arc::new(opened));
    }
    let own = server.open(HOST_NAME, PostgresConfig::default()).await.with_context(place);
    let own = own.context("the host's own database cannot be opened")?;
    let tokens = Arc::new(Tokens::open_shared(Arc::new(own), clock.clone()).await?);
    Ok(Databases { storages, keyvalues: BTreeMap::new(), tokens })
}

fn config(limits: &Limits) -> PostgresConfig {
    PostgresConfig {
        statement_deadline: limits.statement_time,
        transaction_lease: limits.transaction_time,
        migration_wait: limits.time,
        waiting_for_migrations: limits.concurrency.div_ceil(2),
        ..PostgresConfig::default()
    }
}
