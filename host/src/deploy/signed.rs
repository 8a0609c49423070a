//! Whether a component is signed by one whom the manifest lists: `signers` in `[deploy]`. Without any, nothing is asked.
//!
//! What is sent, or found at a start, brings a signature that is good now and not older than any that was taken for the service: it is
//! taken, and noted. Nothing is staged without a noted one, so a restart and a way back need nothing but the record, and end neither
//! with the signature's time nor by its version; but they end where its key is listed no more. What was on trial is put in charge
//! before its signature's time is over.

use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::report::{DeployError, Refused, Step};
use super::{Deployer, hex};
use crate::manifest::Manifest;
use crate::signature::{self, Signature, SignatureError};

/// The signature that lies beside a component's file, if one does.
///
/// # Errors
/// Which file cannot be read, and why.
pub(super) fn beside(file: &Path) -> Result<Option<String>, String> {
    let path = signature::beside(file);
    match std::fs::read_to_string(&path) {
        Ok(line) => Ok(Some(line)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

fn refused(name: &str, reason: String) -> Refused {
    Refused { service: name.to_owned(), step: Step::Verified, reason }
}

/// What is wrong with a component's signature, and what helps.
pub(super) fn unfit(manifest: &Manifest, name: &str, origin: &str, why: &str) -> Refused {
    let manifest = manifest.file.display();
    let reason = format!(
        "{origin}: {why}. Sign it with a key of `signers` in {manifest}: `comptoir sign FILE --service {name} --key KEY` \
         writes the signature beside the file"
    );
    refused(name, reason)
}

impl Deployer {
    /// Refuses a component without a noted signature of a listed key. `origin` is what messages call it.
    pub(super) fn check_noted(&self, name: &str, digest: &str, origin: &str) -> Result<(), DeployError> {
        let signers = &self.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let noted = self.record.signature(name, digest)?;
        let line = noted.ok_or_else(|| self.unfit(name, origin, "it has no signature"))?;
        let checked = Signature::read(&line).and_then(|signature| signature.check(signers, name, digest));
        Ok(checked.map_err(|error| self.unfit(name, origin, &error.to_string()))?)
    }

    /// Refuses to put in charge what is on trial and whose signature is over by now.
    pub(super) fn check_noted_time(&self, name: &str, digest: &str) -> Result<(), DeployError> {
        let noted = self.record.signature(name, digest)?.filter(|_| !self.manifest.deploy.signers.is_empty());
        let Some(line) = noted else { return Ok(()) };
        let now = self.platform.clock.unix_seconds();
        let checked = Signature::read(&line).and_then(|signature| signature.check_time(now));
        let refuse = |error: SignatureError| {
            refused(name, format!("{digest}: {error}. Abort the canary, sign the component anew and send it again"))
        };
        Ok(checked.map_err(refuse)?)
    }

    fn unfit(&self, name: &str, origin: &str, why: &str) -> Refused {
        unfit(&self.manifest, name, origin, why)
    }

    /// Takes the signature beside the file that the manifest names for a service, which has these bytes.
    pub(super) async fn take_signature_beside(&self, name: &str, bytes: &[u8]) -> Result<(), DeployError> {
        if self.manifest.deploy.signers.is_empty() {
            return Ok(());
        }
        let file = &self.manifest.services[name].component;
        let line = beside(file).map_err(|why| refused(name, why))?;
        self.take_signature(name, &hex(&Sha256::digest(bytes)), &file.display().to_string(), line.as_deref())
    }

    /// Takes a signature for what served last and has none that is good: it may have served before signatures were asked for, or be
    /// signed with a key that is listed no more. It is looked for beside the file that the manifest names, where that is the same
    /// component, and otherwise beside the one in the data folder.
    pub(super) async fn sign_active(&self, name: &str, active: &str, is_shipped: bool) -> Result<(), DeployError> {
        let kept = self.record.artifact(active);
        let file = if is_shipped { self.manifest.services[name].component.clone() } else { kept };
        let origin = file.display().to_string();
        let unsigned = match self.check_noted(name, active, &origin) {
            Err(DeployError::Refused(unsigned)) => unsigned,
            checked => return checked,
        };
        let line = beside(&file).map_err(|why| refused(name, why))?.ok_or(unsigned)?;
        self.take_signature(name, active, &origin, Some(&line))
    }

    /// Takes the signature that came with a component, and notes it.
    ///
    /// # Errors
    /// `Refused` where it is missing, wrong, over, or older than one that was taken.
    pub(super) fn take_signature(
        &self,
        name: &str,
        digest: &str,
        origin: &str,
        line: Option<&str>,
    ) -> Result<(), DeployError> {
        let signers = &self.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let line = line.ok_or_else(|| self.unfit(name, origin, "it has no signature"))?;
        let good = || {
            let signature = Signature::read(line)?;
            signature.check(signers, name, digest)?;
            signature.check_time(self.platform.clock.unix_seconds())?;
            Ok(signature)
        };
        let signature = good().map_err(|error: SignatureError| self.unfit(name, origin, &error.to_string()))?;
        self.is_newer(name, origin, &signature)?;
        Ok(self.record.note_signature(name, digest, signature.line())?)
    }

    /// Refuses what was signed before anything that was ever taken for the service, be that in charge or not: an old fault must not come
    /// back with an old signature. The newest may come again, signed by the same key.
    fn is_newer(&self, name: &str, origin: &str, signature: &Signature) -> Result<(), DeployError> {
        let taken = self.record.signatures(name)?;
        let taken = taken.iter().filter_map(|line| Signature::read(line).ok());
        let Some(newest) = taken.max_by_key(|taken| taken.statement().version) else { return Ok(()) };
        let (brought, newest) = (signature.statement(), newest.statement());
        let again = brought.version == newest.version && brought.sha256 == newest.sha256 && brought.key == newest.key;
        if brought.version > newest.version || again {
            return Ok(());
        }
        let reason = format!(
            "{origin}: its signature has version {}, and one with {} was taken: sign it with a later one, or go back to what served \
             before with `comptoir rollback {name}`",
            brought.version, newest.version
        );
        Err(refused(name, reason).into())
    }

    /// The key that signed a component, if one did.
    pub(super) fn signer(&self, name: &str, digest: &str) -> Option<String> {
        let line = self.record.signature(name, digest).ok().flatten()?;
        Signature::read(&line).ok().map(|signature| signature.statement().key.to_string())
    }
}
