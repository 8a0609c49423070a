//! Checks all components before the first one is compiled: their files, signatures and imports.

use std::path::Path;

use super::digest::sha256;
use super::record::Record;
use super::report::{Refused, Step};
use super::{check, signed};
use crate::engine;
use crate::manifest::{Fault, Manifest, Service};
use crate::signature::Signature;

/// Why a component cannot serve, and the key in the service's table of the manifest that the operator should correct.
type Problem = (&'static str, Refused);

/// Finds the faults that keep services from starting, at most one for each service. Without a record it checks as for a first start.
///
/// A service with an active revision has no fault if the manifest grants what that revision imports. Its file in the manifest may
/// be unusable.
pub fn faults(manifest: &Manifest, record: Option<&Record>, now: u64) -> Vec<Fault> {
    let services = manifest.services.iter();
    let problems = services.filter_map(|(name, service)| {
        let component = Component { manifest, name, service };
        let active = record.and_then(|record| Some((record, record.active(name).ok()??)));
        let (key, refused) = match active {
            None => component.check_first(now).err()?,
            Some((record, active)) => {
                // A missing revision is a fault of the data folder, not of the manifest.
                let bytes = record.load(&active)?;
                // If the active revision cannot be read any more, the start falls back to an earlier one.
                let problem = component.check_imports(&bytes, &active).err().filter(|(key, _)| *key != "component")?;
                component.read().and_then(|bytes| component.check_imports(&bytes, &component.origin())).err()?;
                problem
            }
        };
        Some(manifest.source.fault(&format!("services.{name}.{key}"), refused.to_string()))
    });
    problems.collect()
}

struct Component<'a> {
    manifest: &'a Manifest,
    name: &'a str,
    service: &'a Service,
}

impl Component<'_> {
    fn origin(&self) -> String {
        self.service.component.display().to_string()
    }

    fn refuse(&self, step: Step, reason: String) -> Refused {
        Refused { service: self.name.to_owned(), step, reason }
    }

    /// Checks the file that a first start compiles.
    fn check_first(&self, now: u64) -> Result<(), Problem> {
        let bytes = self.read()?;
        self.check_signature(&bytes, now)?;
        self.check_imports(&bytes, &self.origin())
    }

    fn read(&self) -> Result<Vec<u8>, Problem> {
        read(self.manifest, self.name, &self.service.component).map_err(|refused| ("component", refused))
    }

    fn check_signature(&self, bytes: &[u8], now: u64) -> Result<(), Problem> {
        let signers = &self.manifest.deploy.signers;
        if signers.is_empty() {
            return Ok(());
        }
        let problem =
            |why: &str| ("component", signed::refuse_signature(self.manifest, self.name, &self.origin(), why));
        let line = signed::beside(&self.service.component);
        let line = line.map_err(|why| ("component", self.refuse(Step::Verified, why)))?;
        let line = line.ok_or_else(|| problem("it has no signature"))?;
        let signature = Signature::read(&line);
        signature
            .and_then(|signature| {
                signature.check(signers, self.name, &sha256(bytes))?;
                signature.check_time(now)
            })
            .map_err(|error| problem(&error.to_string()))
    }

    fn check_imports(&self, bytes: &[u8], origin: &str) -> Result<(), Problem> {
        let (name, service, file) = (self.name, self.service, &self.manifest.file);
        let interfaces = engine::inspect(bytes)
            .map_err(|error| ("component", self.refuse(Step::Verified, format!("{origin}: {error}"))))?;
        check::imports(name, service, origin, file, &interfaces.required)
            .map_err(|reason| ("grants", self.refuse(Step::Linked, reason)))?;
        check::reuse(name, service, file, interfaces.handler.wasi())
            .map_err(|reason| ("reuse", self.refuse(Step::Linked, reason)))
    }
}

/// Reads a component's file. Blocks on the disk.
///
/// # Errors
/// The file cannot be read, or is larger than the manifest allows.
pub(super) fn read(manifest: &Manifest, name: &str, file: &Path) -> Result<Vec<u8>, Refused> {
    let shown = file.display();
    let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Received, reason };
    let missing = |error: std::io::Error| {
        refuse(format!("cannot read {shown}: {error}. build the component, or correct `component` in the manifest"))
    };
    let length = std::fs::metadata(file).map_err(missing)?.len();
    let limit = manifest.deploy.component;
    if length > limit.as_u64() {
        return Err(refuse(format!("{shown} has {length} bytes, more than the limit of {limit}")));
    }
    std::fs::read(file).map_err(missing)
}
