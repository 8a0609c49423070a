//! Checks that a component works with its database's schema, and migrates the database.
//!
//! A component states the first and last schema version that it works with. It also works with a later version if the host
//! checked all migrations since to be additive. Code does not notice additions that it does not use. So a revision can be
//! reverted even after its successor has migrated the database. The record stores up to which version this check was not made,
//! and up to which version this host migrated the database.
//!
//! The record also stores a hash of each migration that ran. If a component brings another text under the same number, it expects another
//! schema than the database has. So the host refuses it, even if only a space differs. A rollback skips this check, because the
//! component may be older than the recorded hashes.

use std::time::{Duration, Instant};

use storage::{Migration, Storage, Waits};

use super::record::{KnownSchema, RecordError, Text};
use super::report::{Refused, Step, Steps};
use super::{DeployError, Deployer, Served};
use crate::revision::Description;

impl Deployer {
    /// Migrates the service's database to the schema that a component works with. Returns a note on what was done, if anything.
    ///
    /// The new migrations must be additive if another revision uses the database now or may use it again (`in_use`), or if other hosts
    /// use it.
    pub(super) async fn migrate(&self, served: &Served, in_use: bool) -> Result<Option<String>, DeployError> {
        let Some(description) = &served.description else { return Ok(None) };
        let name = served.revision.service();
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let Some(storage) = &served.resources.storage else {
            return match description.migrations.len() {
                0 => Ok(None),
                count => Err(refuse(format!(
                    "it has {count} migrations but no database: add \"storage\" to `grants` in [services.{name}]"
                ))
                .into()),
            };
        };
        self.check_schema_range(served).await?;
        let version = version(&**storage).await.map_err(refuse)?;
        let unchecked = self.unchecked(name, &**storage, version).await?.map_err(refuse)?;
        let last = u32::try_from(description.migrations.len()).unwrap_or(u32::MAX).max(version);
        self.record.record_texts(name, version, &texts(description))?;
        let checked = (in_use || storage.serves_other_hosts()) && version > 0;
        if checked {
            let additive = storage.check_additive(description.migrations.clone()).await;
            additive.map_err(|error| refuse(error.to_string()))?;
            // Recorded before the migrations run. Otherwise a crash in between would make the active revision refuse its own database.
            self.record.note_schema(name, KnownSchema { base: unchecked, latest: last })?;
        }
        let migrations = description.migrations.clone();
        let began = Instant::now();
        let ran = if last == version && version > 0 {
            // There is nothing to migrate. Not asking for the writer lets the service start even while another host holds it.
            Ok(Vec::new())
        } else if checked {
            storage.migrate_checked(migrations).await
        } else {
            storage.migrate(migrations).await
        };
        let known = match ran {
            Ok(_) => KnownSchema { base: if checked { unchecked } else { last }, latest: last },
            Err(error) => {
                self.record.note_schema(name, KnownSchema { base: unchecked, latest: version })?;
                return Err(refuse(error.to_string()).into());
            }
        };
        self.record.note_schema(name, known)?;
        if last == version {
            return Ok(None);
        }
        let note =
            format!("schema {version} to {last} in {}; {}", tenths(began.elapsed()), waits(storage.migration_waits()));
        tracing::info!(service = name, from = version, to = last, "{name}: migrated {note}");
        Ok(Some(note))
    }

    /// Refuses a component whose migrations differ from those that ran under the same numbers.
    pub(super) async fn check_migration_texts(&self, served: &Served) -> Result<(), DeployError> {
        let name = served.revision.service();
        let (Some(description), Some(storage)) = (&served.description, &served.resources.storage) else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&**storage).await.map_err(refuse)?;
        let mut ran = self.record.texts(name)?;
        // Other hosts may have run migrations too, so the database knows better than this host's record.
        ran.extend(storage.ran_migrations().await.map_err(|error| refuse(error.to_string()))?.unwrap_or_default());
        storage::check_texts(&description.migrations, version, &ran)
            .map_err(|error| DeployError::ChangedMigration(refuse(format!("its {error}"))))
    }

    /// Records the migrations of the active component for a database that is older than the recorded hashes. Reads them from the stored
    /// component. If that fails, the host trusts the next component.
    pub(super) async fn record_texts_of_active(&self, name: &str, active: &str) -> Result<(), DeployError> {
        let (Some(storage), Some(bytes)) = (self.lane(name)?.resources.storage.clone(), self.record.load(active))
        else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&*storage).await.map_err(refuse)?;
        if version == 0 || !self.record.texts(name)?.is_empty() {
            return Ok(());
        }
        match self.stage(name, &bytes.into(), active, &mut Steps::default()).await {
            Ok(Served { description: Some(description), .. }) => {
                let mut ran = texts(&description);
                ran.retain(|(number, _)| *number <= version);
                self.record.record_texts(name, version, &ran)?;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(service = name, %error, "{name}: cannot read the migrations of the active revision, so those of the next component are trusted");
            }
        }
        Ok(())
    }

    /// The version up to which the migrations of a database were not checked to be additive. The database knows it if several hosts share
    /// it. Otherwise the record does, and migrations that this host did not run count as unchecked.
    async fn unchecked(
        &self,
        name: &str,
        storage: &dyn Storage,
        version: u32,
    ) -> Result<Result<u32, String>, RecordError> {
        match storage.unchecked_version().await {
            Ok(Some(unchecked)) => return Ok(Ok(unchecked)),
            Ok(None) => {}
            Err(error) => return Ok(Err(error.to_string())),
        }
        Ok(Ok(match self.record.schema(name)? {
            Some(known) if version <= known.latest => known.base,
            _ => version,
        }))
    }

    /// Refuses a component that does not work with the current schema.
    pub(super) async fn check_schema_range(&self, served: &Served) -> Result<(), DeployError> {
        let name = served.revision.service();
        let (Some(description), Some(storage)) = (&served.description, &served.resources.storage) else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&**storage).await.map_err(refuse)?;
        let unchecked = self.unchecked(name, &**storage, version).await?.map_err(refuse)?;
        let (first, last) = description.schema;
        if unchecked > last {
            return Err(refuse(format!(
                "its database is at schema {version}, newer than this component works with (up to {last}): deploy the component \
                 that migrated it, or a later one"
            ))
            .into());
        }
        let reached = version.max(u32::try_from(description.migrations.len()).unwrap_or(u32::MAX));
        if reached < first {
            return Err(refuse(format!(
                "it works with schema {first} or later, but its database is at schema {reached}"
            ))
            .into());
        }
        Ok(())
    }
}

/// How many writes waited for a migration and how long, in words.
fn waits(Waits { writes, longest }: Waits) -> String {
    match writes {
        0 => "no write waited".to_owned(),
        1 => format!("1 write waited for {}", tenths(longest)),
        writes => format!("{writes} writes waited, the longest for {}", tenths(longest)),
    }
}

fn tenths(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

async fn version(storage: &dyn Storage) -> Result<u32, String> {
    storage.schema_version().await.map_err(|error| error.to_string())
}

/// The number and SHA-256 of each of a component's migrations.
fn texts(description: &Description) -> Vec<Text> {
    let text = |step: &Migration| (step.version, step.sha256());
    description.migrations.iter().map(text).collect()
}
