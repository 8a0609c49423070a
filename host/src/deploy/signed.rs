//! Signatures of components. Without `signers` in `[deploy]` of the manifest, none is needed.
//!
//! A new component, sent by the operator or found at a start, needs a signature by a key that the manifest lists. The signature must not have expired,
//! and its version must not be older than any accepted one of the service. The host then records it as accepted.
//!
//! A component is staged only if its signature is recorded. So a restart and a rollback need only the record. They still work after the
//! signature has expired, but not after its key was removed from `signers`. A canary must be promoted before its signature expires.

use std::io::ErrorKind;
use std::path::Path;

use super::Deployer;
use super::digest::sha256;
use super::report::{DeployError, Refused, Step};
use crate::manifest::Manifest;
use crate::signature::{self, Signature, SignatureError};

/// Reads the signature file beside a component's file, if there is one.
///
/// # Errors
/// The file exists but cannot be read.
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

/// The refusal of a component because of its signature, with the command that signs it.
pub(super) fn refuse_signature(manifest: &Manifest, name: &str, origin: &str, why: &str) -> Refused {
    let manifest = manifest.file.display();
    let reason = format!(
        "{origin}: {why}. Sign it with a key of `signers` in {manifest}: `comptoir sign FILE --service {name} --key KEY` \
         writes the signature beside the file"
    );
    refused(name, reason)
}

impl Deployer {
    /// Refuses a component without a recorded signature by a listed key. `origin` is what messages call the component.
    pub(super) fn check_recorded_signature(&self, name: &str, digest: &str, origin: &str) -> Result<(), DeployError> {
        let setup = self.setup();
        let signers = &setup.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let recorded = self.record.signature(name, digest)?;
        let line = recorded.ok_or_else(|| self.refuse_signature(name, origin, "it has no signature"))?;
        let checked = Signature::read(&line).and_then(|signature| signature.check(signers, name, digest));
        Ok(checked.map_err(|error| self.refuse_signature(name, origin, &error.to_string()))?)
    }

    /// Refuses to promote a candidate whose signature has expired.
    pub(super) fn check_signature_expiry(&self, name: &str, digest: &str) -> Result<(), DeployError> {
        let recorded =
            self.record.signature(name, digest)?.filter(|_| !self.setup().manifest.deploy.signers.is_empty());
        let Some(line) = recorded else { return Ok(()) };
        let now = self.platform.clock.unix_seconds();
        let checked = Signature::read(&line).and_then(|signature| signature.check_time(now));
        let refuse = |error: SignatureError| {
            refused(name, format!("{digest}: {error}. Abort the canary, sign the component again and deploy it again"))
        };
        Ok(checked.map_err(refuse)?)
    }

    fn refuse_signature(&self, name: &str, origin: &str, why: &str) -> Refused {
        refuse_signature(&self.setup().manifest, name, origin, why)
    }

    /// Accepts the signature beside the manifest's component of a service. `bytes` are the component.
    pub(super) async fn take_signature_beside(&self, name: &str, bytes: &[u8]) -> Result<(), DeployError> {
        let setup = self.setup();
        if setup.manifest.deploy.signers.is_empty() {
            return Ok(());
        }
        let file = &setup.manifest.services[name].component;
        let line = beside(file).map_err(|why| refused(name, why))?;
        self.take_signature(name, &sha256(bytes), &file.display().to_string(), line.as_deref())
    }

    /// Accepts a signature for the active revision if it has no valid one. Its component may be older than `signers` in the manifest, or
    /// the manifest may not list its key any more.
    ///
    /// Looks for the signature beside the manifest's file if that is the same component (`is_shipped`), or else beside the stored one.
    pub(super) async fn sign_active(&self, name: &str, active: &str, is_shipped: bool) -> Result<(), DeployError> {
        let kept = self.record.artifact(active);
        let file = if is_shipped { self.setup().manifest.services[name].component.clone() } else { kept };
        let origin = file.display().to_string();
        let unsigned = match self.check_recorded_signature(name, active, &origin) {
            Err(DeployError::Refused(unsigned)) => unsigned,
            checked => return checked,
        };
        let line = beside(&file).map_err(|why| refused(name, why))?.ok_or(unsigned)?;
        self.take_signature(name, active, &origin, Some(&line))
    }

    /// Checks the signature that came with a component, and records it as accepted.
    ///
    /// # Errors
    /// `Refused` if the signature is missing, wrong, expired, or older than an accepted one.
    pub(super) fn take_signature(
        &self,
        name: &str,
        digest: &str,
        origin: &str,
        line: Option<&str>,
    ) -> Result<(), DeployError> {
        let setup = self.setup();
        let signers = &setup.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let line = line.ok_or_else(|| self.refuse_signature(name, origin, "it has no signature"))?;
        let check = || {
            let signature = Signature::read(line)?;
            signature.check(signers, name, digest)?;
            signature.check_time(self.platform.clock.unix_seconds())?;
            Ok(signature)
        };
        let signature =
            check().map_err(|error: SignatureError| self.refuse_signature(name, origin, &error.to_string()))?;
        self.check_version(name, origin, &signature)?;
        Ok(self.record.note_signature(name, digest, signature.line())?)
    }

    /// Refuses a signature that is older than any accepted one of the service, so that an old signature cannot bring back an old
    /// vulnerability. The newest component may come again if the same key signed it.
    fn check_version(&self, name: &str, origin: &str, signature: &Signature) -> Result<(), DeployError> {
        let accepted = self.record.signatures(name)?;
        let accepted = accepted.iter().filter_map(|line| Signature::read(line).ok());
        let Some(newest) = accepted.max_by_key(|accepted| accepted.statement().version) else { return Ok(()) };
        let (brought, newest) = (signature.statement(), newest.statement());
        let again = brought.version == newest.version && brought.sha256 == newest.sha256 && brought.key == newest.key;
        if brought.version > newest.version || again {
            return Ok(());
        }
        let reason = format!(
            "{origin}: its signature has version {}, but the host has already accepted version {}: sign it with a \
             later --version, or use `comptoir rollback {name}`",
            brought.version, newest.version
        );
        Err(refused(name, reason).into())
    }

    /// The public key that signed a component, if it is signed.
    pub(super) fn signer(&self, name: &str, digest: &str) -> Option<String> {
        let line = self.record.signature(name, digest).ok().flatten()?;
        Signature::read(&line).ok().map(|signature| signature.statement().key.to_string())
    }
}
