//! Tries the services of a manifest on empty databases, without listeners.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use storage::folder::DataFolder;
use storage::postgres;

use super::surroundings::Named;
use super::{Caches, Opened, platform};
use crate::clock::Clock;
use crate::deploy::{DeployError, Deployer, Record, Refused, Served, Step, Trial};
use crate::manifest::Manifest;

/// Compiles and links each component, asks it to describe itself, and runs its migrations and probes. The databases are SQLite files in a
/// temporary folder, also if the manifest names a PostgreSQL server. So nothing that the manifest names changes. For PostgreSQL, it also
/// checks that the migrations can be translated.
///
/// `compiler` is the `comptoir` program, which compiles in separate processes. None to compile in this process.
///
/// # Errors
/// All faults of what the manifest names. The result says which components cannot serve.
pub async fn dry_run(manifest: &Manifest, compiler: Option<PathBuf>, caches: Caches) -> anyhow::Result<Trial> {
    let clock = Clock::default();
    let Named { outbounds, secrets } = super::surroundings::check(manifest, &clock)?;
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let folder = DataFolder::open(scratch.path().join("data"))?;
    let on_files = Manifest { postgres: None, ..manifest.clone() };
    let record = Record::open(folder.path(), clock.clone())?;
    let (platform, opened) = platform(&on_files, &folder, caches, clock).await?;
    let audit = platform.audit.clone();
    let opened = Opened { outbounds, secrets, ..opened };
    let deployer = Deployer::new(on_files, opened, Arc::new(platform), record, compiler);
    let mut trial = deployer.try_all().await;
    deployer.stop();
    audit.close().await;
    if manifest.postgres.is_some() {
        for tried in trial.values_mut() {
            if let Some(refused) = tried.as_ref().ok().and_then(untranslatable) {
                *tried = Err(refused);
            }
        }
    }
    Ok(trial)
}

/// Why a revision's migrations cannot run on PostgreSQL. None if they can be translated.
fn untranslatable(served: &Served) -> Option<DeployError> {
    let error = postgres::check_translation(&served.description.as_ref()?.migrations).err()?;
    let reason = format!("it cannot run on PostgreSQL: {error}");
    Some(Refused { service: served.revision.service().to_owned(), step: Step::Migrated, reason }.into())
}
