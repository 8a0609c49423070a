//! Whether a component is signed by one whom the manifest lists: `signers` in `[deploy]`. Without any, nothing is asked.
//!
//! What is sent, or found at a start, brings a signature that is good now and not older than that of what serves: it is taken, and
//! noted. Nothing is staged without a noted one, so a restart and a way back need nothing but the record, and end neither with the
//! signature's time nor by its version; but they end where its key is listed no more.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::report::{DeployError, Refused, Step};
use super::{Deployer, hex};
use crate::signature::{self, Signature, SignatureError};

/// The signature that lies beside a component's file, if one does.
pub(super) async fn beside(file: &Path) -> Option<String> {
    tokio::fs::read_to_string(signature::beside(file)).await.ok()
}

fn refused(name: &str, reason: String) -> Refused {
    Refused { service: name.to_owned(), step: Step::Verified, reason }
}

impl Deployer {
    /// Refuses a component without a noted signature of a listed key. `origin` is what messages call it.
    pub(super) fn check_noted(&self, name: &str, digest: &str, origin: &str) -> Result<(), Refused> {
        let signers = &self.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let noted = self.record.signature(name, digest).map_err(|error| refused(name, error.to_string()))?;
        let line = noted.ok_or_else(|| self.unfit(name, origin, "it has no signature"))?;
        Signature::read(&line)
            .and_then(|signature| signature.check(signers, name, digest))
            .map_err(|error| self.unfit(name, origin, &error.to_string()))
    }

    /// What is wrong with a component's signature, and what helps.
    fn unfit(&self, name: &str, origin: &str, why: &str) -> Refused {
        let manifest = self.manifest.file.display();
        let reason = format!(
            "{origin}: {why}. Sign it with a key of `signers` in {manifest}: `comptoir sign FILE --service {name} --key KEY` \
             writes the signature beside the file"
        );
        refused(name, reason)
    }

    /// Takes the signature beside the file that the manifest names for a service, which has these bytes.
    pub(super) async fn take_signature_beside(&self, name: &str, bytes: &[u8]) -> Result<(), DeployError> {
        let file = &self.manifest.services[name].component;
        let line = beside(file).await;
        self.take_signature(name, &hex(&Sha256::digest(bytes)), &file.display().to_string(), line.as_deref())
    }

    /// Takes the signature that came with a component, and notes it.
    ///
    /// # Errors
    /// `Refused` where it is missing, wrong, over, or older than that of what serves.
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
        self.is_newer(name, digest, origin, &signature)?;
        Ok(self.record.note_signature(name, digest, signature.line())?)
    }

    /// Refuses what was signed before that which serves: an old fault must not come back with an old signature.
    fn is_newer(&self, name: &str, digest: &str, origin: &str, signature: &Signature) -> Result<(), DeployError> {
        let active = self.record.active(name)?.filter(|active| active != digest);
        let noted = active.map(|active| self.record.signature(name, &active)).transpose()?.flatten();
        let Some(Ok(noted)) = noted.as_deref().map(Signature::read) else { return Ok(()) };
        let (version, serves) = (signature.statement().version, noted.statement().version);
        if version > serves {
            return Ok(());
        }
        let reason = format!(
            "{origin}: its signature has version {version}, and that of what serves has {serves}: sign it with a later one, or \
             go back to what served before with `comptoir rollback {name}`"
        );
        Err(refused(name, reason).into())
    }

    /// The key that signed a component, if one did.
    pub(super) fn signer(&self, name: &str, digest: &str) -> Option<String> {
        let line = self.record.signature(name, digest).ok().flatten()?;
        Signature::read(&line).ok().map(|signature| signature.statement().key.to_string())
    }
}
