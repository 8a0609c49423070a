//! Fallback: what a start does with a service whose active revision cannot start.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Action, Attempt};
use super::report::{DeployError, Steps, shortened};
use super::start::{Start, Starts};
use super::switch::collision;
use super::{Deployer, Deployment, Served};

/// How many earlier revisions a fallback tries, newest first. Each may take the full time limit of a
/// component's description.
const TRIED: usize = 3;

impl Deployer {
    /// Starts a service with its active or new revision, or else with an earlier one.
    ///
    /// # Errors
    /// Why the first one cannot start, if no earlier revision can start either.
    pub(super) async fn start_or_fall_back(&self, name: &str) -> Result<Start, DeployError> {
        let error = match self.start(name).await {
            // A busy host is not the component's fault. The service is vacant then, and the record does not change.
            Err(error) if !matches!(error, DeployError::Record(_) | DeployError::Crowded(_)) => error,
            started => return started,
        };
        let reason = shortened(&format!("the active revision cannot start: {error}"));
        self.fall_back(name, &reason).await?.ok_or(error)
    }

    /// Finds the newest earlier revision that can start. The record makes it the active one, so that a restart serves it too.
    async fn fall_back(&self, name: &str, reason: &str) -> Result<Option<Start>, DeployError> {
        let Some(active) = self.record.active(name)? else { return Ok(None) };
        let Some(served) = self.earlier(name, &active).await? else { return Ok(None) };
        let digest = served.revision.digest();
        let (from, to) = (&active[..12], &digest[..12]);
        tracing::error!(service = name, from, to, reason, "{name}: fell back to an earlier revision");
        let note = format!("revision {to} serves instead of {from}, because {reason}");
        let attempt = self.attempt(name, Action::Fallback, Some(active.clone()), digest, reason);
        Ok(Some(Start { served, attempt: Some(attempt), note: Some(note) }))
    }

    async fn earlier(&self, name: &str, active: &str) -> Result<Option<Served>, DeployError> {
        let mut tried = 0;
        for digest in self.record.formerly_active(name)?.into_iter().filter(|digest| digest != active) {
            if tried == TRIED {
                break;
            }
            if self.record.reverted(name, &digest)?.is_some() {
                continue;
            }
            let Some(bytes) = self.record.load(&digest) else { continue };
            tried += 1;
            let staged = async {
                let served = self.stage(name, &bytes.into(), &digest, &mut Steps::default()).await?;
                self.check_schema_range(&served).await?;
                Ok::<_, DeployError>(served)
            };
            match staged.await {
                Ok(served) => return Ok(Some(served)),
                Err(error @ DeployError::Record(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(service = name, revision = &digest[..12], %error, "{name}: an earlier revision cannot start either");
                }
            }
        }
        Ok(None)
    }

    /// If one service of a set falls back while the set is watched, makes its other services fall back too.
    pub(super) async fn fall_back_together(&self, starts: &mut Starts) -> Result<(), DeployError> {
        let has_fallen_back = |start: &Result<Start, DeployError>| match start {
            Ok(Start { attempt, .. }) => attempt.as_ref().is_some_and(|attempt| attempt.action == Action::Fallback),
            Err(_) => true,
        };
        for set in self.record.watched()? {
            let fallen = set.iter().find(|member| starts.get(&member.service).is_some_and(has_fallen_back));
            let Some(fallen) = fallen.map(|fallen| fallen.service.clone()) else { continue };
            for member in set.into_iter().filter(|member| member.service != fallen) {
                // A new component of the manifest has replaced the one that was deployed with the set.
                let is_as_before = |start: &Start| start.attempt.is_none();
                let Some(Ok(start)) = starts.get(&member.service) else { continue };
                if !is_as_before(start) {
                    continue;
                }
                let reason = format!("`{fallen}`, which was deployed in the same set, cannot start");
                if let Some(start) = self.fall_back(&member.service, &reason).await? {
                    starts.insert(member.service, Ok(start));
                }
            }
        }
        Ok(())
    }

    /// Resolves collisions of routes. Revisions that were active together before come first, so new ones yield. A new component
    /// yields to the active revision of its service, and a new service yields to all others.
    pub(super) async fn settle_collisions(&self, starts: &mut Starts) -> Result<(), DeployError> {
        let is_new = |start: &Start| start.attempt.is_some();
        let mut order: Vec<String> =
            starts.iter().filter(|(_, start)| start.is_ok()).map(|(name, _)| name.clone()).collect();
        order.sort_by_key(|name| starts[name].as_ref().is_ok_and(is_new));
        let serves = |starts: &Starts, names: &[String]| {
            let served = names.iter().filter_map(|name| Some((name, starts.get(name)?.as_ref().ok()?)));
            let served = served.map(|(name, start)| (Arc::from(name.as_str()), start.served.clone())).collect();
            Deployment::new(served, BTreeMap::new(), &[]).map(drop)
        };
        // Usually nothing collides, and building one table proves it.
        if serves(starts, &order).is_ok() {
            return Ok(());
        }
        let mut settled: Vec<String> = Vec::new();
        for name in order {
            settled.push(name.clone());
            let Err(conflict) = serves(starts, &settled) else { continue };
            let refused = DeployError::from(collision(&conflict));
            let active = self.record.active(&name)?;
            let start = match active.filter(|_| starts[&name].as_ref().is_ok_and(is_new)) {
                Some(active) => self.start_again(&name, &active, None).await.map(|served| Start {
                    served,
                    attempt: None,
                    note: Some(shortened(&refused.to_string())),
                }),
                None => Err(refused),
            };
            starts.insert(name.clone(), start);
            if let Err(conflict) = serves(starts, &settled) {
                starts.insert(name, Err(collision(&conflict).into()));
            }
        }
        Ok(())
    }

    /// Records in the history that a start refused a component, unless the newest line already says so.
    pub(super) fn note_refused(&self, name: &str, digest: &str, reason: &str) -> Result<(), DeployError> {
        let newest = self.record.history(name, 1)?.pop();
        let is_known = newest.is_some_and(|line| {
            (&*line.action, &*line.result, &*line.to, &*line.detail) == ("start", "refused", digest, reason)
        });
        if is_known {
            return Ok(());
        }
        let from = self.record.active(name)?;
        let attempt: Attempt = self.attempt(name, Action::Start, from, digest, "the host started");
        let line = self.record.begin(&attempt)?;
        Ok(self.record.end(line, "refused", reason)?)
    }

    /// The note for a component of the manifest that the history knows but that is not active.
    pub(super) fn inactive_file(&self, name: &str, digest: &str, active: &str) -> Result<Option<String>, DeployError> {
        if digest == active {
            return Ok(None);
        }
        let setup = self.setup();
        let file = setup.manifest.services[name].component.display();
        let (shown, active) = (&digest[..12], &active[..12]);
        let force = if self.record.reverted(name, digest)?.is_some() { " --force" } else { "" };
        let note = format!(
            "the component in {file} ({shown}) is not active, {active} is: a start only activates components that were never \
             deployed. To activate it: comptoir deploy {name} {file}{force}"
        );
        tracing::warn!(service = name, "{note}");
        Ok(Some(note))
    }
}
