//! What the operator should know before anything else, each with its cure.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytesize::{ByteSize, GIB, MIB};
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Admin;
use crate::deploy::Serving;
use crate::listener::certificate_ends;
use crate::manifest::Manifest;

/// With less free space the host may stop to accept writes.
pub const NEARLY_FULL_BYTES: u64 = 100 * MIB;

/// With less free space the operator should know.
pub const LOW_BYTES: u64 = GIB;

/// A certificate that ends sooner is a warning.
const CERTIFICATE_TIME: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// How long the results of the checks that ask a service or read files are used again.
const CHECK_TIME: Duration = Duration::from_secs(30);

/// One thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// The service, or what else it is about: `disk`, `memory`, `login`, `certificate`.
    about: String,
    /// Whether the host may fail or be open to others because of it.
    serious: bool,
    /// What is the case.
    text: String,
    /// What to do.
    cure: String,
}

/// The results of the slow checks.
#[derive(Default)]
pub(super) struct Checks(Mutex<Option<(Instant, Vec<Warning>)>>, Mutex<BTreeMap<PathBuf, (Stamp, String)>>);

/// Modification time and length of a file.
type Stamp = (Option<SystemTime>, u64);

impl Admin {
    /// All warnings, the serious ones first. Asks the operator's service and reads changed files, at most every 30 seconds.
    pub(super) async fn warnings(&self, serving: &Serving) -> Vec<Warning> {
        let manifest = self.deployer.manifest();
        let mut warnings: Vec<Warning> = self.memory().into_iter().chain(disk(&self.platform.folder)).collect();
        warnings.extend(self.slow_warnings(&manifest, serving).await);
        let notes = self.deployer.noted();
        // The note says why, so it replaces the plain warning about the file.
        warnings.retain(|warning| !notes.contains_key(&warning.about));
        warnings.extend(notes.into_iter().map(|(about, text)| {
            let serious = serving.stable().vacant().contains_key(about.as_str());
            let cure = format!("`comptoir history {about}` says more");
            Warning { about, serious, text, cure }
        }));
        warnings.sort_by_key(|warning| !warning.serious);
        warnings
    }

    async fn slow_warnings(&self, manifest: &Manifest, serving: &Serving) -> Vec<Warning> {
        let known = self.checks.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, warnings)) = known
            && at.elapsed() < CHECK_TIME
        {
            return warnings.into_iter().filter(|warning| !is_active_now(warning, serving)).collect();
        }
        let mut warnings: Vec<Warning> = self.login(manifest, serving).await.into_iter().collect();
        warnings.extend(certificate(manifest, self.platform.clock.since_epoch()));
        warnings.extend(self.inactive_files(manifest, serving));
        *self.checks.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), warnings.clone()));
        warnings
    }

    /// The operator's login whose password everybody knows.
    async fn login(&self, manifest: &Manifest, serving: &Serving) -> Option<Warning> {
        let operator = manifest.operator.as_ref()?;
        let asked = self.gateway.call(serving.stable(), &operator.service, Method::GET, &operator.path, None);
        // Boxed, because it is larger than everything else that this listener awaits.
        let (_, answer) = Box::pin(asked).await.ok().filter(|(status, _)| *status == StatusCode::OK)?;
        (answer["data"]["development"] == json!(true)).then(|| {
            let name = answer["data"]["username"].as_str().unwrap_or("admin");
            Warning {
                about: "login".to_owned(),
                serious: false,
                text: format!("the login `{name}` still has the seeded password, which is public"),
                cure: "change it with `PUT /auth/password`, or start with --operator-password-file".to_owned(),
            }
        })
    }

    fn memory(&self) -> Option<Warning> {
        let reset = self.platform.engines.reset();
        // Without page scan the host is only slower.
        (!reset.is_safe || (!reset.scans && reset.reason.contains("swap"))).then(|| Warning {
            about: "memory".to_owned(),
            serious: !reset.is_safe,
            text: format!("the host resets {} of each instance: {}", reset.way(), reset.reason),
            cure: "turn swap off (`swapoff -a`), or set MemorySwapMax=0 in the systemd unit".to_owned(),
        })
    }

    /// Components of the manifest whose file on the disk is not the active revision. Hashes a file again only if it changed.
    fn inactive_files(&self, manifest: &Manifest, serving: &Serving) -> Vec<Warning> {
        let mut digests = self.checks.1.lock().unwrap_or_else(PoisonError::into_inner);
        digests.retain(|file, _| manifest.services.values().any(|service| service.component == *file));
        let mut warnings = Vec::new();
        for (name, service) in &manifest.services {
            let Some(served) = serving.stable().services().get(name.as_str()) else { continue };
            let file = &service.component;
            let Ok(digest) = digest(file, &mut digests) else { continue };
            let is_canary = serving.all().any(|served| served.revision.digest() == digest);
            if digest == served.revision.digest() || is_canary {
                continue;
            }
            warnings.push(Warning {
                about: name.clone(),
                serious: false,
                text: format!("the file {} ({}) is not the active revision", file.display(), &digest[..12]),
                cure: format!("`comptoir deploy {name} {}` activates it", file.display()),
            });
        }
        warnings
    }
}

/// Whether a warning about a file is out of date, because the file was deployed meanwhile.
fn is_active_now(warning: &Warning, serving: &Serving) -> bool {
    let names = |digest: &str| warning.text.contains(&format!("({})", &digest[..12]));
    serving.stable().services().get(warning.about.as_str()).is_some_and(|served| names(served.revision.digest()))
}

fn digest(file: &Path, known: &mut BTreeMap<PathBuf, (Stamp, String)>) -> io::Result<String> {
    let metadata = std::fs::metadata(file)?;
    let stamp = (metadata.modified().ok(), metadata.len());
    if let Some((_, digest)) = known.get(file).filter(|(before, _)| *before == stamp) {
        return Ok(digest.clone());
    }
    let digest = Sha256::digest(std::fs::read(file)?).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    known.insert(file.to_owned(), (stamp, digest.clone()));
    Ok(digest)
}

/// The bytes that are free for this process on the disk of a folder.
///
/// # Errors
/// The folder cannot be looked at.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_frsize.saturating_mul(space.f_bavail))
}

fn disk(folder: &Path) -> Option<Warning> {
    let free = free_bytes(folder).ok().filter(|free| *free < LOW_BYTES)?;
    Some(Warning {
        about: "disk".to_owned(),
        serious: free < NEARLY_FULL_BYTES,
        text: format!("only {} are free for the data folder", ByteSize::b(free).display().iec()),
        cure: "free some space: without it, databases accept no writes".to_owned(),
    })
}

fn certificate(manifest: &Manifest, now: Duration) -> Option<Warning> {
    let file = &manifest.listeners.tls.as_ref()?.certificate;
    let ends = certificate_ends(file)?;
    let left = ends.saturating_sub(now);
    (left < CERTIFICATE_TIME).then(|| Warning {
        about: "certificate".to_owned(),
        serious: left < CERTIFICATE_TIME / 3,
        text: match left.as_secs() / (24 * 60 * 60) {
            0 if left.is_zero() => format!("the certificate in {} has expired", file.display()),
            0 => format!("the certificate in {} expires today", file.display()),
            days => format!("the certificate in {} expires in {days} days", file.display()),
        },
        cure: "replace the file and its key: the host reads them again at the next connection".to_owned(),
    })
}
