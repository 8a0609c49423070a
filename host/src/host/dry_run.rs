//! Starts the services of a manifest on empty databases, without listeners, and ends them again.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use storage::folder::DataFolder;

use super::surroundings::Named;
use super::{Opened, platform};
use crate::clock::Clock;
use crate::deploy::{Deployer, Deployment, Record};
use crate::manifest::Manifest;

/// Compiles and links each component, asks it to describe itself, and runs its migrations and probes. The databases are SQLite files in a
/// temporary folder, also if the manifest names a PostgreSQL server. So nothing that the manifest names changes.
///
/// `compiler` is the `comptoir` program, which compiles in separate processes. None to compile in this process.
///
/// # Errors
/// All faults of what the manifest names, or the first component that cannot start.
pub async fn dry_run(manifest: &Manifest, compiler: Option<PathBuf>) -> anyhow::Result<Arc<Deployment>> {
    let clock = Clock::default();
    let Named { outbounds, secrets } = super::surroundings::check(manifest, &clock)?;
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let folder = DataFolder::open(scratch.path().join("data"))?;
    let manifest = Manifest { postgres: None, ..manifest.clone() };
    let record = Record::open(folder.path(), clock.clone())?;
    let (platform, opened) = platform(&manifest, &folder, None, clock).await?;
    let audit = platform.audit.clone();
    let opened = Opened { outbounds, secrets, ..opened };
    let deployer = Deployer::new(manifest, opened, Arc::new(platform), record, compiler);
    let started = deployer.start_all().await;
    deployer.stop();
    audit.close().await;
    started?;
    let deployment = deployer.current().load().stable().clone();
    Ok(deployment)
}
