//! Whether a database and a component fit, and the migrations that make them fit.
//!
//! A component states the first and last schema version that it works with. A later version than its last fits as well when
//! every step since was checked to only add to the schema, because code that does not know of an addition goes on as before:
//! that is what makes a revision revertible after its successor has migrated. The record remembers up to which version that
//! check was not made, and up to which version this host made the schema at all.
//!
//! It also remembers the text of each migration that ran, as a hash. A component that brings another text under such a number means
//! another schema than the database has, so it is refused: every change of a text counts, be it of a space. What served before texts
//! were remembered may return, whatever its texts are.

use std::time::{Duration, Instant};

use storage::{Migration, Storage, Waits};

use super::digest::sha256;
use super::record::{KnownSchema, RecordError, Text};
use super::report::{Refused, Step, Steps};
use super::{DeployError, Deployer, Served};
use crate::revision::Description;

impl Deployer {
    /// Brings the service's database to the schema that a component works with. `in_use` says that another revision serves on
    /// it, or may again: then the new steps may only add, as they may where other hosts serve on it. Says what was done, if anything.
    pub(super) async fn migrate(&self, served: &Served, in_use: bool) -> Result<Option<String>, DeployError> {
        let Some(description) = &served.description else { return Ok(None) };
        let name = served.revision.service();
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let Some(storage) = self.platform.storages.get(name) else {
            return match description.migrations.len() {
                0 => Ok(None),
                count => Err(refuse(format!(
                    "it brings {count} migrations but has no database: add \"storage\" to `grants` in [services.{name}]"
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
            // Before the steps run: a crash in between must not make what serves refuse its own database.
            self.record.note_schema(name, KnownSchema { base: unchecked, latest: last })?;
        }
        let migrations = description.migrations.clone();
        let began = Instant::now();
        let ran = if last == version && version > 0 {
            // Nothing can run, so a writer that another host holds keeps no service from starting.
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

    /// Refuses a component whose migrations have other texts than those that ran.
    pub(super) async fn check_migration_texts(&self, served: &Served) -> Result<(), DeployError> {
        let name = served.revision.service();
        let (Some(description), Some(storage)) = (&served.description, self.platform.storages.get(name)) else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&**storage).await.map_err(refuse)?;
        let known = self.record.texts(name)?;
        let brought = texts(description);
        let other = brought.iter().take_while(|(number, _)| *number <= version).find_map(|(number, brought)| {
            known.get(number).filter(|ran| *ran != brought).map(|ran| (number, &brought[..12], &ran[..12]))
        });
        let Some((number, brought, ran)) = other else { return Ok(()) };
        let next = description.migrations.len().max(version as usize) + 1;
        Err(refuse(format!(
            "its migration {number} has another text (sha256 {brought}…) than the migration {number} that ran ({ran}…): leave \
             that text as it was, and add what is to change as migration {next}"
        ))
        .into())
    }

    /// Notes which texts ran on a database of before texts were remembered: those of the component that served last, as its file in the
    /// data folder has them. Where it cannot be asked, the next component is believed.
    pub(super) async fn record_texts_of_active(&self, name: &str, active: &str) -> Result<(), DeployError> {
        let (Some(storage), Some(bytes)) = (self.platform.storages.get(name), self.record.load(active)) else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&**storage).await.map_err(refuse)?;
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
                tracing::warn!(service = name, %error, "what served last cannot be asked for the texts of its migrations");
            }
        }
        Ok(())
    }

    /// The version up to which the steps of a database were not checked to only add. Those that this host did not make
    /// itself were not, unless the database knows it for all hosts.
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

    /// Refuses a component that does not work with the schema as it is.
    pub(super) async fn check_schema_range(&self, served: &Served) -> Result<(), DeployError> {
        let name = served.revision.service();
        let (Some(description), Some(storage)) = (&served.description, self.platform.storages.get(name)) else {
            return Ok(());
        };
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let version = version(&**storage).await.map_err(refuse)?;
        let unchecked = self.unchecked(name, &**storage, version).await?.map_err(refuse)?;
        let (first, last) = description.schema;
        if unchecked > last {
            return Err(refuse(format!(
                "its database is at schema {version}, newer than this component works with (up to {last}): use the component \
                 that made it, or a later one"
            ))
            .into());
        }
        let reached = version.max(u32::try_from(description.migrations.len()).unwrap_or(u32::MAX));
        if reached < first {
            return Err(
                refuse(format!("it works with schema {first} or later, but its database is at {reached}")).into()
            );
        }
        Ok(())
    }
}

/// Who waited for a migration, in words.
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

/// The texts of a component's migrations.
fn texts(description: &Description) -> Vec<Text> {
    let text = |step: &Migration| (step.version, sha256(&step.sql));
    description.migrations.iter().map(text).collect()
}
