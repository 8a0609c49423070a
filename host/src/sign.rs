//! `comptoir sign`: signatures of components, and the keys that make them. Needs no host.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use comptoir::signature::{self, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::output::outln;

/// `comptoir sign`
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The component's file. The signature is written beside it, as FILE.sig.
    #[arg(value_name = "FILE", required_unless_present = "new_key", requires_all = ["service", "key"])]
    component: Option<PathBuf>,
    /// The service that it is for, as the manifest names it.
    #[arg(long)]
    service: Option<String>,
    /// The file with the secret key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// More than that of any before for the service; the moment in seconds since 1970 unless it is given.
    #[arg(long)]
    version: Option<u64>,
    /// How long it may be put in charge.
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Make a secret key in this file, and print the public one.
    #[arg(long, value_name = "KEY", exclusive = true)]
    new_key: Option<PathBuf>,
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(file) = &self.new_key {
            return make_key(file);
        }
        let (Some(component), Some(service), Some(key)) = (&self.component, &self.service, &self.key) else {
            anyhow::bail!("name the component, its --service and the --key");
        };
        let key =
            SigningKey::read(key).context("make a key with `comptoir sign --new-key KEY`, or name one with --key")?;
        let bytes = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let (version, expires) = (self.version.unwrap_or(now), now.saturating_add(self.expires.as_secs()));
        let signature = key.sign(service, &sha256, version, expires);
        let path = signature::beside(component);
        std::fs::write(&path, format!("{}\n", signature.line()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        outln!("{}  {service} {version}, signed by {}", path.display(), key.public());
        Ok(())
    }
}

fn make_key(file: &Path) -> anyhow::Result<()> {
    let key = SigningKey::make(file)?;
    outln!("{}  keep it where the host is not; in its manifest, under [deploy]:", file.display());
    outln!("signers = [\"{}\"]", key.public());
    Ok(())
}
