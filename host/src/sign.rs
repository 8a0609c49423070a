//! `comptoir sign`: signs components and creates signing keys.
//! Needs no running host.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use comptoir::signature::{self, SigningKey};
use sha2::{Digest as _, Sha256};

use crate::output::outln;

/// The options of `comptoir sign`.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The component. Its signature is written to FILE.sig.
    #[arg(value_name = "FILE", required_unless_present = "new_key", requires_all = ["service", "key"])]
    component: Option<PathBuf>,
    /// The service that the component is for, by its name in the manifest.
    #[arg(long)]
    service: Option<String>,
    /// The file with the secret key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// A version higher than in all earlier signatures for the service.
    /// Default: the current Unix time in seconds.
    #[arg(long)]
    version: Option<u64>,
    /// How long the component may be deployed, such as `90d`.
    #[arg(long, default_value = "90d", value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Create a secret key in this new file, and print the public key.
    #[arg(long, value_name = "KEY", exclusive = true)]
    new_key: Option<PathBuf>,
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(file) = &self.new_key {
            return create_key(file);
        }
        let (Some(component), Some(service), Some(key)) = (&self.component, &self.service, &self.key) else {
            anyhow::bail!("name the component, its --service and the --key");
        };
        let key = SigningKey::read(key).context(
            "cannot read the signing key: create one with `comptoir sign --new-key KEY`, or name one with --key",
        )?;
        let bytes = std::fs::read(component).with_context(|| format!("cannot read {}", component.display()))?;
        let sha256: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the system's clock is before 1970: set it")?
            .as_secs();
        let (version, expires) = (self.version.unwrap_or(now), now.saturating_add(self.expires.as_secs()));
        let signature = key.sign(service, &sha256, version, expires);
        let path = signature::beside(component);
        std::fs::write(&path, format!("{}\n", signature.line()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        outln!("{}  {service} {version}, signed by {}", path.display(), key.public());
        Ok(())
    }
}

fn create_key(file: &Path) -> anyhow::Result<()> {
    let key = SigningKey::create(file)?;
    outln!(
        "{}  is the secret key: keep it away from the host. Add the public key to [deploy] in the manifest:",
        file.display()
    );
    outln!("signers = [\"{}\"]", key.public());
    Ok(())
}
