//! Finds the project of a command: the nearest folder with a `comptoir.toml`, here or above, and the data folder in it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

/// The file name of a manifest.
const MANIFEST: &str = "comptoir.toml";

/// The option of the commands that read a manifest.
#[derive(Debug, Args)]
pub(crate) struct ManifestOption {
    /// The manifest: which services to serve, and with which limits. Default: the nearest comptoir.toml, in this folder or in one
    /// above.
    #[arg(long, env = "COMPTOIR_MANIFEST", value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// The option of the commands that use a data folder.
#[derive(Debug, Args)]
pub(crate) struct DataOption {
    /// The data folder: databases, keys, compiled artifacts and the audit log. Default: `data` beside the nearest comptoir.toml, or in
    /// this folder if there is none.
    #[arg(long, global = true, env = "COMPTOIR_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
}

impl ManifestOption {
    /// The given manifest, or the nearest one.
    ///
    /// # Errors
    /// None was given, and there is none here or above.
    pub(crate) fn find(&self) -> anyhow::Result<PathBuf> {
        if let Some(given) = &self.manifest {
            return Ok(given.clone());
        }
        let here = std::env::current_dir().context("cannot find the current folder")?;
        let folder = nearest(&here).with_context(|| {
            format!(
                "there is no {MANIFEST} in {} or in a folder above: name a manifest with --manifest",
                here.display()
            )
        })?;
        Ok(shown(folder, &here).join(MANIFEST))
    }
}

impl DataOption {
    /// The given data folder, or the one of the project.
    pub(crate) fn find(&self) -> PathBuf {
        if let Some(given) = &self.data {
            return given.clone();
        }
        let here = std::env::current_dir().unwrap_or_default();
        shown(nearest(&here).unwrap_or(&here), &here).join("data")
    }
}

/// The nearest folder with a manifest.
fn nearest(here: &Path) -> Option<&Path> {
    here.ancestors().find(|folder| folder.join(MANIFEST).is_file())
}

/// The current folder without its name, because messages are easier to read with short paths.
fn shown<'f>(folder: &'f Path, here: &Path) -> &'f Path {
    if folder == here { Path::new("") } else { folder }
}
